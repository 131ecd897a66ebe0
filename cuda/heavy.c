/* Matrix products, convolutions, attention: by a library where it does them, else by the plain
 * kernel. f32 goes to cuBLASLt (true f32 sums and products) and to plain kernels, never to cuDNN,
 * whose f32 engines may round to TF32. */
#include <string.h>

#include "dnn.h"
#include "matmul.h"

/* ---- linear --------------------------------------------------------------------------------- */

/* Whether y's epilogue can hold `act`: the library rounds y before any that comes later, which only
 * f32 hides. */
static bool fused(const struct tensor *y, enum activation act)
{
    return y->type == TENSOR_BF16 && matmul_activates(act);
}

static bool linear_by_library(struct cuda_backend *c, const struct tensor *y,
                              const struct tensor *x, const struct linear *w, const void *data,
                              enum activation act)
{
    const struct cuda_weights *weights = w->impl;
    bool types = x->type == TENSOR_BF16 || y->type == TENSOR_F32, later = !fused(y, act);
    if (!types || (later && act != ACT_NONE && !(y->type == TENSOR_F32 && tensor_is_contiguous(y))))
        return false;
    struct matmul_call call = matmul_of(y, x, w, data);
    call.bias = y->type == TENSOR_F32 ? (const void *)weights->bias : weights->bias_bf16;
    call.act = later ? ACT_NONE : act;
    if (!matmul_run(c, &call))
        return false;
    if (later && act != ACT_NONE && !c->base.status)
        cuda_activate(&c->base, y, y, act);
    return true;
}

void cuda_linear(struct backend *b, const struct tensor *y, const struct tensor *x,
                 struct linear *w, enum activation act)
{
    struct cuda_backend *c = cuda_of(b);
    if (w->type == TENSOR_E4M3) {
        cuda_linear_fp8(c, y, x, w, act);
        return;
    }
    const void *data = cuda_linear_data(c, w);
    const struct cuda_weights *weights = w->impl;
    if (!data || !y->shape[0] || linear_by_library(c, y, x, w, data, act))
        return;
    struct kernel_rows to = cuda_rows(y), from = cuda_rows(x);
    struct kernel_rows matrix = {
        .data = (void *)(uintptr_t)data, .type = (enum kernel_type)w->type, .stride = w->k};
    cuda_check(c,
               kernel_linear(&to, &from, &matrix, weights->bias, y->shape[0], w->n, w->k,
                             (enum kernel_act)act, c->stream),
               "linear");
}

/* ---- conv ----------------------------------------------------------------------------------- */

static void run_conv(struct cuda_backend *c, const struct kernel_video *y,
                     const struct kernel_video *x, const struct cuda_weights *weights,
                     const void *data, const struct kernel_conv *conv)
{
    if (weights->bias_bf16 && dnn_conv(c, y, x, data, weights->bias_bf16, conv))
        return;
    cuda_check(
        c, kernel_conv(y, x, data, (enum kernel_type)weights->type, weights->bias, conv, c->stream),
        "conv");
}

/* Every other row and column, from the given ones on. */
static struct kernel_video every_other(struct kernel_video y, int64_t row, int64_t column,
                                       int64_t size)
{
    if (y.data)
        y.data = (char *)y.data + (row * y.stride[1] + column * y.stride[2]) * size;
    y.stride[1] *= 2;
    y.stride[2] *= 2;
    return y;
}

/* The four 2x2 convolutions that a 3x3 one over a blown-up picture is; see kernel_conv_fold(). */
static void run_phases(struct cuda_backend *c, const struct kernel_video *y,
                       const struct kernel_video *x, struct conv *w, const struct kernel_conv *conv)
{
    const struct cuda_weights *weights = w->impl;
    int64_t size = (int64_t)tensor_type_size(weights->type);
    for (int phase = 0; phase < 4 && !c->base.status; phase++) {
        int64_t row = phase / 2, column = phase % 2;
        struct kernel_video to = every_other(*y, row, column, size);
        struct kernel_conv part = *conv;
        part.add = every_other(conv->add, row, column, size);
        part.upsample = false;
        part.kernel[1] = part.kernel[2] = 2;
        part.pad[0] = 1 - row;
        part.pad[1] = 1 - column;
        part.out[1] /= 2;
        part.out[2] /= 2;
        run_conv(c, &to, x, weights,
                 (const char *)weights->folded + phase * 4 * w->co * w->kt * w->ci * size, &part);
    }
}

/* add NULL: nothing */
static void convolve(struct backend *b, const struct tensor *y, const struct tensor *add,
                     const struct tensor *x, struct conv *w, enum activation act)
{
    struct cuda_backend *c = cuda_of(b);
    const struct cuda_weights *weights = w->impl;
    struct kernel_video to = cuda_video(y), from = cuda_video(x);
    struct kernel_conv conv = {
        .kernel = {w->kt, w->kh, w->kw},
        .stride = {w->desc.stride_t, w->desc.stride, w->desc.stride},
        .pad = {w->desc.pad_before, w->desc.pad_before},
        .upsample = w->desc.upsample,
        .act = (enum kernel_act)act,
    };
    if (add)
        conv.add = cuda_video(add);
    memcpy(conv.in, x->shape, sizeof conv.in);
    memcpy(conv.out, y->shape, sizeof conv.out);
    if (!tensor_count(y))
        return;
    if (weights->folded)
        run_phases(c, &to, &from, w, &conv);
    else
        run_conv(c, &to, &from, weights, weights->data, &conv);
}

void cuda_conv(struct backend *b, const struct tensor *y, const struct tensor *x, struct conv *w,
               enum activation act, bool accumulate)
{
    convolve(b, y, accumulate ? y : NULL, x, w, act);
}

void cuda_conv_add(struct backend *b, const struct tensor *y, const struct tensor *z,
                   const struct tensor *x, struct conv *w, enum activation act)
{
    convolve(b, y, z, x, w, act);
}

/* ---- attention ------------------------------------------------------------------------------ */

static struct kernel_heads heads_of(const struct tensor *t)
{
    return (struct kernel_heads){t->data, t->stride[0], t->stride[1]};
}

/* By the plain kernel. held NULL: all keys count. */
static void attend_plainly(struct cuda_backend *c, const struct tensor *y, const struct tensor *q,
                           const struct tensor *k, const struct tensor *v, float scale,
                           const struct tensor *relative_bias, const int32_t *held)
{
    struct kernel_heads to = heads_of(y), from = heads_of(q), keys = heads_of(k),
                        values = heads_of(v);
    cuda_check(c,
               kernel_attention(&to, &from, &keys, &values, (enum kernel_type)y->type, q->shape[0],
                                k->shape[0], held, q->shape[1], q->shape[2], scale,
                                relative_bias ? relative_bias->data : NULL,
                                relative_bias ? relative_bias->stride[0] : 0, c->stream),
               "attention");
}

void cuda_attention(struct backend *b, const struct tensor *y, const struct tensor *q,
                    const struct tensor *k, const struct tensor *v, float scale,
                    const struct tensor *relative_bias)
{
    struct cuda_backend *c = cuda_of(b);
    if (!tensor_count(y) || (!relative_bias && dnn_attention(c, y, q, k, v, scale)))
        return;
    attend_plainly(c, y, q, k, v, scale, relative_bias, NULL);
}

/* A full ring needs no length. One that fills has a plan for all lengths, where the library has that,
 * rather than one for each. */
void cuda_attention_held(struct backend *b, const struct tensor *y, const struct tensor *q,
                         const struct tensor *k, const struct tensor *v, float scale,
                         const struct tensor *held, int64_t count)
{
    struct cuda_backend *c = cuda_of(b);
    struct tensor keys = tensor_slice(*k, 0, 0, count), values = tensor_slice(*v, 0, 0, count);
    if (!tensor_count(y) ||
        (count < k->shape[0] && dnn_attention_held(c, y, q, k, v, scale, held->data)) ||
        dnn_attention(c, y, q, &keys, &values, scale))
        return;
    attend_plainly(c, y, q, k, v, scale, NULL, held->data);
}

/* ---- peak ----------------------------------------------------------------------------------- */

#define PEAK_SIZE 8192
#define PEAK_RUNS 10

static double time_product(struct cuda_backend *c, const struct matmul_call *call)
{
    cudaEvent_t begin = NULL, end = NULL;
    float time = 0;
    bool good = matmul_run(c, call) && !c->base.status && /* chooses an algorithm */
                cuda_check(c, cudaEventCreateWithFlags(&begin, cudaEventDefault), "event") &&
                cuda_check(c, cudaEventCreateWithFlags(&end, cudaEventDefault), "event") &&
                cuda_check(c, cudaEventRecord(begin, c->stream), "event");
    for (int i = 0; good && i < PEAK_RUNS; i++)
        good = matmul_run(c, call) && !c->base.status;
    good = good && cuda_check(c, cudaEventRecord(end, c->stream), "event") &&
           cuda_check(c, cudaEventSynchronize(end), "event") &&
           cuda_check(c, cudaEventElapsedTime(&time, begin, end), "event");
    if (begin)
        cudaEventDestroy(begin);
    if (end)
        cudaEventDestroy(end);
    return good && time > 0 ? 1e-3 * (double)time / PEAK_RUNS : 0;
}

/* Normals, since zeros and constants draw less power and run faster than values do. */
static bool fill_square(struct cuda_backend *c, void *data, enum tensor_type type, int64_t n,
                        uint32_t sample)
{
    const struct kernel_noise_key key = {.sample = sample};
    struct tensor y = tensor_make(data, type, SHAPE(n, n));
    struct tensor x = tensor_make(data, TENSOR_F32, SHAPE(n, n));
    if (type != TENSOR_F32)
        x.data = cuda_take(c, (size_t)(n * n) * sizeof(float));
    bool good =
        x.data && cuda_check(c, kernel_noise(x.data, 1, n * n, &key, c->stream), "noise");
    if (good && type != TENSOR_F32)
        cuda_copy(&c->base, &y, &x);
    if (type != TENSOR_F32)
        cuda_give(c, x.data);
    return good && !c->base.status;
}

double cuda_peak(struct backend *b, enum tensor_type type, const char **instruction)
{
    struct cuda_backend *c = cuda_of(b);
    int64_t n = PEAK_SIZE;
    size_t bytes = (size_t)(n * n) * tensor_type_size(type);
    void *data[3] = {0};
    double seconds = 0;
    *instruction =
        type == TENSOR_BF16 ? "8192^3 product, bf16, cuBLASLt" : "8192^3 product, f32, cuBLASLt";
    if (!c->matmul)
        return 0;
    for (int i = 0; i < 3; i++)
        data[i] = cuda_take(c, bytes);
    if (data[0] && data[1] && data[2] &&
        fill_square(c, data[0], type, n, 0) && fill_square(c, data[1], type, n, 1)) {
        const struct matmul_call call = {.y = data[2],
                                         .x = data[0],
                                         .w = data[1],
                                         .y_type = type,
                                         .x_type = type,
                                         .m = n,
                                         .n = n,
                                         .k = n,
                                         .y_stride = n,
                                         .x_stride = n};
        seconds = time_product(c, &call);
    }
    for (int i = 0; i < 3; i++)
        cuda_give(c, data[i]);
    return seconds > 0 ? 2.0 * (double)n * (double)n * (double)n / seconds : 0;
}
