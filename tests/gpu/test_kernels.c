/* The fused kernels, against the plain ones that the tests of operations have checked, and those
 * that no operation reaches. Memory is seen by host and device (kernel_backend.c). */
#include "kernels.h"
#include "base/noise.h"
#include "base/angles.h"
#include "model/rope.h"
#include "../ops/ops.h"

static const enum tensor_type types[] = {TENSOR_F32, TENSOR_BF16};

static void launched(struct ops *ops, cudaError_t error, const char *what)
{
    CHECK_MSG(error == cudaSuccess, "%s: %s: error %d", ops->name, what, (int)error);
}

static struct kernel_rows rows_of(const struct ops_tensor *t)
{
    return (struct kernel_rows){t->t.data, (enum kernel_type)t->t.type, t->t.stride[0], NULL,
                                false};
}

static struct kernel_vectors vectors_of(const struct ops_tensor *t)
{
    return (struct kernel_vectors){t->t.data, t->t.stride[0], t->t.shape[0]};
}

static struct kernel_video video_of(const struct ops_tensor *t)
{
    const int64_t *s = t->t.stride;
    return (struct kernel_video){t->t.data, (enum kernel_type)t->t.type, {s[0], s[1], s[2]}};
}

/* Memory for what is neither f32 nor bf16. */
static void *raw(struct ops *ops, int64_t bytes)
{
    return arena_tensor(&ops->arena, TENSOR_F32, SHAPE((bytes + 3) / 4)).data;
}

/* Both hold the same, bit for bit. */
static void expect_same(struct ops *ops, const char *what, const struct ops_tensor *y,
                        const struct ops_tensor *want)
{
    ops_compare_exact(ops, what, y, ops_read(ops, want));
}

/* The same sums of numbers about 1, perhaps in another order: that depends on alignment. */
static void expect_near(struct ops *ops, const char *what, const struct ops_tensor *y,
                        const double *want)
{
    double *tolerance = ops_doubles(ops, y->count);
    for (int64_t i = 0; i < y->count; i++)
        tolerance[i] = 2.02 * ops_unit(y->t.type) * fabs(want[i]) + 2e-6;
    ops_compare(ops, what, y, want, tolerance);
}

/* ---- FP8 ----------------------------------------------------------------------------------- */

static double decode_e4m3(uint8_t x)
{
    int exponent = x >> 3 & 15, fraction = x & 7;
    double size = (x & 127) == 127 ? NAN
                  : exponent       ? ldexp(8 + fraction, exponent - 10)
                                   : ldexp(fraction, -9);
    return x & 128 ? -size : size;
}

struct quantised {
    struct kernel_rows rows;
    uint8_t *data;
    float *scale;
    int64_t count, width;
};

#define GAP 8 /* bytes between rows, which must stay */

static struct quantised make_quantised(struct ops *ops, int64_t rows, int64_t width, float fixed)
{
    struct quantised q = {.count = rows, .width = width};
    q.data = raw(ops, rows * (width + GAP));
    q.scale = raw(ops, rows * 4);
    q.rows = (struct kernel_rows){q.data, KERNEL_E4M3, width + GAP, q.scale, fixed != 0};
    memset(q.data, 0xa5, (size_t)(rows * (width + GAP)));
    q.scale[0] = fixed;
    return q;
}

/* What `want` f32 [rows, width] must be as E4M3. */
static void check_quantised(struct ops *ops, const char *what, const struct quantised *q,
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

/* Every value and every tie between neighbours, by a scale of 1. */
static void test_rounding(struct ops *ops)
{
    struct ops_tensor x = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(1, 256));
    struct quantised q = make_quantised(ops, 1, 256, 1);
    double value[256];
    for (int i = 0; i < 128; i++) {
        double low = decode_e4m3((uint8_t)(i < 126 ? i : 126)),
               high = decode_e4m3((uint8_t)(i + 1));
        value[i] = low;
        value[i + 128] = i < 126 ? -(low + high) / 2 : i == 126 ? 1e30 : -INFINITY;
    }
    ops_set(ops, &x, value);
    struct kernel_rows from = rows_of(&x);
    launched(ops, kernel_epilogue(&q.rows, &from, 1, 256, NULL, NULL, NULL, KERNEL_ACT_NONE, NULL),
             "rounding");
    ops_read(ops, &x); /* waits */
    for (int i = 0; i < 128; i++) {
        int even = i & 1 ? i + 1 : i; /* ties go to even */
        int tie = i < 126 ? 128 | even : i == 126 ? 126 : 254;
        CHECK_MSG(q.data[i] == (i < 126 ? i : 126), "%s: %g is %02x", ops->name, value[i],
                  q.data[i]);
        CHECK_MSG(q.data[i + 128] == tie, "%s: %g is %02x, not %02x", ops->name, value[i + 128],
                  q.data[i + 128], tie);
    }
    ops_free(ops);
}

/* Each of its values, as a product with 1 reads it. */
static void test_codes(struct ops *ops)
{
    struct ops_tensor y = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(256, 1));
    struct quantised x = make_quantised(ops, 256, 1, 1), one = make_quantised(ops, 1, 1, 1);
    double *want = ops_doubles(ops, 256);
    for (int i = 0; i < 256; i++) {
        x.data[i * x.rows.stride] = (uint8_t)i;
        x.scale[i] = 1;
        want[i] = decode_e4m3((uint8_t)i);
    }
    one.data[0] = 0x38;
    struct kernel_rows to = rows_of(&y);
    launched(ops, kernel_linear(&to, &x.rows, &one.rows, NULL, 256, 1, 1, KERNEL_ACT_NONE, NULL),
             "values");
    ops_compare_exact(ops, "values of e4m3", &y, want);
    ops_free(ops);
}

/* Any elements but NaN, any scales. */
static struct quantised random_quantised(struct ops *ops, int64_t rows, int64_t width)
{
    struct quantised q = make_quantised(ops, rows, width, 0);
    for (int64_t i = 0; i < rows * q.rows.stride; i++)
        q.data[i] = (uint8_t)(ops_between(0, 126) | ops_between(0, 1) << 7);
    for (int64_t r = 0; r < rows; r++)
        q.scale[r] = (float)ops_uniform(0.001, 0.01);
    return q;
}

static void check_product(struct ops *ops, int64_t m, int64_t n, int64_t k, enum tensor_type type)
{
    struct quantised x = random_quantised(ops, m, k), w = random_quantised(ops, n, k);
    struct ops_tensor y = ops_output(ops, type, LAYOUT_DENSE, SHAPE(m, n));
    struct ops_tensor bias = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(n));
    double *want = ops_doubles(ops, m * n), *tolerance = ops_doubles(ops, m * n);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = bias.value[j], size = fabs(sum);
            for (int64_t l = 0; l < k; l++) {
                double part = decode_e4m3(x.data[i * x.rows.stride + l]) * (double)x.scale[i] *
                              decode_e4m3(w.data[j * w.rows.stride + l]) * (double)w.scale[j];
                sum += part;
                size += fabs(part);
            }
            want[i * n + j] = fmax(sum, 0);
            tolerance[i * n + j] =
                ops_unit(type) * 1.01 * fabs(sum) + (8 + sqrt((double)k)) * 0x1p-24 * size;
        }
    }
    struct kernel_rows to = rows_of(&y);
    launched(ops, kernel_linear(&to, &x.rows, &w.rows, bias.t.data, m, n, k, KERNEL_ACT_RELU, NULL),
             "linear of e4m3");
    ops_compare(ops, "linear of e4m3", &y, want, tolerance);
    ops_free(ops);
}

static void test_products(struct ops *ops)
{
    static const int64_t shapes[][3] = {{1, 1, 1}, {3, 70, 17}, {65, 16, 48}, {130, 66, 33}};
    for (int s = 0; s < 4; s++)
        for (int type = 0; type < 2; type++)
            check_product(ops, shapes[s][0], shapes[s][1], shapes[s][2], types[type]);
}

/* ---- epilogue ------------------------------------------------------------------------------- */

static void check_epilogue(struct ops *ops, int64_t rows, int64_t width, int variant,
                           enum fill fill)
{
    enum kernel_act act = variant & 8 ? KERNEL_ACT_GELU_TANH : KERNEL_ACT_NONE;
    enum layout layout = variant & 16 ? LAYOUT_ROWS : LAYOUT_DENSE;
    struct ops_tensor x = ops_make(ops, types[variant & 1], layout, fill, 1e4, SHAPE(rows, width));
    struct ops_tensor y = ops_output(ops, types[variant >> 1 & 1], layout, SHAPE(rows, width));
    struct ops_tensor exact = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(rows, width));
    struct ops_tensor a = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(rows));
    struct ops_tensor b = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(width));
    struct ops_tensor c = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(width));
    bool scaled = variant & 4, biased = !(variant & 2);
    double *want = ops_doubles(ops, y.count), *tolerance = ops_doubles(ops, y.count);
    for (int64_t i = 0; i < y.count; i++) {
        double before = x.value[i] * (scaled ? a.value[i / width] * b.value[i % width] : 1);
        double shift = biased ? c.value[i % width] : 0, sum = before + shift;
        want[i] =
            act ? sum / (1 + exp(-2 * 0.79788456080286536 * (sum + 0.044715 * sum * sum * sum)))
                : sum;
        tolerance[i] = ops_unit(y.t.type) * 1.01 * fabs(want[i]) +
                       2e-6 * (fabs(before) + fabs(shift) + fabs(want[i]));
    }
    const float *row = scaled ? a.t.data : NULL, *column = scaled ? b.t.data : NULL;
    struct kernel_rows to = rows_of(&y), from = rows_of(&x), plain = rows_of(&exact);
    const float *bias = biased ? c.t.data : NULL;
    launched(ops, kernel_epilogue(&to, &from, rows, width, row, column, bias, act, NULL),
             "epilogue");
    ops_compare(ops, "epilogue", &y, want, tolerance);
    launched(ops, kernel_epilogue(&plain, &from, rows, width, row, column, bias, act, NULL),
             "epilogue");
    for (int fixed = 0; fixed < 2; fixed++) {
        struct quantised q = make_quantised(ops, rows, width, fixed ? 0.0625f : 0);
        launched(ops, kernel_epilogue(&q.rows, &from, rows, width, row, column, bias, act, NULL),
                 "epilogue to e4m3");
        check_quantised(ops, fixed ? "epilogue, fixed scale" : "epilogue to e4m3", &q, &exact);
    }
    if (x.t.type == y.t.type) {
        launched(ops, kernel_epilogue(&from, &from, rows, width, row, column, bias, act, NULL),
                 "epilogue in place");
        ops_compare(ops, "epilogue in place", &x, want, tolerance);
    }
    ops_free(ops);
}

static void test_epilogue(struct ops *ops)
{
    static const int64_t widths[] = {1, 7, 16, 64, 264, 2120};
    for (int w = 0; w < 6; w++)
        for (int variant = 0; variant < 32; variant++)
            check_epilogue(ops, 3, widths[w], variant, (enum fill)((w + variant) % FILLS));
}

/* One number that is not finite spoils nothing but itself and, if infinite, its row. */
static void test_nan(struct ops *ops)
{
    struct ops_tensor x = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(2, 40));
    struct quantised q = make_quantised(ops, 2, 40, 0);
    struct kernel_rows from = rows_of(&x);
    x.value[5] = NAN;
    ops_set(ops, &x, x.value);
    launched(ops, kernel_epilogue(&q.rows, &from, 2, 40, NULL, NULL, NULL, KERNEL_ACT_NONE, NULL),
             "NaN");
    check_quantised(ops, "NaN", &q, &x);
    ops_free(ops);
}

/* ---- norms ---------------------------------------------------------------------------------- */

static void check_norms(struct ops *ops, int64_t rows, int64_t width, int64_t groups, int variant)
{
    enum layout layout = variant & 4 ? LAYOUT_ROWS : LAYOUT_DENSE;
    enum fill fill = (enum fill)(variant % FILLS);
    struct ops_tensor x = ops_make(ops, types[variant & 1], layout, fill, 1e8, SHAPE(rows, width));
    struct ops_tensor twin = ops_make(ops, types[variant & 1], layout, fill, 1, SHAPE(rows, width));
    struct ops_tensor a =
        ops_make(ops, types[variant >> 1 & 1], layout, fill, 1e8, SHAPE(rows, width));
    struct ops_tensor g = ops_output(ops, TENSOR_F32, layout, SHAPE(groups, width));
    struct ops_tensor scale = ops_output(ops, TENSOR_F32, layout, SHAPE(groups, width));
    struct ops_tensor shift = ops_output(ops, TENSOR_F32, layout, SHAPE(groups, width));
    struct ops_tensor y = ops_output(ops, types[variant >> 1 & 1], layout, SHAPE(rows, width));
    struct ops_tensor y2 = ops_output(ops, types[variant >> 1 & 1], layout, SHAPE(rows, width));
    struct ops_tensor exact = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(rows, width));
    struct kernel_rows kx = rows_of(&x), kt = rows_of(&twin), ka = rows_of(&a), ky = rows_of(&y);
    struct kernel_rows ky2 = rows_of(&y2), ke = rows_of(&exact);
    struct kernel_vectors vg = vectors_of(&g), va = vectors_of(&scale), vc = vectors_of(&shift);
    ops_set(ops, &twin, x.value);
    if (variant & 8)
        vg = (struct kernel_vectors){0};
    struct quantised q = make_quantised(ops, rows, width, 0);
    launched(ops, kernel_add_gated(&kx, &ka, rows, width, &vg, NULL), "add_gated");
    launched(ops, kernel_layer_norm(&ky, &kx, rows, width, &va, &vc, 1e-6f, 1, NULL), "layer_norm");
    launched(ops, kernel_layer_norm(&ke, &kx, rows, width, &va, &vc, 1e-6f, 1, NULL), "layer_norm");
    launched(ops, kernel_layer_norm(&q.rows, &kx, rows, width, &va, &vc, 1e-6f, 1, NULL),
             "layer_norm");
    check_quantised(ops, "layer_norm to e4m3", &q, &exact);
    launched(
        ops,
        kernel_add_gated_layer_norm(&ky2, &kt, &ka, rows, width, &vg, &va, &vc, 1e-6f, 1, NULL),
        "add_gated_layer_norm");
    expect_same(ops, "add_gated_layer_norm: x", &twin, &x);
    expect_same(ops, "add_gated_layer_norm: y", &y2, &y);

    ops_set(ops, &twin, x.value);
    launched(
        ops,
        kernel_add_gated_layer_norm(&q.rows, &kt, &ka, rows, width, &vg, &va, &vc, 1e-6f, 1, NULL),
        "add_gated_layer_norm");
    check_quantised(ops, "add_gated_layer_norm to e4m3", &q, &exact);
    launched(ops, kernel_rms_norm(&ke, &kx, rows, width, g.t.data, 1e-6f, KERNEL_ACT_SILU, NULL),
             "rms_norm");
    launched(ops,
             kernel_rms_norm(&q.rows, &kx, rows, width, g.t.data, 1e-6f, KERNEL_ACT_SILU, NULL),
             "rms_norm");
    check_quantised(ops, "rms_norm to e4m3", &q, &exact);
    ops_free(ops);
}

static void test_norms(struct ops *ops)
{
    static const int64_t widths[] = {1, 24, 31, 384, 1040}, groups[] = {1, 2, 3, 6};
    for (int w = 0; w < 5; w++)
        for (int variant = 0; variant < 16; variant++)
            check_norms(ops, 6, widths[w], groups[(w + variant) % 4], variant);
}

struct block {
    int64_t shape[5]; /* F, H, W, heads, D */
    struct ops_tensor frame, row, column;
    struct kernel_rope rope;
};

static struct block make_block(struct ops *ops, const int64_t *shape)
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

/* ---- alignment ------------------------------------------------------------------------------- */

#define ROWS 6

/* [ROWS, width] from element `offset` of rows `stride` long. */
struct view {
    struct ops_tensor base;
    int64_t width, offset;
};

static struct view make_view(struct ops *ops, enum tensor_type type, int64_t width, int64_t offset,
                             int64_t stride, const double *value)
{
    struct view v = {ops_output(ops, type, LAYOUT_DENSE, SHAPE(ROWS + 1, stride)), width, offset};
    for (int64_t i = 0; i < ROWS * width; i++)
        v.base.value[i / width * stride + offset + i % width] = value[i];
    ops_set(ops, &v.base, v.base.value);
    return v;
}

static void *view_data(const struct view *v)
{
    return (char *)v->base.t.data + (size_t)v->offset * tensor_type_size(v->base.t.type);
}

static struct kernel_rows view_rows(const struct view *v)
{
    return (struct kernel_rows){view_data(v), (enum kernel_type)v->base.t.type, v->base.t.stride[0],
                                NULL, false};
}

static struct kernel_vectors view_vectors(const struct view *v)
{
    return (struct kernel_vectors){view_data(v), v->base.t.stride[0], ROWS};
}

/* As [1, 2, 3] tokens. */
static struct kernel_video view_video(const struct view *v)
{
    int64_t stride = v->base.t.stride[0];
    return (struct kernel_video){
        view_data(v), (enum kernel_type)v->base.t.type, {ROWS * stride, 3 * stride, stride}};
}

/* The view holds `want`, the rest of its memory what it did. */
static void expect_view(struct ops *ops, const char *what, const struct view *v,
                        const struct ops_tensor *want)
{
    const double *value = ops_read(ops, want);
    double *all = ops_doubles(ops, v->base.count);
    memcpy(all, v->base.value, (size_t)v->base.count * sizeof *all);
    for (int64_t i = 0; i < ROWS * v->width; i++)
        all[i / v->width * v->base.t.stride[0] + v->offset + i % v->width] = value[i];
    expect_near(ops, what, &v->base, all);
}

enum { NORM, ADD, ADD_NORM, RMS, VIDEO, EPILOGUE, ROPE, COPY, VIEW_TESTS };

struct view_call {
    struct kernel_rows y, x, a;
    struct kernel_video video_y, video_x;
    struct kernel_vectors v[3];
    struct kernel_rope rope;
    int64_t width;
};

static cudaError_t call(const struct view_call *c, int which)
{
    int64_t w = c->width, shape[] = {1, 2, 3, w}, stride_y[] = {c->y.stride, 1};
    int64_t stride_x[] = {c->x.stride, 1}, matrix[] = {ROWS, w};
    const struct kernel_vectors *v = c->v;
    switch (which) {
    case NORM:
        return kernel_layer_norm(&c->y, &c->x, ROWS, w, &v[0], &v[1], 1e-6f, 1, NULL);
    case ADD:
        return kernel_add_gated(&c->y, &c->x, ROWS, w, &v[0], NULL);
    case ADD_NORM:
        return kernel_add_gated_layer_norm(&c->y, &c->x, &c->a, ROWS, w, &v[0], &v[1], &v[2], 1e-6f,
                                           1, NULL);
    case RMS:
        return kernel_rms_norm(&c->y, &c->x, ROWS, w, v[0].data, 0, KERNEL_ACT_SILU, NULL);
    case VIDEO:
        return kernel_rms_norm_video(&c->video_y, &c->video_x, shape, v[0].data, 0, KERNEL_ACT_NONE,
                                     NULL);
    case EPILOGUE:
        return kernel_epilogue(&c->y, &c->x, ROWS, w, NULL, v[0].data, v[1].data, KERNEL_ACT_RELU,
                               NULL);
    case ROPE:
        return kernel_rms_norm_rope(&c->video_y, &c->video_x, &c->rope, v[0].data, 1e-6f, NULL,
                                    NULL);
    default:
        return kernel_copy(c->y.data, c->y.type, stride_y, c->x.data, c->x.type, stride_x, 2,
                           matrix, NULL);
    }
}

/* The digits of `how` to base 9 give each tensor an alignment; what comes out must be as with all
 * dense. */
static void check_view(struct ops *ops, int which, int64_t width, int how, enum tensor_type type_y,
                       enum tensor_type type_x)
{
    static const char *const names[] = {
        "layer_norm", "add_gated", "add_gated_layer_norm", "rms_norm", "rms_norm_video", "epilogue",
        "rope",       "copy"};
    static const int64_t offsets[] = {0, 1, 8}, gaps[] = {8, 16, 13};
    enum tensor_type type[6] = {type_y, type_x, type_x, TENSOR_F32, TENSOR_F32, TENSOR_F32};
    struct ops_tensor dense[6];
    struct view view[6];
    for (int i = 0; i < 6; i++) {
        int64_t offset = offsets[how % 3], stride = width % 8 + width + gaps[how / 3 % 3];
        how /= 9;
        dense[i] = ops_output(ops, type[i], LAYOUT_DENSE, SHAPE(ROWS, width));
        view[i] = make_view(ops, type[i], width, offset, stride, dense[i].value);
    }
    struct block b = make_block(ops, (const int64_t[]){1, 2, 3, 1, width});
    struct view_call plain = {rows_of(&dense[0]), rows_of(&dense[1]), rows_of(&dense[2]),
                              .rope = b.rope, .width = width};
    struct view_call strided = {view_rows(&view[0]),  view_rows(&view[1]),  view_rows(&view[2]),
                                view_video(&view[0]), view_video(&view[1]), .rope = b.rope,
                                .width = width};
    int64_t row = width;
    plain.video_y =
        (struct kernel_video){dense[0].t.data, plain.y.type, {ROWS * row, 3 * row, row}};
    plain.video_x =
        (struct kernel_video){dense[1].t.data, plain.x.type, {ROWS * row, 3 * row, row}};
    for (int i = 0; i < 3; i++) {
        plain.v[i] = vectors_of(&dense[3 + i]);
        strided.v[i] = view_vectors(&view[3 + i]);
    }
    launched(ops, call(&plain, which), names[which]);
    launched(ops, call(&strided, which), names[which]);
    for (int i = 0; i < 3; i++)
        expect_view(ops, names[which], &view[i], &dense[i]);
    ops_free(ops);
}

static void test_alignment(struct ops *ops)
{
    for (int which = 0; which < VIEW_TESTS; which++) {
        for (int how = 0; how < 81; how++) /* all pairs of y and x, then some of the others */
            check_view(ops, which, how % 4 ? 16 : 12, how + 81 * (int)ops_between(0, 6560),
                       types[how & 1], types[how >> 1 & 1]);
        for (int i = 0; i < 9; i++) /* all is well but one */
            for (int t = 0; t < 6; t++)
                check_view(ops, which, 16, i * (int[]){1, 9, 81, 729, 6561, 59049}[t], types[i & 1],
                           types[t & 1]);
    }
}

/* Contiguous data that begin anywhere, and long rows with gains that do. */
static void test_offsets(struct ops *ops)
{
    int64_t n = 1064;
    for (int how = 0; how < 64; how++) {
        struct ops_tensor in[4], moved[4], y[4], z[4];
        enum tensor_type type = types[how >> 5];
        struct ops_tensor gain = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(n));
        for (int i = 0; i < 4; i++) {
            enum layout layout = how >> i & 1 ? LAYOUT_ROWS : LAYOUT_DENSE;
            enum tensor_type out = i == 2 ? TENSOR_F32 : type;
            in[i] = i == 3 ? gain : ops_output(ops, out, LAYOUT_DENSE, SHAPE(1, n));
            moved[i] = ops_output(ops, i == 3 ? TENSOR_F32 : out, layout, SHAPE(1, n));
            ops_set(ops, &moved[i], in[i].value);
            y[i] = ops_output(ops, out, LAYOUT_DENSE, SHAPE(1, n));
            z[i] = ops_output(ops, out, how >> 4 & 1 ? LAYOUT_ROWS : LAYOUT_DENSE, SHAPE(1, n));
        }
        for (int k = 0; k < 2; k++) {
            struct ops_tensor *x = k ? moved : in, *to = k ? z : y;
            enum kernel_type kind = (enum kernel_type)type;
            const float *terms[] = {x[2].t.data}, two = 2;
            struct kernel_rows from = rows_of(&x[0]), row = rows_of(&to[3]);
            launched(
                ops,
                kernel_activate(to[0].t.data, kind, x[0].t.data, kind, n, KERNEL_ACT_SILU, NULL),
                "activate");
            launched(ops,
                     kernel_mul(to[1].t.data, kind, x[0].t.data, kind, x[1].t.data, kind, n, NULL),
                     "mul");
            launched(ops, kernel_combine(to[2].t.data, 1, &two, NULL, terms, n, NULL), "combine");
            launched(ops, kernel_rms_norm(&row, &from, 1, n, x[3].t.data, 0, KERNEL_ACT_NONE, NULL),
                     "rms_norm");
        }
        for (int i = 0; i < 3; i++)
            expect_same(ops, "contiguous from anywhere", &z[i], &y[i]);
        expect_near(ops, "rms_norm from anywhere", &z[3], ops_read(ops, &y[3]));
        ops_free(ops);
    }
}

/* Into the input of a convolution: behind two frames of history and within a border of zeros. */
static void check_video(struct ops *ops, int64_t c, int variant)
{
    int64_t t = 2, h = 3, w = 5, pixels = t * h * w;
    struct ops_tensor x =
        ops_make(ops, types[variant & 1], LAYOUT_DENSE, FILL_NORMAL, 1, SHAPE(t, h, w, c));
    struct ops_tensor whole = ops_make(ops, types[variant >> 1 & 1], LAYOUT_DENSE, FILL_ZERO, 1,
                                       SHAPE(t + 2, h + 2, w + 2, c));
    struct ops_tensor dense =
        ops_output(ops, types[variant >> 1 & 1], LAYOUT_DENSE, SHAPE(pixels, c));
    struct ops_tensor gain = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(c));
    struct kernel_video from = video_of(&x), to = video_of(&whole);
    struct kernel_rows rows = rows_of(&dense), flat = {x.t.data, from.type, c, NULL, false};
    int64_t start = 2 * to.stride[0] + to.stride[1] + to.stride[2];
    to.data = (char *)to.data + (size_t)start * tensor_type_size(whole.t.type);
    launched(ops,
             kernel_rms_norm_video(&to, &from, x.t.shape, gain.t.data, 0, KERNEL_ACT_SILU, NULL),
             "rms_norm_video");
    launched(ops, kernel_rms_norm(&rows, &flat, pixels, c, gain.t.data, 0, KERNEL_ACT_SILU, NULL),
             "rms_norm");
    const double *row = ops_read(ops, &dense);
    double *want = ops_doubles(ops, whole.count);
    for (int64_t i = 0; i < dense.count; i++) {
        int64_t pixel = i / c, at = (pixel / (h * w) + 2) * (h + 2) + pixel / w % h + 1;
        want[(at * (w + 2) + pixel % w + 1) * c + i % c] = row[i];
    }
    expect_near(ops, "rms_norm_video", &whole, want);
    ops_free(ops);
}

static void test_video(struct ops *ops)
{
    static const int64_t channels[] = {1, 3, 8, 16, 96, 100, 384, 1032};
    for (int i = 0; i < 8; i++)
        for (int variant = 0; variant < 4; variant++)
            check_video(ops, channels[i], variant);
}

/* ---- rotary embedding and the ring ----------------------------------------------------------- */

/* Columns [first, first + C) of a product [F H W, 3 C] as [F, H, W] tokens. */
static struct kernel_video part_of(const struct ops_tensor *qkv, const int64_t *shape, int part)
{
    int64_t c = shape[3] * shape[4], row = qkv->t.stride[0];
    char *data = (char *)qkv->t.data + (size_t)(part * c) * tensor_type_size(qkv->t.type);
    return (struct kernel_video){
        data, (enum kernel_type)qkv->t.type, {shape[1] * shape[2] * row, shape[2] * row, row}};
}

#define SLOTS 7

static void check_store(struct ops *ops, const int64_t *shape, int variant)
{
    struct block b = make_block(ops, shape);
    int64_t frame = shape[1] * shape[2], tokens = shape[0] * frame, c = shape[3] * shape[4];
    enum tensor_type type = types[variant & 1], out = types[variant >> 1 & 1];
    enum layout layout = variant & 4 ? LAYOUT_ROWS : LAYOUT_DENSE;
    struct ops_tensor x = ops_make(ops, type, layout, FILL_NORMAL, 1, SHAPE(tokens, 3 * c));
    struct ops_tensor gain = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(2 * c));
    struct ops_tensor y[3], turned[3]; /* q; rings of k and v */
    int32_t *slot = raw(ops, 4 * shape[0]);
    for (int64_t i = 0; i < shape[0]; i++)
        slot[i] = (int32_t)((5 + 3 * i) % SLOTS);
    for (int i = 0; i < 3; i++) {
        y[i] = ops_output(ops, out, LAYOUT_FRAMES,
                          SHAPE(i ? SLOTS : shape[0], shape[1], shape[2], shape[3], shape[4]));
        turned[i] = ops_output(ops, out, LAYOUT_DENSE, 5, shape);
    }
    const float *gains[2] = {NULL, NULL};
    if (!(variant & 8)) {
        gains[0] = gain.t.data;
        gains[1] = gains[0] + c;
    }
    struct kernel_video in[3], to[3];
    for (int i = 0; i < 3; i++) {
        in[i] = part_of(&x, shape, i);
        to[i] = video_of(&y[i]);
        struct kernel_video plain = video_of(&turned[i]);
        if (i < 2)
            launched(ops,
                     kernel_rms_norm_rope(&plain, &in[i], &b.rope, gains[i], 1e-6f, NULL, NULL),
                     "rms_norm_rope");
    }
    launched(ops,
             kernel_store_qkv(&to[0], &to[1], &to[2], &in[0], &in[1], &in[2], &b.rope, gains[0],
                              gains[1], 1e-6f, slot, NULL),
             "store_qkv");
    expect_near(ops, "store_qkv: q", &y[0], ops_read(ops, &turned[0]));
    const double *k = ops_read(ops, &turned[1]);
    double *want[2] = {ops_doubles(ops, y[1].count), ops_doubles(ops, y[2].count)};
    memcpy(want[0], y[1].value, (size_t)y[1].count * sizeof(double));
    memcpy(want[1], y[2].value, (size_t)y[2].count * sizeof(double));
    for (int64_t i = 0; i < tokens * c; i++) {
        int64_t f = i / (frame * c), at = (slot[f] * frame + i / c % frame) * c + i % c;
        want[0][at] = k[i];
        want[1][at] = ops_round(x.value[i / c * 3 * c + 2 * c + i % c], out);
    }
    expect_near(ops, "store_qkv: k", &y[1], want[0]);
    ops_compare_exact(ops, "store_qkv: v", &y[2], want[1]);
    ops_set(ops, &y[1], y[1].value);
    launched(ops, kernel_rms_norm_rope(&to[1], &in[1], &b.rope, gains[1], 1e-6f, slot, NULL),
             "rms_norm_rope to slots");
    expect_near(ops, "rms_norm_rope to slots", &y[1], want[0]);
    ops_free(ops);
}

static void test_store(struct ops *ops)
{
    static const int64_t shapes[][5] = {
        {1, 1, 1, 1, 6}, {3, 2, 5, 2, 64}, {2, 3, 1, 3, 22}, {3, 1, 2, 12, 128}};
    for (int s = 0; s < 4; s++)
        for (int variant = 0; variant < 16; variant++)
            check_store(ops, shapes[s], variant);
}

static void test_positions(struct ops *ops)
{
    static const int64_t starts[] = {0, 1, 1023, 1234567890};
    int64_t count = 5, pairs = 22, half = 128;
    int32_t *start = raw(ops, 4);
    float *host = ops_memory(ops, (size_t)(count * pairs) * 2 * sizeof *host);
    for (int s = 0; s < 4; s++) {
        struct ops_tensor table = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(count, pairs, 2));
        double *want = ops_doubles(ops, table.count), *tolerance = ops_doubles(ops, table.count);
        *start = (int32_t)starts[s];
        launched(ops, kernel_rope_table(table.t.data, start, count, pairs, NULL), "rope_table");
        angles_of_positions(host, starts[s], (int)count, (int)pairs);
        for (int64_t i = 0; i < table.count; i++) {
            want[i] = (double)host[i];
            /* a unit in the last place, and that of an f64 angle's */
            tolerance[i] = 0x1p-24 + (double)starts[s] * 0x1p-51;
        }
        ops_compare(ops, "rope_table", &table, want, tolerance);
    }
    struct ops_tensor level = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(3));
    struct ops_tensor y = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(3, 2 * half));
    double *want = ops_doubles(ops, y.count), *tolerance = ops_doubles(ops, y.count);
    ops_set(ops, &level, (const double[]){0, 999.9, 57.25});
    for (int64_t i = 0; i < 3 * half; i++) {
        double angle = level.value[i / half] * pow(10000, -(double)(i % half) / (double)half);
        want[i / half * 2 * half + i % half] = cos(angle);
        want[i / half * 2 * half + half + i % half] = sin(angle);
    }
    for (int64_t i = 0; i < y.count; i++)
        tolerance[i] = 0x1p-24;
    launched(ops, kernel_sinusoid(y.t.data, level.t.data, 3, half, NULL), "sinusoid");
    ops_compare(ops, "sinusoid", &y, want, tolerance);
    ops_free(ops);
}

/* ---- noise, sums, pictures --------------------------------------------------------------------
 */

static void test_noise(struct ops *ops)
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

static void test_factors(struct ops *ops)
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
static void test_pictures(struct ops *ops)
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

/* ---- plain kernels -----------------------------------------------------------------------------
 */

/* Only the keys held count, whatever lies behind them. */
static void test_keys_held(struct ops *ops)
{
    int64_t queries = 19, keys = 70, heads = 2, width = 40, stride = heads * width;
    for (int t = 0; t < 2; t++) {
        for (int held = 1; held <= 70; held += 23) {
            struct ops_tensor q =
                ops_output(ops, types[t], LAYOUT_DENSE, SHAPE(queries, heads, width));
            struct ops_tensor k =
                ops_output(ops, types[t], LAYOUT_DENSE, SHAPE(keys, heads, width));
            struct ops_tensor v =
                ops_output(ops, types[t], LAYOUT_DENSE, SHAPE(keys, heads, width));
            struct ops_tensor y =
                ops_output(ops, types[t], LAYOUT_DENSE, SHAPE(queries, heads, width));
            struct ops_tensor want =
                ops_output(ops, types[t], LAYOUT_DENSE, SHAPE(queries, heads, width));
            int32_t *count = raw(ops, 4);
            *count = held;
            struct kernel_heads kq = {q.t.data, stride, width}, kk = {k.t.data, stride, width};
            struct kernel_heads kv = {v.t.data, stride, width}, ky = {y.t.data, stride, width};
            struct kernel_heads kw = {want.t.data, stride, width};
            enum kernel_type type = (enum kernel_type)types[t];
            launched(ops,
                     kernel_attention(&kw, &kq, &kk, &kv, type, queries, held, NULL, heads, width,
                                      0.2f, NULL, 0, NULL),
                     "attention");
            for (int64_t i = held * stride; i < keys * stride; i++)
                k.value[i] = v.value[i] = NAN;
            ops_set(ops, &k, k.value);
            ops_set(ops, &v, v.value);
            launched(ops,
                     kernel_attention(&ky, &kq, &kk, &kv, type, queries, keys, count, heads, width,
                                      0.2f, NULL, 0, NULL),
                     "attention");
            expect_same(ops, "attention over the keys held", &y, &want);
            ops_free(ops);
        }
    }
}

/* Reading through the enlargement is the same as convolving the enlarged picture. */
static void test_upsample(struct ops *ops)
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
