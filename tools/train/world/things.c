/* The things that move. */
#include "things.h"

#define PI 3.14159265f

static const struct color colors[COLORS] = {
    {0.92f, 0.13f, 0.13f}, {1.00f, 0.50f, 0.05f}, {1.00f, 0.86f, 0.10f}, {0.12f, 0.72f, 0.20f},
    {0.12f, 0.30f, 0.92f}, {0.55f, 0.16f, 0.80f}, {1.00f, 0.45f, 0.72f}, {0.97f, 0.97f, 0.97f},
};
static const struct color wood = {0.36f, 0.22f, 0.12f}, iron = {0.16f, 0.16f, 0.20f};

struct color thing_color(int color)
{
    return colors[color];
}

static float wrap(float x, float low, float high)
{
    float t = fmodf(x - low, high - low);
    return t < 0 ? t + high : t + low;
}

static const float half_width[THINGS] = {0.19f, 0.15f, 0.17f, 0.12f, 0.44f};
static const float level[THINGS] = {0.62f, 0.36f, 0.36f, 0.80f, 0.80f}; /* when it moves sideways */

struct pose thing_pose(const struct scene *s, float t, float aspect)
{
    const struct attributes *a = &s->first;
    float margin = half_width[a->thing] * s->size * 1.05f;
    float v = a->fast ? 0.40f : 0.17f, rise = a->fast ? 0.30f : 0.13f;
    struct pose p = {.size = s->size, .facing = a->motion == LEFT ? -1.0f : 1.0f};
    float wide = aspect + 2 * margin;
    p.y = level[a->thing] + (a->thing == THING_BALLOON || a->thing == THING_BIRD
                                 ? 0.16f * (s->y - 0.5f)
                                 : 0);
    p.x = aspect * (0.25f + 0.5f * s->x);
    p.beat = s->phase + t * (a->fast ? 2.2f : 1.4f);
    switch (a->motion) {
    case LEFT:
    case RIGHT:
        p.vx = p.facing * v;
        p.x = wrap(s->x * wide - margin + p.vx * t, -margin, aspect + margin);
        p.y += a->thing == THING_BALL || a->thing == THING_TRAIN
                   ? 0
                   : 0.012f * sinf(2 * PI * (s->phase + t * 0.4f));
        p.turn = p.vx * t / (0.115f * s->size);
        break;
    case RISING:
    case SINKING:
        p.vy = a->motion == RISING ? -rise : rise;
        p.y = wrap(s->y * 1.5f - 0.25f + p.vy * t, -0.27f, 1.23f);
        break;
    case BOUNCING: {
        float period = a->fast ? 1.50f : 2.25f, u = s->phase + t / period;
        u -= floorf(u);
        p.y -= 0.46f * 4 * u * (1 - u);
        p.vy = 0.46f * 4 * (2 * u - 1) / period;
        break;
    }
    default: {
        float turns = 1 / (a->fast ? 3.0f : 6.0f), angle = 2 * PI * (s->phase + t * turns);
        p.x = aspect * (0.4f + 0.2f * s->x) + 0.32f * cosf(angle);
        p.y = 0.36f + 0.19f * sinf(angle);
        p.vx = -0.32f * 2 * PI * turns * sinf(angle);
        p.vy = 0.19f * 2 * PI * turns * cosf(angle);
        p.facing = sinf(angle) > 0 ? -1.0f : 1.0f;
    }
    }
    return p;
}

static struct point at(const struct pose *p, float x, float y)
{
    return (struct point){p->x + p->facing * p->size * x, p->y + p->size * y};
}

static void polygon(struct canvas *c, const struct pose *p, const struct point *corner, int corners,
                    struct color color)
{
    struct point moved[8];
    for (int i = 0; i < corners; i++)
        moved[i] = at(p, corner[i].x, corner[i].y);
    paint_polygon(c, moved, corners, color, 1);
}

/* What a motion leaves behind, so that a single picture tells where a thing goes and how fast: a line
 * from a point of it, against its motion. */
static void streak(struct canvas *c, const struct pose *p, float x, float y, float wide, float alpha,
                   struct color color)
{
    float speed = hypotf(p->vx, p->vy), length = fminf(0.05f + 0.42f * speed, 0.30f) * p->size;
    if (speed <= 0)
        return;
    struct point from = {p->x + p->size * x, p->y + p->size * y};
    struct point to = {from.x - p->vx / speed * length, from.y - p->vy / speed * length};
    paint_line(c, from, to, wide * p->size, color, alpha);
}

static void sailboat(struct canvas *c, const struct pose *p, struct color body, struct color light)
{
    static const struct point sail[] = {{0.01f, -0.35f}, {0.01f, -0.045f}, {-0.175f, -0.045f}};
    static const struct point jib[] = {{0.035f, -0.20f}, {0.035f, -0.045f}, {0.125f, -0.045f}};
    static const struct point hull[] = {{-0.16f, -0.025f}, {0.23f, -0.035f}, {0.12f, 0.06f},
                                        {-0.14f, 0.06f}};
    struct color foam = times((struct color){0.95f, 0.98f, 1}, light);
    streak(c, p, -0.15f * p->facing, 0.045f, 0.018f, 0.95f, foam);
    if (fabsf(p->vx) > 0.3f)
        paint_ellipse(c, at(p, 0.17f, 0.045f), 0.05f * p->size, 0.028f * p->size, foam, 0.9f);
    paint_line(c, at(p, 0.02f, -0.36f), at(p, 0.02f, 0), 0.008f, times(wood, light), 1);
    polygon(c, p, sail, 3, body);
    polygon(c, p, jib, 3, shade(body, 0.86f));
    polygon(c, p, hull, 4, times(wood, light));
}

static void balloon(struct canvas *c, const struct pose *p, struct color body, struct color light)
{
    static const struct point skirt[] = {{-0.105f, 0.045f}, {0.105f, 0.045f}, {0.03f, 0.155f},
                                         {-0.03f, 0.155f}};
    static const struct point basket[] = {{-0.035f, 0.185f}, {0.035f, 0.185f}, {0.03f, 0.235f},
                                          {-0.03f, 0.235f}};
    float r = 0.14f * p->size;
    for (int side = -1; side <= 1; side += 2)
        streak(c, p, 0.125f * (float)side, -0.02f, 0.013f, 1, shade(body, 0.86f));
    paint_line(c, at(p, -0.03f, 0.14f), at(p, -0.03f, 0.20f), 0.005f, times(iron, light), 1);
    paint_line(c, at(p, 0.03f, 0.14f), at(p, 0.03f, 0.20f), 0.005f, times(iron, light), 1);
    polygon(c, p, basket, 4, times(wood, light));
    if (p->vy < 0)
        paint_ellipse(c, at(p, 0, 0.165f), 0.022f * p->size, 0.03f * p->size,
                      (struct color){1, 0.90f, 0.45f}, 1);
    polygon(c, p, skirt, 4, shade(body, 0.90f));
    paint_disc(c, at(p, 0, -0.02f), r, body, 1);
    paint_ellipse(c, at(p, 0, -0.02f), 0.055f * p->size, r, shade(body, 0.84f), 1);
    paint_ellipse(c, at(p, -0.06f, -0.075f), 0.03f * p->size, 0.04f * p->size,
                  mix(body, (struct color){1, 1, 1}, 0.45f), 0.8f);
}

static void bird(struct canvas *c, const struct pose *p, struct color body, struct color light)
{
    float flap = sinf(2 * PI * p->beat);
    struct point near_wing[] = {{-0.05f, 0}, {0.055f, -0.005f}, {-0.03f, -0.17f * flap}};
    struct point tail[] = {{-0.08f, 0}, {-0.205f, -0.045f}, {-0.19f, 0.04f}};
    struct point beak[] = {{0.13f, -0.045f}, {0.185f, -0.02f}, {0.13f, -0.005f}};
    struct point far_wing[] = {{-0.035f, -0.01f}, {0.06f, -0.015f}, {0.03f, -0.15f * flap}};
    for (int line = 0; line < 2; line++)
        streak(c, p, -0.10f * p->facing, -0.05f + 0.08f * (float)line, 0.007f, 0.7f,
               shade(body, 0.86f));
    polygon(c, p, far_wing, 3, shade(body, 0.72f));
    polygon(c, p, tail, 3, shade(body, 0.85f));
    polygon(c, p, beak, 3, times((struct color){1, 0.7f, 0.1f}, light));
    paint_ellipse(c, at(p, 0, 0), 0.115f * p->size, 0.06f * p->size, body, 1);
    paint_disc(c, at(p, 0.10f, -0.03f), 0.052f * p->size, body, 1);
    paint_disc(c, at(p, 0.115f, -0.04f), 0.011f * p->size, iron, 1);
    polygon(c, p, near_wing, 3, shade(body, 0.84f));
}

static void ball(struct canvas *c, const struct pose *p, struct color body, struct color light)
{
    float r = 0.115f * p->size, x = cosf(p->turn), y = sinf(p->turn);
    paint_ellipse(c, (struct point){p->x, 0.925f}, 0.10f, 0.016f, (struct color){0, 0, 0}, 0.25f);
    for (int line = -1; line <= 1; line++) /* beside the motion, and behind the middle */
        streak(c, p, 0.085f * (p->vx == 0 ? (float)line : 0), 0.085f * (p->vx == 0 ? 0 : (float)line),
               0.013f, 0.75f, shade(body, 0.86f));
    paint_disc(c, (struct point){p->x, p->y}, r, body, 1);
    paint_line(c, (struct point){p->x - 0.7f * r * x, p->y - 0.7f * r * y},
               (struct point){p->x + 0.7f * r * x, p->y + 0.7f * r * y}, 0.016f * p->size,
               shade(body, 0.74f), 1);
    paint_ellipse(c, (struct point){p->x - 0.4f * r, p->y - 0.45f * r}, 0.28f * r, 0.2f * r,
                  mix(body, (struct color){1, 1, 1}, 0.5f), 0.85f);
}

static void wheels(struct canvas *c, const struct pose *p, float from, int count, struct color light)
{
    for (int i = 0; i < count; i++)
        paint_disc(c, at(p, from + 0.085f * (float)i, 0.095f), 0.033f * p->size,
                   times(iron, light), 1);
}

static void train(struct canvas *c, const struct pose *p, struct color body, struct color light)
{
    static const struct point cab[] = {{0.14f, -0.13f}, {0.27f, -0.13f}, {0.27f, 0.07f},
                                       {0.14f, 0.07f}};
    static const struct point boiler[] = {{0.25f, -0.05f}, {0.42f, -0.05f}, {0.42f, 0.07f},
                                          {0.25f, 0.07f}};
    static const struct point chimney[] = {{0.35f, -0.13f}, {0.40f, -0.13f}, {0.385f, -0.05f},
                                           {0.365f, -0.05f}};
    struct color glass = mix((struct color){0.75f, 0.9f, 1}, (struct color){1, 0.9f, 0.5f},
                             1 - light.r);
    paint_line(c, (struct point){-0.1f, p->y + 0.137f * p->size},
               (struct point){3, p->y + 0.137f * p->size}, 0.008f, times(iron, light), 1);
    for (int wagon = 0; wagon < 2; wagon++) {
        float x = -0.43f + 0.285f * (float)wagon;
        const struct point box[] = {{x, -0.10f}, {x + 0.265f, -0.10f}, {x + 0.265f, 0.07f},
                                    {x, 0.07f}};
        polygon(c, p, box, 4, shade(body, wagon ? 0.93f : 0.86f));
        for (int i = 0; i < 3; i++)
            paint_ellipse(c, at(p, x + 0.05f + 0.083f * (float)i, -0.035f), 0.026f * p->size,
                          0.03f * p->size, glass, 1);
        wheels(c, p, x + 0.045f, 3, light);
    }
    float apart = fminf(0.045f + 0.25f * fabsf(p->vx), 0.15f);
    for (int puff = 4; puff >= 0; puff--) {
        float old = (float)puff + p->beat - floorf(p->beat);
        paint_disc(c, at(p, 0.375f - apart * old, -0.155f - 0.02f * old),
                   (0.026f + 0.010f * old) * p->size, times((struct color){0.74f, 0.75f, 0.78f}, light),
                   0.9f * (1 - old / 5));
    }
    polygon(c, p, chimney, 4, times(iron, light));
    polygon(c, p, boiler, 4, body);
    polygon(c, p, cab, 4, body);
    paint_ellipse(c, at(p, 0.205f, -0.055f), 0.036f * p->size, 0.036f * p->size, glass, 1);
    wheels(c, p, 0.18f, 3, light);
}

void thing_paint(struct canvas *c, int thing, const struct pose *p, struct color body,
                 struct color light)
{
    static void (*const painters[THINGS])(struct canvas *, const struct pose *, struct color,
                                          struct color) = {sailboat, balloon, bird, ball, train};
    painters[thing](c, p, body, light);
}
