/* Rollouts with guidance, with less of it and without, on the small golden model. */
#include "rollouts.h"

/* A scale of 1 is the limit of those near it, at half the forwards and half the cache. */
static void test_unguided(void)
{
    struct setup setup = {.window = 6, .sink = 1, .multi = true, .guidance = 1};
    struct setup near = setup, far = setup;
    near.guidance = 1.00001f;
    far.guidance = 3;
    static float x[BLOCK * FRAME], y[BLOCK * FRAME], z[BLOCK * FRAME];
    struct rollout one = open_rollout(&setup), guided = open_rollout(&near), more = open_rollout(&far);
    for (int i = 0; i < 4; i++) {
        CHECK(next(&one, x) == BLOCK && next(&guided, y) == BLOCK && next(&more, z) == BLOCK);
        CHECK_MSG(difference(x, y, BLOCK * FRAME) < 1e-3, "block %d", i);
        CHECK_MSG(difference(x, z, BLOCK * FRAME) > 1e-2, "block %d", i);
        if (i == 2) {
            rollout_set_text(&one, text[1], text[0]);
            rollout_set_text(&guided, text[1], text[0]);
            rollout_recache(&one, false);
            rollout_recache(&guided, false);
        }
    }
    CHECK(one.times.forwards * 10 < guided.times.forwards * 6);
    CHECK(rollout_cache_bytes(&one) * 2 <= rollout_cache_bytes(&guided));
    rollout_close(&one);
    rollout_close(&guided);
    rollout_close(&more);
}

/* Guidance of all steps is that of as many or more; each step without it is a forward less. */
static void test_guidance_steps(void)
{
    struct setup setup = {.window = 6, .sink = 1, .multi = true}, same = setup, few = setup;
    same.guidance_steps = 3;
    few.guidance_steps = 1;
    static float x[BLOCK * FRAME], y[BLOCK * FRAME], z[BLOCK * FRAME];
    struct rollout all = open_rollout(&setup), three = open_rollout(&same), one = open_rollout(&few);
    for (int i = 0; i < 4; i++) {
        CHECK(next(&all, x) == BLOCK && next(&three, y) == BLOCK && next(&one, z) == BLOCK);
        CHECK_MSG(!memcmp(x, y, sizeof(x)), "block %d", i);
        CHECK_MSG(difference(x, z, BLOCK * FRAME) > 1e-2, "block %d", i);
    }
    CHECK(all.times.forwards == three.times.forwards);
    CHECK(all.times.forwards - one.times.forwards == 4 * 2);
    rollout_close(&all);
    rollout_close(&three);
    rollout_close(&one);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        printf("usage: test_guidance GOLDEN\n");
        return 2;
    }
    if (!open_model(argv[1]))
        return test_end();
    test_unguided();
    test_guidance_steps();
    close_model();
    return test_end();
}
