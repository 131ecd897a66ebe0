/* Convolutions, plain: every output pixel is a row of kt * kh * kw * Ci inputs, gathered piece by
 * piece, times packed weights. */
#include <stdlib.h>
#include <string.h>

#include "cpu/product.h"
#include "cpu/winograd.h"

struct plain_conv {
    struct cpu_packed packed;  /* inputs ordered [kt, kh, kw, Ci] */
    struct winograd *winograd; /* where that is faster */
};

int cpu_conv_init(struct backend *b, struct conv *w)
{
    struct plain_conv *impl = calloc(1, sizeof *impl);
    bool rounded = cpu_rounds_weights(b, false);
    enum tensor_type type = rounded ? TENSOR_BF16 : w->desc.weight.type;
    if (!impl)
        return UNREEL_ENOMEM;
    if (!cpu_packed_init(&impl->packed, cpu_of(b)->kernels, w->co, w->ci * w->kt * w->kh * w->kw,
                         type == TENSOR_BF16 ? TENSOR_BF16 : TENSOR_F32, rounded)) {
        free(impl);
        return UNREEL_ENOMEM;
    }
    w->impl = impl;
    return 0;
}

void cpu_conv_finish(struct backend *b, struct conv *w)
{
    struct plain_conv *impl = w->impl;
    cpu_packed_finish(&impl->packed);
    winograd_free(impl->winograd);
    free(impl);
    w->impl = NULL;
}

static void load_weights(const void *arg, int64_t n, int64_t k, int64_t count, float *to)
{
    const struct conv *w = arg;
    int64_t taps = w->kt * w->kh * w->kw;
    for (int64_t i = 0; i < count; i++) {
        int64_t tap = (k + i) / w->ci, ci = (k + i) % w->ci;
        cpu_load_file(to + i, &w->desc.weight, (n * w->ci + ci) * taps + tap, 1);
    }
}

static bool pack(struct backend *b, struct conv *w)
{
    struct plain_conv *impl = w->impl;
    if (!cpu_pack(cpu_of(b), &impl->packed, load_weights, w))
        return false;
    if (w->desc.bias.data)
        cpu_load_file(impl->packed.bias, &w->desc.bias, 0, w->co);
    tensor_drop_pages(&w->desc.weight);
    return true;
}

struct pixels {
    struct cpu_backend *cpu;
    const struct tensor *y, *x; /* [To, Ho, Wo, Co], [Ti, H, W, Ci] */
    const struct conv *w;
};

/* Inputs [k, k + most) of output pixel (t, h, v), or fewer: as many as are one run of memory.
 * Returns how many. Neighbouring taps of a row see neighbouring pixels, so mostly a run is kw * Ci
 * long. */
static int64_t load_run(const struct pixels *p, int64_t t, int64_t h, int64_t v, int64_t k,
                        int64_t most, float *to)
{
    const struct conv *w = p->w;
    const struct tensor *x = p->x;
    int64_t up = w->desc.upsample ? 2 : 1, tap = k / w->ci, c = k % w->ci;
    int64_t it = t * w->desc.stride_t + tap / (w->kh * w->kw);
    int64_t ih = h * w->desc.stride + tap / w->kw % w->kh - w->desc.pad_before;
    int64_t iw = v * w->desc.stride + tap % w->kw - w->desc.pad_before;
    bool outside = ih < 0 || iw < 0 || ih >= up * x->shape[1] || iw >= up * x->shape[2];
    int64_t taps = 1, left = w->kw - tap % w->kw;
    if (!outside && up == 1)
        taps = left < x->shape[2] - iw ? left : x->shape[2] - iw;
    int64_t run = taps * w->ci - c, count = run < most ? run : most;
    if (outside) {
        memset(to, 0, (size_t)count * sizeof *to);
        return count;
    }
    int64_t at = it * x->stride[0] + (ih / up * x->shape[2] + iw / up) * w->ci + c;
    p->cpu->kernels->convert((struct cpu_row){to, TENSOR_F32}, cpu_row_of(x, at), count);
    return count;
}

static void load_input(const void *arg, int64_t m, int64_t k, int64_t count, float *to)
{
    const struct pixels *p = arg;
    int64_t wide = p->y->shape[2], area = p->y->shape[1] * wide;
    int64_t t = m / area, h = m % area / wide, v = m % wide, end = k + count;
    while (k < end) {
        int64_t run = load_run(p, t, h, v, k, end - k, to);
        k += run;
        to += run;
    }
}

static struct cpu_row find_output(const void *arg, int64_t m)
{
    const struct pixels *p = arg;
    int64_t area = p->y->shape[1] * p->y->shape[2];
    return cpu_row_of(p->y, m / area * p->y->stride[0] + m % area * p->w->co);
}

void cpu_conv(struct backend *b, const struct tensor *y, const struct tensor *x, struct conv *w,
              enum activation act, bool accumulate)
{
    struct plain_conv *impl = w->impl;
    if (winograd_takes(cpu_of(b), w, y)) {
        winograd_conv(cpu_of(b), y, x, w, &impl->winograd, act, accumulate);
        return;
    }
    if (!impl->packed.data && !pack(b, w))
        return;
    struct pixels pixels = {cpu_of(b), y, x, w};
    struct cpu_product product = {
        .weights = &impl->packed,
        .m = y->shape[0] * y->shape[1] * y->shape[2],
        .input = load_input,
        .output = find_output,
        .arg = &pixels,
        .act = act,
        .accumulate = accumulate,
    };
    cpu_product_run(cpu_of(b), &product);
}
