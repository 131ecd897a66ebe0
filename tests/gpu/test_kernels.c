/* The fused kernels, against the plain ones that the tests of operations have checked, and those
 * that no operation reaches. Memory is seen by host and device (kernel_backend.c). */
#include "test_kernels.h"

void launched(struct ops *ops, cudaError_t error, const char *what)
{
    CHECK_MSG(error == cudaSuccess, "%s: %s: error %d", ops->name, what, (int)error);
}

struct kernel_rows rows_of(const struct ops_tensor *t)
{
    return (struct kernel_rows){t->t.data, (enum kernel_type)t->t.type, t->t.stride[0], NULL,
                                false};
}

struct kernel_vectors vectors_of(const struct ops_tensor *t)
{
    return (struct kernel_vectors){t->t.data, t->t.stride[0], t->t.shape[0]};
}

struct kernel_video video_of(const struct ops_tensor *t)
{
    const int64_t *s = t->t.stride;
    return (struct kernel_video){t->t.data, (enum kernel_type)t->t.type, {s[0], s[1], s[2]}};
}

void *raw(struct ops *ops, int64_t bytes)
{
    return arena_tensor(&ops->arena, TENSOR_F32, SHAPE((bytes + 3) / 4)).data;
}

void expect_same(struct ops *ops, const char *what, const struct ops_tensor *y,
                 const struct ops_tensor *want)
{
    ops_compare_exact(ops, what, y, ops_read(ops, want));
}

void expect_near(struct ops *ops, const char *what, const struct ops_tensor *y, const double *want)
{
    double *tolerance = ops_doubles(ops, y->count);
    for (int64_t i = 0; i < y->count; i++)
        tolerance[i] = 2.02 * ops_unit(y->t.type) * fabs(want[i]) + 2e-6;
    ops_compare(ops, what, y, want, tolerance);
}

/* ---- FP8 ----------------------------------------------------------------------------------- */

#define GAP 8 /* bytes between rows, which must stay */

double decode_e4m3(uint8_t x)
{
    int exponent = x >> 3 & 15, fraction = x & 7;
    double size = (x & 127) == 127 ? NAN
                  : exponent       ? ldexp(8 + fraction, exponent - 10)
                                   : ldexp(fraction, -9);
    return x & 128 ? -size : size;
}

struct quantised make_quantised(struct ops *ops, int64_t rows, int64_t width, float fixed)
{
    struct quantised q = {.count = rows, .width = width};
    q.data = raw(ops, rows * (width + GAP));
    q.scale = raw(ops, rows * 4);
    q.rows = (struct kernel_rows){q.data, KERNEL_E4M3, width + GAP, q.scale, fixed != 0};
    memset(q.data, 0xa5, (size_t)(rows * (width + GAP)));
    q.scale[0] = fixed;
    return q;
}

void check_quantised(struct ops *ops, const char *what, const struct quantised *q,
                     const struct ops_tensor *want)
{
    const double *value = ops_read(ops, want);
    int64_t bad = 0, touched = 0;
    double worst[2] = {0}; /* got, wanted */
    for (int64_t r = 0; r < q->count; r++) {
        const uint8_t *row = q->data + r * q->rows.stride;
        double most = 0, scale = (double)q->scale[q->rows.fixed_scale ? 0 : r];
        for (int64_t i = 0; i < q->width; i++)
            most = fmax(most, fabs(value[r * q->width + i])); /* fmax ignores NaN */
        if (!q->rows.fixed_scale)
            CHECK_MSG(fabs(scale - fmax(most / 448, 0x1p-100)) <= 1e-6 * scale,
                      "%s: %s: scale of row %lld is %g, largest %g", ops->name, what, (long long)r,
                      scale, most);
        for (int64_t i = 0; i < q->width; i++) {
            double x = value[r * q->width + i], got = decode_e4m3(row[i]);
            double near = fmin(fmax(x / scale, -448), 448);
            /* half a step: 2^-4 of the size, 2^-10 among denormals */
            bool good = isnan(x) ? isnan(got)
                                 : fabs(got - near) <=
                                       fmax(fabs(near) * 0x1p-4 * 1.00001, 0x1p-10 * 1.0001);
            bad += !good;
            if (!good) {
                worst[0] = got;
                worst[1] = near;
            }
        }
        for (int i = 0; i < GAP; i++)
            touched += row[q->width + i] != 0xa5;
    }
    CHECK_MSG(!bad && !touched, "%s: %s: %lld of %lld wrong, one is %g, not %g; %lld touched",
              ops->name, what, (long long)bad, (long long)(q->count * q->width), worst[0], worst[1],
              (long long)touched);
}

/* ---- tokens -------------------------------------------------------------------------------- */

struct block make_block(struct ops *ops, const int64_t *shape)
{
    struct block b;
    int64_t half = shape[4] / 2, part = half / 3;
    memcpy(b.shape, shape, sizeof b.shape);
    b.frame =
        ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(shape[0], half - 2 * part, (int64_t)2));
    b.row = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(shape[1], part, (int64_t)2));
    b.column = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(shape[2], part, (int64_t)2));
    b.rope = (struct kernel_rope){.frame = b.frame.t.data,
                                  .row = b.row.t.data,
                                  .column = b.column.t.data,
                                  .pairs = {half - 2 * part, part, part},
                                  .tokens = {shape[0], shape[1], shape[2]},
                                  .heads = shape[3],
                                  .width = shape[4]};
    return b;
}

/* ---- refusals ------------------------------------------------------------------------------ */

/* What is not done is said, and nothing to do is done. */
static void test_refusals(struct ops *ops)
{
    float *data = raw(ops, 4096);
    struct kernel_rows f32 = {data, KERNEL_F32, 8, NULL, false},
                       e4m3 = {data, KERNEL_E4M3, 8, data, false};
    struct kernel_rows f16 = {data, KERNEL_F16, 8, NULL, false};
    struct kernel_vectors one = {data, 8, 1};
    struct kernel_heads heads = {data, 8, 8};
    struct kernel_picture picture = {KERNEL_FORMAT_RGB, {(uint8_t *)data}, {9}, {0}};
    const float *x[] = {data, data, data, data, data, data, data}, factor[7] = {0};
    const cudaError_t wrong = cudaErrorInvalidValue;
    CHECK(kernel_epilogue(&f32, &e4m3, 1, 8, NULL, NULL, NULL, KERNEL_ACT_NONE, NULL) == wrong);
    CHECK(kernel_epilogue(&f16, &f32, 1, 8, NULL, NULL, NULL, KERNEL_ACT_NONE, NULL) == wrong);
    CHECK(kernel_layer_norm(&f16, &f32, 1, 8, &one, &one, 0, 0, NULL) == wrong);
    CHECK(kernel_add_gated(&e4m3, &f32, 1, 8, &one, NULL) == wrong);
    CHECK(kernel_rms_norm(&f32, &f16, 1, 8, data, 0, KERNEL_ACT_NONE, NULL) == wrong);
    CHECK(kernel_linear(&e4m3, &f32, &f32, NULL, 1, 8, 8, KERNEL_ACT_NONE, NULL) == wrong);
    CHECK(kernel_linear(&f32, &f32, &e4m3, NULL, 1, 8, 8, KERNEL_ACT_NONE, NULL) == wrong);
    CHECK(kernel_activate(data, KERNEL_I32, data, KERNEL_F32, 8, KERNEL_ACT_NONE, NULL) == wrong);
    CHECK(kernel_combine(data, 7, factor, NULL, x, 8, NULL) == wrong);
    CHECK(kernel_combine(data, 0, factor, NULL, x, 8, NULL) == wrong);
    CHECK(kernel_combine(data, 1, NULL, NULL, x, 8, NULL) == wrong);
    CHECK(kernel_picture(&picture, data, KERNEL_F32, 1, 3, 2, 1, 0, NULL) == wrong);
    CHECK(kernel_attention(&heads, &heads, &heads, &heads, KERNEL_F32, 1, 1, NULL, 1, 513, 1, NULL,
                           0, NULL) == wrong);
    CHECK(kernel_activate(data, KERNEL_F32, data, KERNEL_F32, (int64_t)1 << 50, KERNEL_ACT_NONE,
                          NULL) == wrong);
    CHECK(kernel_activate(data, KERNEL_F32, data, KERNEL_F32, 0, KERNEL_ACT_NONE, NULL) ==
          cudaSuccess);
    CHECK(kernel_rms_norm(&f32, &f32, 0, 8, data, 0, KERNEL_ACT_NONE, NULL) == cudaSuccess);
    CHECK(kernel_layer_norm(&f32, &f32, 4, 0, &one, &one, 0, 0, NULL) == cudaSuccess);
    const struct kernel_noise_key key = {0};
    CHECK(kernel_noise(data, 0, 8, &key, NULL) == cudaSuccess);
    ops_free(ops);
}

static void test_all(struct ops *ops)
{
    if (ops->b->compute != TENSOR_F32)
        return; /* types are chosen below */
    test_rounding(ops);
    test_codes(ops);
    test_products(ops);
    test_epilogue(ops);
    test_nan(ops);
    test_norms(ops);
    test_alignment(ops);
    test_offsets(ops);
    test_video(ops);
    test_store(ops);
    test_positions(ops);
    test_noise(ops);
    test_factors(ops);
    test_pictures(ops);
    test_keys_held(ops);
    test_upsample(ops);
    test_refusals(ops);
}

int main(int argc, char **argv)
{
    ops_options(argc, argv);
    ops_run("kernels", false, test_all);
    return test_end();
}
