/* Host to device and back. Host data pass through pinned memory, dense, in pieces of up to
 * STAGE_BYTES; types and layouts are changed on the device. */
#include <string.h>

#include "cuda.h"

/* ---- host memory ---------------------------------------------------------------------------- */

/* All elements of t from dimension `dim` on, in order, from or to dense memory; the end of that. */
static char *walk(const struct tensor *t, int dim, char *at, char *dense, bool gather)
{
    int64_t size = (int64_t)tensor_type_size(t->type), count = t->shape[dim],
            step = t->stride[dim] * size;
    if (dim + 1 < t->dims) {
        for (int64_t i = 0; i < count; i++)
            dense = walk(t, dim + 1, at + i * step, dense, gather);
        return dense;
    }
    if (step == size) {
        memcpy(gather ? dense : at, gather ? at : dense, (size_t)(count * size));
        return dense + count * size;
    }
    for (int64_t i = 0; i < count; i++, at += step, dense += size)
        memcpy(gather ? dense : at, gather ? at : dense, (size_t)size);
    return dense;
}

static void move(const struct tensor *t, void *dense, bool gather)
{
    if (!tensor_is_contiguous(t))
        walk(t, 0, t->data, dense, gather);
    else if (gather)
        memcpy(dense, t->data, tensor_bytes(t));
    else
        memcpy(t->data, dense, tensor_bytes(t));
}

/* ---- pieces --------------------------------------------------------------------------------- */

typedef void piece_fn(struct cuda_backend *c, const struct tensor *y, const struct tensor *x);

/* Calls `run` for pieces of both tensors, of the same shape, whose elements fit a stage in either
 * type. */
static void cut(struct cuda_backend *c, struct tensor y, struct tensor x, int dim, piece_fn *run)
{
    const int64_t fits = (int64_t)(STAGE_BYTES / 4);
    int64_t count = tensor_count(&x);
    if (!count || c->base.status)
        return;
    if (count <= fits) {
        run(c, &y, &x);
        return;
    }
    int64_t inner = count / x.shape[dim], rows = inner < fits ? fits / inner : 1, length;
    for (int64_t i = 0; i < x.shape[dim]; i += length) {
        length = x.shape[dim] - i < rows ? x.shape[dim] - i : rows;
        cut(c, tensor_slice(y, dim, i, length), tensor_slice(x, dim, i, length),
            length == 1 && dim + 1 < x.dims ? dim + 1 : dim, run);
    }
}

static bool is_compute_type(enum tensor_type type)
{
    return type == TENSOR_F32 || type == TENSOR_BF16;
}

/* A dense tensor of the shape of `like`. */
static struct tensor dense_like(void *data, enum tensor_type type, const struct tensor *like)
{
    return tensor_make(data, type, like->dims, like->shape);
}

static void upload_piece(struct cuda_backend *c, const struct tensor *y, const struct tensor *x)
{
    struct cuda_stage *stage = &c->stage[c->next_stage];
    size_t bytes = tensor_bytes(x);
    bool direct = y->type == x->type && tensor_is_contiguous(y);
    c->next_stage = (c->next_stage + 1) % STAGES;
    if (!cuda_recording_allows(c, "data come from the host") ||
        !cuda_check(c, cudaEventSynchronize(stage->used), "upload"))
        return;
    move(x, stage->data, true);
    void *to = direct ? y->data : cuda_scratch(c, SCRATCH_TRANSFER, STAGE_BYTES);
    if (!to ||
        !cuda_check(c, cudaMemcpyAsync(to, stage->data, bytes, cudaMemcpyHostToDevice, c->stream),
                    "upload"))
        return;
    cuda_check(c, cudaEventRecord(stage->used, c->stream), "upload");
    if (!direct) {
        struct tensor dense = dense_like(to, x->type, x);
        cuda_copy(&c->base, y, &dense);
    }
}

void cuda_upload(struct backend *b, const struct tensor *y, const struct tensor *x)
{
    if (y->type != x->type && !is_compute_type(y->type))
        backend_fail(b, UNREEL_EINVAL, "upload: %s from %s", tensor_type_name(y->type),
                     tensor_type_name(x->type));
    else
        cut(cuda_of(b), *y, *x, 0, upload_piece);
}

static void download_piece(struct cuda_backend *c, const struct tensor *y, const struct tensor *x)
{
    struct tensor dense = dense_like(x->data, y->type, x);
    if (y->type != x->type || !tensor_is_contiguous(x)) {
        dense.data = cuda_scratch(c, SCRATCH_TRANSFER, STAGE_BYTES);
        if (dense.data)
            cuda_copy(&c->base, &dense, x);
    }
    void *host = dense.data ? cuda_pinned(c, tensor_bytes(&dense)) : NULL;
    if (host && !c->base.status &&
        cuda_check(c,
                   cudaMemcpyAsync(host, dense.data, tensor_bytes(&dense), cudaMemcpyDeviceToHost,
                                   c->stream),
                   "download") &&
        cuda_check(c, cudaStreamSynchronize(c->stream), "download"))
        move(y, host, false);
}

void cuda_download(struct backend *b, const struct tensor *y, const struct tensor *x)
{
    if (!is_compute_type(y->type) || !is_compute_type(x->type))
        backend_fail(b, UNREEL_EINVAL, "download: %s from %s", tensor_type_name(y->type),
                     tensor_type_name(x->type));
    else
        cut(cuda_of(b), *y, *x, 0, download_piece);
}

/* ---- pictures ------------------------------------------------------------------------------- */

struct plane {
    size_t width, rows, at; /* bytes of a row, rows, where it begins */
};

/* Planes of a picture, one after the other without gaps; how many. */
static int lay_out(struct plane *plane, enum unreel_format format, size_t h, size_t w)
{
    int planes = format == UNREEL_FORMAT_I420 ? 3 : format == UNREEL_FORMAT_NV12 ? 2 : 1;
    size_t pixel = format == UNREEL_FORMAT_RGB ? 3 : format == UNREEL_FORMAT_BGRX ? 4 : 1, at = 0;
    for (int i = 0; i < planes; i++) {
        size_t half = i > 0;
        plane[i].width = half && format == UNREEL_FORMAT_I420 ? w / 2 : w * pixel;
        plane[i].rows = half ? h / 2 : h;
        plane[i].at = at;
        at += plane[i].width * plane[i].rows;
    }
    return planes;
}

/* Where planes lie in a picture on its way, and how many bytes it takes. */
struct layout {
    struct plane plane[3];
    int planes;
    size_t bytes;
};

static struct layout layout_of(enum unreel_format format, const struct tensor *x)
{
    struct layout l = {0};
    l.planes = lay_out(l.plane, format, (size_t)x->shape[1], (size_t)x->shape[2]);
    const struct plane *last = &l.plane[l.planes - 1];
    l.bytes = last->at + last->width * last->rows;
    return l;
}

/* Queues the conversion of pictures x [count, H, W, 3] and their way to pinned memory, each with an
 * event behind it. */
static bool queue_pictures(struct cuda_backend *c, int count, const struct layout *l,
                           enum unreel_format format, const struct tensor *x, float scale,
                           float offset, uint8_t *device, uint8_t *host)
{
    struct kernel_picture y = {.format = (enum kernel_format)format};
    for (int i = 0; i < l->planes; i++) {
        y.data[i] = device + l->plane[i].at;
        y.stride[i] = (int64_t)l->plane[i].width;
        y.picture_stride[i] = (int64_t)l->bytes;
    }
    bool good = cuda_check(c,
                           kernel_picture(&y, x->data, (enum kernel_type)x->type, count,
                                          x->shape[1], x->shape[2], scale, offset, c->stream),
                           "picture");
    for (int i = 0; i < count && good; i++) {
        size_t at = (size_t)i * l->bytes;
        good = cuda_check(c,
                          cudaMemcpyAsync(host + at, device + at, l->bytes, cudaMemcpyDeviceToHost,
                                          c->stream),
                          "picture") &&
               cuda_check(c, cudaEventRecord(c->picture[i], c->stream), "picture");
    }
    return good;
}

/* While the host puts one in its place, the next ones are on their way. */
static void take_pictures(struct cuda_backend *c, int count, const struct layout *l,
                          const struct picture_target *target, const uint8_t *host)
{
    for (int i = 0; i < count; i++) {
        if (!cuda_check(c, cudaEventSynchronize(c->picture[i]), "picture"))
            return;
        for (int p = 0; p < l->planes; p++)
            for (size_t row = 0; row < l->plane[p].rows; row++)
                memcpy(target[i].data[p] + row * target[i].stride[p],
                       host + (size_t)i * l->bytes + l->plane[p].at + row * l->plane[p].width,
                       l->plane[p].width);
    }
}

void cuda_pictures(struct backend *b, int count, const struct picture_target *target,
                   const struct tensor *x, float scale, float offset)
{
    struct cuda_backend *c = cuda_of(b);
    struct layout l = layout_of(target->format, x);
    for (int i = 0, some; i < count && !b->status; i += some) {
        some = count - i < PICTURES ? count - i : PICTURES;
        struct tensor part = tensor_slice(*x, 0, i, some);
        size_t bytes = (size_t)some * l.bytes;
        uint8_t *device =
            cuda_scratch(c, SCRATCH_TRANSFER, bytes > STAGE_BYTES ? bytes : STAGE_BYTES);
        uint8_t *host = device ? cuda_pinned(c, bytes) : NULL;
        if (host &&
            queue_pictures(c, some, &l, target->format, &part, scale, offset, device, host))
            take_pictures(c, some, &l, target + i, host);
    }
}

void cuda_picture(struct backend *b, const struct picture_target *target, const struct tensor *x,
                  float scale, float offset)
{
    struct tensor one = tensor_reshape(*x, SHAPE(1, x->shape[0], x->shape[1], 3));
    cuda_pictures(b, 1, target, &one, scale, offset);
}
