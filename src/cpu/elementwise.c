/* Copies, activations, products and sums, element by element. */
#include "cpu/cpu.h"

#include <math.h>

float cpu_activation(float x, enum activation act)
{
    switch (act) {
    case ACT_NONE:
        return x;
    case ACT_SILU:
        return x / (1 + expf(-x));
    case ACT_GELU_TANH:
        return 0.5f * x * (1 + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
    case ACT_RELU:
        return x < 0 ? 0 : x;
    case ACT_TANH3:
        return 3 * tanhf(x / 3);
    case ACT_CLAMP:
        return x < -1 ? -1 : x > 1 ? 1 : x;
    case ACT_CLAMP01:
        return x < 0 ? 0 : x > 1 ? 1 : x;
    }
    return x;
}

/* Files' types are converted too: uploads come here. */
static float any_element(const struct tensor *x, int64_t i)
{
    return tensor_element(x->data, x->type, i);
}

void cpu_copy(struct backend *b, const struct tensor *y, const struct tensor *x)
{
    int last = y->dims - 1;
    int64_t width = y->shape[last], rows = tensor_count(y) / (width ? width : 1);
    for (int64_t r = 0; r < rows; r++) {
        int64_t iy = 0, ix = 0, rest = r;
        for (int d = last - 1; d >= 0; rest /= y->shape[d--]) {
            iy += rest % y->shape[d] * y->stride[d];
            ix += rest % y->shape[d] * x->stride[d];
        }
        for (int64_t i = 0; i < width; i++, iy += y->stride[last], ix += x->stride[last])
            cpu_set(y, iy, any_element(x, ix));
    }
}

void cpu_activate(struct backend *b, const struct tensor *y, const struct tensor *x,
                  enum activation act)
{
    int64_t count = tensor_count(x);
    for (int64_t i = 0; i < count; i++)
        cpu_set(y, i, cpu_activation(cpu_get(x, i), act));
}

void cpu_add_gated(struct backend *b, const struct tensor *x, const struct tensor *y,
                   const struct tensor *gate)
{
    int64_t rows = x->shape[0], width = x->shape[1];
    for (int64_t r = 0; r < rows; r++) {
        int64_t ix = r * x->stride[0], iy = r * y->stride[0];
        int64_t g = gate ? r / (rows / gate->shape[0]) * gate->stride[0] : 0;
        for (int64_t i = 0; i < width; i++) {
            float factor = gate ? ((const float *)gate->data)[g + i] : 1;
            cpu_set(x, ix + i, cpu_get(x, ix + i) + cpu_get(y, iy + i) * factor);
        }
    }
}

void cpu_mul(struct backend *b, const struct tensor *y, const struct tensor *a,
             const struct tensor *c)
{
    int64_t count = tensor_count(y);
    for (int64_t i = 0; i < count; i++)
        cpu_set(y, i, cpu_get(a, i) * cpu_get(c, i));
}

void cpu_combine(struct backend *b, const struct tensor *y, int terms, const float *factor,
                 const struct tensor *x)
{
    int64_t count = tensor_count(y);
    for (int64_t i = 0; i < count; i++) {
        float sum = 0;
        for (int t = 0; t < terms; t++)
            sum += factor[t] * ((const float *)x[t].data)[i];
        ((float *)y->data)[i] = sum;
    }
}
