/* Weights on their way to the device, in the type and order in which operations read them. */
#include <stdlib.h>

#include "cuda.h"

/* Device memory that belongs to a weight and is counted. NULL: the backend has failed. */
static void *take(struct cuda_backend *c, struct cuda_weights *weights, size_t bytes)
{
    void *data = cuda_take(c, bytes);
    if (!data) {
        backend_fail(&c->base, UNREEL_ENOMEM,
                     "out of device memory: %zu bytes asked for weights, which take %llu", bytes,
                     (unsigned long long)c->weight_bytes);
        return NULL;
    }
    weights->bytes += bytes;
    c->weight_bytes += bytes;
    return data;
}

static void release(struct cuda_backend *c, struct cuda_weights *weights)
{
    cuda_give(c, weights->data);
    cuda_give(c, weights->scale);
    cuda_give(c, weights->folded);
    cuda_give(c, weights->bias);
    cuda_give(c, weights->bias_bf16);
    c->weight_bytes -= weights->bytes;
    free(weights);
}

/* Bias of `n` outputs in `parts` pieces. */
static void load_bias(struct cuda_backend *c, struct cuda_weights *weights, int64_t n,
                      const struct tensor *part, int parts, bool rounded)
{
    weights->bias = take(c, weights, (size_t)n * sizeof *weights->bias);
    if (rounded && weights->bias)
        weights->bias_bf16 = take(c, weights, (size_t)n * sizeof *weights->bias_bf16);
    if (c->base.status)
        return;
    struct tensor all = tensor_make(weights->bias, TENSOR_F32, SHAPE(n));
    struct tensor bf16 = tensor_make(weights->bias_bf16, TENSOR_BF16, SHAPE(n));
    int64_t at = 0, count;
    for (int i = 0; i < parts; i++, at += count) {
        count = tensor_count(&part[i]);
        struct tensor to = tensor_slice(rounded ? bf16 : all, 0, at, count);
        struct tensor from = tensor_reshape(part[i], SHAPE(count));
        cuda_upload(&c->base, &to, &from);
    }
    if (rounded)
        cuda_copy(&c->base, &all, &bf16);
}

/* cuDNN's graph always adds one. */
static void no_bias(struct cuda_backend *c, struct cuda_weights *weights, int64_t n)
{
    size_t bytes = (size_t)n * sizeof *weights->bias_bf16;
    weights->bias_bf16 = take(c, weights, bytes);
    if (weights->bias_bf16)
        cuda_check(c, cudaMemsetAsync(weights->bias_bf16, 0, bytes, c->stream), "conv");
}

/* ---- linear --------------------------------------------------------------------------------- */

/* With a scale for each output, from the exact weights. */
static void load_quantised(struct cuda_backend *c, const struct tensor *to,
                           const struct tensor *part)
{
    size_t bytes = (size_t)tensor_count(part) * sizeof(float);
    struct tensor exact =
        tensor_make(cuda_scratch(c, SCRATCH_WEIGHT, bytes), TENSOR_F32, 2, part->shape);
    if (!exact.data)
        return;
    cuda_upload(&c->base, &exact, part);
    cuda_quantise(&c->base, to, &exact);
}

static void load_parts(struct cuda_backend *c, void *data, float *scale, const struct linear *w)
{
    struct tensor all = tensor_make(data, w->type, SHAPE(w->n, w->k));
    int64_t row = 0;
    all.scale = scale;
    for (int i = 0; i < w->desc.parts; i++) {
        const struct tensor *part = &w->desc.weight[i];
        struct tensor to = tensor_slice(all, 0, row, part->shape[0]);
        if (w->type == TENSOR_E4M3)
            load_quantised(c, &to, part);
        else
            cuda_upload(&c->base, &to, part);
        row += part->shape[0];
        tensor_drop_pages(part);
    }
}

int cuda_linear_init(struct backend *b, struct linear *w)
{
    struct cuda_backend *c = cuda_of(b);
    struct cuda_weights *weights = calloc(1, sizeof *weights);
    if (!weights)
        return UNREEL_ENOMEM;
    w->impl = weights;
    weights->type = w->type;
    if (w->desc.bias[0].data)
        load_bias(c, weights, w->n, w->desc.bias, w->desc.parts, w->type != TENSOR_F32);
    if (!b->status && w->type == TENSOR_E4M3)
        weights->scale = take(c, weights, (size_t)w->n * sizeof *weights->scale);
    if (!b->status && !w->desc.transient)
        weights->data = take(c, weights, (size_t)(w->n * w->k) * tensor_type_size(w->type));
    if (!b->status && weights->data)
        load_parts(c, weights->data, weights->scale, w);
    return b->status;
}

void cuda_linear_finish(struct backend *b, struct linear *w)
{
    release(cuda_of(b), w->impl);
    w->impl = NULL;
}

const void *cuda_linear_data(struct cuda_backend *c, struct linear *w)
{
    const struct cuda_weights *weights = w->impl;
    if (weights->data)
        return weights->data;
    void *data = cuda_scratch(c, SCRATCH_WEIGHT, (size_t)(w->n * w->k) * tensor_type_size(w->type));
    if (data)
        load_parts(c, data, NULL, w);
    return c->base.status ? NULL : data;
}

/* ---- conv ----------------------------------------------------------------------------------- */

/* A 3x3 convolution of a blown-up picture is four 2x2 ones of the picture as it is. */
static bool folds(const struct conv *w)
{
    return w->desc.upsample && w->kh == 3 && w->kw == 3 && w->desc.stride == 1 &&
           w->desc.pad_before == 1 && w->desc.pad_after == 1;
}

/* Weights [Co, kt, kh, kw, Ci] from the file's [Co, Ci, kt, kh, kw], `file` being a copy of these.
 */
static void load_filter(struct cuda_backend *c, struct cuda_weights *weights, const struct conv *w,
                        void *file)
{
    static const int order[] = {0, 2, 3, 4, 1};
    const int64_t shape[] = {w->co, w->kt, w->kh, w->kw, w->ci};
    size_t count = (size_t)tensor_count(&w->desc.weight), size = tensor_type_size(c->base.compute);
    struct tensor raw = w->desc.weight;
    raw.data = file;
    cuda_upload(&c->base, &raw, &w->desc.weight);
    raw = tensor_permute(raw, order);
    void *data = take(c, weights, count * size);
    if (!data)
        return;
    struct tensor y = tensor_make(data, c->base.compute, 5, shape);
    weights->data = data;
    cuda_copy(&c->base, &y, &raw);
    if (!folds(w))
        return;
    /* Folded weights are sums of rounded ones: those go back to f32 first. */
    struct tensor sum = tensor_make(cuda_take(c, count * sizeof(float)), TENSOR_F32, 5, shape);
    weights->folded =
        sum.data ? take(c, weights, 16 * (size_t)(w->co * w->kt * w->ci) * size) : NULL;
    if (weights->folded) {
        cuda_copy(&c->base, &sum, &y);
        cuda_check(c,
                   kernel_conv_fold(weights->folded, (enum kernel_type)c->base.compute, sum.data,
                                    w->co, w->kt, w->ci, c->stream),
                   "conv");
    } else {
        backend_fail(&c->base, UNREEL_ENOMEM, "out of device memory for weights");
    }
    cuda_give(c, sum.data);
    cuda_give(c, data);
    weights->data = NULL;
    weights->bytes -= count * size;
    c->weight_bytes -= count * size;
}

int cuda_conv_init(struct backend *b, struct conv *w)
{
    struct cuda_backend *c = cuda_of(b);
    struct cuda_weights *weights = calloc(1, sizeof *weights);
    if (!weights)
        return UNREEL_ENOMEM;
    w->impl = weights;
    weights->type = b->compute;
    if (w->desc.bias.data)
        load_bias(c, weights, w->co, &w->desc.bias, 1, b->compute == TENSOR_BF16);
    else if (b->compute == TENSOR_BF16)
        no_bias(c, weights, w->co);
    void *file = b->status ? NULL : cuda_take(c, tensor_bytes(&w->desc.weight));
    if (file)
        load_filter(c, weights, w, file);
    else
        backend_fail(b, UNREEL_ENOMEM, "out of device memory for weights");
    cuda_give(c, file);
    tensor_drop_pages(&w->desc.weight);
    return b->status;
}

void cuda_conv_finish(struct backend *b, struct conv *w)
{
    release(cuda_of(b), w->impl);
    w->impl = NULL;
}
