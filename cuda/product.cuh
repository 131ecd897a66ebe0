/* A plain tiled matrix product that linear.cu and conv.cu share: y [m, n] = a [m, k] b [n, k]^T, a
 * and b given element by element, sums in f32.
 *
 * Block: 64 x 64 results. Thread: 4 x 4 of them, 16 apart, so that neighbours in n are neighbouring
 * threads. Pieces of 16 of k pass through shared memory (8.5 KiB); columns of 65 keep the 16 rows
 * that a warp writes at once in different banks. Bound: f32 arithmetic; a few TFLOP/s are expected,
 * as this is for what the libraries do not do. */
#pragma once

#include "common.cuh"

#define PRODUCT_TILE 64
#define PRODUCT_DEPTH 16
#define PRODUCT_SIDE 16 /* threads a side */
#define PRODUCT_EACH (PRODUCT_TILE / PRODUCT_SIDE)
#define PRODUCT_THREADS (PRODUCT_SIDE * PRODUCT_SIDE)

struct product_tiles {
    float a[PRODUCT_DEPTH][PRODUCT_TILE + 1], b[PRODUCT_DEPTH][PRODUCT_TILE + 1];
};

struct product_size {
    int64_t m, n, k;
};

static inline int64_t product_blocks(const product_size &size)
{
    return blocks_of(size.m, PRODUCT_TILE) * blocks_of(size.n, PRODUCT_TILE);
}

/* tile[k][i] = element(first + i, from + k); 0 outside. Neighbouring threads take neighbours in k.
 */
template <typename F>
static __device__ inline void load_tile(float (*tile)[PRODUCT_TILE + 1], int64_t first,
                                        int64_t rows, int64_t from, int64_t depth, F element)
{
    int k = threadIdx.x % PRODUCT_DEPTH;
    for (int i = threadIdx.x / PRODUCT_DEPTH; i < PRODUCT_TILE;
         i += PRODUCT_THREADS / PRODUCT_DEPTH)
        tile[k][i] = first + i < rows && from + k < depth ? element(first + i, from + k) : 0;
}

/* a(m, k), b(n, k) give elements; result(m, n, sum) takes the result. */
template <typename A, typename B, typename R>
static __device__ inline void product(const product_size &size, A a, B b, R result)
{
    product_tiles &tiles = block_memory<product_tiles>();
    int64_t across = (size.n + PRODUCT_TILE - 1) / PRODUCT_TILE;
    int64_t m0 = blockIdx.x / across * PRODUCT_TILE, n0 = blockIdx.x % across * PRODUCT_TILE;
    int row = threadIdx.x / PRODUCT_SIDE, column = threadIdx.x % PRODUCT_SIDE;
    float sum[PRODUCT_EACH][PRODUCT_EACH] = {};
    for (int64_t k0 = 0; k0 < size.k; k0 += PRODUCT_DEPTH) {
        load_tile(tiles.a, m0, size.m, k0, size.k, a);
        load_tile(tiles.b, n0, size.n, k0, size.k, b);
        __syncthreads();
        for (int k = 0; k < PRODUCT_DEPTH; k++) {
            float u[PRODUCT_EACH], v[PRODUCT_EACH];
            for (int i = 0; i < PRODUCT_EACH; i++) {
                u[i] = tiles.a[k][row + i * PRODUCT_SIDE];
                v[i] = tiles.b[k][column + i * PRODUCT_SIDE];
            }
            for (int i = 0; i < PRODUCT_EACH; i++)
                for (int j = 0; j < PRODUCT_EACH; j++)
                    sum[i][j] += u[i] * v[j];
        }
        __syncthreads();
    }
#pragma unroll /* all, so that sums stay in registers */
    for (int i = 0; i < PRODUCT_EACH; i++) {
#pragma unroll
        for (int j = 0; j < PRODUCT_EACH; j++) {
            int64_t m = m0 + row + i * PRODUCT_SIDE, n = n0 + column + j * PRODUCT_SIDE;
            if (m < size.m && n < size.n)
                result(m, n, sum[i][j]);
        }
    }
}
