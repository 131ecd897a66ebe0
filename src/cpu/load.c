#include "cpu/load.h"

#include <stdlib.h>

#include "cpu/product.h"

void cpu_load_weights(float *y, const struct tensor *x, int64_t start, int64_t count, bool rounded)
{
    cpu_load_file(y, x, start, count);
    for (int64_t i = 0; rounded && x->type != TENSOR_BF16 && i < count; i++)
        y[i] = bf16_to_f32(bf16_from_f32(y[i]));
}

void cpu_load_rows(const struct backend *b, float *y, const struct linear *w, int64_t first,
                   int64_t count)
{
    int64_t last = first + count, begin = 0;
    for (int i = 0; i < w->desc.parts; begin += w->desc.weight[i++].shape[0]) {
        const struct tensor *part = &w->desc.weight[i];
        int64_t from = first > begin ? first : begin, end = begin + part->shape[0];
        int64_t to = last < end ? last : end;
        if (from < to)
            cpu_load_weights(y + (from - first) * w->k, part, (from - begin) * w->k,
                             (to - from) * w->k, cpu_rounds_weights(b, w->desc.precise));
    }
}

static float *make_bias(struct backend *b, int64_t n)
{
    float *bias = calloc((size_t)((n + 63) & ~63), sizeof *bias);
    if (!bias)
        backend_fail(b, UNREEL_ENOMEM, "out of memory: bias [%lld]", (long long)n);
    return bias;
}

float *cpu_load_linear_bias(struct backend *b, const struct linear *w)
{
    float *bias = make_bias(b, w->n);
    int64_t n = 0;
    for (int i = 0; bias && i < w->desc.parts; n += w->desc.weight[i++].shape[0])
        if (w->desc.bias[i].data)
            cpu_load_file(bias + n, &w->desc.bias[i], 0, w->desc.weight[i].shape[0]);
    return bias;
}

float *cpu_load_conv_bias(struct backend *b, const struct conv *w)
{
    float *bias = make_bias(b, w->co);
    if (bias && w->desc.bias.data)
        cpu_load_file(bias, &w->desc.bias, 0, w->co);
    return bias;
}

void cpu_drop_linear_pages(const struct linear *w)
{
    for (int i = 0; i < w->desc.parts; i++)
        tensor_drop_pages(&w->desc.weight[i]);
}
