/* Gaussian noise: the numbers of src/base/noise.c.
 *
 * Thread: one Philox block, so four neighbours. Normals are computed in f64 and rounded once, so
 * that they differ from the host's only where the two libraries' logarithms and cosines do, by a
 * unit in the last place. Bound: f64 arithmetic; 75 thousand numbers a frame. */
#include "base/philox.h"
#include "common.cuh"

/* Uniform in (0, 1) from the top 24 bits, then a pair of normals. */
static __device__ inline void box_muller(uint32_t a, uint32_t b, float *x)
{
    double u = ((double)(a >> 8) + 0.5) * 0x1p-24, v = ((double)(b >> 8) + 0.5) * 0x1p-24;
    double radius = sqrt(-2 * log(u)), angle = 6.283185307179586 * v;
    x[0] = (float)(radius * cos(angle));
    x[1] = (float)(radius * sin(angle));
}

static __global__ void noise(float *x, int64_t frames, int64_t count, kernel_noise_key key)
{
    int64_t quads = (count + 3) / 4, i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t frame = i / quads, quad = i % quads;
    if (frame >= frames)
        return;
    const uint32_t seed[2] = {(uint32_t)key.seed, (uint32_t)(key.seed >> 32)};
    const uint32_t name[4] = {(uint32_t)(key.frame + (uint64_t)frame), key.sample, key.prompt,
                              key.step};
    uint32_t words[4], random[4];
    float normal[4];
    philox_4x32_10(name, seed, words); /* the frame's key and half of its counter */
    const uint32_t counter[4] = {(uint32_t)quad, (uint32_t)((uint64_t)quad >> 32), words[2],
                                 words[3]};
    philox_4x32_10(counter, words, random);
    box_muller(random[0], random[1], normal);
    box_muller(random[2], random[3], normal + 2);
    for (int j = 0; j < 4; j++) {
        if (quad * 4 + j < count)
            x[frame * count + quad * 4 + j] = normal[j];
    }
}

cudaError_t kernel_noise(float *x, int64_t frames, int64_t count,
                         const struct kernel_noise_key *key, cudaStream_t stream)
{
    return launch(noise, blocks_of(frames * ((count + 3) / 4), BLOCK_MAX), BLOCK_MAX, stream, x,
                  frames, count, *key);
}
