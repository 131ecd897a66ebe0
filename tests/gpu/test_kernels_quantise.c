/* E4M3: values, products, what follows products, norms that write it. */
#include "test_kernels.h"

/* Every value and every tie between neighbours, by a scale of 1. */
void test_rounding(struct ops *ops)
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
void test_codes(struct ops *ops)
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

void test_products(struct ops *ops)
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

void test_epilogue(struct ops *ops)
{
    static const int64_t widths[] = {1, 7, 16, 64, 264, 2120};
    for (int w = 0; w < 6; w++)
        for (int variant = 0; variant < 32; variant++)
            check_epilogue(ops, 3, widths[w], variant, (enum fill)((w + variant) % FILLS));
}

/* One number that is not finite spoils nothing but itself and, if infinite, its row. */
void test_nan(struct ops *ops)
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

void test_norms(struct ops *ops)
{
    static const int64_t widths[] = {1, 24, 31, 384, 1040}, groups[] = {1, 2, 3, 6};
    for (int w = 0; w < 5; w++)
        for (int variant = 0; variant < 16; variant++)
            check_norms(ops, 6, widths[w], groups[(w + variant) % 4], variant);
}
