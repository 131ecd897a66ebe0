#include "model/image.h"

#include <math.h>
#include <stdlib.h>

/* Weights of the source positions that one output position sees: Pillow's and torchvision's antialiased
 * bilinear filter, a triangle as wide as the scale where the picture shrinks. */
struct taps {
    int first, count;
    float *weight;
};

struct filter {
    struct taps *taps; /* [size] */
    float *weights;    /* of all taps */
};

static void filter_finish(struct filter *filter)
{
    free(filter->taps);
    free(filter->weights);
}

static int filter_init(struct filter *filter, int from, int to)
{
    double scale = (double)from / to, support = scale > 1 ? scale : 1;
    int most = (int)ceil(support) * 2 + 1;
    filter->taps = calloc((size_t)to, sizeof *filter->taps);
    filter->weights = malloc((size_t)to * (size_t)most * sizeof *filter->weights);
    if (!filter->taps || !filter->weights)
        return UNREEL_ENOMEM;
    for (int i = 0; i < to; i++) {
        struct taps *t = &filter->taps[i];
        double center = (i + 0.5) * scale, sum = 0;
        int last = (int)(center + support + 0.5);
        t->first = (int)(center - support + 0.5);
        t->first = t->first < 0 ? 0 : t->first;
        last = last > from ? from : last;
        t->count = last - t->first;
        t->weight = filter->weights + (size_t)i * (size_t)most;
        for (int j = 0; j < t->count; j++) {
            double distance = fabs((j + t->first - center + 0.5) / support);
            t->weight[j] = (float)(distance < 1 ? 1 - distance : 0);
            sum += t->weight[j];
        }
        for (int j = 0; j < t->count; j++)
            t->weight[j] = (float)(t->weight[j] / sum);
    }
    return 0;
}

/* rows [rgb_height, width, 3] in 0..255 from the picture, columns filtered. */
static void resize_columns(float *rows, const struct filter *filter, int width, const uint8_t *rgb,
                           int rgb_height, size_t stride)
{
    for (int y = 0; y < rgb_height; y++) {
        for (int x = 0; x < width; x++) {
            const struct taps *t = &filter->taps[x];
            for (int c = 0; c < 3; c++) {
                float sum = 0;
                for (int j = 0; j < t->count; j++)
                    sum += t->weight[j] * rgb[(size_t)y * stride + 3 * (size_t)(t->first + j) + (size_t)c];
                *rows++ = sum;
            }
        }
    }
}

int image_resize(float *y, int width, int height, const uint8_t *rgb, int rgb_width, int rgb_height,
                 size_t stride, const unreel_log *log)
{
    struct filter columns = {0}, lines = {0};
    size_t row = 3 * (size_t)width;
    float *rows = malloc((size_t)rgb_height * row * sizeof *rows);
    int code = rows ? 0 : UNREEL_ENOMEM;
    if (code == 0)
        code = filter_init(&columns, rgb_width, width);
    if (code == 0)
        code = filter_init(&lines, rgb_height, height);
    if (code < 0)
        log_error(log, code, "picture: out of memory");
    else
        resize_columns(rows, &columns, width, rgb, rgb_height, stride);
    for (int i = 0; code == 0 && i < height; i++) {
        const struct taps *t = &lines.taps[i];
        for (size_t x = 0; x < row; x++) {
            float sum = 0;
            for (int j = 0; j < t->count; j++)
                sum += t->weight[j] * rows[(size_t)(t->first + j) * row + x];
            *y++ = sum * (2.0f / 255) - 1;
        }
    }
    filter_finish(&columns);
    filter_finish(&lines);
    free(rows);
    return code;
}
