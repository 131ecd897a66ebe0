/* Plain convolutions: an output pixel is a row of kt kh kw Ci inputs, gathered where they lie,
 * times the weights. See product.cuh for threads, alignment (none needed) and bound. */
#include "product.cuh"

/* The element of x that input k of output pixel m is, or -1 in the padding. Both are less than
 * 2^31: 64-bit divisions would cost more than the product. */
static __device__ inline int64_t input_at(const kernel_video &x, const struct kernel_conv &c, int m,
                                          int k)
{
    int ci = (int)c.in[3], kw = (int)c.kernel[2], kh = (int)c.kernel[1], wide = (int)c.out[2];
    int high = (int)c.out[1], tap = k / ci, line = tap / kw, row = m / wide, up = c.upsample;
    int64_t t = row / high * c.stride[0] + line / kh;
    int64_t h = row % high * c.stride[1] + line % kh - c.pad[0];
    int64_t w = m % wide * c.stride[2] + tap % kw - c.pad[1];
    if (h < 0 || w < 0 || h >> up >= c.in[1] || w >> up >= c.in[2])
        return -1;
    return t * x.stride[0] + (h >> up) * x.stride[1] + (w >> up) * x.stride[2] + k % ci;
}

/* Where output pixel m is. */
static __device__ inline int64_t output_at(const kernel_video &y, const struct kernel_conv &c,
                                           int64_t m)
{
    int64_t row = m / c.out[2];
    return row / c.out[1] * y.stride[0] + row % c.out[1] * y.stride[1] + m % c.out[2] * y.stride[2];
}

template <typename Y, typename X, typename W>
static __global__ void conv(kernel_video y, kernel_video x, const W *weight, const float *bias,
                            struct kernel_conv c, product_size size)
{
    const X *in = static_cast<const X *>(x.data);
    Y *out = static_cast<Y *>(y.data);
    product(
        size,
        [&](int64_t m, int64_t k) {
            int64_t at = input_at(x, c, (int)m, (int)k);
            return at < 0 ? 0 : to_float(in[at]);
        },
        [&](int64_t n, int64_t k) { return to_float(weight[n * size.k + k]); },
        [&](int64_t m, int64_t n, float sum) {
            if (bias)
                sum += bias[n];
            if (c.add.data)
                sum += to_float(static_cast<const Y *>(c.add.data)[output_at(c.add, c, m) + n]);
            from_float(out + output_at(y, c, m) + n, activate(sum, c.act));
        });
}

/* Which of the two taps of a phase tap i of three goes to. */
static __device__ inline int folded(int i, int phase)
{
    return phase ? i / 2 : (i + 1) / 2;
}

/* Thread: a weight of w [4, Co, kt, 2, 2, Ci]. Bound: memory, once at load. */
template <typename W>
static __global__ void conv_fold(W *w, const float *x, int64_t filters, int64_t ci)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, c = i % ci;
    int tap = (int)(i / ci % 4), phase = (int)(i / ci / 4 / filters);
    int64_t filter = i / ci / 4 % filters;
    float sum = 0;
    if (phase > 3)
        return;
    for (int k = 0; k < 9; k++) {
        if (2 * folded(k / 3, phase / 2) + folded(k % 3, phase % 2) == tap)
            sum += x[(filter * 9 + k) * ci + c];
    }
    from_float(w + i, sum);
}

cudaError_t kernel_conv(const struct kernel_video *y, const struct kernel_video *x, const void *w,
                        enum kernel_type w_type, const float *bias, const struct kernel_conv *c,
                        cudaStream_t stream)
{
    product_size size = {c->out[0] * c->out[1] * c->out[2], c->out[3],
                         c->kernel[0] * c->kernel[1] * c->kernel[2] * c->in[3]};
    if (size.m > INT32_MAX || size.k > INT32_MAX)
        return cudaErrorInvalidValue;
    return with_type(y->type, [&](auto ty) {
        return with_type(x->type, [&](auto tx) {
            return with_type(w_type, [&](auto tw) {
                using W = decltype(tw);
                return launch(conv<decltype(ty), decltype(tx), W>, product_blocks(size),
                              PRODUCT_THREADS, stream, *y, *x, static_cast<const W *>(w), bias, *c,
                              size);
            });
        });
    });
}

cudaError_t kernel_conv_fold(void *w, enum kernel_type w_type, const float *x, int64_t co,
                             int64_t kt, int64_t ci, cudaStream_t stream)
{
    return with_type(w_type, [&](auto tw) {
        using W = decltype(tw);
        return launch(conv_fold<W>, blocks_of(16 * co * kt * ci, BLOCK_MAX), BLOCK_MAX, stream,
                      static_cast<W *>(w), x, co * kt, ci);
    });
}
