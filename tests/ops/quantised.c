/* Products of E4M3, on a device that has them. What is quantised is read by a product with the
 * identity, whose ones E4M3 holds. */
#include "ops.h"

/* Nearest E4M3, ties to even. */
static double round_e4m3(double x)
{
    int exponent;
    if (isnan(x) || fabs(x) >= 448)
        return isnan(x) ? x : copysign(448, x);
    frexp(x, &exponent); /* in [0.5, 1) 2^exponent */
    double unit = ldexp(1, (exponent < -5 ? -5 : exponent) - 4);
    return nearbyint(x / unit) * unit;
}

/* Rows as a backend must quantise them: y holds what they are worth then, `scale` what one is. */
static void quantise_rows(const double *x, int64_t rows, int64_t width, double *y, double *scale)
{
    for (int64_t r = 0; r < rows; r++) {
        float most = 0;
        for (int64_t i = 0; i < width; i++)
            most = fmaxf(most, fabsf((float)x[r * width + i]));
        float one = fmaxf(most / 448, 0x1p-100f), inverse = 1 / one;
        for (int64_t i = 0; i < width; i++)
            y[r * width + i] =
                (double)one * round_e4m3((double)((float)x[r * width + i] * inverse));
        scale[r] = (double)one;
    }
}

static struct tensor make_quantised(struct ops *ops, int64_t rows, int64_t width)
{
    return arena_tensor(&ops->arena, TENSOR_E4M3, SHAPE(rows, width));
}

/* Compares q [rows, width] with what it was made from, which may be off by `slack` (NULL: 0). */
static void compare_quantised(struct ops *ops, const char *what, struct tensor q,
                              const double *want, const double *slack)
{
    int64_t rows = q.shape[0], width = q.shape[1];
    float *one = ops_memory(ops, (size_t)(width * width) * sizeof *one);
    struct linear identity;
    struct linear_desc desc = {
        .parts = 1,
        .quantise = true,
        .weight = {tensor_make(one, TENSOR_F32, SHAPE(width, width))},
    };
    for (int64_t i = 0; i < width; i++)
        one[i * width + i] = 1;
    backend_linear_init(ops->b, &identity, &desc);
    struct ops_tensor y = ops_output(ops, TENSOR_BF16, LAYOUT_DENSE, SHAPE(rows, width));
    double *tolerance = ops_doubles(ops, rows * width);
    for (int64_t r = 0; r < rows; r++) {
        double most = 0x1p-100 * 448;
        for (int64_t i = 0; i < width; i++)
            most = fmax(most, fabs(want[r * width + i]));
        for (int64_t i = 0; i < width; i++) { /* half a step of E4M3, then of bf16 */
            double size = fabs(want[r * width + i]), off = slack ? 2 * slack[r * width + i] : 0;
            tolerance[r * width + i] =
                off + fmax(size * 0x1p-4 * 1.01, most / 448 * 0x1p-10 * 1.01) + size * 0x1p-8;
        }
    }
    op_linear(ops->b, y.t, q, &identity, ACT_NONE);
    ops_compare(ops, what, &y, want, tolerance);
    backend_linear_finish(ops->b, &identity);
}

static void test_quantise(struct ops *ops)
{
    static const int64_t shapes[][2] = {{1, 16}, {5, 32}, {3, 17}, {130, 64}, {7, 1}};
    for (int s = 0; s < 5; s++) {
        for (int f = 0; f < 2 * FILLS; f++) {
            struct ops_tensor x =
                ops_make(ops, f & 1 ? TENSOR_BF16 : TENSOR_F32, f % 3 ? LAYOUT_DENSE : LAYOUT_ROWS,
                         (enum fill)(f / 2), 1e10, SHAPE(shapes[s][0], shapes[s][1]));
            struct tensor q = make_quantised(ops, shapes[s][0], shapes[s][1]);
            op_quantise(ops->b, q, x.t);
            compare_quantised(ops, fill_name((enum fill)(f / 2)), q, x.value, NULL);
            ops_free(ops);
        }
    }
}

/* Rows of a larger matrix keep their own scales. */
static void test_slices(struct ops *ops)
{
    enum { ROWS = 12, PART = 4, WIDTH = 32 };
    struct ops_tensor x =
        ops_make(ops, TENSOR_BF16, LAYOUT_DENSE, FILL_MIXED, 1e4, SHAPE(ROWS, WIDTH));
    struct tensor q = make_quantised(ops, ROWS, WIDTH);
    for (int from = ROWS - PART; from >= 0; from -= PART)
        op_quantise(ops->b, tensor_slice(q, 0, from, PART), tensor_slice(x.t, 0, from, PART));
    compare_quantised(ops, "rows piece by piece", q, x.value, NULL);
    for (int from = 0; from < ROWS; from += PART)
        compare_quantised(ops, "piece", tensor_slice(q, 0, from, PART), x.value + from * WIDTH,
                          NULL);
    ops_free(ops);
}

/* ---- products ------------------------------------------------------------------------------- */

struct example {
    int64_t m, n, k;
    int parts;
    enum activation act;
    bool biased, again; /* again: the result is quantised */
};

static double activation(double x, enum activation act)
{
    if (act == ACT_GELU_TANH)
        return 0.5 * x * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
    return act == ACT_SILU ? x / (1 + exp(-x)) : act == ACT_RELU ? fmax(x, 0) : x;
}

/* Sums may be short of a few bits; on the way results are rounded to bf16 before and after what
 * follows the product. */
static void refer(const struct example *e, int64_t n, const double *x, const double *w,
                  const double *bias, double *want, double *tolerance)
{
    for (int64_t m = 0; m < e->m; m++) {
        for (int64_t i = 0; i < n; i++) {
            double size = 0, shift = e->biased ? bias[i] : 0;
            double sum = ops_dot(x + m * e->k, 1, w + i * e->k, 1, e->k, &size);
            double y = activation(sum + shift, e->act);
            want[m * n + i] = y;
            tolerance[m * n + i] =
                1.2 * (size * 0x1p-11 + fabs(sum) * 0x1p-8 + fabs(shift) * 0x1p-20) +
                1.01 * fabs(y) * 0x1p-8;
        }
    }
}

static void check_product(struct ops *ops, const struct example *e)
{
    int64_t n = e->parts * e->n;
    struct linear_desc desc = {.parts = e->parts, .quantise = true};
    struct ops_tensor x =
        ops_make(ops, TENSOR_BF16, LAYOUT_DENSE, FILL_NORMAL, 1, SHAPE(e->m, e->k));
    double *weight = ops_doubles(ops, n * e->k), *bias = ops_doubles(ops, n);
    double *scale = ops_doubles(ops, n > e->m ? n : e->m);
    double *want = ops_doubles(ops, e->m * n), *tolerance = ops_doubles(ops, e->m * n);
    float *file = ops_memory(ops, (size_t)(n * e->k + n) * sizeof *file), *shift = file + n * e->k;
    for (int64_t i = 0; i < n * e->k; i++) /* outputs of sizes that differ */
        weight[i] = (double)(file[i] = (float)(ops_value(FILL_NORMAL, 1) *
                                               pow(2, (double)(i / e->k % 9) - 6)));
    for (int64_t i = 0; i < n; i++)
        bias[i] = ops_round((double)(shift[i] = (float)ops_value(FILL_NORMAL, 1)), TENSOR_BF16);
    for (int p = 0; p < e->parts; p++) {
        desc.weight[p] = tensor_make(file + p * e->n * e->k, TENSOR_F32, SHAPE(e->n, e->k));
        if (e->biased)
            desc.bias[p] = tensor_make(shift + p * e->n, TENSOR_F32, SHAPE(e->n));
    }
    struct linear linear;
    backend_linear_init(ops->b, &linear, &desc);
    struct tensor q = make_quantised(ops, e->m, e->k), r = make_quantised(ops, e->m, n);
    struct ops_tensor y = ops_output(ops, TENSOR_BF16, LAYOUT_DENSE, SHAPE(e->m, n));
    op_quantise(ops->b, q, x.t);
    op_linear(ops->b, e->again ? r : y.t, q, &linear, e->act);
    quantise_rows(weight, n, e->k, weight, scale);
    quantise_rows(x.value, e->m, e->k, x.value, scale);
    refer(e, n, x.value, weight, bias, want, tolerance);
    char what[96];
    snprintf(what, sizeof what, "%lld x %d * %lld x %lld, act %d%s%s", (long long)e->m, e->parts,
             (long long)e->n, (long long)e->k, e->act, e->biased ? ", bias" : "",
             e->again ? ", quantised" : "");
    if (e->again)
        compare_quantised(ops, what, r, want, tolerance);
    else
        ops_compare(ops, what, &y, want, tolerance);
    backend_linear_finish(ops->b, &linear);
    ops_free(ops);
}

static void test_products(struct ops *ops)
{
    static const int64_t shapes[][3] = {{1, 16, 16}, {5, 32, 48}, {70, 80, 96},
                                        {3, 33, 16}, {9, 16, 21}, {66, 1, 5}};
    static const enum activation acts[] = {ACT_NONE, ACT_GELU_TANH, ACT_RELU, ACT_SILU};
    for (int s = 0; s < 6; s++) {
        for (int i = 0; i < 16; i++) {
            const struct example e = {.m = shapes[s][0],
                                      .n = shapes[s][1],
                                      .k = shapes[s][2],
                                      .parts = i % 3 == 2 ? 3 : 1,
                                      .act = acts[i % 4],
                                      .biased = i & 4,
                                      .again = i & 8};
            check_product(ops, &e);
        }
    }
}

/* ---- norms ---------------------------------------------------------------------------------- */

static void check_norm(struct ops *ops, int64_t rows, int64_t width, bool gated)
{
    struct ops_tensor x =
        ops_make(ops, TENSOR_F32, LAYOUT_DENSE, FILL_NORMAL, 1, SHAPE(rows, width));
    struct ops_tensor a =
        ops_make(ops, TENSOR_BF16, LAYOUT_DENSE, FILL_NORMAL, 1, SHAPE(rows, width));
    struct ops_tensor scale = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(1, width));
    struct ops_tensor shift = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(1, width));
    struct tensor q = make_quantised(ops, rows, width);
    double *want = ops_doubles(ops, rows * width), *slack = ops_doubles(ops, rows * width);
    for (int64_t r = 0; r < rows; r++) {
        double *v = x.value + r * width, mean = 0, square = 0;
        for (int64_t i = 0; i < width; i++)
            mean += (v[i] += gated ? a.value[r * width + i] : 0) / (double)width;
        for (int64_t i = 0; i < width; i++)
            square += (v[i] - mean) * (v[i] - mean) / (double)width;
        for (int64_t i = 0; i < width; i++) {
            double normed = (v[i] - mean) / sqrt(square + 1e-6) * (1 + scale.value[i]);
            want[r * width + i] = normed + shift.value[i];
            slack[r * width + i] = 1e-5 * (1 + fabs(normed));
        }
    }
    if (gated)
        op_add_gated_layer_norm(ops->b, q, x.t, a.t, (struct tensor){0}, scale.t, shift.t, 1e-6f,
                                1);
    else
        op_layer_norm(ops->b, q, x.t, scale.t, shift.t, 1e-6f, 1);
    compare_quantised(ops, gated ? "gated sum and norm" : "norm", q, want, slack);
    ops_free(ops);
}

static void test_norms(struct ops *ops)
{
    static const int64_t widths[] = {16, 21, 160};
    for (int w = 0; w < 3; w++)
        for (int gated = 0; gated < 2; gated++)
            check_norm(ops, 6, widths[w], gated);
}

static void test_all(struct ops *ops)
{
    CHECK(ops->b->fp8 && ops->b->compute == TENSOR_BF16);
    test_quantise(ops);
    test_slices(ops);
    test_products(ops);
    test_norms(ops);
}

int main(int argc, char **argv)
{
    ops_options(argc, argv);
    ops_run_fp8("quantised", test_all);
    return test_end();
}
