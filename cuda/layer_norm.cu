/* The residual stream: gated sums, layer normalisation with modulation, both in one.
 *
 * Block: a row. Thread: 1 or 8 neighbours, every blockDim times as many; it reads and writes only
 * these, so that y may be x. 16-byte accesses where all is aligned. Bound: memory; a row is read
 * again for the variance and the result (for E4M3 once more), from L1. */
#include "common.cuh"

/* Of row r; NULL: none. */
static __device__ inline const float *vector_of(const kernel_vectors &v, int64_t r, int64_t rows)
{
    return v.data ? v.data + r / (rows / v.count) * v.stride : NULL;
}

template <typename X, typename A, int N>
static __device__ inline void add_row(X *x, const A *a, const float *gate, int64_t width)
{
    FOR_ROW(i, width)
    {
        float u[N], v[N], g[N];
        load<N>(u, x + i);
        load<N>(v, a + i);
        if (gate) {
            load<N>(g, gate + i);
            for (int j = 0; j < N; j++)
                v[j] *= g[j];
        }
        for (int j = 0; j < N; j++)
            u[j] += v[j];
        store<N>(x + i, u);
    }
}

/* Sum over the row of x - middle or of its square. */
template <typename X, int N>
static __device__ inline float row_sum(const X *x, int64_t width, float middle, bool squared)
{
    float sum = 0;
    FOR_ROW(i, width)
    {
        float v[N];
        load<N>(v, x + i);
        for (int j = 0; j < N; j++) {
            float d = v[j] - middle;
            sum += squared ? d * d : d;
        }
    }
    return block_sum(sum);
}

struct modulation {
    kernel_vectors scale, shift;
    float eps, offset;
};

template <typename Y, typename X, int N>
static __device__ inline void norm_row(const kernel_rows &y, const X *x, int64_t r, int64_t rows,
                                       int64_t width, const modulation &m)
{
    const float *scale = vector_of(m.scale, r, rows), *shift = vector_of(m.shift, r, rows);
    float mean = row_sum<X, N>(x, width, 0, false) / (float)width;
    /* The variance is summed around the mean: E(x^2) - E(x)^2 would cancel. */
    float inverse = 1 / sqrtf(row_sum<X, N>(x, width, mean, true) / (float)width + m.eps);
    store_row<Y, N>(y, r, width, [&](int64_t i, float(&v)[N]) {
        float a[N], b[N];
        load<N>(v, x + i);
        load<N>(a, scale + i);
        load<N>(b, shift + i);
        for (int j = 0; j < N; j++)
            v[j] = (v[j] - mean) * inverse * (m.offset + a[j]) + b[j];
    });
}

template <typename Y, typename X, int N>
static __global__ void layer_norm(kernel_rows y, kernel_rows x, int64_t width, modulation m)
{
    int64_t r = blockIdx.x;
    norm_row<Y, X, N>(y, static_cast<const X *>(x.data) + r * x.stride, r, gridDim.x, width, m);
}

template <typename X, typename A, int N>
static __global__ void add_gated(kernel_rows x, kernel_rows a, int64_t width, kernel_vectors gate)
{
    int64_t r = blockIdx.x;
    add_row<X, A, N>(static_cast<X *>(x.data) + r * x.stride,
                     static_cast<const A *>(a.data) + r * a.stride, vector_of(gate, r, gridDim.x),
                     width);
}

template <typename Y, typename X, typename A, int N>
static __global__ void add_gated_layer_norm(kernel_rows y, kernel_rows x, kernel_rows a,
                                            int64_t width, kernel_vectors gate, modulation m)
{
    int64_t r = blockIdx.x;
    X *row = static_cast<X *>(x.data) + r * x.stride;
    add_row<X, A, N>(row, static_cast<const A *>(a.data) + r * a.stride,
                     vector_of(gate, r, gridDim.x), width);
    norm_row<Y, X, N>(y, row, r, gridDim.x, width, m);
}

cudaError_t kernel_layer_norm(const struct kernel_rows *y, const struct kernel_rows *x,
                              int64_t rows, int64_t width, const struct kernel_vectors *scale,
                              const struct kernel_vectors *shift, float eps, float scale_offset,
                              cudaStream_t stream)
{
    modulation m = {*scale, *shift, eps, scale_offset};
    bool aligned = is_wide(*y, width) && is_wide(*x, width) && is_wide(*scale) && is_wide(*shift);
    return with_output(y->type, [&](auto ty) {
        return with_type(x->type, [&](auto tx) {
            return with_width(aligned, [&](auto step) {
                constexpr int n = decltype(step)::n;
                return launch(layer_norm<decltype(ty), decltype(tx), n>, width ? rows : 0,
                              row_threads(width, n), stream, *y, *x, width, m);
            });
        });
    });
}

cudaError_t kernel_add_gated(const struct kernel_rows *x, const struct kernel_rows *a, int64_t rows,
                             int64_t width, const struct kernel_vectors *gate, cudaStream_t stream)
{
    bool aligned = is_wide(*x, width) && is_wide(*a, width) && is_wide(*gate);
    return with_type(x->type, [&](auto tx) {
        return with_type(a->type, [&](auto ta) {
            return with_width(aligned, [&](auto step) {
                constexpr int n = decltype(step)::n;
                return launch(add_gated<decltype(tx), decltype(ta), n>, width ? rows : 0,
                              row_threads(width, n), stream, *x, *a, width, *gate);
            });
        });
    });
}

cudaError_t kernel_add_gated_layer_norm(const struct kernel_rows *y, const struct kernel_rows *x,
                                        const struct kernel_rows *a, int64_t rows, int64_t width,
                                        const struct kernel_vectors *gate,
                                        const struct kernel_vectors *scale,
                                        const struct kernel_vectors *shift, float eps,
                                        float scale_offset, cudaStream_t stream)
{
    modulation m = {*scale, *shift, eps, scale_offset};
    bool aligned = is_wide(*y, width) && is_wide(*x, width) && is_wide(*a, width) &&
                   is_wide(*gate) && is_wide(*scale) && is_wide(*shift);
    return with_output(y->type, [&](auto ty) {
        return with_type(x->type, [&](auto tx) {
            return with_type(a->type, [&](auto ta) {
                return with_width(aligned, [&](auto step) {
                    constexpr int n = decltype(step)::n;
                    return launch(add_gated_layer_norm<decltype(ty), decltype(tx), decltype(ta), n>,
                                  width ? rows : 0, row_threads(width, n), stream, *y, *x, *a,
                                  width, *gate, m);
                });
            });
        });
    });
}
