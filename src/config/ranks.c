/* Which part of the work is this process's: what launchers tell it. */
#include <stdbool.h>
#include <stdlib.h>
#include "base/log.h"
#include <unreel/batch.h>

/* Variables of one launcher. */
struct launcher {
    const char *name, *rank, *world, *local;
};

static const struct launcher torchrun = {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"};
static const struct launcher mpirun = {"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
                                       "OMPI_COMM_WORLD_LOCAL_RANK"};
static const struct launcher srun = {"slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"};

struct lookup {
    unreel_lookup_fn get;
    void *opaque;
    const unreel_log *log;
};

/* Value of a variable; NULL also if it is empty. */
static const char *look(const struct lookup *lookup, const char *name)
{
    const char *text = lookup->get(lookup->opaque, name);
    return text && *text ? text : NULL;
}

/* A whole number from `min` on. */
static int read_number(const struct lookup *lookup, const char *name, int min, int *value)
{
    const char *text = look(lookup, name);
    char *end;
    if (!text)
        return log_error(lookup->log, UNREEL_EINVAL, "%s is not set", name);
    long number = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || number < min || number > 1 << 24)
        return log_error(lookup->log, UNREEL_EINVAL, "%s: expected a number from %d, got '%.40s'",
                         name, min, text);
    *value = (int)number;
    return 0;
}

static int read_launcher(unreel_ranks *ranks, const struct lookup *lookup,
                         const struct launcher *launcher)
{
    int code = read_number(lookup, launcher->rank, 0, &ranks->rank);
    if (code == 0)
        code = read_number(lookup, launcher->world, 1, &ranks->world);
    if (code == 0 && ranks->rank >= ranks->world)
        return log_error(lookup->log, UNREEL_EINVAL, "%s is %d, but there are only %d (%s)",
                         launcher->rank, ranks->rank, ranks->world, launcher->world);
    ranks->local_rank = ranks->rank;
    if (code == 0 && look(lookup, launcher->local))
        code = read_number(lookup, launcher->local, 0, &ranks->local_rank);
    if (code == 0 && ranks->local_rank > ranks->rank)
        return log_error(lookup->log, UNREEL_EINVAL, "%s is %d, more than %s, %d", launcher->local,
                         ranks->local_rank, launcher->rank, ranks->rank);
    ranks->launcher = launcher->name;
    return code;
}

/* slurm tells the number of a job's tasks also to the batch script, of which there is only one:
 * what counts is the step that srun started. */
static int read_slurm(unreel_ranks *ranks, const struct lookup *lookup)
{
    struct launcher launcher = srun;
    bool step = look(lookup, "SLURM_STEP_ID") || look(lookup, "SLURM_STEP_NUM_TASKS");
    if (look(lookup, "SLURM_JOB_ID") && !step)
        return 0;
    if (look(lookup, "SLURM_STEP_NUM_TASKS"))
        launcher.world = "SLURM_STEP_NUM_TASKS";
    return read_launcher(ranks, lookup, &launcher);
}

int unreel_ranks_from(unreel_ranks *ranks, const unreel_log *log, unreel_lookup_fn get,
                      void *opaque)
{
    struct lookup lookup = {.get = get, .opaque = opaque, .log = log};
    bool torch = look(&lookup, torchrun.rank) || look(&lookup, torchrun.world) ||
                 look(&lookup, torchrun.local);
    bool mpi = look(&lookup, mpirun.rank) || look(&lookup, mpirun.world);
    unreel_ranks outer = {.world = 1};
    int code = 0;
    *ranks = outer;
    if (mpi && (code = read_launcher(&outer, &lookup, &mpirun)) < 0)
        return code;
    if (torch) {
        code = read_launcher(ranks, &lookup, &torchrun);
        /* Left-over variables: that many processes cannot all be different ranks. */
        if (code == 0 && outer.world > ranks->world)
            return log_error(log, UNREEL_EINVAL, "%s is %d, but %s is %d: unset one of them",
                             torchrun.world, ranks->world, mpirun.world, outer.world);
    } else if (mpi) {
        *ranks = outer;
    } else if (look(&lookup, srun.rank)) {
        code = read_slurm(ranks, &lookup);
    }
    return code;
}

size_t unreel_ranks_share(const unreel_ranks *ranks, size_t count)
{
    size_t rank = (size_t)ranks->rank, world = (size_t)ranks->world;
    return count > rank ? (count - rank - 1) / world + 1 : 0;
}
