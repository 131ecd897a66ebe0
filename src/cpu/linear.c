/* Matrix products, plain. Weights become f32 at the first use. */
#include "cpu/cpu.h"

#include <stdlib.h>

#include "base/file.h"

struct plain_linear {
    float *weight; /* [N, K] */
    float *bias;   /* [N] */
};

int cpu_linear_init(struct backend *b, struct linear *w)
{
    w->impl = calloc(1, sizeof(struct plain_linear));
    return w->impl ? 0 : UNREEL_ENOMEM;
}

static void release(struct plain_linear *impl)
{
    free(impl->weight);
    free(impl->bias);
    *impl = (struct plain_linear){0};
}

void cpu_linear_finish(struct backend *b, struct linear *w)
{
    release(w->impl);
    free(w->impl);
    w->impl = NULL;
}

static bool convert(struct backend *b, struct linear *w)
{
    struct plain_linear *impl = w->impl;
    impl->weight = malloc((size_t)(w->n * w->k) * sizeof(float));
    impl->bias = calloc((size_t)w->n, sizeof(float));
    if (!impl->weight || !impl->bias) {
        release(impl);
        backend_fail(b, UNREEL_ENOMEM, "out of memory: weights [%lld, %lld]", (long long)w->n,
                     (long long)w->k);
        return false;
    }
    int64_t n = 0;
    for (int i = 0; i < w->desc.parts; i++) {
        const struct tensor *part = &w->desc.weight[i], *bias = &w->desc.bias[i];
        cpu_load_weights(impl->weight + n * w->k, part, 0, tensor_count(part),
                         cpu_rounds_weights(b, w->desc.precise));
        if (bias->data)
            cpu_load_weights(impl->bias + n, bias, 0, part->shape[0], false);
        n += part->shape[0];
        if (w->desc.mapped)
            file_drop_pages(part->data, tensor_bytes(part));
    }
    return true;
}

void cpu_linear(struct backend *b, const struct tensor *y, const struct tensor *x, struct linear *w,
                enum activation act)
{
    struct plain_linear *impl = w->impl;
    if (!impl->weight && !convert(b, w))
        return;
    for (int64_t m = 0; m < x->shape[0]; m++) {
        for (int64_t n = 0; n < w->n; n++) {
            const float *row = impl->weight + n * w->k;
            float sum = impl->bias[n];
            for (int64_t k = 0; k < w->k; k++)
                sum += cpu_get(x, m * x->stride[0] + k) * row[k];
            cpu_set(y, m * y->stride[0] + n, cpu_activation(sum, act));
        }
    }
    if (w->desc.transient)
        release(impl);
}
