/* Where the renderer of the bundled model's world places things. */
#include <stdbool.h>

#include "../test.h"
#include "things.h"

/* The second in which the thing is put to the side that it comes from; -1: not within 13, the longest way. */
static double comes_back(const struct scene *scene)
{
    const float aspect = 160.0f / 96;
    bool across = scene->first.motion == LEFT || scene->first.motion == RIGHT;
    struct pose before = thing_pose(scene, 0, aspect);
    for (int picture = 1; picture < 13 * WORLD_FPS; picture++) {
        struct pose p = thing_pose(scene, (float)picture / WORLD_FPS, aspect);
        if (fabsf(across ? p.x - before.x : p.y - before.y) > 0.5f)
            return (double)picture / WORLD_FPS;
        before = p;
    }
    return -1;
}

static void test_places(void)
{
    int made = 0, kept = 0, still = 0;
    for (uint64_t seed = 0; made < 60; seed++) {
        struct scene scene, moved;
        world_scene(&scene, seed, 0, 93);
        CHECK(world_begins(&scene));
        moved = scene;
        world_leave(&moved);
        if (scene.first.motion >= BOUNCING) { /* goes nowhere */
            still += !memcmp(&moved, &scene, sizeof scene);
            kept++;
            continue;
        }
        made++;
        double back = comes_back(&moved);
        /* put there once it is out of sight, so a little later than it leaves */
        CHECK_MSG(back > 0 && back < 6, "seed %d: back after %.1f s", (int)seed, back);
        struct scene again = scene;
        world_leave(&again);
        CHECK(!memcmp(&again, &moved, sizeof moved)); /* a function of the scene */
        moved.x = scene.x;
        moved.y = scene.y;
        CHECK(!memcmp(&moved, &scene, sizeof scene)); /* nothing but the place */
    }
    CHECK_MSG(kept > 0 && still == kept, "%d of %d", still, kept);
}

int main(void)
{
    test_places();
    return test_end();
}
