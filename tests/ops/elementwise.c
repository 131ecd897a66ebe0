/* copy, activate, mul, add_gated, combine. */
#include "ops.h"

static const enum tensor_type types[] = {TENSOR_F32, TENSOR_BF16};

/* ---- copy --------------------------------------------------------------------------------- */

static void check_copy(struct ops *ops, struct ops_tensor *y, struct ops_tensor *x,
                       const int *order, const char *what)
{
    /* x seen through `order` has the shape of y. */
    struct tensor view = tensor_permute(x->t, order);
    op_copy(ops->b, y->t, view);
    double *want = ops_doubles(ops, y->count), *tolerance = ops_doubles(ops, y->count);
    for (int64_t i = 0; i < y->count; i++) {
        int64_t at[TENSOR_DIMS], from = 0, rest = i;
        for (int d = y->t.dims - 1; d >= 0; rest /= y->t.shape[d--])
            at[order[d]] = rest % y->t.shape[d];
        for (int d = 0; d < x->t.dims; d++)
            from = from * x->t.shape[d] + at[d];
        want[i] = ops_round(x->value[from], y->t.type);
    }
    ops_compare(ops, what, y, want, tolerance);
}

static void test_copy(struct ops *ops)
{
    static const int64_t shapes[][4] = {
        {1, 1, 1, 1}, {3, 1, 17, 5}, {2, 3, 4, 33}, {1, 1, 1, 20001}, {5, 7, 1, 513}};
    static const int orders[][4] = {{0, 1, 2, 3}, {3, 1, 2, 0}, {0, 2, 3, 1}, {1, 0, 2, 3}};
    for (int s = 0; s < 5; s++) {
        for (int o = 0; o < 4; o++) {
            for (int t = 0; t < 4; t++) {
                int64_t shape[4];
                for (int d = 0; d < 4; d++)
                    shape[d] = shapes[s][orders[o][d]];
                enum layout layout = (enum layout)ops_between(LAYOUT_DENSE, LAYOUT_FRAMES);
                struct ops_tensor x = ops_make(ops, types[t % 2], layout,
                                               (enum fill)((s + o) % FILLS), 1e30, 4, shapes[s]);
                struct ops_tensor y = ops_output(ops, types[t / 2], (enum layout)(t % 3), 4, shape);
                char what[64];
                snprintf(what, sizeof what, "copy shape %d order %d types %d", s, o, t);
                check_copy(ops, &y, &x, orders[o], what);
                ops_free(ops);
            }
        }
    }
}

/* Every way of rounding: halves go to even, what overflows becomes infinite, denormals stay. */
static void test_rounding(struct ops *ops)
{
    static const uint32_t lows[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    static const uint32_t highs[] = {0, 1, 0x7f, 0x80, 0x3f80, 0x3f81, 0x7f7e, 0x7f7f};
    struct ops_tensor x = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(96));
    struct ops_tensor y = ops_output(ops, TENSOR_BF16, LAYOUT_DENSE, SHAPE(96));
    struct ops_tensor z = ops_output(ops, TENSOR_BF16, LAYOUT_DENSE, SHAPE(48, 2));
    double value[96], want[96], swapped[96];
    for (int i = 0; i < 96; i++) {
        union {
            uint32_t u;
            float f;
        } v = {.u = highs[i % 8] << 16 | lows[i / 8 % 6] | (uint32_t)(i / 48) << 31};
        value[i] = (double)v.f;
        want[i] = ops_round(value[i], TENSOR_BF16);
        swapped[i % 48 * 2 + i / 48] = want[i];
    }
    ops_set(ops, &x, value);
    op_copy(ops->b, y.t, x.t);
    ops_compare_exact(ops, "rounding", &y, want);
    /* not row by row: the other loop */
    op_copy(ops->b, z.t, tensor_permute(tensor_reshape(x.t, SHAPE(2, 48)), (const int[]){1, 0}));
    ops_compare_exact(ops, "rounding of strided elements", &z, swapped);
    ops_free(ops);
}

/* Types that only files have come through uploads. */
static void test_upload(struct ops *ops)
{
    int64_t count = 65536;
    uint16_t *halves = ops_memory(ops, (size_t)count * sizeof *halves);
    int32_t *whole = ops_memory(ops, (size_t)count * sizeof *whole);
    struct ops_tensor y = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(count));
    struct ops_tensor z = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(count));
    double *want = ops_doubles(ops, count), *tolerance = ops_doubles(ops, count);
    double *want_whole = ops_doubles(ops, count);
    for (int64_t i = 0; i < count; i++) {
        int exponent = (int)(i >> 10 & 31), fraction = (int)(i & 1023);
        double size = exponent == 31 ? fraction ? NAN : INFINITY
                      : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                     : ldexp(fraction, -24);
        halves[i] = (uint16_t)i;
        want[i] = i >> 15 ? -size : size;
        whole[i] = (int32_t)(i - 30000);
        want_whole[i] = (double)whole[i];
    }
    backend_upload(ops->b, y.t, tensor_make(halves, TENSOR_F16, SHAPE(count)));
    ops_compare(ops, "upload of every f16", &y, want, tolerance);
    backend_upload(ops->b, z.t, tensor_make(whole, TENSOR_I32, SHAPE(count)));
    ops_compare(ops, "upload of i32", &z, want_whole, tolerance);
    ops_free(ops);
}

/* ---- activate ----------------------------------------------------------------------------- */

static double reference(double x, enum activation act)
{
    switch (act) {
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_GELU_TANH: /* (1 + tanh u) / 2 = 1 / (1 + exp(-2 u)) does not cancel */
        return x / (1 + exp(-2 * 0.79788456080286536 * (x + 0.044715 * x * x * x)));
    case ACT_RELU:
        return x < 0 ? 0 : x;
    case ACT_TANH3:
        return 3 * tanh(x / 3);
    case ACT_CLAMP:
        return x < -1 ? -1 : x > 1 ? 1 : x;
    case ACT_CLAMP01:
        return x < 0 ? 0 : x > 1 ? 1 : x;
    default:
        return x;
    }
}

/* The exponent of GELU is as exact as f32 can hold it. Where exp(-x) is past the largest f32, SiLU
 * and GELU are 0: by then they are below 1e-36. */
static double allowance(double x, double want, enum activation act, enum tensor_type type)
{
    double relative = ops_unit(type) * 1.01;
    if (act == ACT_SILU || act == ACT_TANH3)
        relative += 5e-7;
    if (act == ACT_GELU_TANH)
        relative += 5e-7 * (1 + fmin(1.6 * fabs(x + 0.044715 * x * x * x), 200));
    return relative * fabs(want) + (act == ACT_SILU || act == ACT_GELU_TANH ? 1e-36 : 0);
}

static void check_activate(struct ops *ops, struct ops_tensor *y, struct ops_tensor *x,
                           enum activation act, const char *what)
{
    double *want = ops_doubles(ops, y->count), *tolerance = ops_doubles(ops, y->count);
    for (int64_t i = 0; i < y->count; i++) {
        want[i] = reference(x->value[i], act);
        tolerance[i] = allowance(x->value[i], want[i], act, y->t.type);
    }
    op_activate(ops->b, y->t, x->t, act);
    ops_compare(ops, what, y, want, tolerance);
}

static void test_activate(struct ops *ops)
{
    static const int64_t sizes[] = {1, 3, 17, 512, 513, 17001};
    for (enum activation act = ACT_NONE; act <= ACT_CLAMP01; act++) {
        for (int s = 0; s < 6; s++) {
            for (int t = 0; t < 4; t++) {
                enum fill fill = (enum fill)((s + t + (int)act) % FILLS);
                struct ops_tensor x =
                    ops_make(ops, types[t % 2], LAYOUT_DENSE, fill, 1e15, SHAPE(sizes[s]));
                struct ops_tensor y = ops_output(ops, types[t / 2], LAYOUT_DENSE, SHAPE(sizes[s]));
                char what[64];
                snprintf(what, sizeof what, "activation %d of %lld %s, types %d", act,
                         (long long)sizes[s], fill_name(fill), t);
                check_activate(ops, &y, &x, act, what);
                if (t == 0 || t == 3)
                    check_activate(ops, &x, &x, act, "activation in place");
                ops_free(ops);
            }
        }
    }
}

/* A fine sweep of the range where the functions bend. */
static void test_sweep(struct ops *ops)
{
    int64_t count = 10001;
    for (enum activation act = ACT_SILU; act <= ACT_TANH3; act++) {
        struct ops_tensor x = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(count));
        struct ops_tensor y = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(count));
        double *value = ops_doubles(ops, count);
        for (int64_t i = 0; i < count; i++)
            value[i] = ((double)i - 5000) * (i % 2 ? 0.02 : 0.001);
        ops_set(ops, &x, value);
        check_activate(ops, &y, &x, act, "sweep");
        ops_free(ops);
    }
}

static void test_special(struct ops *ops)
{
    static const double values[] = {NAN, INFINITY, -INFINITY, 3e38, -3e38, 0, -0.0, 88.8, -104.5};
    for (enum activation act = ACT_NONE; act <= ACT_CLAMP01; act++) {
        for (int t = 0; t < 4; t++) {
            struct ops_tensor x = ops_output(ops, types[t % 2], LAYOUT_DENSE, SHAPE(37));
            struct ops_tensor y = ops_output(ops, types[t / 2], LAYOUT_DENSE, SHAPE(37));
            double *value = ops_doubles(ops, 37);
            for (int i = 0; i < 37; i++)
                value[i] = values[i % 9];
            ops_set(ops, &x, value);
            op_activate(ops->b, y.t, x.t, act);
            const double *got = ops_read(ops, &y);
            for (int i = 0; i < 9; i++) {
                bool nan = i == 0 || (i == 2 && (act == ACT_SILU || act == ACT_GELU_TANH));
                double want = reference(x.value[i], act);
                /* at minus infinity either limit or NaN */
                bool good = i == 2 && nan ? isnan(got[i]) || got[i] == 0
                            : nan         ? isnan(got[i])
                            : isinf(want) ? got[i] == want
                                          : fabs(got[i] - want) <= 0.0041 * fabs(want) + 1e-36;
                CHECK_MSG(good, "%s: activation %d of %g is %g, not %g", ops->name, act, values[i],
                          got[i], want);
            }
            ops_free(ops);
        }
    }
}

/* ---- mul, add_gated, combine ---------------------------------------------------------------- */

static void test_mul(struct ops *ops)
{
    static const int64_t sizes[] = {1, 3, 17, 513, 20003};
    for (int s = 0; s < 5; s++) {
        for (int t = 0; t < 8; t++) {
            int64_t n = sizes[s];
            enum fill fill = (enum fill)((s + t) % FILLS);
            struct ops_tensor a = ops_make(ops, types[t & 1], LAYOUT_DENSE, fill, 1e15, SHAPE(n));
            struct ops_tensor c =
                ops_make(ops, types[t >> 1 & 1], LAYOUT_DENSE, FILL_NORMAL, 1, SHAPE(n));
            struct ops_tensor y = ops_output(ops, types[t >> 2], LAYOUT_DENSE, SHAPE(n));
            double *want = ops_doubles(ops, n), *tolerance = ops_doubles(ops, n);
            for (int64_t i = 0; i < n; i++) {
                want[i] = a.value[i] * c.value[i];
                tolerance[i] = (ops_unit(y.t.type) * 1.01 + 0x1p-24) * fabs(want[i]);
            }
            op_mul(ops->b, y.t, a.t, c.t);
            ops_compare(ops, "mul", &y, want, tolerance);
            if (a.t.type == y.t.type) {
                op_mul(ops->b, a.t, a.t, c.t);
                ops_compare(ops, "mul in place", &a, want, tolerance);
            }
            if (c.t.type == y.t.type && c.t.type == a.t.type) {
                ops_set(ops, &a, a.value);
                op_mul(ops->b, c.t, a.t, c.t);
                ops_compare(ops, "mul in place of b", &c, want, tolerance);
            }
            ops_free(ops);
        }
    }
}

static void check_add(struct ops *ops, int64_t rows, int64_t width, int64_t gates, int variant)
{
    enum fill fill = (enum fill)(variant % FILLS);
    enum layout layout = variant & 4 ? LAYOUT_ROWS : LAYOUT_DENSE;
    struct ops_tensor x = ops_make(ops, types[variant & 1], layout, fill, 1e10, SHAPE(rows, width));
    struct ops_tensor y =
        ops_make(ops, types[variant >> 1 & 1], layout, fill, 1e10, SHAPE(rows, width));
    struct ops_tensor g =
        ops_make(ops, TENSOR_F32, layout, FILL_NORMAL, 1, SHAPE(gates ? gates : 1, width));
    double *want = ops_doubles(ops, x.count), *tolerance = ops_doubles(ops, x.count);
    for (int64_t i = 0; i < x.count; i++) {
        int64_t f = gates ? i / width / (rows / gates) : 0;
        double part = y.value[i] * (gates ? g.value[f * width + i % width] : 1);
        want[i] = x.value[i] + part;
        tolerance[i] =
            ops_unit(x.t.type) * 1.01 * fabs(want[i]) + 0x1p-23 * (fabs(x.value[i]) + fabs(part));
    }
    op_add_gated(ops->b, x.t, y.t, gates ? g.t : (struct tensor){0});
    ops_compare(ops, "add_gated", &x, want, tolerance);
    ops_free(ops);
}

static void test_add(struct ops *ops)
{
    static const int64_t widths[] = {1, 3, 17, 384, 1000};
    for (int s = 0; s < 5; s++) {
        for (int variant = 0; variant < 8; variant++) {
            check_add(ops, 6, widths[s], 0, variant);
            check_add(ops, 6, widths[s], 1, variant);
            check_add(ops, 6, widths[s], 3, variant);
            check_add(ops, 6, widths[s], 6, variant);
        }
    }
    check_add(ops, 150, 1000, 3, 0);
    check_add(ops, 150, 1000, 3, 3);
}

static void test_combine(struct ops *ops)
{
    static const int64_t sizes[] = {1, 3, 17, 513, 20003};
    for (int s = 0; s < 5; s++) {
        for (int terms = 1; terms <= COMBINE_TERMS; terms++) {
            int64_t n = sizes[s];
            int in_place = (int)ops_between(-1, terms - 1);
            struct ops_tensor x[COMBINE_TERMS], y;
            struct tensor view[COMBINE_TERMS];
            float factor[COMBINE_TERMS];
            double *want = ops_doubles(ops, n), *tolerance = ops_doubles(ops, n);
            for (int t = 0; t < terms; t++) {
                x[t] = ops_make(ops, TENSOR_F32, LAYOUT_DENSE, (enum fill)((s + t) % FILLS), 1e10,
                                SHAPE(n));
                view[t] = x[t].t;
                factor[t] = (float)ops_uniform(-2, 2);
                for (int64_t i = 0; i < n; i++) {
                    double part = (double)factor[t] * x[t].value[i];
                    want[i] += part;
                    tolerance[i] += 8 * 0x1p-24 * fabs(part);
                }
            }
            y = in_place < 0 ? ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(n)) : x[in_place];
            op_combine(ops->b, y.t, terms, factor, view);
            ops_compare(ops, "combine", &y, want, tolerance);
            ops_free(ops);
        }
    }
}

static void test_all(struct ops *ops)
{
    test_copy(ops);
    test_rounding(ops);
    test_upload(ops);
    test_activate(ops);
    test_sweep(ops);
    test_special(ops);
    test_mul(ops);
    test_add(ops);
    test_combine(ops);
}

int main(int argc, char **argv)
{
    ops_options(argc, argv);
    ops_run("elementwise", false, test_all);
    return test_end();
}
