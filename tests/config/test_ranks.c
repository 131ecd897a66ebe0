/* What launchers say, and that every prompt is dealt exactly once. */
#include "test.h"
#include <stdbool.h>
#include <unreel/batch.h>

#define VARIABLES 12

struct environment {
    const char *names[VARIABLES], *values[VARIABLES];
};

static const char *look(void *opaque, const char *name)
{
    const struct environment *environment = opaque;
    for (int i = 0; i < VARIABLES && environment->names[i]; i++)
        if (!strcmp(environment->names[i], name))
            return environment->values[i];
    return NULL;
}

static int read(unreel_ranks *ranks, struct environment environment)
{
    *test_message = 0;
    return unreel_ranks_from(ranks, &test_log, look, &environment);
}

static void test_launchers(void)
{
    static const char *const names[3][4] = {
        {"RANK", "WORLD_SIZE", "LOCAL_RANK", "torchrun"},
        {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "mpirun"},
        {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "slurm"},
    };
    unreel_ranks ranks;
    CHECK(read(&ranks, (struct environment){0}) == 0);
    CHECK(ranks.rank == 0 && ranks.world == 1 && ranks.local_rank == 0 && !ranks.launcher);
    for (int i = 0; i < 3; i++) {
        const char *const *n = names[i];
        CHECK(read(&ranks, (struct environment){{n[0], n[1], n[2]}, {"5", "8", "1"}}) == 0);
        CHECK(ranks.rank == 5 && ranks.world == 8 && ranks.local_rank == 1);
        CHECK(ranks.launcher && !strcmp(ranks.launcher, n[3]));
        CHECK(read(&ranks, (struct environment){{n[0], n[1]}, {"3", "4"}}) == 0);
        CHECK(ranks.rank == 3 && ranks.local_rank == 3);
        CHECK(read(&ranks, (struct environment){{n[0], n[1]}, {"4", "4"}}) == UNREEL_EINVAL);
        CHECK_MSG(strstr(test_message, n[0]) && strstr(test_message, n[1]), "%s", test_message);
        CHECK(read(&ranks, (struct environment){{n[0], n[1]}, {"0", "0"}}) == UNREEL_EINVAL);
        CHECK(read(&ranks, (struct environment){{n[0], n[1]}, {"-1", "4"}}) == UNREEL_EINVAL);
        CHECK(read(&ranks, (struct environment){{n[0], n[1]}, {"1x", "4"}}) == UNREEL_EINVAL);
        CHECK(read(&ranks, (struct environment){{n[0], n[1]}, {"1", "99999999999999"}}) ==
              UNREEL_EINVAL);
        CHECK(read(&ranks, (struct environment){{n[0]}, {"0"}}) == UNREEL_EINVAL);
        CHECK(read(&ranks, (struct environment){{n[0], n[1], n[2]}, {"1", "4", "2"}}) ==
              UNREEL_EINVAL);
        CHECK(read(&ranks, (struct environment){{n[0], n[1]}, {"", ""}}) == 0 && ranks.world == 1);
    }
    CHECK(read(&ranks, (struct environment){{"WORLD_SIZE"}, {"4"}}) == UNREEL_EINVAL);
    CHECK(read(&ranks, (struct environment){{"LOCAL_RANK"}, {"0"}}) == UNREEL_EINVAL);
    CHECK(read(&ranks, (struct environment){{"OMPI_COMM_WORLD_SIZE"}, {"4"}}) == UNREEL_EINVAL);
}

static void test_together(void)
{
    unreel_ranks ranks;
    /* torchrun inside a slurm step: torchrun's ranks count */
    CHECK(read(&ranks, (struct environment){{"RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"},
                                            {"9", "16", "1", "2"}}) == 0);
    CHECK(ranks.rank == 9 && ranks.world == 16);
    /* left-over RANK under mpirun: two processes would both be rank 0 of 1 */
    CHECK(read(&ranks, (struct environment){
                           {"RANK", "WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                           {"0", "1", "1", "2"}}) == UNREEL_EINVAL);
    CHECK(read(&ranks, (struct environment){
                           {"RANK", "WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                           {"1", "2", "1", "2"}}) == 0);
    /* a batch script of a job with four tasks is one process, a step of it two */
    CHECK(read(&ranks, (struct environment){{"SLURM_JOB_ID", "SLURM_PROCID", "SLURM_NTASKS"},
                                            {"77", "0", "4"}}) == 0);
    CHECK(ranks.rank == 0 && ranks.world == 1);
    CHECK(read(&ranks, (struct environment){{"SLURM_JOB_ID", "SLURM_PROCID", "SLURM_NTASKS",
                                             "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS"},
                                            {"77", "1", "4", "0", "2"}}) == 0);
    CHECK(ranks.rank == 1 && ranks.world == 2);
    CHECK(read(&ranks, (struct environment){{"SLURM_NTASKS"}, {"4"}}) == 0 && ranks.world == 1);
}

static void test_dealing(void)
{
    for (int world = 1; world <= 7; world++) {
        for (size_t count = 0; count <= 20; count++) {
            int taken[20] = {0};
            for (int rank = 0; rank < world; rank++) {
                unreel_ranks ranks = {.rank = rank, .world = world};
                size_t share = 0;
                for (size_t i = (size_t)rank; i < count; i += (size_t)world, share++)
                    taken[i]++;
                CHECK(unreel_ranks_share(&ranks, count) == share);
            }
            bool once = true;
            for (size_t i = 0; i < count; i++)
                once = once && taken[i] == 1;
            CHECK_MSG(once, "%zu prompts, %d ranks", count, world);
        }
    }
}

int main(void)
{
    test_launchers();
    test_together();
    test_dealing();
    return test_end();
}
