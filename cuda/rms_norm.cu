/* RMS normalisation with activation: of long rows, and of the channels of pixels.
 *
 * Long rows. Block: a row. Thread: 1 or 8 neighbours, every blockDim times as many.
 * Pixels. 1 to 32 lanes of a warp: a pixel. Lane: 1 or 8 neighbours, every `lanes` times as many.
 * A thread reads and writes only its own elements, so that y may be x. 16-byte accesses where all
 * is aligned. Bound: memory; a row is read again for the result (for E4M3 once more), from L1. */
#include "common.cuh"

#define PIXEL_CHANNELS_MAX 1024 /* longer rows get a block each */

/* 1 / max(sqrt(mean(x^2) + eps), 1e-12 / sqrt(n)) */
static __device__ inline float inverse_rms(float squares, int64_t n, float eps)
{
    return 1 / fmaxf(sqrtf(squares / (float)n + eps), 1e-12f / sqrtf((float)n));
}

template <typename Y, typename X, int N>
static __global__ void rms_norm_rows(kernel_rows y, kernel_rows x, int64_t width, const float *gain,
                                     float eps, int act)
{
    int64_t r = blockIdx.x;
    const X *from = static_cast<const X *>(x.data) + r * x.stride;
    float squares = 0;
    FOR_ROW(i, width)
    {
        float v[N];
        load<N>(v, from + i);
        for (int j = 0; j < N; j++)
            squares += v[j] * v[j];
    }
    float inverse = inverse_rms(block_sum(squares), width, eps);
    store_row<Y, N>(y, r, width, [&](int64_t i, float(&v)[N]) {
        float g[N];
        load<N>(v, from + i);
        load<N>(g, gain + i);
        for (int j = 0; j < N; j++)
            v[j] = activate(v[j] * inverse * g[j], act);
    });
}

/* Fewer than 2^31 pixels: 64-bit divisions would cost more than the rest of a pixel's work. */
struct extent {
    uint32_t pixels, h, w;
    int c;
};

static __device__ inline int64_t pixel_at(const kernel_video &video, const extent &n,
                                          uint32_t pixel)
{
    uint32_t row = pixel / n.w;
    return row / n.h * video.stride[0] + row % n.h * video.stride[1] +
           pixel % n.w * video.stride[2];
}

template <typename Y, typename X, int N>
static __global__ void rms_norm_pixels(kernel_video y, kernel_video x, extent n, int lanes,
                                       const float *gain, float eps, int act)
{
    uint32_t pixel = blockIdx.x * (blockDim.x / lanes) + threadIdx.x / lanes;
    int lane = threadIdx.x % lanes;
    bool inside = pixel < n.pixels; /* all take part in the sum */
    const X *from = static_cast<const X *>(x.data) + (inside ? pixel_at(x, n, pixel) : 0);
    Y *to = static_cast<Y *>(y.data) + (inside ? pixel_at(y, n, pixel) : 0);
    int end = inside ? n.c : 0;
    float v[N], g[N], squares = 0;
    for (int i = lane * N; i < end; i += lanes * N) {
        load<N>(v, from + i);
        for (int j = 0; j < N; j++)
            squares += v[j] * v[j];
    }
    float inverse = inverse_rms(lanes_sum(squares, lanes), n.c, eps);
    for (int i = lane * N; i < end; i += lanes * N) {
        load<N>(v, from + i);
        load<N>(g, gain + i);
        for (int j = 0; j < N; j++)
            v[j] = activate(v[j] * inverse * g[j], act);
        store<N>(to + i, v);
    }
}

cudaError_t kernel_rms_norm_video(const struct kernel_video *y, const struct kernel_video *x,
                                  const int64_t shape[4], const float *gain, float eps,
                                  enum kernel_act act, cudaStream_t stream)
{
    int64_t pixels = shape[3] ? shape[0] * shape[1] * shape[2] : 0;
    if (pixels > INT32_MAX || shape[3] > INT32_MAX / 2)
        return cudaErrorInvalidValue;
    extent size = {(uint32_t)pixels, (uint32_t)shape[1], (uint32_t)shape[2], (int)shape[3]};
    bool aligned = is_wide(*y) && is_wide(*x) && is_wide(gain, 0) && size.c % WIDE == 0;
    return with_type(y->type, [&](auto ty) {
        return with_type(x->type, [&](auto tx) {
            return with_width(aligned, [&](auto step) {
                constexpr int n = decltype(step)::n;
                int lanes = 1;
                while (lanes < WARP && lanes * n < size.c)
                    lanes *= 2;
                return launch(rms_norm_pixels<decltype(ty), decltype(tx), n>,
                              blocks_of(pixels, BLOCK_MAX / lanes), BLOCK_MAX, stream, *y, *x, size,
                              lanes, gain, eps, (int)act);
            });
        });
    });
}

cudaError_t kernel_rms_norm(const struct kernel_rows *y, const struct kernel_rows *x, int64_t rows,
                            int64_t width, const float *gain, float eps, enum kernel_act act,
                            cudaStream_t stream)
{
    if (y->type != KERNEL_E4M3 && width <= PIXEL_CHANNELS_MAX) {
        kernel_video to = {y->data, y->type, {0, 0, y->stride}};
        kernel_video from = {x->data, x->type, {0, 0, x->stride}};
        int64_t shape[4] = {1, 1, rows, width};
        return kernel_rms_norm_video(&to, &from, shape, gain, eps, act, stream);
    }
    bool aligned = is_wide(*y, width) && is_wide(*x, width) && is_wide(gain, 0);
    return with_output(y->type, [&](auto ty) {
        return with_type(x->type, [&](auto tx) {
            return with_width(aligned, [&](auto step) {
                constexpr int n = decltype(step)::n;
                return launch(rms_norm_rows<decltype(ty), decltype(tx), n>, width ? rows : 0,
                              row_threads(width, n), stream, *y, *x, width, gain, eps, (int)act);
            });
        });
    });
}
