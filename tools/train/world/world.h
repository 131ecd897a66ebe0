/* A small world for the bundled model to learn: postcards that move.
 *
 * A scene is a few attributes (time of day, weather, ground, a thing with a colour and a motion) and
 * the numbers that place it. Everything is a function of the scene and the time, so that any picture
 * can be drawn on its own and the same seed gives the same video. Lengths are in picture heights, y
 * grows downwards, speeds are per second. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { TIME_DAWN, TIME_NOON, TIME_SUNSET, TIME_NIGHT, TIMES };
enum { WEATHER_CLEAR, WEATHER_CLOUDS, WEATHER_RAIN, WEATHER_SNOW, WEATHERS };
enum { GROUND_SEA, GROUND_HILLS, GROUND_DESERT, GROUND_CITY, GROUNDS };
enum { THING_SAILBOAT, THING_BALLOON, THING_BIRD, THING_BALL, THING_TRAIN, THINGS };
enum { RED, ORANGE, YELLOW, GREEN, BLUE, PURPLE, PINK, WHITE, COLORS };
enum { LEFT, RIGHT, RISING, SINKING, BOUNCING, CIRCLING, MOTIONS };

#define WORLD_FPS 16

struct attributes {
    int32_t time, weather, ground, thing, color, motion;
    int32_t fast; /* 0 or 1 */
};

struct scene {
    uint64_t seed;
    struct attributes first; /* until the change */
    struct attributes then;  /* after it: only time, weather and colour may differ */
    int32_t change;          /* picture at which the change begins; -1: none */
    float x, y;              /* where the thing is at the start, or the middle of its path */
    float phase;             /* of its motion, [0, 1) */
    float size;              /* of the thing: 1 is usual */
    float scroll;            /* where in the endless landscape the picture lies */
    float pan;               /* speed of the camera, mostly 0 */
    float sky;               /* phase of clouds, waves and falling things, [0, 1) */
};

/* Whether such a scene makes sense: the one table. */
int world_allows(const struct attributes *a);

/* A scene of a seed. With `changes`, its caption may change at a chunk border (9 + 12 n pictures). */
void world_scene(struct scene *scene, uint64_t seed, int changes, int pictures);

/* Places a thing for chosen attributes. */
void world_place(struct scene *scene, uint64_t seed, const struct attributes *a);

/* Places a thing that goes somewhere so that it leaves the picture within its first five seconds, and comes
 * back on the other side. */
void world_leave(struct scene *scene);

/* Whether a scene is as world_place() makes them. */
int world_begins(const struct scene *scene);

/* A caption of the attributes, English, ASCII. `seed` chooses the phrasing and what is left out.
 * `told` receives a bit for each attribute that it tells (1 << index in struct attributes). */
void world_caption(const struct attributes *a, uint64_t seed, char *text, size_t size, uint32_t *told);

/* Pictures [first, first + count) as RGB, 8 bits, [count, height, width, 3]. 0, or -1: no memory. */
int world_render(const struct scene *scene, int first, int count, int width, int height, uint8_t *rgb);

/* How much of each pixel the thing covers, [count, height, width] in [0, 1]. Returns as above. */
int world_cover(const struct scene *scene, int first, int count, int width, int height, float *cover);

/* Names for tools: world_name(kind, value), kind being the index in struct attributes. */
const char *world_name(int kind, int value);
