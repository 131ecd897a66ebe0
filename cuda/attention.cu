/* Plain attention: softmax in one pass over the keys, with a running maximum and sum for each
 * query, everything in f32.
 *
 * Block: 16 queries of a head. 16 lanes: a query, of which lane l holds elements l, l + 16, ... of
 * q and of the result in registers. Blocks of keys and values pass through shared memory (at most
 * 32 KiB), read by 16 lanes side by side. Alignment: none needed. Bound: shuffles, four for each
 * pair of query and key; some 2 TFLOP/s at a width of 128 are expected, as this is for f32 and for
 * what cuDNN does not do. */
#include "common.cuh"

#define LANES 16
#define QUERIES 16

struct attention_size {
    int64_t queries, keys, heads, width, blocks; /* blocks of queries */
};

struct bias_rows {
    const float *data;
    int64_t stride;
};

template <int EACH, int KEYS> struct tiles {
    float k[KEYS][LANES * EACH], v[KEYS][LANES * EACH];
};

/* rows [first, first + COUNT) of a head as f32, zeros past the last and past the width */
template <typename T, int COUNT, int WIDTH>
static __device__ inline void load_rows(float (*to)[WIDTH], const T *head, int64_t stride,
                                        int64_t first, int64_t rows, int64_t width)
{
    for (int i = threadIdx.x; i < COUNT * WIDTH; i += LANES * QUERIES) {
        int row = i / WIDTH, d = i % WIDTH;
        to[row][d] =
            first + row < rows && d < width ? to_float(head[(first + row) * stride + d]) : 0;
    }
}

/* The width is at most LANES * EACH; KEYS keys are met at a time. */
template <typename T, int EACH, int KEYS>
static __global__ void attention(kernel_heads y, kernel_heads q, kernel_heads k, kernel_heads v,
                                 attention_size size, const int32_t *keys_held, float scale,
                                 bias_rows bias)
{
    tiles<EACH, KEYS> &tile = block_memory<tiles<EACH, KEYS>>();
    int64_t head = blockIdx.x / size.blocks;
    int64_t query = blockIdx.x % size.blocks * QUERIES + threadIdx.x / LANES;
    int64_t keys = keys_held ? *keys_held : size.keys;
    int lane = threadIdx.x % LANES;
    bool inside = query < size.queries; /* all threads take part in barriers and sums */
    const T *from = static_cast<const T *>(q.data) + head * q.head_stride + query * q.stride;
    const T *head_k = static_cast<const T *>(k.data) + head * k.head_stride;
    const T *head_v = static_cast<const T *>(v.data) + head * v.head_stride;
    float mine[EACH], out[EACH], most = -INFINITY, sum = 0;
    for (int i = 0; i < EACH; i++) {
        int64_t d = lane + i * LANES;
        mine[i] = inside && d < size.width ? to_float(from[d]) : 0;
        out[i] = 0;
    }
    for (int64_t first = 0; first < keys; first += KEYS) {
        load_rows<T, KEYS>(tile.k, head_k, k.stride, first, keys, size.width);
        load_rows<T, KEYS>(tile.v, head_v, v.stride, first, keys, size.width);
        __syncthreads();
        float score[KEYS], highest = most;
        for (int j = 0; j < KEYS; j++) {
            float part = 0;
            for (int i = 0; i < EACH; i++)
                part += mine[i] * tile.k[j][lane + i * LANES];
            score[j] = lanes_sum(part, LANES) * scale;
            if (bias.data && inside && first + j < keys)
                score[j] += bias.data[head * bias.stride + first + j - query + size.queries - 1];
            if (first + j >= keys)
                score[j] = -INFINITY;
            highest = score[j] > highest ? score[j] : highest;
        }
        float fade = expf(most - highest);
        most = highest;
        sum *= fade;
        for (int i = 0; i < EACH; i++)
            out[i] *= fade;
        for (int j = 0; j < KEYS; j++) {
            float p = expf(score[j] - most);
            sum += p;
            for (int i = 0; i < EACH; i++)
                out[i] += p * tile.v[j][lane + i * LANES];
        }
        __syncthreads();
    }
    T *to = static_cast<T *>(y.data) + head * y.head_stride + query * y.stride;
    for (int i = 0; i < EACH; i++) {
        int64_t d = lane + i * LANES;
        if (inside && d < size.width)
            from_float(&to[d], out[i] / sum);
    }
}

cudaError_t kernel_attention(const struct kernel_heads *y, const struct kernel_heads *q,
                             const struct kernel_heads *k, const struct kernel_heads *v,
                             enum kernel_type type, int64_t queries, int64_t keys,
                             const int32_t *keys_held, int64_t heads, int64_t width, float scale,
                             const float *bias, int64_t bias_stride, cudaStream_t stream)
{
    attention_size size = {queries, keys, heads, width, blocks_of(queries, QUERIES)};
    bias_rows rows = {bias, bias_stride};
    int64_t blocks = heads * size.blocks;
    return with_type(type, [&](auto t) {
        using T = decltype(t);
        auto run = [&](auto kernel) {
            return launch(kernel, blocks, LANES * QUERIES, stream, *y, *q, *k, *v, size, keys_held,
                          scale, rows);
        };
        return width <= 64    ? run(attention<T, 4, 32>)
               : width <= 128 ? run(attention<T, 8, 16>)
               : width <= 512 ? run(attention<T, 32, 8>)
                              : cudaErrorInvalidValue;
    });
}
