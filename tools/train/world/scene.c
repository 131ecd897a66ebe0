/* Which scenes there are. */
#include <math.h>

#include "random.h"
#include "world.h"

#define BIT(x) (1u << (x))

#define ON_LAND (BIT(GROUND_HILLS) | BIT(GROUND_DESERT) | BIT(GROUND_CITY))
#define ANYWHERE (ON_LAND | BIT(GROUND_SEA))

/* Where things go, and how: a motion's number says how often such scenes are drawn, 0 is never.
 * Most things do nothing but go left and right; without numbers these would be most of what is
 * learnt. */
static const struct {
    unsigned grounds;
    uint8_t motions[MOTIONS];
} allowed[THINGS] = {
    [THING_SAILBOAT] = {BIT(GROUND_SEA), {[LEFT] = 3, [RIGHT] = 3}},
    [THING_BALLOON] = {ANYWHERE, {[LEFT] = 1, [RIGHT] = 1, [RISING] = 6, [SINKING] = 6}},
    [THING_BIRD] = {ANYWHERE, {[LEFT] = 1, [RIGHT] = 1, [CIRCLING] = 6}},
    [THING_BALL] = {ON_LAND, {[LEFT] = 1, [RIGHT] = 1, [BOUNCING] = 6}},
    [THING_TRAIN] = {ON_LAND, {[LEFT] = 3, [RIGHT] = 3}},
};

int world_allows(const struct attributes *a)
{
    return a->time >= 0 && a->time < TIMES && a->weather >= 0 && a->weather < WEATHERS &&
           a->ground >= 0 && a->ground < GROUNDS && a->color >= 0 && a->color < COLORS &&
           a->thing >= 0 && a->thing < THINGS && a->motion >= 0 && a->motion < MOTIONS &&
           (allowed[a->thing].grounds & BIT(a->ground)) && allowed[a->thing].motions[a->motion] &&
           !(a->ground == GROUND_DESERT && a->weather == WEATHER_SNOW);
}

/* Where a video begins. What goes left begins on the right, what sinks begins high: so it stays in view,
 * and a motion shows in a single picture, from where a model learns it much faster than from the
 * little that moves within a block. */
static const struct opening {
    float x[2], y[2], phase[2]; /* ranges of those in struct scene; phase {0, 0}: any */
} openings[MOTIONS] = {
    [LEFT] = {{0.58f, 0.85f}, {0, 1}},
    [RIGHT] = {{0.15f, 0.42f}, {0, 1}},
    [RISING] = {{0, 1}, {0.55f, 0.72f}},
    [SINKING] = {{0, 1}, {0.20f, 0.38f}},
    [BOUNCING] = {{0, 1}, {0, 1}, {0.30f, 0.70f}}, /* in the air */
    [CIRCLING] = {{0, 1}, {0, 1}, {0.15f, 0.35f}}, /* low, where birds that fly past are not */
};

void world_place(struct scene *s, uint64_t seed, const struct attributes *a)
{
    uint64_t state = seed ^ 0x706f737463617264u;
    *s = (struct scene){.seed = seed, .first = *a, .then = *a, .change = -1};
    s->phase = random_unit(&state);
    s->scroll = random_between(&state, 0, 8);
    s->sky = random_unit(&state);
    s->size = random_between(&state, 0.95f, 1.1f);
    const struct opening *o = &openings[a->motion];
    s->x = random_between(&state, o->x[0], o->x[1]);
    s->y = random_between(&state, o->y[0], o->y[1]);
    if (o->phase[1] > 0)
        s->phase = random_between(&state, o->phase[0], o->phase[1]);
    if (random_unit(&state) < 0.12f && a->motion != LEFT && a->motion != RIGHT)
        s->pan = random_unit(&state) < 0.5f ? -0.05f : 0.05f;
}

void world_leave(struct scene *s)
{
    const struct attributes *a = &s->first;
    uint64_t state = s->seed ^ 0x6c65617665u;
    /* of the way, which slow things take 10 to 13 seconds for, fast ones 5 */
    float share = random_between(&state, a->fast ? 0.15f : 0.06f, a->fast ? 0.95f : 0.42f);
    if (a->motion == LEFT || a->motion == RIGHT)
        s->x = a->motion == LEFT ? share : 1 - share;
    if (a->motion == RISING || a->motion == SINKING)
        s->y = a->motion == RISING ? share : 1 - share;
}

int world_begins(const struct scene *s)
{
    const struct opening *o = &openings[s->first.motion];
    return s->x >= o->x[0] && s->x <= o->x[1] && s->y >= o->y[0] && s->y <= o->y[1];
}

/* One attribute that may change in a scene gets another value. */
static void change_one(struct attributes *a, uint64_t *state)
{
    const struct attributes before = *a;
    do {
        *a = before;
        switch (random_below(state, 3)) {
        case 0:
            a->time = random_below(state, TIMES);
            break;
        case 1:
            a->weather = random_below(state, WEATHERS);
            break;
        default:
            a->color = random_below(state, COLORS);
        }
    } while (!world_allows(a) ||
             (a->time == before.time && a->weather == before.weather && a->color == before.color));
}

static void draw_thing(struct attributes *a, uint64_t *state)
{
    int sum = 0;
    for (int i = 0; i < THINGS * MOTIONS; i++)
        sum += allowed[i / MOTIONS].motions[i % MOTIONS];
    int i = -1, left = random_below(state, sum);
    while (left >= 0)
        i++, left -= allowed[i / MOTIONS].motions[i % MOTIONS];
    a->thing = i / MOTIONS;
    a->motion = i % MOTIONS;
}

void world_scene(struct scene *s, uint64_t seed, int changes, int pictures)
{
    uint64_t state = seed;
    struct attributes a;
    draw_thing(&a, &state);
    do {
        a.ground = random_below(&state, GROUNDS);
        a.time = random_below(&state, TIMES);
        a.weather = random_below(&state, WEATHERS);
        a.color = random_below(&state, COLORS);
        a.fast = random_below(&state, 2);
    } while (!world_allows(&a));
    world_place(s, random_next(&state), &a);
    int borders = (pictures - 9) / 12;
    if (changes && borders > 0) {
        s->change = 9 + 12 * random_below(&state, borders);
        change_one(&s->then, &state);
    }
}
