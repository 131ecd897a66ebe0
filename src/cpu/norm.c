/* Normalisations over the last dimension. */
#include "cpu/cpu.h"

#include <math.h>

void cpu_rms_norm(struct backend *b, const struct tensor *y, const struct tensor *x,
                  const struct tensor *gain, float eps, enum activation act)
{
    int64_t rows = x->shape[0], width = x->shape[1];
    const float *g = gain->data;
    for (int64_t r = 0; r < rows; r++) {
        int64_t ix = r * x->stride[0], iy = r * y->stride[0];
        float sum = 0;
        for (int64_t i = 0; i < width; i++)
            sum += cpu_get(x, ix + i) * cpu_get(x, ix + i);
        float scale = 1 / fmaxf(sqrtf(sum / (float)width + eps), 1e-12f / sqrtf((float)width));
        for (int64_t i = 0; i < width; i++)
            cpu_set(y, iy + i, cpu_activation(cpu_get(x, ix + i) * scale * g[i], act));
    }
}

void cpu_layer_norm(struct backend *b, const struct tensor *y, const struct tensor *x,
                    const struct tensor *scale, const struct tensor *shift, float eps,
                    float scale_offset)
{
    int64_t rows = x->shape[0], width = x->shape[1], group = rows / scale->shape[0];
    for (int64_t r = 0; r < rows; r++) {
        int64_t ix = r * x->stride[0], iy = r * y->stride[0];
        const float *a = (const float *)scale->data + r / group * scale->stride[0];
        const float *c = (const float *)shift->data + r / group * shift->stride[0];
        float sum = 0, squares = 0;
        for (int64_t i = 0; i < width; i++)
            sum += cpu_get(x, ix + i);
        float mean = sum / (float)width;
        for (int64_t i = 0; i < width; i++) {
            float d = cpu_get(x, ix + i) - mean;
            squares += d * d;
        }
        float inverse = 1 / sqrtf(squares / (float)width + eps);
        for (int64_t i = 0; i < width; i++) {
            float v = (cpu_get(x, ix + i) - mean) * inverse;
            cpu_set(y, iy + i, v * (scale_offset + a[i]) + c[i]);
        }
    }
}
