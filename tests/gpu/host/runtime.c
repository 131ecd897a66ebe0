/* CUDA's run-time library without a device: "device" memory is the host's, and what is queued has
 * run when the call returns. Strict where a device would only sometimes be: new memory holds NaN,
 * copies must begin and end within memory of the kind that they name, events and streams must
 * exist, nothing that a capture would not survive happens during one. The first mistake ends the
 * program with a line that says what it was. UNREEL_EMULATE_REFUSE=graphs: graphs cannot be
 * instantiated; UNREEL_EMULATE_REFUSE=fp8: the device is of Ampere. UNREEL_EMULATE_MEMORY=N: there are N bytes of
 * memory. UNREEL_EMULATE_DRY (capture.h): the most that was in use is said at the end. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "capture.h"
#include "cuda_runtime_api.h"

#define BLOCKS 65536
#define DEVICE_BYTES ((size_t)4 << 30)
#define TOTAL_BYTES ((size_t)24 << 30) /* the rest is others' */

enum kind {
    KIND_NONE,
    KIND_DEVICE,
    KIND_PINNED,
};

struct block {
    char *data;
    size_t bytes;
    enum kind kind;
};

struct emulated_stream {
    int unused;
};

struct emulated_event {
    unsigned recorded;
};

struct emulated_pool {
    int blocks;
};

static struct {
    pthread_mutex_t lock; /* of all below: backends may be at work in threads of their own */
    struct block block[BLOCKS];
    size_t used, peak;
    unsigned events;
} device = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "emulated run-time library: %s\n", what);
    abort();
}

/* ---- device ---------------------------------------------------------------------------------- */

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation ? "out of memory" : "invalid argument";
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

/* UNREEL_EMULATE_CURRENT=1: what every thread has current is a second device, which nobody uses and which is to be
 * current again in the end. */
static _Thread_local int current = -1;

static int first_current(void)
{
    const char *number = getenv("UNREEL_EMULATE_CURRENT");
    return number ? atoi(number) : 0;
}

cudaError_t cudaGetDevice(int *number)
{
    *number = current < 0 ? first_current() : current;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int number)
{
    if (number < 0 || number > 1)
        return cudaErrorInvalidValue;
    current = number;
    return cudaSuccess;
}

static void check_device(void)
{
    int number;
    cudaGetDevice(&number);
    if (number)
        die("the device is not current");
}

__attribute__((destructor)) static void check_current(void)
{
    int number;
    cudaGetDevice(&number);
    if (number != first_current())
        die("another device is current than was");
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int number)
{
    int arch = emulate_refuses("fp8") ? 80 : emulate_arch();
    *properties = (struct cudaDeviceProp){.name = "emulated", .major = arch / 10, .minor = arch % 10};
    return number ? cudaErrorInvalidValue : cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int number)
{
    *value = 1;
    return number ? cudaErrorInvalidValue : cudaSuccess;
}

static size_t device_bytes(void)
{
    const char *bytes = getenv("UNREEL_EMULATE_MEMORY");
    return bytes ? strtoull(bytes, NULL, 10) : DEVICE_BYTES;
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    *available = device_bytes() - device.used;
    *total = emulate_dry() ? device_bytes() : TOTAL_BYTES;
    return cudaSuccess;
}

/* ---- streams and events: nothing is ever pending --------------------------------------------- */

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority)
{
    if (priority > 0 || priority < -5)
        return cudaErrorInvalidValue;
    *stream = calloc(1, sizeof **stream);
    return *stream ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    free(stream);
    return cudaSuccess;
}

static void check_stream(cudaStream_t stream)
{
    if (!stream)
        die("something was queued on the default stream");
    check_device();
}

/* For what must not happen while a stream captures. */
static void check_idle(const char *what)
{
    if (emulate_capturing())
        die(what);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    check_stream(stream);
    check_idle("a stream that captures was waited for");
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    *event = calloc(1, sizeof **event);
    return *event ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    free(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    check_stream(stream);
    check_idle("an event was recorded in a capture");
    pthread_mutex_lock(&device.lock);
    event->recorded = ++device.events;
    pthread_mutex_unlock(&device.lock);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    check_idle("an event was waited for in a capture");
    return event ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end)
{
    if (!begin->recorded || begin->recorded >= end->recorded)
        die("times of events that were not recorded one after the other");
    *ms = 1;
    return cudaSuccess;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static struct block *find(const void *data)
{
    for (int i = 0; i < BLOCKS; i++)
        if (device.block[i].kind && device.block[i].data <= (const char *)data &&
            (const char *)data < device.block[i].data + device.block[i].bytes)
            return &device.block[i];
    return NULL;
}

static bool is_untouched(enum kind kind)
{
    return kind == KIND_DEVICE && emulate_dry();
}

static void *take(size_t bytes, enum kind kind)
{
    if (is_untouched(kind)) {
        void *data = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return data == MAP_FAILED ? NULL : data;
    }
    void *data = aligned_alloc(256, (bytes + 255) & ~(size_t)255);
    if (data)
        memset(data, 0xff, bytes);
    return data;
}

static void give(const struct block *block)
{
    if (is_untouched(block->kind))
        munmap(block->data, block->bytes);
    else
        free(block->data);
}

__attribute__((destructor)) static void say_peak(void)
{
    if (emulate_dry())
        fprintf(stderr, "emulated run-time library: %zu bytes of memory in use at most\n", device.peak);
}

static cudaError_t allocate_locked(void **data, size_t bytes, enum kind kind)
{
    if (kind == KIND_DEVICE && (bytes > device_bytes() || device.used + bytes > device_bytes()))
        return cudaErrorMemoryAllocation;
    for (int i = 0; i < BLOCKS; i++) {
        struct block *block = &device.block[i];
        if (block->kind)
            continue;
        *block = (struct block){take(bytes, kind), bytes, kind};
        if (!block->data) {
            block->kind = KIND_NONE;
            return cudaErrorMemoryAllocation;
        }
        device.used += kind == KIND_DEVICE ? bytes : 0;
        device.peak = device.used > device.peak ? device.used : device.peak;
        *data = block->data;
        return cudaSuccess;
    }
    die("too many blocks of memory");
}

static cudaError_t allocate(void **data, size_t bytes, enum kind kind)
{
    *data = NULL;
    if (!bytes)
        die("0 bytes of memory were asked for");
    check_idle("memory was asked for in a capture");
    pthread_mutex_lock(&device.lock);
    cudaError_t error = allocate_locked(data, bytes, kind);
    pthread_mutex_unlock(&device.lock);
    return error;
}

static cudaError_t release(void *data, enum kind kind)
{
    if (!data)
        return cudaSuccess;
    check_idle("memory was freed in a capture");
    pthread_mutex_lock(&device.lock);
    struct block *block = find(data);
    if (!block || block->data != data || block->kind != kind)
        die("memory was freed that was not allocated so");
    device.used -= kind == KIND_DEVICE ? block->bytes : 0;
    give(block);
    *block = (struct block){0};
    pthread_mutex_unlock(&device.lock);
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **data, size_t bytes, unsigned flags)
{
    return allocate(data, bytes, KIND_PINNED);
}

cudaError_t cudaFreeHost(void *data)
{
    return release(data, KIND_PINNED);
}

cudaError_t cudaMalloc(void **data, size_t bytes)
{
    return allocate(data, bytes, KIND_DEVICE);
}

cudaError_t cudaFree(void *data)
{
    return release(data, KIND_DEVICE);
}

cudaError_t cudaMemPoolCreate(cudaMemPool_t *pool, const struct cudaMemPoolProps *props)
{
    *pool = calloc(1, sizeof **pool);
    return *pool ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool)
{
    if (pool->blocks)
        die("a memory pool was destroyed before what was taken from it");
    free(pool);
    return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr attribute, void *value)
{
    return pool ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes)
{
    return pool ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaMallocFromPoolAsync(void **data, size_t bytes, cudaMemPool_t pool,
                                    cudaStream_t stream)
{
    check_stream(stream);
    return pool ? allocate(data, bytes, KIND_DEVICE) : cudaErrorInvalidValue;
}

cudaError_t cudaFreeAsync(void *data, cudaStream_t stream)
{
    check_stream(stream);
    return release(data, KIND_DEVICE);
}

static void check_range(const void *data, size_t bytes, enum kind kind, const char *what)
{
    if (!bytes)
        return;
    pthread_mutex_lock(&device.lock);
    const struct block *block = find(data);
    if (!block || block->kind != kind || (const char *)data + bytes > block->data + block->bytes)
        die(what);
    pthread_mutex_unlock(&device.lock);
}

cudaError_t cudaMemsetAsync(void *data, int value, size_t bytes, cudaStream_t stream)
{
    check_stream(stream);
    check_range(data, bytes, KIND_DEVICE, "memory was set that is not the device's");
    check_idle("memory was set in a capture");
    if (!emulate_dry())
        memset(data, value, bytes);
    return cudaSuccess;
}

struct transfer {
    void *to;
    const void *from;
    size_t bytes;
};

static void run_transfer(void *opaque)
{
    const struct transfer *t = opaque;
    if (!emulate_dry())
        memmove(t->to, t->from, t->bytes);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    check_stream(stream);
    check_range(to, bytes, kind == cudaMemcpyDeviceToHost ? KIND_PINNED : KIND_DEVICE,
                "a copy to memory that is not of the kind named");
    check_range(from, bytes, kind == cudaMemcpyHostToDevice ? KIND_PINNED : KIND_DEVICE,
                "a copy from memory that is not of the kind named");
    struct transfer transfer = {to, from, bytes};
    if (!emulate_capturing()) {
        run_transfer(&transfer);
        return cudaSuccess;
    }
    if (kind != cudaMemcpyDeviceToDevice)
        die("host memory in a capture");
    struct transfer *kept = malloc(sizeof *kept);
    *kept = transfer;
    emulate_capture(run_transfer, free, kept);
    return cudaSuccess;
}

/* ---- graphs ---------------------------------------------------------------------------------- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    check_stream(stream);
    emulate_capture_begin();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    check_stream(stream);
    if (!emulate_capturing())
        die("the end of a capture that did not begin");
    *graph = emulate_capture_end();
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    check_idle("a graph was made in a capture");
    if (emulate_refuses("graphs"))
        return cudaErrorStreamCaptureInvalidated;
    emulate_calls_ref(graph);
    *exec = graph;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    check_stream(stream);
    check_idle("a graph was launched in a capture");
    emulate_calls_run(exec);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    emulate_calls_unref(graph);
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    emulate_calls_unref(exec);
    return cudaSuccess;
}
