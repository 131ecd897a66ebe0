/* Painting on a float picture: anti-aliased shapes, back to front. */
#pragma once

#include <math.h>

struct color {
    float r, g, b;
};

struct canvas {
    int width, height;
    float scale; /* pixels a unit: the height */
    struct color *pixels;
};

struct point {
    float x, y;
};

static inline float clampf(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

static inline float smooth(float low, float high, float x)
{
    float t = clampf((x - low) / (high - low), 0, 1);
    return t * t * (3 - 2 * t);
}

static inline struct color mix(struct color a, struct color b, float t)
{
    return (struct color){a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}

static inline struct color times(struct color a, struct color b)
{
    return (struct color){a.r * b.r, a.g * b.g, a.b * b.b};
}

static inline struct color shade(struct color a, float factor)
{
    return (struct color){a.r * factor, a.g * factor, a.b * factor};
}

/* Covers pixels where distance (units, negative inside) is below 0, with an edge of a pixel. */
typedef float (*shape_fn)(const void *shape, struct point p);
void paint_shape(struct canvas *c, struct point low, struct point high, shape_fn distance,
                 const void *shape, struct color color, float alpha);

void paint_disc(struct canvas *c, struct point center, float radius, struct color color, float alpha);
void paint_ellipse(struct canvas *c, struct point center, float rx, float ry, struct color color,
                   float alpha);
/* A line with round ends. */
void paint_line(struct canvas *c, struct point a, struct point b, float radius, struct color color,
                float alpha);
/* A convex polygon, corners in either order. */
void paint_polygon(struct canvas *c, const struct point *corner, int corners, struct color color,
                   float alpha);
/* Brightness falling off from a point over all of the picture. */
void paint_glow(struct canvas *c, struct point center, float radius, struct color color, float alpha);
/* Everything below y(x); y holds a height for each column, in units. */
void paint_below(struct canvas *c, const float *y, struct color top, struct color bottom,
                 float depth);
