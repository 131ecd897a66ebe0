/* rms_norm and layer_norm. */
#include "ops.h"

static const enum tensor_type types[] = {TENSOR_F32, TENSOR_BF16};
static const int64_t widths[] = {1, 3, 16, 17, 96, 384, 1000, 1537};

static double activation(double x, enum activation act)
{
    return act == ACT_SILU ? x / (1 + exp(-x)) : x;
}

static void check_rms(struct ops *ops, int64_t rows, int64_t width, int variant, enum fill fill)
{
    enum activation act = variant & 8 ? ACT_SILU : ACT_NONE;
    enum layout layout = variant & 4 ? LAYOUT_ROWS : LAYOUT_DENSE;
    float eps = variant & 8 ? 0 : 1e-6f;
    struct ops_tensor x = ops_make(ops, types[variant & 1], layout, fill, 1e15, SHAPE(rows, width));
    struct ops_tensor y = ops_output(ops, types[variant >> 1 & 1], layout, SHAPE(rows, width));
    struct ops_tensor g = ops_make(ops, TENSOR_F32, LAYOUT_DENSE, FILL_NORMAL, 1, SHAPE(width));
    double *want = ops_doubles(ops, x.count), *tolerance = ops_doubles(ops, x.count);
    for (int64_t r = 0; r < rows; r++) {
        double squares = 0;
        for (int64_t i = 0; i < width; i++) {
            /* squares below the least f32 are lost, here as in the operation */
            double square = x.value[r * width + i] * x.value[r * width + i];
            squares += square < 1e-38 ? 0 : square;
        }
        double n = (double)width;
        double rms = fmax(sqrt(squares / n + (double)eps), 1e-12 / sqrt(n));
        for (int64_t i = r * width; i < (r + 1) * width; i++) {
            double before = x.value[i] / rms * g.value[i - r * width];
            want[i] = activation(before, act);
            tolerance[i] = ops_unit(y.t.type) * 1.01 * fabs(want[i]) +
                           (1e-6 + n * 1e-9) * (fabs(before) + fabs(want[i]) * fabs(before));
        }
    }
    op_rms_norm(ops->b, y.t, x.t, g.t, eps, act);
    char what[80];
    snprintf(what, sizeof what, "rms_norm [%lld, %lld] %s, variant %d", (long long)rows,
             (long long)width, fill_name(fill), variant);
    ops_compare(ops, what, &y, want, tolerance);
    if (x.t.type == y.t.type) {
        op_rms_norm(ops->b, x.t, x.t, g.t, eps, act);
        ops_compare(ops, "rms_norm in place", &x, want, tolerance);
    }
    ops_free(ops);
}

static void test_rms(struct ops *ops)
{
    for (int w = 0; w < 8; w++)
        for (int variant = 0; variant < 16; variant++)
            check_rms(ops, 5, widths[w], variant, (enum fill)((w + variant) % FILLS));
    check_rms(ops, 300, 257, 0, FILL_NORMAL);
    check_rms(ops, 300, 257, 15, FILL_MIXED);
}

static void check_layer(struct ops *ops, int64_t rows, int64_t groups, int64_t width, int variant,
                        enum fill fill)
{
    enum layout layout = variant & 4 ? LAYOUT_ROWS : LAYOUT_DENSE;
    float offset = variant & 8 ? 1 : 0;
    const double eps = (double)1e-6f;
    struct ops_tensor x = ops_make(ops, types[variant & 1], layout, fill, 1e15, SHAPE(rows, width));
    struct ops_tensor y = ops_output(ops, types[variant >> 1 & 1], layout, SHAPE(rows, width));
    struct ops_tensor a = ops_make(ops, TENSOR_F32, layout, FILL_NORMAL, 1, SHAPE(groups, width));
    struct ops_tensor c = ops_make(ops, TENSOR_F32, layout, FILL_NORMAL, 1, SHAPE(groups, width));
    double *want = ops_doubles(ops, x.count), *tolerance = ops_doubles(ops, x.count);
    for (int64_t r = 0; r < rows; r++) {
        double n = (double)width, mean = 0, squares = 0, size = 0;
        const double *row = x.value + r * width;
        for (int64_t i = 0; i < width; i++) {
            mean += row[i] / n;
            size += fabs(row[i]) / n;
        }
        for (int64_t i = 0; i < width; i++)
            squares += (row[i] - mean) * (row[i] - mean) / n;
        double inverse = 1 / sqrt(squares + eps);
        for (int64_t i = 0; i < width; i++) {
            int64_t g = r / (rows / groups) * width + i;
            double scale = (double)offset + a.value[g], before = (row[i] - mean) * inverse;
            int64_t at = r * width + i;
            want[at] = before * scale + c.value[g];
            /* The mean is as exact as sums of `size` are. */
            double shift = (1e-7 + n * 1e-9) * (size + fabs(row[i])) * inverse;
            tolerance[at] = ops_unit(y.t.type) * 1.01 * fabs(want[at]) +
                            1e-6 * (fabs(before * scale) + fabs(c.value[g]) + fabs(before)) +
                            shift * (1 + fabs(before)) * (fabs(scale) + 1e-6);
        }
    }
    op_layer_norm(ops->b, y.t, x.t, a.t, c.t, 1e-6f, offset);
    char what[80];
    snprintf(what, sizeof what, "layer_norm [%lld, %lld] %s, variant %d", (long long)rows,
             (long long)width, fill_name(fill), variant);
    ops_compare(ops, what, &y, want, tolerance);
    if (x.t.type == y.t.type) {
        op_layer_norm(ops->b, x.t, x.t, a.t, c.t, 1e-6f, offset);
        ops_compare(ops, "layer_norm in place", &x, want, tolerance);
    }
    ops_free(ops);
}

static void test_layer(struct ops *ops)
{
    static const int64_t groups[] = {1, 2, 3, 6};
    for (int w = 0; w < 8; w++)
        for (int variant = 0; variant < 16; variant++)
            check_layer(ops, 6, groups[(w + variant) % 4], widths[w], variant,
                        (enum fill)((w + variant) % FILLS));
    check_layer(ops, 300, 3, 257, 0, FILL_NORMAL);
    check_layer(ops, 300, 1, 257, 15, FILL_MIXED);
}

/* A large common part must not eat the variance. */
static void test_offset(struct ops *ops)
{
    int64_t width = 384;
    struct ops_tensor x = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(1, width));
    struct ops_tensor a = ops_make(ops, TENSOR_F32, LAYOUT_DENSE, FILL_ZERO, 1, SHAPE(1, width));
    double *value = ops_doubles(ops, width), *want = ops_doubles(ops, width);
    double *tolerance = ops_doubles(ops, width);
    for (int64_t i = 0; i < width; i++) {
        value[i] = 1000 + (i % 2 ? 1 : -1);
        want[i] = i % 2 ? 1 : -1;
        tolerance[i] = 1e-4;
    }
    ops_set(ops, &x, value);
    op_layer_norm(ops->b, x.t, x.t, a.t, a.t, 0, 1);
    ops_compare(ops, "layer_norm around 1000", &x, want, tolerance);
    ops_free(ops);
}

static void test_all(struct ops *ops)
{
    test_rms(ops);
    test_layer(ops);
    test_offset(ops);
}

int main(int argc, char **argv)
{
    ops_options(argc, argv);
    ops_run("norm", false, test_all);
    return test_end();
}
