/* Plain linear layers: see product.cuh for threads, alignment (none needed) and bound. */
#include "product.cuh"

template <typename Y, typename X, typename W>
static __global__ void linear(kernel_rows y, kernel_rows x, kernel_rows w, const float *bias,
                              product_size size, int act)
{
    const X *in = static_cast<const X *>(x.data);
    const W *weight = static_cast<const W *>(w.data);
    Y *out = static_cast<Y *>(y.data);
    product(
        size, [&](int64_t m, int64_t k) { return to_float(in[m * x.stride + k]); },
        [&](int64_t n, int64_t k) { return to_float(weight[n * w.stride + k]); },
        [&](int64_t m, int64_t n, float sum) {
            if constexpr (sizeof(X) == sizeof(e4m3))
                sum = sum * w.scale[n] * x.scale[m];
            from_float(&out[m * y.stride + n], activate(bias ? sum + bias[n] : sum, act));
        });
}

/* f(a value of x's type, one of w's) */
template <typename F>
static cudaError_t with_operands(const kernel_rows &x, const kernel_rows &w, F f)
{
    if (x.type == KERNEL_E4M3 && w.type == KERNEL_E4M3)
        return f(e4m3(), e4m3());
    return with_type(x.type, [&](auto tx) {
        return with_type(w.type, [&](auto tw) { return f(tx, tw); });
    });
}

cudaError_t kernel_linear(const struct kernel_rows *y, const struct kernel_rows *x,
                          const struct kernel_rows *w, const float *bias, int64_t rows, int64_t n,
                          int64_t k, enum kernel_act act, cudaStream_t stream)
{
    product_size size = {rows, n, k};
    return with_type(y->type, [&](auto ty) {
        return with_operands(*x, *w, [&](auto tx, auto tw) {
            return launch(linear<decltype(ty), decltype(tx), decltype(tw)>, product_blocks(size),
                          PRODUCT_THREADS, stream, *y, *x, *w, bias, size, (int)act);
        });
    });
}
