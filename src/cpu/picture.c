/* Finished pictures: 8-bit RGB, or YCbCr as BT.709 in limited range says. */
#include "cpu/cpu.h"

#include <math.h>

struct rgb {
    float r, g, b; /* 0 to 1 */
};

static float clamp01(float x)
{
    return x > 0 ? x < 1 ? x : 1 : 0; /* NaN becomes 0 */
}

static uint8_t round8(float x)
{
    return (uint8_t)(x + 0.5f);
}

static struct rgb pixel(const struct tensor *x, int64_t h, int64_t w, float scale, float offset)
{
    int64_t i = (h * x->shape[1] + w) * 3;
    return (struct rgb){clamp01(cpu_get(x, i) * scale + offset),
                        clamp01(cpu_get(x, i + 1) * scale + offset),
                        clamp01(cpu_get(x, i + 2) * scale + offset)};
}

/* ITU-R BT.709: Y = 0.2126 R + 0.7152 G + 0.0722 B, Cb = (B - Y) / 1.8556, Cr = (R - Y) / 1.5748;
 * 8 bits limited: 16 + 219 Y, 128 + 224 C. */
static float luma(struct rgb p)
{
    return 0.2126f * p.r + 0.7152f * p.g + 0.0722f * p.b;
}

static void packed_row(const struct picture_target *target, const struct tensor *x, int64_t h,
                       float scale, float offset)
{
    uint8_t *out = target->data[0] + (size_t)h * target->stride[0];
    bool bgrx = target->format == UNREEL_FORMAT_BGRX;
    for (int64_t w = 0; w < x->shape[1]; w++) {
        struct rgb p = pixel(x, h, w, scale, offset);
        uint8_t r = round8(255 * p.r), g = round8(255 * p.g), b = round8(255 * p.b);
        *out++ = bgrx ? b : r;
        *out++ = g;
        *out++ = bgrx ? r : b;
        if (bgrx)
            *out++ = 255;
    }
}

static void chroma(const struct picture_target *target, int64_t h, int64_t w, struct rgb mean)
{
    float y = luma(mean);
    uint8_t u = round8(128 + 224 / 1.8556f * (mean.b - y));
    uint8_t v = round8(128 + 224 / 1.5748f * (mean.r - y));
    if (target->format == UNREEL_FORMAT_NV12) {
        uint8_t *out = target->data[1] + (size_t)h * target->stride[1] + 2 * w;
        out[0] = u;
        out[1] = v;
    } else {
        target->data[1][(size_t)h * target->stride[1] + (size_t)w] = u;
        target->data[2][(size_t)h * target->stride[2] + (size_t)w] = v;
    }
}

/* Rows h and h + 1. */
static void yuv_rows(const struct picture_target *target, const struct tensor *x, int64_t h,
                     float scale, float offset)
{
    for (int64_t w = 0; w < x->shape[1]; w += 2) {
        struct rgb sum = {0, 0, 0};
        for (int i = 0; i < 4; i++) {
            struct rgb p = pixel(x, h + i / 2, w + i % 2, scale, offset);
            target->data[0][(size_t)(h + i / 2) * target->stride[0] + (size_t)(w + i % 2)] =
                round8(16 + 219 * luma(p));
            sum = (struct rgb){sum.r + p.r, sum.g + p.g, sum.b + p.b};
        }
        chroma(target, h / 2, w / 2, (struct rgb){sum.r / 4, sum.g / 4, sum.b / 4});
    }
}

void cpu_picture(struct backend *b, const struct picture_target *target, const struct tensor *x,
                 float scale, float offset)
{
    bool planar = target->format == UNREEL_FORMAT_I420 || target->format == UNREEL_FORMAT_NV12;
    for (int64_t h = 0; h < x->shape[0]; h += planar ? 2 : 1) {
        if (planar)
            yuv_rows(target, x, h, scale, offset);
        else
            packed_row(target, x, h, scale, offset);
    }
}
