/* Opening a device, memory, weights. The operations' wrappers are in ops.c. */
#include "backend/backend.h"

#include <stdlib.h>
#include <string.h>

#include "backend/module.h"

int backend_open(struct backend **backend, const struct backend_config *config,
                 const unreel_log *log)
{
    bool automatic = !strcmp(config->device, "auto");
    *backend = NULL;
    if (automatic || !strcmp(config->device, "cuda")) {
        const struct backend_module *cuda = backend_load_cuda(config, log);
        int code = cuda ? cuda->open(backend, config, log) : UNREEL_EUNSUPPORTED;
        if (!automatic || code != UNREEL_EUNSUPPORTED)
            return code;
    }
    if (automatic || !strcmp(config->device, "cpu"))
        return backend_cpu.open(backend, config, log);
    return log_error(log, UNREEL_EUNSUPPORTED, "device %s: not one of auto, cpu, cuda",
                     config->device);
}

void backend_close(struct backend *backend)
{
    if (backend)
        backend->ops->close(backend);
}

void backend_sync(struct backend *backend)
{
    if (!backend->status && backend->ops->sync)
        backend->ops->sync(backend);
}

void arena_init(struct arena *arena, struct backend *backend)
{
    *arena = (struct arena){.backend = backend, .serial = ++backend->arenas};
}

static void *arena_alloc(struct arena *arena, size_t bytes)
{
    struct backend *b = arena->backend;
    if (b->status)
        return NULL;
    if (arena->count == arena->capacity) {
        size_t capacity = arena->capacity ? 2 * arena->capacity : 16;
        void **blocks = realloc(arena->blocks, capacity * sizeof *blocks);
        if (blocks)
            arena->blocks = blocks;
        size_t *sizes = realloc(arena->sizes, capacity * sizeof *sizes);
        if (sizes)
            arena->sizes = sizes;
        if (!blocks || !sizes) {
            backend_fail(b, UNREEL_ENOMEM, "out of host memory");
            return NULL;
        }
        arena->capacity = capacity;
    }
    void *block = b->ops->alloc(b, bytes);
    if (!block) {
        backend_fail(b, UNREEL_ENOMEM, "out of memory: %zu bytes asked, %llu in use", bytes,
                     (unsigned long long)b->bytes);
        return NULL;
    }
    arena->blocks[arena->count] = block;
    arena->sizes[arena->count++] = bytes;
    arena->bytes += bytes;
    b->bytes += bytes;
    if (b->bytes > b->bytes_peak)
        b->bytes_peak = b->bytes;
    return block;
}

struct tensor arena_tensor(struct arena *arena, enum tensor_type type, int dims,
                           const int64_t *shape)
{
    uint64_t bytes = tensor_type_size(type);
    for (int i = 0; i < dims; i++) {
        if (shape[i] < 1 || __builtin_mul_overflow(bytes, (uint64_t)shape[i], &bytes) ||
            bytes > SIZE_MAX / 2) {
            backend_fail(arena->backend, UNREEL_EINVAL, "a tensor of impossible size was asked for");
            return (struct tensor){.type = type, .dims = dims};
        }
    }
    struct tensor t = tensor_make(NULL, type, dims, shape);
    size_t scales = ((size_t)bytes + 63) & ~(size_t)63; /* where they begin */
    if (type == TENSOR_E4M3)
        bytes = scales + (uint64_t)shape[0] * sizeof *t.scale;
    t.data = arena_alloc(arena, (size_t)bytes);
    if (t.data && type == TENSOR_E4M3)
        t.scale = (float *)((char *)t.data + scales);
    return t;
}

struct tensor arena_upload_f32(struct arena *arena, const struct tensor *host)
{
    struct tensor t = arena_tensor(arena, TENSOR_F32, host->dims, host->shape);
    if (t.data)
        backend_upload(arena->backend, t, *host);
    return t;
}

void arena_finish(struct arena *arena)
{
    for (size_t i = 0; i < arena->count; i++) {
        arena->backend->ops->free(arena->backend, arena->blocks[i]);
        arena->backend->bytes -= arena->sizes[i];
    }
    free(arena->blocks);
    free(arena->sizes);
    *arena = (struct arena){.backend = arena->backend};
}

static bool transferable(struct backend *b, const char *name, const struct tensor *y,
                         const struct tensor *x)
{
    if (b->status)
        return false;
    if (!y->data || !x->data || !tensor_same_shape(y, x)) {
        backend_fail(b, UNREEL_EINVAL, "%s: tensors of different shapes", name);
        return false;
    }
    if (y->type == TENSOR_I32 &&
        (x->type != TENSOR_I32 || !tensor_is_contiguous(y) || !tensor_is_contiguous(x))) {
        backend_fail(b, UNREEL_EINVAL, "%s: whole numbers that are not dense", name);
        return false;
    }
    return true;
}

void backend_upload(struct backend *b, struct tensor y, struct tensor x)
{
    if (transferable(b, "upload", &y, &x))
        b->ops->upload(b, &y, &x);
}

void backend_download(struct backend *b, struct tensor y, struct tensor x)
{
    if (transferable(b, "download", &y, &x))
        b->ops->download(b, &y, &x);
}

void backend_linear_init(struct backend *b, struct linear *w, const struct linear_desc *desc)
{
    *w = (struct linear){.desc = *desc,
                         .type = desc->precise    ? TENSOR_F32
                                 : desc->quantise ? backend_quantised(b)
                                                  : b->compute};
    if (b->status)
        return;
    bool good = desc->parts >= 1 && desc->parts <= LINEAR_PARTS &&
                !(desc->quantise && (desc->precise || desc->transient));
    for (int i = 0; good && i < desc->parts; i++) {
        const struct tensor *part = &desc->weight[i], *bias = &desc->bias[i];
        good = part->data && part->dims == 2 && tensor_is_contiguous(part) &&
               part->shape[1] == desc->weight[0].shape[1] && !bias->data == !desc->bias[0].data &&
               (!bias->data || tensor_count(bias) == part->shape[0]);
        w->n += part->shape[0];
        w->k = part->shape[1];
    }
    if (!good) {
        backend_fail(b, UNREEL_EINVAL, "linear: weights do not fit together");
        return;
    }
    int code = b->ops->linear_init(b, w);
    if (code < 0)
        backend_fail(b, code, "linear [%lld, %lld]: cannot prepare", (long long)w->n,
                     (long long)w->k);
}

void backend_linear_finish(struct backend *b, struct linear *w)
{
    if (w->impl)
        b->ops->linear_finish(b, w);
    *w = (struct linear){0};
}

void backend_conv_init(struct backend *b, struct conv *w, const struct conv_desc *desc)
{
    *w = (struct conv){.desc = *desc};
    if (b->status)
        return;
    const struct tensor *t = &w->desc.weight;
    if (!t->data || t->dims != 5 || !tensor_is_contiguous(t) ||
        (desc->bias.data && tensor_count(&desc->bias) != t->shape[0])) {
        backend_fail(b, UNREEL_EINVAL, "conv: weights do not fit together");
        return;
    }
    w->desc.stride_t = desc->stride_t ? desc->stride_t : 1;
    w->desc.stride = desc->stride ? desc->stride : 1;
    w->co = t->shape[0];
    w->ci = t->shape[1];
    w->kt = t->shape[2];
    w->kh = t->shape[3];
    w->kw = t->shape[4];
    int code = b->ops->conv_init(b, w);
    if (code < 0)
        backend_fail(b, code, "conv [%lld, %lld]: cannot prepare", (long long)w->co,
                     (long long)w->ci);
}

void backend_conv_finish(struct backend *b, struct conv *w)
{
    if (w->impl)
        b->ops->conv_finish(b, w);
    *w = (struct conv){0};
}
