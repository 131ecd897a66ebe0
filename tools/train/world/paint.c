#include "paint.h"

#include <stddef.h>

static void blend(struct color *to, struct color color, float alpha)
{
    to->r += (color.r - to->r) * alpha;
    to->g += (color.g - to->g) * alpha;
    to->b += (color.b - to->b) * alpha;
}

void paint_shape(struct canvas *c, struct point low, struct point high, shape_fn distance,
                 const void *shape, struct color color, float alpha)
{
    int x0 = (int)floorf(low.x * c->scale) - 1, x1 = (int)ceilf(high.x * c->scale) + 1;
    int y0 = (int)floorf(low.y * c->scale) - 1, y1 = (int)ceilf(high.y * c->scale) + 1;
    x0 = x0 < 0 ? 0 : x0;
    y0 = y0 < 0 ? 0 : y0;
    x1 = x1 > c->width ? c->width : x1;
    y1 = y1 > c->height ? c->height : y1;
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++) {
            struct point p = {((float)x + 0.5f) / c->scale, ((float)y + 0.5f) / c->scale};
            float cover = 0.5f - distance(shape, p) * c->scale;
            if (cover > 0)
                blend(&c->pixels[(size_t)y * (size_t)c->width + (size_t)x], color,
                      alpha * (cover > 1 ? 1 : cover));
        }
}

struct ellipse {
    struct point center;
    float rx, ry;
};

static float ellipse_distance(const void *shape, struct point p)
{
    const struct ellipse *e = shape;
    float x = (p.x - e->center.x) / e->rx, y = (p.y - e->center.y) / e->ry;
    float r = sqrtf(x * x + y * y);
    float slope = sqrtf(x * x / (e->rx * e->rx) + y * y / (e->ry * e->ry));
    return slope > 0 ? (r - 1) * r / slope : -fminf(e->rx, e->ry);
}

void paint_ellipse(struct canvas *c, struct point center, float rx, float ry, struct color color,
                   float alpha)
{
    const struct ellipse e = {center, rx, ry};
    paint_shape(c, (struct point){center.x - rx, center.y - ry},
                (struct point){center.x + rx, center.y + ry}, ellipse_distance, &e, color, alpha);
}

void paint_disc(struct canvas *c, struct point center, float radius, struct color color, float alpha)
{
    paint_ellipse(c, center, radius, radius, color, alpha);
}

struct line {
    struct point a, b;
    float radius;
};

static float line_distance(const void *shape, struct point p)
{
    const struct line *l = shape;
    float dx = l->b.x - l->a.x, dy = l->b.y - l->a.y, px = p.x - l->a.x, py = p.y - l->a.y;
    float length = dx * dx + dy * dy;
    float t = length > 0 ? clampf((px * dx + py * dy) / length, 0, 1) : 0;
    px -= t * dx;
    py -= t * dy;
    return sqrtf(px * px + py * py) - l->radius;
}

void paint_line(struct canvas *c, struct point a, struct point b, float radius, struct color color,
                float alpha)
{
    const struct line l = {a, b, radius};
    paint_shape(c, (struct point){fminf(a.x, b.x) - radius, fminf(a.y, b.y) - radius},
                (struct point){fmaxf(a.x, b.x) + radius, fmaxf(a.y, b.y) + radius}, line_distance,
                &l, color, alpha);
}

struct polygon {
    const struct point *corner;
    int corners;
    float side; /* 1 or -1: where the inside lies */
};

static float polygon_distance(const void *shape, struct point p)
{
    const struct polygon *g = shape;
    float distance = -1e9f;
    for (int i = 0; i < g->corners; i++) {
        struct point a = g->corner[i], b = g->corner[(i + 1) % g->corners];
        float dx = b.x - a.x, dy = b.y - a.y, length = sqrtf(dx * dx + dy * dy);
        float d = g->side * ((p.x - a.x) * dy - (p.y - a.y) * dx) / (length > 0 ? length : 1);
        distance = fmaxf(distance, d);
    }
    return distance;
}

void paint_polygon(struct canvas *c, const struct point *corner, int corners, struct color color,
                   float alpha)
{
    struct point low = corner[0], high = corner[0];
    float area = 0;
    for (int i = 0; i < corners; i++) {
        struct point a = corner[i], b = corner[(i + 1) % corners];
        low.x = fminf(low.x, a.x);
        low.y = fminf(low.y, a.y);
        high.x = fmaxf(high.x, a.x);
        high.y = fmaxf(high.y, a.y);
        area += a.x * b.y - b.x * a.y;
    }
    const struct polygon g = {corner, corners, area > 0 ? 1.0f : -1.0f};
    paint_shape(c, low, high, polygon_distance, &g, color, alpha);
}

void paint_glow(struct canvas *c, struct point center, float radius, struct color color, float alpha)
{
    for (int y = 0; y < c->height; y++)
        for (int x = 0; x < c->width; x++) {
            float dx = ((float)x + 0.5f) / c->scale - center.x;
            float dy = ((float)y + 0.5f) / c->scale - center.y;
            float t = clampf(1 - (dx * dx + dy * dy) / (radius * radius), 0, 1);
            blend(&c->pixels[(size_t)y * (size_t)c->width + (size_t)x], color, alpha * t * t);
        }
}

void paint_below(struct canvas *c, const float *y, struct color top, struct color bottom, float depth)
{
    for (int x = 0; x < c->width; x++) {
        int begin = (int)floorf(y[x] * c->scale - 0.5f);
        for (int i = begin < 0 ? 0 : begin; i < c->height; i++) {
            float below = ((float)i + 0.5f) / c->scale - y[x];
            float cover = clampf(below * c->scale + 0.5f, 0, 1);
            blend(&c->pixels[(size_t)i * (size_t)c->width + (size_t)x],
                  mix(top, bottom, clampf(below / depth, 0, 1)), cover);
        }
    }
}
