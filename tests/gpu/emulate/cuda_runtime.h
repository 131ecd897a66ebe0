/* Stands in for CUDA's header where kernels run as host C++: what the kernels of cuda/ use of the
 * language and of the run-time library, see emulate.h. */
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include <tuple>

#include "capture.h"
#include "cuda_runtime_api.h"
#include "emulate.h"

#define __global__
#define __device__
#define __host__
/* One place for all, so that it can be filled with NaN before each block. */
#define __shared__ static __attribute__((section("emulated_shared")))

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z)
    {
    }
};

struct alignas(8) uint2 {
    unsigned x, y;
};

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

/* A store as any other. */
template <typename T> static inline void __stwb(T *to, T x)
{
    *to = x;
}

/* Of the thread that runs now. */
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

static inline void __syncthreads()
{
    emulate_barrier();
}

static inline float __shfl_xor_sync(unsigned mask, float x, int other)
{
    return emulate_shuffle_xor(mask, x, other);
}

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
};

template <typename... P> struct emulated_launch {
    dim3 grid, block;
    void (*kernel)(P...);
    std::tuple<P...> arguments;

    static void thread(void *opaque)
    {
        emulated_launch *call = static_cast<emulated_launch *>(opaque);
        std::apply(call->kernel, call->arguments);
    }

    cudaError_t run()
    {
        return emulate_launch(grid, block, thread, this);
    }
};

/* As CUDA's, but the kernel has run when it returns, unless it is captured. */
template <typename... P, typename... A>
static inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(P...),
                                             A &&...arguments)
{
    typedef emulated_launch<P...> launch;
    launch call = {config->gridDim, config->blockDim, kernel, std::tuple<P...>(arguments...)};
    if (!emulate_capturing())
        return call.run();
    emulate_capture([](void *opaque) { static_cast<launch *>(opaque)->run(); },
                    [](void *opaque) { delete static_cast<launch *>(opaque); }, new launch(call));
    return cudaSuccess;
}
