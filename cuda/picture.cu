/* Finished pictures. ITU-R BT.709: Y = 0.2126 R + 0.7152 G + 0.0722 B, Cb = (B - Y) / 1.8556,
 * Cr = (R - Y) / 1.5748; 8 bits in limited range: 16 + 219 Y, 128 + 224 C.
 *
 * Thread: 2x2 pixels, so one sample of each chroma. Accesses of single elements and bytes, which
 * neighbours of a warp join to whole sectors. Bound: memory. */
#include "common.cuh"

struct sample {
    float r, g, b; /* 0 to 1 */
};

/* NaN becomes 0. */
static __device__ inline float clamp01(float x)
{
    float low = x > 0 ? x : 0;
    return low < 1 ? low : 1;
}

static __device__ inline uint8_t round8(float x)
{
    return (uint8_t)(int)(x + 0.5f);
}

static __device__ inline float luma(const sample &s)
{
    return 0.2126f * s.r + 0.7152f * s.g + 0.0722f * s.b;
}

template <typename X>
static __device__ inline sample load_pixel(const X *x, float scale, float offset)
{
    return {clamp01(to_float(x[0]) * scale + offset), clamp01(to_float(x[1]) * scale + offset),
            clamp01(to_float(x[2]) * scale + offset)};
}

static __device__ inline void store_packed(uint8_t *to, const sample &s, bool bgrx)
{
    to[bgrx ? 2 : 0] = round8(255 * s.r);
    to[1] = round8(255 * s.g);
    to[bgrx ? 0 : 2] = round8(255 * s.b);
    if (bgrx)
        to[3] = 255;
}

static __device__ inline void store_chroma(uint8_t *u, uint8_t *v, const sample *p)
{
    sample mean = {(p[0].r + p[1].r + p[2].r + p[3].r) / 4, (p[0].g + p[1].g + p[2].g + p[3].g) / 4,
                   (p[0].b + p[1].b + p[2].b + p[3].b) / 4};
    float y = luma(mean);
    *u = round8(128 + 224 / 1.8556f * (mean.b - y));
    *v = round8(128 + 224 / 1.5748f * (mean.r - y));
}

template <typename X>
static __global__ void picture(struct kernel_picture y, const X *x, int64_t count, int64_t height,
                               int64_t width, float scale, float offset)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t w = i % (width / 2), h = i / (width / 2) % (height / 2), index = i / (width / 2);
    index /= height / 2;
    if (index >= count)
        return;
    uint8_t *plane[3];
    for (int p = 0; p < 3; p++)
        plane[p] = y.data[p] ? y.data[p] + index * y.picture_stride[p] : NULL;
    bool packed = y.format == KERNEL_FORMAT_RGB || y.format == KERNEL_FORMAT_BGRX;
    bool bgrx = y.format == KERNEL_FORMAT_BGRX, nv12 = y.format == KERNEL_FORMAT_NV12;
    sample s[4];
    for (int j = 0; j < 4; j++) {
        int64_t row = 2 * h + j / 2, column = 2 * w + j % 2;
        s[j] = load_pixel(x + ((index * height + row) * width + column) * 3, scale, offset);
        uint8_t *to = plane[0] + row * y.stride[0];
        if (packed)
            store_packed(to + column * (bgrx ? 4 : 3), s[j], bgrx);
        else
            to[column] = round8(16 + 219 * luma(s[j]));
    }
    if (packed)
        return;
    uint8_t *u = plane[1] + h * y.stride[1] + w * (nv12 ? 2 : 1);
    store_chroma(u, nv12 ? u + 1 : plane[2] + h * y.stride[2] + w, s);
}

cudaError_t kernel_picture(const struct kernel_picture *y, const void *x, enum kernel_type x_type,
                           int64_t count, int64_t height, int64_t width, float scale, float offset,
                           cudaStream_t stream)
{
    if (height % 2 || width % 2)
        return cudaErrorInvalidValue;
    return with_type(x_type, [&](auto tx) {
        using X = decltype(tx);
        return launch(picture<X>, blocks_of(count * (height / 2) * (width / 2), BLOCK_MAX),
                      BLOCK_MAX, stream, *y, static_cast<const X *>(x), count, height, width, scale,
                      offset);
    });
}
