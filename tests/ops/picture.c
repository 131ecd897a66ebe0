/* picture: every format against ITU-R BT.709 written out in double precision. */
#include "ops.h"

static const enum tensor_type types[] = {TENSOR_F32, TENSOR_BF16};

struct sample {
    double r, g, b;
};

static double limit(double x)
{
    return x > 0 ? x < 1 ? x : 1 : 0;
}

static struct sample pixel(const struct ops_tensor *x, int64_t h, int64_t w, double scale,
                           double offset)
{
    const double *p = x->value + (h * x->t.shape[1] + w) * 3;
    return (struct sample){limit(p[0] * scale + offset), limit(p[1] * scale + offset),
                           limit(p[2] * scale + offset)};
}

/* 8 bits of x, which lies so near to a half that either neighbour is right, or else only one. */
static bool is_rounded(uint8_t got, double x)
{
    return fabs((double)got - x) <= 0.5 + 2e-4;
}

static double luma(struct sample s)
{
    return 0.2126 * s.r + 0.7152 * s.g + 0.0722 * s.b;
}

#define MARGIN 5 /* bytes after each row that must stay */

static int64_t wrong_packed(const struct ops_tensor *x, double scale, double offset,
                            const struct picture_target *t)
{
    int64_t wrong = 0;
    bool bgrx = t->format == UNREEL_FORMAT_BGRX;
    for (int64_t h = 0; h < x->t.shape[0]; h++) {
        const uint8_t *row = t->data[0] + (size_t)h * t->stride[0];
        for (int64_t w = 0; w < x->t.shape[1]; w++) {
            struct sample s = pixel(x, h, w, scale, offset);
            const uint8_t *p = row + w * (bgrx ? 4 : 3);
            wrong += !is_rounded(p[bgrx ? 2 : 0], 255 * s.r) || !is_rounded(p[1], 255 * s.g) ||
                     !is_rounded(p[bgrx ? 0 : 2], 255 * s.b) || (bgrx && p[3] != 255);
        }
    }
    return wrong;
}

static int64_t wrong_yuv(const struct ops_tensor *x, double scale, double offset,
                         const struct picture_target *t)
{
    int64_t wrong = 0;
    for (int64_t h = 0; h < x->t.shape[0]; h++)
        for (int64_t w = 0; w < x->t.shape[1]; w++)
            wrong += !is_rounded(t->data[0][(size_t)h * t->stride[0] + (size_t)w],
                                 16 + 219 * luma(pixel(x, h, w, scale, offset)));
    for (int64_t h = 0; h < x->t.shape[0]; h += 2) {
        for (int64_t w = 0; w < x->t.shape[1]; w += 2) {
            struct sample m = {0, 0, 0};
            for (int i = 0; i < 4; i++) {
                struct sample s = pixel(x, h + i / 2, w + i % 2, scale, offset);
                m = (struct sample){m.r + s.r / 4, m.g + s.g / 4, m.b + s.b / 4};
            }
            bool nv12 = t->format == UNREEL_FORMAT_NV12;
            const uint8_t *u = t->data[1] + (size_t)(h / 2) * t->stride[1] + (nv12 ? w : w / 2);
            const uint8_t *v = nv12 ? u + 1 : t->data[2] + (size_t)(h / 2) * t->stride[2] + w / 2;
            wrong += !is_rounded(*u, 128 + 224 * (m.b - luma(m)) / 1.8556) ||
                     !is_rounded(*v, 128 + 224 * (m.r - luma(m)) / 1.5748);
        }
    }
    return wrong;
}

static void check(struct ops *ops, int64_t height, int64_t width, enum unreel_format format,
                  enum tensor_type type, enum fill fill, float scale, float offset)
{
    static const int64_t planes[] = {3, 2, 1, 1};
    struct ops_tensor x =
        ops_make(ops, type, LAYOUT_DENSE, fill, 1e10, SHAPE(height, width, (int64_t)3));
    struct picture_target t = {.format = format};
    int64_t bytes[3] = {0}, rows[3] = {height, height / 2, height / 2}, touched = 0;
    bytes[0] = format == UNREEL_FORMAT_RGB    ? 3 * width
               : format == UNREEL_FORMAT_BGRX ? 4 * width
                                              : width;
    bytes[1] = format == UNREEL_FORMAT_NV12 ? width : width / 2;
    bytes[2] = width / 2;
    for (int i = 0; i < planes[format]; i++) {
        t.stride[i] = (size_t)(bytes[i] + MARGIN);
        t.data[i] = ops_memory(ops, t.stride[i] * (size_t)rows[i]);
        memset(t.data[i], 0xa5, t.stride[i] * (size_t)rows[i]);
    }
    if (height == 2) /* by the way of several */
        op_pictures(ops->b, 1, &t, tensor_reshape(x.t, SHAPE(1, height, width, (int64_t)3)), scale,
                    offset);
    else
        op_picture(ops->b, &t, x.t, scale, offset);
    bool packed = format == UNREEL_FORMAT_RGB || format == UNREEL_FORMAT_BGRX;
    int64_t wrong = packed ? wrong_packed(&x, (double)scale, (double)offset, &t)
                           : wrong_yuv(&x, (double)scale, (double)offset, &t);
    for (int i = 0; i < planes[format]; i++)
        for (int64_t h = 0; h < rows[i]; h++)
            for (int64_t j = bytes[i]; j < bytes[i] + MARGIN; j++)
                touched += t.data[i][(size_t)h * t.stride[i] + (size_t)j] != 0xa5;
    CHECK_MSG(!wrong && !touched && !ops->b->status,
              "%s: format %d [%lld, %lld] %s: %lld wrong, %lld touched", ops->name, format,
              (long long)height, (long long)width, fill_name(fill), (long long)wrong,
              (long long)touched);
    ops_free(ops);
}

/* More pictures than are on their way at a time, each where it belongs. */
static void test_several(struct ops *ops)
{
    enum { COUNT = 19, HEIGHT = 4, WIDTH = 6, STRIDE = 3 * WIDTH + 2 };
    struct ops_tensor x = ops_make(ops, types[0], LAYOUT_DENSE, FILL_NORMAL, 1,
                                   SHAPE(COUNT, HEIGHT, WIDTH, (int64_t)3));
    struct picture_target target[COUNT], one;
    int different = 0;
    for (int i = 0; i < COUNT; i++)
        target[i] = (struct picture_target){UNREEL_FORMAT_RGB,
                                            {ops_memory(ops, HEIGHT * STRIDE)},
                                            {STRIDE}};
    one = target[0];
    one.data[0] = ops_memory(ops, HEIGHT * STRIDE);
    op_pictures(ops->b, COUNT, target, x.t, 0.5f, 0.5f);
    for (int i = 0; i < COUNT; i++) {
        struct tensor picture = tensor_slice(x.t, 0, i, 1);
        op_picture(ops->b, &one, tensor_reshape(picture, SHAPE(HEIGHT, WIDTH, (int64_t)3)), 0.5f,
                   0.5f);
        different += memcmp(one.data[0], target[i].data[0], HEIGHT * STRIDE) != 0;
    }
    CHECK_MSG(!different && !ops->b->status, "%s: %d pictures differ", ops->name, different);
    ops_free(ops);
}

static void test_all(struct ops *ops)
{
    test_several(ops);

    static const int64_t sizes[][2] = {{2, 2}, {2, 34}, {6, 18}, {4, 254}, {2, 258}, {48, 540}};
    for (enum unreel_format format = UNREEL_FORMAT_I420; format <= UNREEL_FORMAT_BGRX; format++) {
        for (int s = 0; s < 6; s++) {
            for (int t = 0; t < 2; t++) {
                check(ops, sizes[s][0], sizes[s][1], format, types[t], FILL_NORMAL, 0.5f, 0.5f);
                check(ops, sizes[s][0], sizes[s][1], format, types[t], FILL_MIXED, 1, 0);
                check(ops, sizes[s][0], sizes[s][1], format, types[t], (enum fill)((s + t) % FILLS),
                      1, 0.25f);
            }
        }
    }
}

int main(int argc, char **argv)
{
    ops_options(argc, argv);
    ops_run("picture", false, test_all);
    return test_end();
}
