/* Noise, sums, pictures, convolutions of enlarged ones. */
#include "base/noise.h"
#include "test_kernels.h"

void test_noise(struct ops *ops)
{
    static const int64_t counts[] = {1, 6, 1000, 4099};
    static const struct kernel_noise_key keys[] = {{0x123456789abcdef0, 3, 9, 41, 2},
                                                   {7, 0, 0, 0xffffffff, 0}};
    const struct kernel_noise_key *key;
    for (int i = 0; i < 8; i++) {
        int64_t count = counts[i / 2], frames = 3;
        struct ops_tensor x = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(frames, count));
        float *host = ops_memory(ops, (size_t)(frames * count) * sizeof *host);
        double *want = ops_doubles(ops, x.count), *tolerance = ops_doubles(ops, x.count);
        key = &keys[i % 2];
        launched(ops, kernel_noise(x.t.data, frames, count, key, NULL), "noise");
        for (int64_t f = 0; f < frames; f++)
            noise_frame(host + f * count, count,
                        &(struct noise_key){key->seed, key->prompt, key->sample},
                        key->frame + (uint64_t)f, key->step);
        for (int64_t j = 0; j < x.count; j++) {
            want[j] = (double)host[j];
            tolerance[j] = 0x1p-23 * fabs(want[j]); /* another library's cosines */
        }
        ops_compare(ops, "noise", &x, want, tolerance);
        ops_free(ops);
    }
}

void test_factors(struct ops *ops)
{
    static const int64_t sizes[] = {5, 4096, 777};
    for (int s = 0; s < 3; s++) {
        struct ops_tensor a = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(sizes[s]));
        struct ops_tensor b = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(sizes[s]));
        struct ops_tensor y = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(sizes[s]));
        struct ops_tensor want = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(sizes[s]));
        struct ops_tensor factors = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(2));
        const float host[] = {(float)factors.value[0], (float)factors.value[1]}, other[] = {9, 9};
        const float *x[] = {a.t.data, b.t.data};
        launched(ops, kernel_combine(want.t.data, 2, host, NULL, x, sizes[s], NULL), "combine");
        launched(ops, kernel_combine(y.t.data, 2, other, factors.t.data, x, sizes[s], NULL),
                 "combine");
        expect_same(ops, "combine with factors of the device", &y, &want);
        ops_free(ops);
    }
}

/* Several pictures at once are as one after another. */
void test_pictures(struct ops *ops)
{
    int64_t h = 4, w = 6, count = 3, one = h * w * 4;
    for (int format = KERNEL_FORMAT_I420; format <= KERNEL_FORMAT_BGRX; format++) {
        struct ops_tensor x =
            ops_output(ops, TENSOR_BF16, LAYOUT_DENSE, SHAPE(count, h, w, (int64_t)3));
        uint8_t *all = raw(ops, count * one), *single = raw(ops, count * one);
        struct kernel_picture y = {(enum kernel_format)format,
                                   {all, all + h * w, all + h * w * 5 / 4}};
        bool packed = format >= KERNEL_FORMAT_RGB;
        y.stride[0] = packed ? 4 * w : w;
        y.stride[1] = format == KERNEL_FORMAT_NV12 ? w : w / 2;
        y.stride[2] = w / 2;
        y.picture_stride[0] = y.picture_stride[1] = y.picture_stride[2] = one;
        launched(ops, kernel_picture(&y, x.t.data, KERNEL_BF16, count, h, w, 0.5f, 0.5f, NULL),
                 "pictures");
        for (int64_t i = 0; i < count; i++) {
            for (int p = 0; p < 3; p++)
                y.data[p] = single + i * one + (y.data[p] - (i ? single + (i - 1) * one : all));
            launched(ops,
                     kernel_picture(&y, (uint16_t *)x.t.data + i * h * w * 3, KERNEL_BF16, 1, h, w,
                                    0.5f, 0.5f, NULL),
                     "picture");
        }
        ops_read(ops, &x); /* waits */
        int64_t lit = 0;
        for (int64_t i = 0; i < count * one; i++)
            lit += all[i] != 0;
        CHECK_MSG(lit > count * h * w && !memcmp(all, single, (size_t)(count * one)),
                  "%s: pictures of format %d: %lld bytes", ops->name, format, (long long)lit);
        ops_free(ops);
    }
}

/* Reading through the enlargement is the same as convolving the enlarged picture. */
void test_upsample(struct ops *ops)
{
    int64_t t = 3, h = 3, w = 5, ci = 6, co = 7;
    struct ops_tensor x = ops_output(ops, TENSOR_F32, LAYOUT_FRAMES, SHAPE(t, h, w, ci));
    struct ops_tensor big = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(t, 2 * h, 2 * w, ci));
    struct ops_tensor weight = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(co, 3 * 3 * 3 * ci));
    struct ops_tensor y =
        ops_output(ops, TENSOR_F32, LAYOUT_FRAMES, SHAPE(t - 2, 2 * h, 2 * w, co));
    struct ops_tensor want =
        ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(t - 2, 2 * h, 2 * w, co));
    double *value = ops_doubles(ops, big.count);
    for (int64_t i = 0; i < big.count; i++) {
        int64_t pixel = i / ci, row = pixel / (2 * w);
        value[i] =
            x.value[((row / (2 * h) * h + row % (2 * h) / 2) * w + pixel % (2 * w) / 2) * ci +
                    i % ci];
    }
    ops_set(ops, &big, value);
    struct kernel_conv conv = {
        {t, h, w, ci},    {t - 2, 2 * h, 2 * w, co}, {3, 3, 3}, {1, 1, 1}, {1, 1},
        .upsample = true, .act = KERNEL_ACT_SILU};
    struct kernel_video from = video_of(&x), enlarged = video_of(&big), to = video_of(&y);
    struct kernel_video plain = video_of(&want);
    launched(ops, kernel_conv(&to, &from, weight.t.data, KERNEL_F32, NULL, &conv, NULL), "conv");
    conv.upsample = false;
    conv.in[1] *= 2;
    conv.in[2] *= 2;
    launched(ops, kernel_conv(&plain, &enlarged, weight.t.data, KERNEL_F32, NULL, &conv, NULL),
             "conv");
    expect_same(ops, "conv of an enlarged picture", &y, &want);
    ops_free(ops);
}
