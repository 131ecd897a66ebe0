/* Memory of the device, and pinned memory of the host. */
#include "cuda.h"

static cudaError_t take(struct cuda_backend *c, void **data, size_t bytes)
{
    cudaError_t error = c->pool ? cudaMallocFromPoolAsync(data, bytes, c->pool, c->stream)
                                : cudaMalloc(data, bytes);
    if (error)
        cudaGetLastError(); /* must not stay for the next call */
    return error;
}

void *cuda_take(struct cuda_backend *c, size_t bytes)
{
    void *data = NULL;
    size_t whole = bytes ? bytes : 1;
    if (!cuda_recording_allows(c, "memory is asked for"))
        return NULL;
    cudaError_t error = take(c, &data, whole);
    if (error != cudaErrorMemoryAllocation) { /* but of what was queued before, that is an error */
        cuda_check(c, error, "memory");
        return error ? NULL : data;
    }
    /* What was freed may lie in pieces too small: give it back to the device and try again. */
    if (!cuda_check(c, cudaStreamSynchronize(c->stream), "memory") ||
        (c->pool && cudaMemPoolTrimTo(c->pool, 0)))
        return NULL;
    return take(c, &data, whole) ? NULL : data;
}

void cuda_give(struct cuda_backend *c, void *data)
{
    if (!data)
        return;
    cudaError_t error = c->pool ? cudaFreeAsync(data, c->stream) : cudaFree(data);
    if (error)
        cudaGetLastError(); /* the device failed before, which has been said */
}

void *cuda_alloc(struct backend *b, size_t bytes)
{
    struct cuda_backend *c = cuda_of(b);
    void *data = cuda_take(c, bytes);
    if (data && !cuda_check(c, cudaMemsetAsync(data, 0, bytes, c->stream), "memset")) {
        cuda_give(c, data);
        return NULL;
    }
    return data;
}

void cuda_free(struct backend *b, void *data)
{
    cuda_give(cuda_of(b), data);
}

void *cuda_scratch_try(struct cuda_backend *c, enum cuda_scratch which, size_t bytes)
{
    struct cuda_block *block = &c->scratch[which];
    if (block->bytes >= bytes && block->data)
        return block->data;
    if (!cuda_recording_allows(c, "scratch memory must grow"))
        return NULL;
    c->moved++;
    cuda_give(c, block->data);
    block->data = cuda_take(c, bytes);
    block->bytes = block->data ? bytes : 0;
    return block->data;
}

void *cuda_scratch(struct cuda_backend *c, enum cuda_scratch which, size_t bytes)
{
    void *data = cuda_scratch_try(c, which, bytes);
    if (!data)
        backend_fail(&c->base, UNREEL_ENOMEM,
                     "out of device memory: %zu bytes of scratch asked, %llu in use", bytes,
                     (unsigned long long)c->base.bytes);
    return data;
}

void *cuda_pinned(struct cuda_backend *c, size_t bytes)
{
    if (!cuda_recording_allows(c, "data go to the host"))
        return NULL;
    if (c->pinned.bytes >= bytes && c->pinned.data)
        return c->pinned.data;
    if (!cuda_check(c, cudaStreamSynchronize(c->stream), "synchronize"))
        return NULL;
    if (c->pinned.data)
        cudaFreeHost(c->pinned.data);
    c->pinned = (struct cuda_block){0};
    if (cuda_check(c, cudaHostAlloc(&c->pinned.data, bytes, cudaHostAllocDefault), "pinned memory"))
        c->pinned.bytes = bytes;
    return c->pinned.bytes ? c->pinned.data : NULL;
}

/* A pool of our own, so that closing gives everything back; it keeps what is freed until then. */
static int open_pool(struct cuda_backend *c)
{
    int supported = 0;
    uint64_t keep = UINT64_MAX;
    if (!cuda_check(c, cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, 0),
                    "memory pools"))
        return c->base.status;
    if (!supported)
        return 0;
    const struct cudaMemPoolProps props = {
        .allocType = cudaMemAllocationTypePinned,
        .location = {.type = cudaMemLocationTypeDevice, .id = 0},
    };
    if (!cuda_check(c, cudaMemPoolCreate(&c->pool, &props), "memory pool")) {
        c->pool = NULL;
        return c->base.status;
    }
    cuda_check(c, cudaMemPoolSetAttribute(c->pool, cudaMemPoolAttrReleaseThreshold, &keep),
               "memory pool");
    return c->base.status;
}

int cuda_memory_open(struct cuda_backend *c)
{
    int code = open_pool(c);
    for (int i = 0; code == 0 && i < STAGES; i++) {
        struct cuda_stage *stage = &c->stage[i];
        if (cuda_check(c, cudaHostAlloc(&stage->data, STAGE_BYTES, cudaHostAllocDefault),
                       "pinned memory"))
            cuda_check(c, cudaEventCreateWithFlags(&stage->used, cudaEventDisableTiming), "event");
        code = c->base.status;
    }
    for (int i = 0; code == 0 && i < PICTURES; i++) {
        cuda_check(c, cudaEventCreateWithFlags(&c->picture[i], cudaEventDisableTiming), "event");
        code = c->base.status;
    }
    return code;
}

void cuda_memory_close(struct cuda_backend *c)
{
    for (int i = 0; i < SCRATCHES; i++)
        cuda_give(c, c->scratch[i].data);
    cudaStreamSynchronize(c->stream);
    for (int i = 0; i < STAGES; i++) {
        if (c->stage[i].used)
            cudaEventDestroy(c->stage[i].used);
        if (c->stage[i].data)
            cudaFreeHost(c->stage[i].data);
    }
    for (int i = 0; i < PICTURES; i++)
        if (c->picture[i])
            cudaEventDestroy(c->picture[i]);
    if (c->pinned.data)
        cudaFreeHost(c->pinned.data);
    if (c->pool)
        cudaMemPoolDestroy(c->pool);
}

void cuda_memory_info(struct backend *b, struct backend_memory *memory)
{
    struct cuda_backend *c = cuda_of(b);
    size_t free = 0, total = 0;
    cuda_check(c, cudaMemGetInfo(&free, &total), "memory");
    *memory = (struct backend_memory){
        .device = c->device, .total = total, .free = free, .weights = c->weight_bytes};
    for (int i = 0; i < SCRATCHES; i++)
        memory->scratch += c->scratch[i].bytes;
}
