/* What the kernels share: elements of any type as floats, 16 bytes at a time where alignment
 * allows; sums over warps and blocks; activations; launching.
 *
 * The same files compile as host C++ against the stand-in headers of tests/gpu/emulate. Therefore
 * barriers and shuffles are reached by every thread of a block, shared memory comes from
 * block_memory(), and launches go through launch(). */
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>
#include <string.h>

#include <type_traits>

#include "kernels.h"

typedef __nv_bfloat16 bf16;

struct e4m3 {
    __nv_fp8_storage_t bits;
};

#define E4M3_MAX 448.0f
#define E4M3_SCALE_MIN 0x1p-100f /* its inverse is finite, and zeros stay zeros */

#define WARP 32
#define WIDE 8 /* elements a thread moves at once where all is aligned */

/* ---- elements ----------------------------------------------------------------------------- */

static __device__ inline float to_float(float x)
{
    return x;
}

static __device__ inline float to_float(bf16 x)
{
    return __bfloat162float(x);
}

static __device__ inline float to_float(__half x)
{
    return __half2float(x);
}

static __device__ inline float to_float(int32_t x)
{
    return (float)x;
}

static __device__ inline float to_float(e4m3 x)
{
    return __half2float(__half(__nv_cvt_fp8_to_halfraw(x.bits, __NV_E4M3)));
}

static __device__ inline void from_float(float *y, float x)
{
    *y = x;
}

static __device__ inline void from_float(bf16 *y, float x)
{
    *y = __float2bfloat16_rn(x);
}

static __device__ inline void from_float(e4m3 *y, float x)
{
    y->bits = __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
}

/* WIDE elements as one or two accesses of 16 bytes, or one of 8. */
template <typename T> struct alignas(sizeof(T) >= 2 ? 16 : 8) pack {
    T element[WIDE];
};

/* In one instruction or two: where elements come out of branches the compiler would write them one
 * by one, to the same sectors again and again. */
template <typename T> static __device__ inline void write_pack(T *to, const pack<T> &p)
{
    typedef typename std::conditional<sizeof p % sizeof(uint4) == 0, uint4, uint2>::type word;
    word w[sizeof p / sizeof(word)];
    memcpy(w, &p, sizeof p);
    for (size_t i = 0; i < sizeof p / sizeof(word); i++)
        __stwb(reinterpret_cast<word *>(to) + i, w[i]);
}

static __device__ inline void check_access(const void *data, size_t alignment)
{
#ifdef UNREEL_EMULATE
    emulate_access(data, alignment);
#endif
}

/* N is WIDE (and `from` aligned for it) or less. */
template <int N, typename T> static __device__ inline void load(float (&x)[N], const T *from)
{
    if constexpr (N == WIDE) {
        check_access(from, alignof(pack<T>));
        const pack<T> p = *reinterpret_cast<const pack<T> *>(from);
        for (int i = 0; i < N; i++)
            x[i] = to_float(p.element[i]);
    } else {
        for (int i = 0; i < N; i++)
            x[i] = to_float(from[i]);
    }
}

template <int N, typename T> static __device__ inline void store(T *to, const float (&x)[N])
{
    if constexpr (N == WIDE) {
        check_access(to, alignof(pack<T>));
        pack<T> p;
        for (int i = 0; i < N; i++)
            from_float(&p.element[i], x[i]);
        write_pack(to, p);
    } else {
        for (int i = 0; i < N; i++)
            from_float(to + i, x[i]);
    }
}

/* ---- memory that the threads of a block share ------------------------------------------------ */

/* One T for each type, uninitialised. All calls of a block give the same. */
template <typename T> static __device__ inline T &block_memory()
{
    __shared__ T memory;
#ifdef UNREEL_EMULATE
    emulate_shared(&memory, sizeof memory); /* not a number, at first */
#endif
    return memory;
}

/* ---- sums: always in the same order -------------------------------------------------------- */

/* Over groups of `lanes` (a power of two) neighbours; all get the result. */
static __device__ inline float lanes_sum(float x, int lanes)
{
    for (int step = lanes / 2; step; step /= 2)
        x += __shfl_xor_sync(0xffffffff, x, step);
    return x;
}

static __device__ inline float lanes_max(float x, int lanes)
{
    for (int step = lanes / 2; step; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, step));
    return x;
}

struct warp_results {
    float part[WARP];
};

/* Each warp's result to all threads of the block, the n-th warp's in lane n; `rest` elsewhere. */
static __device__ inline float share_warps(float x, float rest)
{
    float *part = block_memory<warp_results>().part;
    unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    __syncthreads(); /* whoever read `part` before is done */
    if (lane == 0)
        part[warp] = x;
    __syncthreads();
    return lane < blockDim.x / WARP ? part[lane] : rest;
}

static __device__ inline float block_sum(float x)
{
    return lanes_sum(share_warps(lanes_sum(x, WARP), 0), WARP);
}

static __device__ inline float block_max(float x)
{
    return lanes_max(share_warps(lanes_max(x, WARP), 0), WARP);
}

/* ---- rows: a block each -------------------------------------------------------------------- */

/* The elements of a row that a thread works on, N at a time. */
#define FOR_ROW(i, width)                                                                          \
    for (int64_t i = (int64_t)threadIdx.x * N; i < (width); i += (int64_t)blockDim.x * N)

/* Row r of y = value(i, x), which computes x[N] from element i on. All threads of the block. */
template <typename Y, int N, typename F>
static __device__ inline void store_row(const kernel_rows &y, int64_t r, int64_t width, F value)
{
    Y *to = static_cast<Y *>(y.data) + r * y.stride;
    float x[N], inverse = 1;
    if constexpr (sizeof(Y) == sizeof(e4m3)) {
        if (y.fixed_scale) {
            inverse = 1 / y.scale[0];
        } else {
            float most = 0;
            FOR_ROW(i, width)
            {
                value(i, x);
                for (int j = 0; j < N; j++)
                    most = fmaxf(most, fabsf(x[j]));
            }
            float scale = fmaxf(block_max(most) / E4M3_MAX, E4M3_SCALE_MIN);
            inverse = 1 / scale;
            if (threadIdx.x == 0)
                y.scale[r] = scale;
        }
    }
    FOR_ROW(i, width)
    {
        value(i, x);
        if constexpr (sizeof(Y) == sizeof(e4m3))
            for (int j = 0; j < N; j++)
                x[j] *= inverse;
        store<N>(to + i, x);
    }
}

/* ---- activations --------------------------------------------------------------------------- */

/* NaN stays NaN. */
static __device__ inline float activate(float x, int act)
{
    switch (act) {
    case KERNEL_ACT_SILU:
        return x / (1 + expf(-x));
    case KERNEL_ACT_GELU_TANH: /* (1 + tanh u) / 2 = 1 / (1 + exp(-2 u)) */
        return x / (1 + expf(-1.5957691216f * (x + 0.044715f * x * x * x)));
    case KERNEL_ACT_RELU:
        return x < 0 ? 0 : x;
    case KERNEL_ACT_TANH3:
        return 3 * tanhf(x * (1.0f / 3));
    case KERNEL_ACT_CLAMP:
        return x < -1 ? -1 : x > 1 ? 1 : x;
    case KERNEL_ACT_CLAMP01:
        return x < 0 ? 0 : x > 1 ? 1 : x;
    default:
        return x;
    }
}

/* ---- launching ----------------------------------------------------------------------------- */

#define BLOCK_MAX 256 /* threads */

template <typename... P, typename... A>
static cudaError_t launch(void (*kernel)(P...), int64_t blocks, int64_t threads,
                          cudaStream_t stream, A... args)
{
    if (blocks < 1)
        return cudaSuccess;
    if (blocks > INT32_MAX)
        return cudaErrorInvalidValue;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)blocks);
    config.blockDim = dim3((unsigned)threads);
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, P(args)...);
}

static inline int64_t blocks_of(int64_t count, int64_t each)
{
    return (count + each - 1) / each;
}

/* Threads for a row of `width`, each of which takes n elements at a time: whole warps. */
static inline int64_t row_threads(int64_t width, int n)
{
    int64_t threads = blocks_of(blocks_of(width, n), WARP) * WARP;
    return threads < BLOCK_MAX ? threads : BLOCK_MAX;
}

/* Whether every access that starts at a multiple of WIDE elements can be wide. */
static inline bool is_wide(const void *data, int64_t stride)
{
    return (uintptr_t)data % 16 == 0 && stride % WIDE == 0;
}

static inline bool is_wide(const kernel_rows &rows, int64_t width)
{
    return is_wide(rows.data, rows.stride) && width % WIDE == 0;
}

static inline bool is_wide(const kernel_vectors &vectors)
{
    return is_wide(vectors.data, vectors.stride);
}

static inline bool is_wide(const kernel_video &video)
{
    return is_wide(video.data, video.stride[0]) && is_wide(video.data, video.stride[1]) &&
           is_wide(video.data, video.stride[2]);
}

/* f(a value of the type) */
template <typename F> static cudaError_t with_type(enum kernel_type type, F f)
{
    switch (type) {
    case KERNEL_F32:
        return f(float());
    case KERNEL_BF16:
        return f(bf16());
    default:
        return cudaErrorInvalidValue;
    }
}

template <typename F> static cudaError_t with_output(enum kernel_type type, F f)
{
    return type == KERNEL_E4M3 ? f(e4m3()) : with_type(type, f);
}

struct narrow {
    static constexpr int n = 1;
};

struct wide {
    static constexpr int n = WIDE;
};

/* f(wide()) or f(narrow()): its member n is how many elements a thread moves at once. */
template <typename F> static cudaError_t with_width(bool is_wide, F f)
{
    return is_wide ? f(wide()) : f(narrow());
}
