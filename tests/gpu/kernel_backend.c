/* The table of operations over the own kernels of cuda/ alone, so that the tests of operations run
 * on them, also where the CUDA backend takes a library's: as host C++ (emulate/), or, compiled by
 * nvcc, on a GPU. Memory is what host and device both see. The build names kernel_backend_open()
 * where ops.c calls backend_open(). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "kernels.h"

int backend_open(struct backend **backend, const struct backend_config *config,
                 const unreel_log *log);

static void check(struct backend *b, cudaError_t error, const char *name)
{
    if (error)
        backend_fail(b, UNREEL_EDEVICE, "%s: error %d", name, (int)error);
}

/* ---- memory -------------------------------------------------------------------------------- */

#ifdef UNREEL_EMULATED
static void *get_memory(size_t bytes)
{
    return aligned_alloc(64, bytes);
}

static void free_memory(void *data)
{
    free(data);
}

static int wait(void)
{
    return 0;
}

static bool has_device(void)
{
    return true;
}
#else
static void *get_memory(size_t bytes)
{
    void *data;
    return cudaMallocManaged(&data, bytes, cudaMemAttachGlobal) ? NULL : data;
}

static void free_memory(void *data)
{
    cudaFree(data);
}

static int wait(void)
{
    return (int)cudaDeviceSynchronize();
}

static bool has_device(void)
{
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}
#endif

static void sync_all(struct backend *b)
{
    int error = wait();
    if (error)
        backend_fail(b, UNREEL_EDEVICE, "error %d", error);
}

/* In front of what allocate() gives; behind it are GUARD bytes that no kernel may touch. */
struct header {
    size_t bytes;
};

#define FRONT 64
#define GUARD 64
#define GUARD_BYTE 0xa5

static void *allocate(struct backend *b, size_t bytes)
{
    size_t whole = (FRONT + bytes + GUARD + 63) & ~(size_t)63;
    char *data = whole < bytes ? NULL : get_memory(whole);
    if (!data)
        return NULL;
    ((struct header *)data)->bytes = bytes;
    memset(data + FRONT, 0, bytes);
    memset(data + FRONT + bytes, GUARD_BYTE, GUARD);
    return data + FRONT;
}

static void release(struct backend *b, void *data)
{
    sync_all(b);
    if (!data)
        return;
    struct header *header = (struct header *)((char *)data - FRONT);
    const uint8_t *guard = (uint8_t *)data + header->bytes;
    for (int i = 0; i < GUARD; i++) {
        if (guard[i] != GUARD_BYTE) {
            fprintf(stderr, "byte %d behind a tensor of %zu bytes was touched\n", i, header->bytes);
            abort();
        }
    }
    free_memory(header);
}

static void close_backend(struct backend *b)
{
    free(b);
}

static void copy(struct backend *b, const struct tensor *y, const struct tensor *x)
{
    check(b,
          kernel_copy(y->data, (enum kernel_type)y->type, y->stride, x->data,
                      (enum kernel_type)x->type, x->stride, y->dims, y->shape, NULL),
          "copy");
}

/* Bytes from the first element of a tensor to behind its last; strides are not negative. */
static size_t extent(const struct tensor *t)
{
    int64_t last = 0;
    for (int i = 0; i < t->dims; i++)
        last += (t->shape[i] - 1) * t->stride[i];
    return (size_t)(last + 1) * tensor_type_size(t->type);
}

/* Host memory goes through memory that the device sees. */
static void upload(struct backend *b, const struct tensor *y, const struct tensor *x)
{
    struct tensor from = *x;
    if (y->type == TENSOR_I32) { /* memory that both see */
        sync_all(b);
        memcpy(y->data, x->data, tensor_bytes(y));
        return;
    }
    if (!(from.data = allocate(b, extent(x)))) {
        backend_fail(b, UNREEL_ENOMEM, "upload");
        return;
    }
    memcpy(from.data, x->data, extent(x));
    copy(b, y, &from);
    release(b, from.data);
}

static void download(struct backend *b, const struct tensor *y, const struct tensor *x)
{
    struct tensor to = *y;
    if (!(to.data = allocate(b, extent(y)))) {
        backend_fail(b, UNREEL_ENOMEM, "download");
        return;
    }
    memcpy(to.data, y->data, extent(y));
    copy(b, &to, x);
    sync_all(b);
    memcpy(y->data, to.data, extent(y));
    release(b, to.data);
}

/* ---- weights ------------------------------------------------------------------------------- */

struct weights {
    void *data, *folded;
    float *bias;
    enum tensor_type type;
};

static void free_weights(struct backend *b, struct weights *weights)
{
    release(b, weights->data);
    release(b, weights->folded);
    release(b, weights->bias);
    free(weights);
}

/* count f32 from a host vector of any type */
static void load_bias(struct backend *b, float *to, const struct tensor *bias, int64_t count)
{
    struct tensor y = tensor_make(to, TENSOR_F32, SHAPE(count));
    struct tensor x = tensor_reshape(*bias, SHAPE(count));
    upload(b, &y, &x);
}

static int linear_init(struct backend *b, struct linear *w)
{
    struct weights *weights = calloc(1, sizeof *weights);
    w->impl = weights;
    weights->type = w->type;
    weights->data = allocate(b, (size_t)(w->n * w->k) * tensor_type_size(w->type));
    if (w->desc.bias[0].data)
        weights->bias = allocate(b, (size_t)w->n * sizeof(float));
    int64_t row = 0;
    for (int i = 0; i < w->desc.parts; i++) {
        const struct tensor *part = &w->desc.weight[i];
        struct tensor all = tensor_make(weights->data, w->type, SHAPE(w->n, w->k));
        struct tensor to = tensor_slice(all, 0, row, part->shape[0]);
        upload(b, &to, part);
        if (weights->bias)
            load_bias(b, weights->bias + row, &w->desc.bias[i], part->shape[0]);
        row += part->shape[0];
    }
    return 0;
}

static void linear_finish(struct backend *b, struct linear *w)
{
    free_weights(b, w->impl);
    w->impl = NULL;
}

/* A 3x3 convolution of a blown-up picture is four 2x2 ones of the picture. */
static bool folds(const struct conv *w)
{
    return w->desc.upsample && w->kh == 3 && w->kw == 3 && w->desc.stride == 1 &&
           w->desc.pad_before == 1 && w->desc.pad_after == 1;
}

static int conv_init(struct backend *b, struct conv *w)
{
    struct weights *weights = calloc(1, sizeof *weights);
    int64_t count = w->co * w->ci * w->kt * w->kh * w->kw;
    const int64_t shape[] = {w->co, w->kt, w->kh, w->kw, w->ci};
    w->impl = weights;
    weights->type = folds(w) ? TENSOR_F32 : b->compute;
    weights->data = allocate(b, (size_t)count * sizeof(float));
    struct tensor y = tensor_make(weights->data, weights->type, 5, shape);
    struct tensor x = tensor_permute(w->desc.weight, (const int[]){0, 2, 3, 4, 1});
    if (folds(w)) {
        /* folded weights are sums of rounded ones */
        struct tensor rounded = y;
        rounded.type = b->compute;
        rounded.data = allocate(b, (size_t)count * sizeof(float));
        weights->folded = allocate(b, (size_t)(16 * w->co * w->kt * w->ci) * sizeof(float));
        upload(b, &rounded, &x);
        copy(b, &y, &rounded);
        check(b,
              kernel_conv_fold(weights->folded, (enum kernel_type)b->compute, weights->data, w->co,
                               w->kt, w->ci, NULL),
              "conv_fold");
        release(b, rounded.data);
    } else {
        upload(b, &y, &x);
    }
    if (w->desc.bias.data) {
        weights->bias = allocate(b, (size_t)w->co * sizeof(float));
        load_bias(b, weights->bias, &w->desc.bias, w->co);
    }
    return 0;
}

static void conv_finish(struct backend *b, struct conv *w)
{
    free_weights(b, w->impl);
    w->impl = NULL;
}

/* ---- operations ----------------------------------------------------------------------------- */

static struct kernel_rows rows_of(const struct tensor *t)
{
    return (struct kernel_rows){t->data, (enum kernel_type)t->type, t->stride[0], NULL, false};
}

static struct kernel_vectors vectors_of(const struct tensor *t)
{
    if (!t)
        return (struct kernel_vectors){0};
    return (struct kernel_vectors){t->data, t->stride[0], t->shape[0]};
}

static struct kernel_video video_of(const struct tensor *t)
{
    return (struct kernel_video){
        t->data, (enum kernel_type)t->type, {t->stride[0], t->stride[1], t->stride[2]}};
}

static struct kernel_heads heads_of(const struct tensor *t)
{
    return (struct kernel_heads){t->data, t->stride[0], t->stride[1]};
}

static void activate(struct backend *b, const struct tensor *y, const struct tensor *x,
                     enum activation act)
{
    check(b,
          kernel_activate(y->data, (enum kernel_type)y->type, x->data, (enum kernel_type)x->type,
                          tensor_count(y), (enum kernel_act)act, NULL),
          "activate");
}

static void linear(struct backend *b, const struct tensor *y, const struct tensor *x,
                   struct linear *w, enum activation act)
{
    struct weights *weights = w->impl;
    struct kernel_rows to = rows_of(y), from = rows_of(x);
    struct kernel_rows matrix = {weights->data, (enum kernel_type)weights->type, w->k, NULL, false};
    check(b,
          kernel_linear(&to, &from, &matrix, weights->bias, y->shape[0], w->n, w->k,
                        (enum kernel_act)act, NULL),
          "linear");
}

static void run_phases(struct backend *b, const struct tensor *y, const struct kernel_video *from,
                       struct conv *w, const struct kernel_conv *conv)
{
    struct weights *weights = w->impl;
    size_t size = tensor_type_size(b->compute);
    for (int phase = 0; phase < 4; phase++) {
        struct kernel_video to = video_of(y);
        struct kernel_conv part = *conv;
        part.upsample = false;
        part.kernel[1] = part.kernel[2] = 2;
        part.pad[0] = 1 - phase / 2;
        part.pad[1] = 1 - phase % 2;
        part.out[1] /= 2;
        part.out[2] /= 2;
        to.data =
            (char *)to.data + (size_t)(phase / 2 * to.stride[1] + phase % 2 * to.stride[2]) * size;
        to.stride[1] *= 2;
        to.stride[2] *= 2;
        if (part.add.data)
            part.add = to;
        check(b,
              kernel_conv(&to, from,
                          (char *)weights->folded +
                              (size_t)(phase * 4 * w->co * w->kt * w->ci) * size,
                          (enum kernel_type)b->compute, weights->bias, &part, NULL),
              "conv phase");
    }
}

static void conv(struct backend *b, const struct tensor *y, const struct tensor *x, struct conv *w,
                 enum activation act, bool accumulate)
{
    struct weights *weights = w->impl;
    struct kernel_video to = video_of(y), from = video_of(x);
    struct kernel_conv conv = {
        .kernel = {w->kt, w->kh, w->kw},
        .stride = {w->desc.stride_t, w->desc.stride, w->desc.stride},
        .pad = {w->desc.pad_before, w->desc.pad_before},
        .upsample = w->desc.upsample,
        .act = (enum kernel_act)act,
    };
    if (accumulate)
        conv.add = to;
    memcpy(conv.in, x->shape, sizeof conv.in);
    memcpy(conv.out, y->shape, sizeof conv.out);
    if (folds(w))
        run_phases(b, y, &from, w, &conv);
    else
        check(b,
              kernel_conv(&to, &from, weights->data, (enum kernel_type)weights->type, weights->bias,
                          &conv, NULL),
              "conv");
}

static void attention(struct backend *b, const struct tensor *y, const struct tensor *q,
                      const struct tensor *k, const struct tensor *v, float scale,
                      const struct tensor *relative_bias)
{
    struct kernel_heads to = heads_of(y), from = heads_of(q), keys = heads_of(k),
                        values = heads_of(v);
    check(b,
          kernel_attention(&to, &from, &keys, &values, (enum kernel_type)y->type, q->shape[0],
                           k->shape[0], NULL, q->shape[1], q->shape[2], scale,
                           relative_bias ? relative_bias->data : NULL,
                           relative_bias ? relative_bias->stride[0] : 0, NULL),
          "attention");
}

static void rms_norm(struct backend *b, const struct tensor *y, const struct tensor *x,
                     const struct tensor *gain, float eps, enum activation act)
{
    struct kernel_rows to = rows_of(y), from = rows_of(x);
    check(b,
          kernel_rms_norm(&to, &from, x->shape[0], x->shape[1], gain->data, eps,
                          (enum kernel_act)act, NULL),
          "rms_norm");
}

static void layer_norm(struct backend *b, const struct tensor *y, const struct tensor *x,
                       const struct tensor *scale, const struct tensor *shift, float eps,
                       float scale_offset)
{
    struct kernel_rows to = rows_of(y), from = rows_of(x);
    struct kernel_vectors a = vectors_of(scale), c = vectors_of(shift);
    check(b,
          kernel_layer_norm(&to, &from, x->shape[0], x->shape[1], &a, &c, eps, scale_offset, NULL),
          "layer_norm");
}

static void rms_norm_rope(struct backend *b, const struct tensor *y, const struct tensor *x,
                          const struct tensor *gain, float eps, const struct rope_tables *tables)
{
    struct kernel_video to = video_of(y), from = video_of(x);
    struct kernel_rope rope = {
        .frame = tables->frame.data,
        .row = tables->row.data,
        .column = tables->column.data,
        .pairs = {tables->frame.shape[1], tables->row.shape[1], tables->column.shape[1]},
        .tokens = {x->shape[0], x->shape[1], x->shape[2]},
        .heads = x->shape[3],
        .width = x->shape[4],
    };
    check(b, kernel_rms_norm_rope(&to, &from, &rope, gain ? gain->data : NULL, eps, NULL, NULL),
          "rope");
}

static void rope(struct backend *b, const struct tensor *y, const struct tensor *x,
                 const struct rope_tables *tables)
{
    rms_norm_rope(b, y, x, NULL, 0, tables);
}

static void add_gated(struct backend *b, const struct tensor *x, const struct tensor *y,
                      const struct tensor *gate)
{
    struct kernel_rows to = rows_of(x), from = rows_of(y);
    struct kernel_vectors g = vectors_of(gate);
    check(b, kernel_add_gated(&to, &from, x->shape[0], x->shape[1], &g, NULL), "add_gated");
}

static void mul(struct backend *b, const struct tensor *y, const struct tensor *a,
                const struct tensor *c)
{
    check(b,
          kernel_mul(y->data, (enum kernel_type)y->type, a->data, (enum kernel_type)a->type,
                     c->data, (enum kernel_type)c->type, tensor_count(y), NULL),
          "mul");
}

static void combine(struct backend *b, const struct tensor *y, int terms, const float *factor,
                    const struct tensor *x)
{
    const float *list[COMBINE_TERMS];
    for (int i = 0; i < terms; i++)
        list[i] = x[i].data;
    check(b, kernel_combine(y->data, terms, factor, NULL, list, tensor_count(y), NULL), "combine");
}

static int64_t plane_bytes(const struct picture_target *target, int plane, int64_t height)
{
    bool yuv = target->format == UNREEL_FORMAT_I420 || target->format == UNREEL_FORMAT_NV12;
    return target->data[plane]
               ? (int64_t)target->stride[plane] * (yuv && plane ? height / 2 : height)
               : 0;
}

static void picture(struct backend *b, const struct picture_target *target, const struct tensor *x,
                    float scale, float offset)
{
    struct kernel_picture to = {.format = (enum kernel_format)target->format};
    int64_t bytes[3];
    for (int i = 0; i < 3; i++) {
        bytes[i] = plane_bytes(target, i, x->shape[0]);
        to.stride[i] = (int64_t)target->stride[i];
        to.data[i] = bytes[i] ? allocate(b, (size_t)bytes[i]) : NULL;
        if (bytes[i])
            memcpy(to.data[i], target->data[i], (size_t)bytes[i]);
    }
    check(b,
          kernel_picture(&to, x->data, (enum kernel_type)x->type, 1, x->shape[0], x->shape[1],
                         scale, offset, NULL),
          "picture");
    sync_all(b);
    for (int i = 0; i < 3; i++) {
        if (bytes[i])
            memcpy(target->data[i], to.data[i], (size_t)bytes[i]);
        release(b, to.data[i]);
    }
}

static void rope_table(struct backend *b, const struct tensor *table, const struct tensor *start)
{
    check(b, kernel_rope_table(table->data, start->data, table->shape[0], table->shape[1], NULL),
          "rope_table");
}

static void sinusoid(struct backend *b, const struct tensor *y, const struct tensor *timestep)
{
    check(b, kernel_sinusoid(y->data, timestep->data, y->shape[0], y->shape[1] / 2, NULL),
          "sinusoid");
}

static void noise(struct backend *b, const struct tensor *x, const struct noise_key *key,
                  uint64_t frame, uint32_t step)
{
    const struct kernel_noise_key name = {key->seed, key->prompt, key->sample, frame, step};
    check(b, kernel_noise(x->data, x->shape[0], tensor_count(x) / x->shape[0], &name, NULL),
          "noise");
}

static const struct backend_ops ops = {
    .name = "kernels",
    .close = close_backend,
    .alloc = allocate,
    .free = release,
    .upload = upload,
    .download = download,
    .sync = sync_all,
    .linear_init = linear_init,
    .linear_finish = linear_finish,
    .conv_init = conv_init,
    .conv_finish = conv_finish,
    .copy = copy,
    .activate = activate,
    .linear = linear,
    .conv = conv,
    .attention = attention,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .rope = rope,
    .add_gated = add_gated,
    .mul = mul,
    .combine = combine,
    .picture = picture,
    .rope_table = rope_table,
    .sinusoid = sinusoid,
    .noise = noise,
    .rms_norm_rope = rms_norm_rope,
};

int backend_open(struct backend **backend, const struct backend_config *config,
                 const unreel_log *log)
{
    if (!has_device())
        return log_error(log, UNREEL_EUNSUPPORTED, "kernels: no CUDA device or no driver");
    struct backend *b = calloc(1, sizeof *b);
    if (!b)
        return UNREEL_ENOMEM;
    b->ops = &ops;
    b->log = *log;
    b->threads = b->decode_frames = 1;
    b->compute = strcmp(config->dtype, "bf16") ? TENSOR_F32 : TENSOR_BF16;
    *backend = b;
    return 0;
}
