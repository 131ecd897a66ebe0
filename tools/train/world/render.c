/* A picture of a scene: sky, ground, thing, weather, back to front. */
#include <stdlib.h>
#include <string.h>

#include "random.h"
#include "things.h"

#define PI 3.14159265f
#define FADE 12.0f /* pictures that a change takes */
#define COLUMNS 1024

/* What the attributes give while they change: shares of each value. */
struct mood {
    float time[TIMES], weather[WEATHERS];
    struct color thing;
    float t; /* seconds */
};

struct palette {
    struct color top, bottom; /* of the sky */
    struct color light;       /* on the ground */
    struct color thing_light;
};

static const struct palette palettes[TIMES] = {
    {{0.52f, 0.62f, 0.90f}, {1.00f, 0.80f, 0.74f}, {0.98f, 0.84f, 0.82f}, {1.0f, 0.96f, 0.95f}},
    {{0.22f, 0.52f, 0.95f}, {0.72f, 0.89f, 1.00f}, {1.00f, 1.00f, 1.00f}, {1.0f, 1.0f, 1.0f}},
    {{0.36f, 0.18f, 0.48f}, {1.00f, 0.52f, 0.18f}, {0.86f, 0.58f, 0.48f}, {0.98f, 0.92f, 0.88f}},
    {{0.02f, 0.03f, 0.12f}, {0.09f, 0.12f, 0.30f}, {0.26f, 0.32f, 0.50f}, {0.82f, 0.84f, 0.92f}},
};

static struct mood mood_at(const struct scene *s, int picture)
{
    struct mood m = {.t = (float)picture / WORLD_FPS};
    float changed = s->change < 0 ? 0 : clampf((float)(picture - s->change + 1) / FADE, 0, 1);
    changed = smooth(0, 1, changed);
    m.time[s->first.time] += 1 - changed;
    m.time[s->then.time] += changed;
    m.weather[s->first.weather] += 1 - changed;
    m.weather[s->then.weather] += changed;
    m.thing = mix(thing_color(s->first.color), thing_color(s->then.color), changed);
    return m;
}

static struct palette palette_of(const struct mood *m)
{
    struct palette p = {0};
    float *to = (float *)&p;
    for (int i = 0; i < TIMES; i++)
        for (size_t j = 0; j < sizeof p / sizeof(float); j++)
            to[j] += m->time[i] * ((const float *)&palettes[i])[j];
    float bright = 0.25f + 0.75f * p.light.g;
    const struct color rainy = {0.50f * bright, 0.54f * bright, 0.60f * bright};
    const struct color snowy = {0.80f * bright, 0.83f * bright, 0.88f * bright};
    float rain = m->weather[WEATHER_RAIN], snow = m->weather[WEATHER_SNOW];
    p.top = mix(mix(p.top, rainy, 0.55f * rain), snowy, 0.5f * snow);
    p.bottom = mix(mix(p.bottom, rainy, 0.40f * rain), snowy, 0.40f * snow);
    p.light = mix(p.light, shade(p.light, 0.80f), rain);
    return p;
}

/* ---- sky ------------------------------------------------------------------------------------- */

static void paint_sky(struct canvas *c, const struct palette *p)
{
    for (int y = 0; y < c->height; y++) {
        struct color row = mix(p->top, p->bottom, smooth(0, 0.78f, ((float)y + 0.5f) / c->scale));
        for (int x = 0; x < c->width; x++)
            c->pixels[(size_t)y * (size_t)c->width + (size_t)x] = row;
    }
}

static void paint_stars(struct canvas *c, float aspect, float alpha)
{
    uint64_t state = 7;
    for (int i = 0; i < 22; i++) {
        float x = ((float)i + random_unit(&state)) / 22 * aspect;
        float y = random_between(&state, 0.03f, 0.5f);
        paint_disc(c, (struct point){x, y}, random_between(&state, 0.006f, 0.011f),
                   (struct color){0.95f, 0.95f, 0.85f}, alpha * 0.9f);
    }
}

static void paint_lights(struct canvas *c, const struct mood *m, const struct palette *p,
                         float aspect)
{
    float open = 1 - 0.75f * m->weather[WEATHER_RAIN] - 0.6f * m->weather[WEATHER_SNOW];
    if (m->time[TIME_DAWN] > 0) {
        const struct point sun = {0.80f * aspect, 0.50f};
        paint_glow(c, sun, 0.55f, (struct color){1, 0.92f, 0.70f},
                   0.75f * open * m->time[TIME_DAWN]);
        paint_disc(c, sun, 0.075f, (struct color){1, 0.95f, 0.75f}, open * m->time[TIME_DAWN]);
    }
    if (m->time[TIME_NOON] > 0) {
        const struct point sun = {0.84f * aspect, 0.16f};
        paint_glow(c, sun, 0.42f, (struct color){1, 1, 0.88f}, 0.7f * open * m->time[TIME_NOON]);
        paint_disc(c, sun, 0.085f, (struct color){1, 0.97f, 0.70f}, open * m->time[TIME_NOON]);
    }
    if (m->time[TIME_SUNSET] > 0) {
        const struct point sun = {0.22f * aspect, 0.50f};
        paint_glow(c, sun, 0.65f, (struct color){1, 0.70f, 0.25f},
                   0.8f * open * m->time[TIME_SUNSET]);
        paint_disc(c, sun, 0.12f, (struct color){1, 0.80f, 0.35f}, open * m->time[TIME_SUNSET]);
    }
    if (m->time[TIME_NIGHT] > 0) {
        const struct point moon = {0.80f * aspect, 0.18f};
        paint_stars(c, aspect, open * m->time[TIME_NIGHT]);
        paint_glow(c, moon, 0.32f, (struct color){0.55f, 0.60f, 0.80f},
                   0.45f * open * m->time[TIME_NIGHT]);
        paint_disc(c, moon, 0.08f, (struct color){0.96f, 0.95f, 0.86f}, open * m->time[TIME_NIGHT]);
        paint_disc(c, (struct point){moon.x - 0.035f, moon.y - 0.02f}, 0.068f,
                   mix(p->top, p->bottom, 0.12f), open * m->time[TIME_NIGHT]);
    }
}

static void paint_cloud(struct canvas *c, float x, float y, float size, struct color color,
                        float alpha)
{
    paint_ellipse(c, (struct point){x, y}, 0.20f * size, 0.055f * size, color, alpha);
    paint_disc(c, (struct point){x - 0.07f * size, y - 0.035f * size}, 0.065f * size, color, alpha);
    paint_disc(c, (struct point){x + 0.045f * size, y - 0.05f * size}, 0.085f * size, color, alpha);
}

static void paint_clouds(struct canvas *c, const struct scene *s, const struct mood *m,
                         const struct palette *p, float aspect)
{
    float cloudy = m->weather[WEATHER_CLOUDS], wet = m->weather[WEATHER_RAIN];
    float grey = m->weather[WEATHER_SNOW];
    float bright = 0.22f + 0.78f * p->light.g, span = aspect + 0.8f;
    struct color white = mix((struct color){bright, bright, bright}, p->bottom, 0.25f);
    for (int i = 0; i < 4; i++) {
        static const float height[] = {0.13f, 0.25f, 0.10f, 0.20f},
                           size[] = {1.2f, 0.95f, 1.0f, 1.3f};
        float x = s->sky * span + (float)i * span / 4 + 0.09f * m->t;
        x = fmodf(x, span) - 0.4f;
        if (cloudy > 0)
            paint_cloud(c, x, height[i], size[i], white, 0.95f * cloudy);
        if (wet > 0)
            paint_cloud(c, x, 0.06f + 0.3f * height[i], 1.7f, shade(white, 0.58f), 0.9f * wet);
        if (grey > 0)
            paint_cloud(c, x, 0.04f + 0.3f * height[i], 1.7f, shade(white, 0.86f), 0.8f * grey);
    }
}

/* ---- ground ---------------------------------------------------------------------------------- */

static void paint_sea(struct canvas *c, const struct scene *s, const struct mood *m,
                      const struct palette *p, float scroll)
{
    float horizon[COLUMNS];
    const struct color far = times((struct color){0.30f, 0.62f, 0.80f}, p->light);
    const struct color near = times((struct color){0.05f, 0.28f, 0.52f}, p->light);
    const struct color crest = times((struct color){0.62f, 0.86f, 0.95f}, p->light);
    for (int x = 0; x < c->width; x++)
        horizon[x] = 0.60f;
    paint_below(c, horizon, mix(far, p->bottom, 0.25f), near, 0.40f);
    for (int row = 0; row < 4; row++) {
        float depth = (float)(row + 1) / 4, y = 0.64f + 0.10f * (float)row;
        float length = 0.35f + 0.15f * (float)row;
        float move = scroll + 0.07f * m->t * (row & 1 ? 1.0f : -0.7f) + s->sky + 0.13f * (float)row;
        for (float x = -length; x < 3; x += length) {
            float at = x + length - fmodf(move, length);
            float bob = 0.008f * sinf(2 * PI * (0.35f * m->t + s->sky + 0.3f * (float)row));
            paint_line(c, (struct point){at, y + bob}, (struct point){at + 0.45f * length, y + bob},
                       0.005f + 0.007f * depth, crest, 0.55f);
        }
    }
}

static void paint_hills(struct canvas *c, const struct palette *p, float scroll, float snow)
{
    static const struct {
        float base, high, per, shift, speed;
        struct color top, bottom;
    } layers[] = {
        {0.60f, 0.075f, 0.95f, 0.0f, 0.5f, {0.45f, 0.68f, 0.52f}, {0.36f, 0.60f, 0.42f}},
        {0.71f, 0.060f, 1.35f, 0.7f, 1.0f, {0.36f, 0.68f, 0.26f}, {0.20f, 0.50f, 0.18f}},
    };
    float y[COLUMNS];
    const struct color white = {0.93f, 0.95f, 0.98f};
    for (int i = 0; i < 2; i++) {
        for (int x = 0; x < c->width; x++) {
            float u = ((float)x + 0.5f) / c->scale + layers[i].speed * scroll;
            y[x] = layers[i].base +
                   layers[i].high * sinf(2 * PI * u / layers[i].per + layers[i].shift);
        }
        paint_below(c, y, times(mix(layers[i].top, white, 0.7f * snow), p->light),
                    times(mix(layers[i].bottom, white, 0.55f * snow), p->light), 0.30f);
    }
}

static void paint_desert(struct canvas *c, const struct palette *p, float scroll)
{
    static const struct {
        float base, high, per, shift, speed;
        struct color top, bottom;
    } layers[] = {
        {0.63f, 0.050f, 1.45f, 1.0f, 0.5f, {0.93f, 0.78f, 0.52f}, {0.86f, 0.68f, 0.42f}},
        {0.74f, 0.060f, 1.90f, 2.6f, 1.0f, {0.92f, 0.72f, 0.42f}, {0.76f, 0.52f, 0.28f}},
    };
    float y[COLUMNS];
    for (int i = 0; i < 2; i++) {
        for (int x = 0; x < c->width; x++) {
            float u = ((float)x + 0.5f) / c->scale + layers[i].speed * scroll;
            float w = sinf(2 * PI * u / layers[i].per + layers[i].shift);
            y[x] = layers[i].base + layers[i].high * (w * fabsf(w) * 0.5f + w * 0.5f);
        }
        paint_below(c, y, times(layers[i].top, p->light), times(layers[i].bottom, p->light), 0.28f);
    }
}

/* Height of building n of the endless street. */
static float building(int n, uint64_t street)
{
    uint64_t state = street + (uint64_t)(n & 15) * 77;
    return random_between(&state, 0.10f, 0.38f);
}

static void paint_city(struct canvas *c, const struct palette *p, float scroll, float aspect,
                       float snow)
{
    float floor[COLUMNS];
    const struct color wall[] = {{0.58f, 0.64f, 0.74f}, {0.38f, 0.43f, 0.54f}};
    const struct color street =
        mix((struct color){0.45f, 0.45f, 0.48f}, (struct color){0.93f, 0.95f, 0.98f}, 0.7f * snow);
    float lit = clampf(1.25f - 1.25f * p->light.g, 0, 1);
    struct color pane = mix(times((struct color){0.72f, 0.86f, 0.95f}, p->light),
                            (struct color){1, 0.85f, 0.42f}, lit);
    for (int row = 0; row < 2; row++) {
        float wide = row ? 0.20f : 0.15f, move = scroll * (row ? 1 : 0.5f);
        int first = (int)floorf(move / wide) - 1;
        for (int n = first; (float)n * wide - move < aspect; n++) {
            float x = (float)n * wide - move,
                  top = 0.78f - building(n, row ? 5 : 9) * (row ? 0.8f : 1.15f);
            const struct point wallp[] = {
                {x, top}, {x + wide * 0.93f, top}, {x + wide * 0.93f, 0.85f}, {x, 0.85f}};
            paint_polygon(c, wallp, 4, times(mix(wall[row], p->bottom, row ? 0 : 0.3f), p->light),
                          1);
            if (!row)
                continue;
            for (float wy = top + 0.045f; wy < 0.76f; wy += 0.075f)
                for (int k = 0; k < 2; k++) {
                    float wx = x + wide * (0.20f + 0.36f * (float)k);
                    const struct point w[] = {
                        {wx, wy}, {wx + 0.042f, wy}, {wx + 0.042f, wy + 0.036f}, {wx, wy + 0.036f}};
                    paint_polygon(c, w, 4, pane, 0.9f);
                }
        }
    }
    for (int x = 0; x < c->width; x++)
        floor[x] = 0.80f;
    paint_below(c, floor, times(street, p->light), times(shade(street, 0.72f), p->light), 0.2f);
}

/* ---- falling things -------------------------------------------------------------------------- */

/* Rain falls by one period of its pattern in the four pictures that a latent frame stands for: to
 * the model it is a texture that stands still. What does not repeat so is too fast for the VAE. */
static void paint_rain(struct canvas *c, float strength, float seconds)
{
    const int columns = 14;
    const float period = 1.15f * 4 / WORLD_FPS, fallen = 4 * seconds;
    uint64_t state = 11;
    for (int i = 0; i < columns; i++) {
        float x = ((float)i + 0.6f * random_unit(&state)) / (float)columns * 1.9f;
        float at = fallen + random_unit(&state);
        for (at -= floorf(at) + 1; at * period < 1; at++)
            paint_line(c, (struct point){x, at * period},
                       (struct point){x - 0.02f, at * period + 0.1f}, 0.009f,
                       (struct color){0.86f, 0.93f, 1}, 0.9f * strength);
    }
}

/* One pattern, repeated and moved, so that what falls is regular enough to be foreseen. */
static void paint_falling(struct canvas *c, const struct scene *s, const struct mood *m)
{
    float snow = m->weather[WEATHER_SNOW];
    uint64_t state = 11;
    if (m->weather[WEATHER_RAIN] > 0)
        paint_rain(c, m->weather[WEATHER_RAIN], m->t);
    for (int i = 0; i < 26 && snow > 0; i++) {
        float x = (float)i / 26 * 1.9f, y = random_unit(&state), drift = random_unit(&state);
        float fall = y + s->sky + 0.26f * m->t, at = 1.1f * (fall - floorf(fall)) - 0.05f;
        float sway = 0.02f * sinf(2 * PI * (drift + 0.4f * m->t));
        paint_disc(c, (struct point){x + sway, at}, 0.016f + 0.006f * drift,
                   (struct color){1, 1, 1}, 0.95f * snow);
    }
}

/* ---- all of it ------------------------------------------------------------------------------ */

static void paint_scene(struct canvas *c, const struct scene *s, int picture)
{
    struct mood m = mood_at(s, picture);
    struct palette p = palette_of(&m);
    float aspect = (float)c->width / (float)c->height;
    float scroll = s->scroll + 16 + s->pan * m.t;
    paint_sky(c, &p);
    paint_lights(c, &m, &p, aspect);
    paint_clouds(c, s, &m, &p, aspect);
    switch (s->first.ground) {
    case GROUND_SEA:
        paint_sea(c, s, &m, &p, scroll);
        break;
    case GROUND_HILLS:
        paint_hills(c, &p, scroll, m.weather[WEATHER_SNOW]);
        break;
    case GROUND_DESERT:
        paint_desert(c, &p, scroll);
        break;
    default:
        paint_city(c, &p, scroll, aspect, m.weather[WEATHER_SNOW]);
    }
    struct color light = {0};
    for (int i = 0; i < TIMES; i++) {
        light.r += m.time[i] * palettes[i].thing_light.r;
        light.g += m.time[i] * palettes[i].thing_light.g;
        light.b += m.time[i] * palettes[i].thing_light.b;
    }
    struct pose pose = thing_pose(s, m.t, aspect);
    thing_paint(c, s->first.thing, &pose, times(m.thing, light), light);
    paint_falling(c, s, &m);
}

int world_render(const struct scene *s, int first, int count, int width, int height, uint8_t *rgb)
{
    if (width < 1 || height < 1 || width > COLUMNS)
        return -1;
    size_t pixels = (size_t)width * (size_t)height;
    struct canvas c = {width, height, (float)height, malloc(pixels * sizeof(struct color))};
    if (!c.pixels)
        return -1;
    for (int i = 0; i < count; i++) {
        const float *from = (const float *)c.pixels;
        uint8_t *to = rgb + (size_t)i * pixels * 3;
        paint_scene(&c, s, first + i);
        for (size_t j = 0; j < pixels * 3; j++)
            to[j] = (uint8_t)(clampf(from[j], 0, 1) * 255 + 0.5f);
    }
    free(c.pixels);
    return 0;
}

int world_cover(const struct scene *s, int first, int count, int width, int height, float *cover)
{
    const struct color black = {0, 0, 0}, white = {1, 1, 1};
    size_t pixels = (size_t)width * (size_t)height;
    struct color *both = malloc(2 * pixels * sizeof(struct color));
    if (!both)
        return -1;
    for (int i = 0; i < count; i++) {
        struct pose pose =
            thing_pose(s, (float)(first + i) / WORLD_FPS, (float)width / (float)height);
        for (int k = 0; k < 2; k++) { /* what does not depend on the background is covered */
            struct canvas c = {width, height, (float)height, both + (size_t)k * pixels};
            for (size_t j = 0; j < pixels; j++)
                c.pixels[j] = k ? white : black;
            thing_paint(&c, s->first.thing, &pose, white, white);
        }
        for (size_t j = 0; j < pixels; j++)
            cover[(size_t)i * pixels + j] = 1 - clampf(both[pixels + j].g - both[j].g, 0, 1);
    }
    free(both);
    return 0;
}
