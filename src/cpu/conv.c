/* Convolutions, plain. Weights become f32 [kt, kh, kw, Ci, Co] at the first use. */
#include "cpu/cpu.h"

#include <stdlib.h>

#include "base/file.h"

struct plain_conv {
    float *weight; /* [kt * kh * kw, Ci, Co] */
    float *bias;   /* [Co] */
};

int cpu_conv_init(struct backend *b, struct conv *w)
{
    w->impl = calloc(1, sizeof(struct plain_conv));
    return w->impl ? 0 : UNREEL_ENOMEM;
}

void cpu_conv_finish(struct backend *b, struct conv *w)
{
    struct plain_conv *impl = w->impl;
    free(impl->weight);
    free(impl->bias);
    free(impl);
    w->impl = NULL;
}

static bool convert(struct backend *b, struct conv *w)
{
    struct plain_conv *impl = w->impl;
    int64_t taps = w->kt * w->kh * w->kw;
    impl->weight = malloc((size_t)(taps * w->ci * w->co) * sizeof(float));
    impl->bias = calloc((size_t)w->co, sizeof(float));
    if (!impl->weight || !impl->bias) {
        free(impl->weight);
        impl->weight = NULL;
        backend_fail(b, UNREEL_ENOMEM, "out of memory: weights [%lld, %lld]", (long long)w->co,
                     (long long)w->ci);
        return false;
    }
    bool rounded = cpu_rounds_weights(b, false);
    for (int64_t i = 0; i < w->co * w->ci * taps; i++) {
        int64_t tap = i % taps, ci = i / taps % w->ci, co = i / taps / w->ci;
        cpu_load_weights(&impl->weight[(tap * w->ci + ci) * w->co + co], &w->desc.weight, i, 1,
                         rounded);
    }
    if (w->desc.bias.data)
        cpu_load_weights(impl->bias, &w->desc.bias, 0, w->co, false);
    if (w->desc.mapped)
        file_drop_pages(w->desc.weight.data, tensor_bytes(&w->desc.weight));
    return true;
}

/* Adds one pixel's share: sum [Co] += x [Ci] weight [Ci, Co]. */
static void add_pixel(float *sum, const struct tensor *x, int64_t at, const float *weight,
                      const struct conv *w)
{
    for (int64_t ci = 0; ci < w->ci; ci++, weight += w->co) {
        float v = cpu_get(x, at + ci);
        for (int64_t co = 0; co < w->co; co++)
            sum[co] += v * weight[co];
    }
}

static void sum_pixel(float *sum, const struct tensor *x, const struct conv *w, int64_t t,
                      int64_t h, int64_t v)
{
    const struct plain_conv *impl = w->impl;
    int up = w->desc.upsample ? 2 : 1;
    for (int64_t tap = 0; tap < w->kt * w->kh * w->kw; tap++) {
        int64_t kt = tap / (w->kh * w->kw), kh = tap / w->kw % w->kh, kw = tap % w->kw;
        int64_t ih = h * w->desc.stride + kh - w->desc.pad_before;
        int64_t iw = v * w->desc.stride + kw - w->desc.pad_before;
        if (ih < 0 || iw < 0 || ih >= up * x->shape[1] || iw >= up * x->shape[2])
            continue;
        int64_t at = (t * w->desc.stride_t + kt) * x->stride[0] +
                     (ih / up * x->shape[2] + iw / up) * w->ci;
        add_pixel(sum, x, at, impl->weight + tap * w->ci * w->co, w);
    }
}

void cpu_conv(struct backend *b, const struct tensor *y, const struct tensor *x, struct conv *w,
              enum activation act, bool accumulate)
{
    struct plain_conv *impl = w->impl;
    if ((!impl->weight && !convert(b, w)) ||
        !cpu_scratch_reserve(cpu_of(b), (size_t)w->co * sizeof(float)))
        return;
    float *sum = cpu_scratch_of(cpu_of(b), 0);
    int64_t area = y->shape[1] * y->shape[2];
    for (int64_t p = 0; p < y->shape[0] * area; p++) {
        int64_t at = p / area * y->stride[0] + p % area * w->co;
        for (int64_t co = 0; co < w->co; co++)
            sum[co] = impl->bias[co] + (accumulate ? cpu_get(y, at + co) : 0);
        sum_pixel(sum, x, w, p / area, p % area / y->shape[2], p % y->shape[2]);
        for (int64_t co = 0; co < w->co; co++)
            cpu_set(y, at + co, cpu_activation(sum[co], act));
    }
}
