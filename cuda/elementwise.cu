/* Activations, products and sums of contiguous data.
 *
 * Thread: 1 or 8 neighbours, which it reads before it writes, so that y may be an input. 16-byte
 * accesses where all is aligned; the elements after the last multiple of 8 are single. Bound:
 * memory. */
#include "common.cuh"

/* A thread's elements [i, i + n), n <= N. */
template <int N, typename F> static __device__ inline void for_elements(int64_t count, F f)
{
    int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;
    if (i < count)
        f(i, count - i < N ? (int)(count - i) : N);
}

template <int N, typename T>
static __device__ inline void load_some(float (&x)[N], const T *from, int n)
{
    if (n == N) {
        load<N>(x, from);
        return;
    }
    for (int i = 0; i < N; i++) /* a constant count: x stays in registers */
        x[i] = i < n ? to_float(from[i]) : 0;
}

template <int N, typename T>
static __device__ inline void store_some(T *to, const float (&x)[N], int n)
{
    if (n == N) {
        store<N>(to, x);
        return;
    }
    for (int i = 0; i < N; i++) {
        if (i < n)
            from_float(to + i, x[i]);
    }
}

template <typename Y, typename X, int N>
static __global__ void activate_all(Y *y, const X *x, int64_t count, int act)
{
    for_elements<N>(count, [&](int64_t i, int n) {
        float v[N];
        load_some<N>(v, x + i, n);
        for (int j = 0; j < N; j++)
            v[j] = activate(v[j], act);
        store_some<N>(y + i, v, n);
    });
}

template <typename Y, typename A, typename B, int N>
static __global__ void mul_all(Y *y, const A *a, const B *b, int64_t count)
{
    for_elements<N>(count, [&](int64_t i, int n) {
        float u[N], v[N];
        load_some<N>(u, a + i, n);
        load_some<N>(v, b + i, n);
        for (int j = 0; j < N; j++)
            u[j] *= v[j];
        store_some<N>(y + i, u, n);
    });
}

struct terms {
    int count;
    float factor[KERNEL_TERMS];
    const float *x[KERNEL_TERMS];
};

template <int N>
static __global__ void combine_all(float *y, terms terms, const float *factor, int64_t count)
{
    for_elements<N>(count, [&](int64_t i, int n) {
        float sum[N] = {0}, v[N];
        for (int t = 0; t < KERNEL_TERMS; t++) { /* a constant count: no copy of the lists */
            if (t >= terms.count)
                break;
            float by = factor ? factor[t] : terms.factor[t];
            load_some<N>(v, terms.x[t] + i, n);
            for (int j = 0; j < N; j++)
                sum[j] += by * v[j];
        }
        store_some<N>(y + i, sum, n);
    });
}

template <int N> static int64_t blocks_for(int64_t count)
{
    return blocks_of(count, BLOCK_MAX * N);
}

cudaError_t kernel_activate(void *y, enum kernel_type y_type, const void *x,
                            enum kernel_type x_type, int64_t count, enum kernel_act act,
                            cudaStream_t stream)
{
    return with_type(y_type, [&](auto ty) {
        return with_type(x_type, [&](auto tx) {
            return with_width(is_wide(y, 0) && is_wide(x, 0), [&](auto width) {
                using Y = decltype(ty);
                using X = decltype(tx);
                constexpr int n = decltype(width)::n;
                return launch(activate_all<Y, X, n>, blocks_for<n>(count), BLOCK_MAX, stream,
                              static_cast<Y *>(y), static_cast<const X *>(x), count, act);
            });
        });
    });
}

cudaError_t kernel_mul(void *y, enum kernel_type y_type, const void *a, enum kernel_type a_type,
                       const void *b, enum kernel_type b_type, int64_t count, cudaStream_t stream)
{
    bool aligned = is_wide(y, 0) && is_wide(a, 0) && is_wide(b, 0);
    return with_type(y_type, [&](auto ty) {
        return with_type(a_type, [&](auto ta) {
            return with_type(b_type, [&](auto tb) {
                return with_width(aligned, [&](auto width) {
                    using Y = decltype(ty);
                    using A = decltype(ta);
                    using B = decltype(tb);
                    constexpr int n = decltype(width)::n;
                    return launch(mul_all<Y, A, B, n>, blocks_for<n>(count), BLOCK_MAX, stream,
                                  static_cast<Y *>(y), static_cast<const A *>(a),
                                  static_cast<const B *>(b), count);
                });
            });
        });
    });
}

cudaError_t kernel_combine(float *y, int count, const float *factor, const float *device_factor,
                           const float *const *x, int64_t elements, cudaStream_t stream)
{
    terms terms = {};
    bool aligned = is_wide(y, 0);
    if (count < 1 || count > KERNEL_TERMS || (!factor && !device_factor))
        return cudaErrorInvalidValue;
    terms.count = count;
    for (int t = 0; t < count; t++) {
        terms.factor[t] = factor ? factor[t] : 0;
        terms.x[t] = x[t];
        aligned = aligned && is_wide(x[t], 0);
    }
    return with_width(aligned, [&](auto width) {
        constexpr int n = decltype(width)::n;
        return launch(combine_all<n>, blocks_for<n>(elements), BLOCK_MAX, stream, y, terms,
                      device_factor, elements);
    });
}
