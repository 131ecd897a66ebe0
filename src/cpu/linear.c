/* Matrix products, plain: weights are packed at the first use. */
#include <stdlib.h>

#include "cpu/load.h"
#include "cpu/product.h"

struct plain_linear {
    struct cpu_packed packed;
    bool biased; /* bias is loaded */
};

/* Packing keeps bf16 where values are bf16 anyway. */
static enum tensor_type packed_type(const struct backend *b, const struct linear *w)
{
    if (cpu_rounds_weights(b, w->desc.precise))
        return TENSOR_BF16;
    for (int i = 0; i < w->desc.parts; i++)
        if (w->desc.weight[i].type != TENSOR_BF16)
            return TENSOR_F32;
    return TENSOR_BF16;
}

int cpu_linear_init(struct backend *b, struct linear *w)
{
    struct plain_linear *impl = calloc(1, sizeof *impl);
    if (!impl)
        return UNREEL_ENOMEM;
    if (!cpu_packed_init(&impl->packed, cpu_of(b)->kernels, w->n, w->k, packed_type(b, w),
                         cpu_rounds_weights(b, w->desc.precise))) {
        free(impl);
        return UNREEL_ENOMEM;
    }
    w->impl = impl;
    return 0;
}

void cpu_linear_finish(struct backend *b, struct linear *w)
{
    struct plain_linear *impl = w->impl;
    cpu_packed_finish(&impl->packed);
    free(impl);
    w->impl = NULL;
}

static void load_weights(const void *arg, int64_t n, int64_t k, int64_t count, float *to)
{
    const struct linear *w = arg;
    const struct tensor *part = w->desc.weight;
    for (; n >= part->shape[0]; part++)
        n -= part->shape[0];
    cpu_load_file(to, part, n * w->k + k, count);
}

static void load_bias(struct linear *w)
{
    struct plain_linear *impl = w->impl;
    float *to = impl->packed.bias;
    for (int i = 0; i < w->desc.parts && w->desc.bias[0].data; i++) {
        cpu_load_file(to, &w->desc.bias[i], 0, w->desc.weight[i].shape[0]);
        to += w->desc.weight[i].shape[0];
    }
    impl->biased = true;
}

struct rows {
    struct cpu_backend *cpu;
    const struct tensor *y, *x;
};

static void load_input(const void *arg, int64_t m, int64_t k, int64_t count, float *to)
{
    const struct rows *rows = arg;
    rows->cpu->kernels->convert((struct cpu_row){to, TENSOR_F32},
                                cpu_row_of(rows->x, m * rows->x->stride[0] + k), count);
}

static struct cpu_row find_output(const void *arg, int64_t m)
{
    const struct rows *rows = arg;
    return cpu_row_of(rows->y, m * rows->y->stride[0]);
}

void cpu_linear(struct backend *b, const struct tensor *y, const struct tensor *x, struct linear *w,
                enum activation act)
{
    struct plain_linear *impl = w->impl;
    if (!impl->biased)
        load_bias(w);
    if (!impl->packed.data && !w->desc.transient) {
        if (!cpu_pack(cpu_of(b), &impl->packed, load_weights, w))
            return;
        cpu_drop_linear_pages(w);
    }
    struct rows rows = {cpu_of(b), y, x};
    struct cpu_product product = {
        .weights = &impl->packed,
        .m = x->shape[0],
        .input = load_input,
        .output = find_output,
        .arg = &rows,
        .act = act,
        .source = load_weights,
        .source_arg = w,
    };
    cpu_product_run(cpu_of(b), &product);
    if (w->desc.transient)
        cpu_drop_linear_pages(w);
}
