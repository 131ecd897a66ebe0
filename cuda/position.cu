/* Angles of positions and of timesteps, from device memory.
 *
 * Thread: one angle. Computed in f64, as the CPU does, and rounded once: positions are exact far
 * beyond any table. Bound: f64 arithmetic, a few thousand angles. */
#include "common.cuh"

/* place * 10000^(-i / count) */
static __device__ inline double angle(double place, int64_t i, int64_t count)
{
    return place * pow(10000.0, -(double)i / (double)count);
}

static __global__ void rope_table(float *table, const int32_t *start, int64_t count, int64_t pairs)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count * pairs)
        return;
    double a = angle((double)(*start + i / pairs), i % pairs, pairs);
    table[2 * i] = (float)cos(a);
    table[2 * i + 1] = (float)sin(a);
}

static __global__ void sinusoid(float *y, const float *timestep, int64_t count, int64_t half)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, row = i / half, j = i % half;
    if (row >= count)
        return;
    double a = angle((double)timestep[row], j, half);
    y[row * 2 * half + j] = (float)cos(a);
    y[row * 2 * half + half + j] = (float)sin(a);
}

cudaError_t kernel_rope_table(float *table, const int32_t *start, int64_t count, int64_t pairs,
                              cudaStream_t stream)
{
    return launch(rope_table, blocks_of(count * pairs, BLOCK_MAX), BLOCK_MAX, stream, table, start,
                  count, pairs);
}

cudaError_t kernel_sinusoid(float *y, const float *timestep, int64_t count, int64_t half,
                            cudaStream_t stream)
{
    return launch(sinusoid, blocks_of(count * half, BLOCK_MAX), BLOCK_MAX, stream, y, timestep,
                  count, half);
}
