/* Finished pictures. ITU-R BT.709: Y = 0.2126 R + 0.7152 G + 0.0722 B, Cb = (B - Y) / 1.8556,
 * Cr = (R - Y) / 1.5748; 8 bits in limited range: 16 + 219 Y, 128 + 224 C. */
#include "cpu/kernels/simd.h"

#define PIXELS 256 /* a chunk: even */

struct planes {
    float r[PIXELS], g[PIXELS], b[PIXELS]; /* 0 to 1 */
};

/* NaN becomes 0. */
static ALWAYS_INLINE float clamp01(float x)
{
    float low = x > 0 ? x : 0;
    return low < 1 ? low : 1;
}

static ALWAYS_INLINE uint8_t round8(float x)
{
    return (uint8_t)(int32_t)(x + 0.5f);
}

static ALWAYS_INLINE float luma(float r, float g, float b)
{
    return 0.2126f * r + 0.7152f * g + 0.0722f * b;
}

static void load_planes(struct planes *p, struct cpu_row x, int64_t begin, int64_t count,
                        float scale, float offset)
{
    float buffer[3 * PIXELS];
    const float *from = row_load(x, 3 * begin, 3 * count, buffer);
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        p->r[i] = clamp01(from[3 * i] * scale + offset);
        p->g[i] = clamp01(from[3 * i + 1] * scale + offset);
        p->b[i] = clamp01(from[3 * i + 2] * scale + offset);
    }
}

void KERNEL(picture_packed)(uint8_t *y, bool bgrx, struct cpu_row x, int64_t n, float scale,
                            float offset)
{
    struct planes p;
    for (int64_t begin = 0; begin < n; begin += PIXELS) {
        int64_t count = n - begin < PIXELS ? n - begin : PIXELS;
        load_planes(&p, x, begin, count, scale, offset);
        if (bgrx) {
            uint8_t *to = y + 4 * begin;
#pragma omp simd
            for (int64_t i = 0; i < count; i++) {
                to[4 * i] = round8(255 * p.b[i]);
                to[4 * i + 1] = round8(255 * p.g[i]);
                to[4 * i + 2] = round8(255 * p.r[i]);
                to[4 * i + 3] = 255;
            }
        } else {
            uint8_t *to = y + 3 * begin;
#pragma omp simd
            for (int64_t i = 0; i < count; i++) {
                to[3 * i] = round8(255 * p.r[i]);
                to[3 * i + 1] = round8(255 * p.g[i]);
                to[3 * i + 2] = round8(255 * p.b[i]);
            }
        }
    }
}

static void store_luma(uint8_t *y, const struct planes *p, int64_t count)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        y[i] = round8(16 + 219 * luma(p->r[i], p->g[i], p->b[i]));
}

/* Means of 2x2 pixels; `step` 1: two planes, 2: interleaved. */
static void store_chroma(uint8_t *u, uint8_t *v, int step, const struct planes *p,
                         const struct planes *q, int64_t count)
{
    for (int64_t i = 0; i < count / 2; i++) {
        float r = (p->r[2 * i] + p->r[2 * i + 1] + q->r[2 * i] + q->r[2 * i + 1]) / 4;
        float g = (p->g[2 * i] + p->g[2 * i + 1] + q->g[2 * i] + q->g[2 * i + 1]) / 4;
        float b = (p->b[2 * i] + p->b[2 * i + 1] + q->b[2 * i] + q->b[2 * i + 1]) / 4;
        float y = luma(r, g, b);
        u[i * step] = round8(128 + 224 / 1.8556f * (b - y));
        v[i * step] = round8(128 + 224 / 1.5748f * (r - y));
    }
}

void KERNEL(picture_yuv)(uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v, int step,
                         struct cpu_row x0, struct cpu_row x1, int64_t n, float scale, float offset)
{
    struct planes p, q;
    for (int64_t begin = 0; begin < n; begin += PIXELS) {
        int64_t count = n - begin < PIXELS ? n - begin : PIXELS;
        load_planes(&p, x0, begin, count, scale, offset);
        load_planes(&q, x1, begin, count, scale, offset);
        store_luma(y0 + begin, &p, count);
        store_luma(y1 + begin, &q, count);
        int64_t at = begin / 2 * step;
        store_chroma(u + at, v + at, step, &p, &q, count);
    }
}
