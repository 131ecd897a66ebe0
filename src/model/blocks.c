#include "model/blocks.h"

void block_plan_init(struct block_plan *plan, int block, int64_t given, int64_t frames,
                     bool independent_first_frame)
{
    *plan = (struct block_plan){.block = block, .given = given, .frames = frames};
    plan->first_alone = given == 1 || independent_first_frame;
    plan->independent = independent_first_frame;
}

int block_plan_check(const struct block_plan *plan, int64_t *below, int64_t *above)
{
    int64_t first = plan->first_alone ? 1 : 0;
    int64_t least = plan->given ? plan->given + 1 : 1; /* something must be left to generate */
    bool given_fits = !plan->given || (plan->given - first) % plan->block == 0;
    if (given_fits && (plan->frames == 0 ||
                       (plan->frames >= least && (plan->frames - first) % plan->block == 0)))
        return 0;
    int64_t blocks = plan->frames > first ? (plan->frames - first) / plan->block : 0;
    *below = first + blocks * plan->block;
    if (*below < least)
        *below = 0;
    *above = first + (blocks + 1) * plan->block;
    while (*above < least)
        *above += plan->block;
    return -1;
}

struct block_plan block_plan_scene(const struct block_plan *plan, int64_t left, bool given)
{
    struct block_plan scene = *plan;
    scene.frames = left;
    if (given && left && scene.given > left)
        scene.given = left;
    if (!given) {
        scene.given = 0;
        scene.first_alone = plan->independent;
    }
    return scene;
}

int block_plan_next(const struct block_plan *plan, int64_t start)
{
    int frames = start == 0 && plan->first_alone ? 1 : plan->block;
    if (plan->frames && plan->frames - start < frames)
        frames = plan->frames > start ? (int)(plan->frames - start) : 0;
    return frames;
}
