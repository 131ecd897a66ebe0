/* attention: lengths, widths, strides, relative bias, flat and peaked distributions. */
#include "ops.h"

struct example {
    int64_t queries, keys, heads, width;
    bool biased;
    enum fill fill;
    double large; /* of FILL_LARGE */
};

/* Rows of heads inside of wider rows, as q, k and v lie in one product. */
static struct ops_tensor make(struct ops *ops, enum tensor_type type, enum layout layout,
                              const struct example *e, int64_t length)
{
    int64_t shape[] = {length, e->heads, e->width};
    return ops_make(ops, type, layout, e->fill, e->large, 3, shape);
}

struct operands {
    const struct example *e;
    const double *q, *k, *v, *bias;
    double scale;
    bool probabilities_bf16; /* an implementation may round them */
};

/* One query of one head. */
static void refer(const struct operands *o, int64_t i, int64_t head, double *want,
                  double *tolerance, double *p)
{
    const struct example *e = o->e;
    double most = -INFINITY, sum = 0, slack = 0;
    const double *q = o->q + (i * e->heads + head) * e->width;
    for (int64_t j = 0; j < e->keys; j++) {
        const double *k = o->k + (j * e->heads + head) * e->width;
        double size = 0;
        p[j] = ops_dot(q, 1, k, 1, e->width, &size) * o->scale;
        size *= fabs(o->scale);
        if (o->bias) {
            double b = o->bias[head * (e->queries + e->keys - 1) + j - i + e->queries - 1];
            p[j] += b;
            size += fabs(b);
        }
        most = fmax(most, p[j]);
        slack = fmax(slack, size * (8 + sqrt((double)e->width)) * 0x1p-24);
    }
    for (int64_t j = 0; j < e->keys; j++)
        sum += p[j] = exp(p[j] - most);
    double relative = 2 * slack + 1e-6 + (o->probabilities_bf16 ? 2.02 * 0x1p-8 : 0) +
                      sqrt((double)e->keys) * 0x1p-23;
    for (int64_t d = 0; d < e->width; d++) {
        double size = 0;
        const double *v = o->v + head * e->width + d;
        double y = ops_dot(p, 1, v, e->heads * e->width, e->keys, &size) / sum;
        int64_t at = (i * e->heads + head) * e->width + d;
        want[at] = y;
        tolerance[at] =
            relative * size / sum + (o->probabilities_bf16 ? 1.01 * 0x1p-8 : 0x1p-23) * fabs(y);
    }
}

static void check(struct ops *ops, const struct example *e, enum tensor_type type)
{
    enum layout layout = e->queries % 2 ? LAYOUT_FRAMES : LAYOUT_DENSE;
    struct ops_tensor q = make(ops, type, layout, e, e->queries);
    struct ops_tensor k = make(ops, type, layout, e, e->keys),
                      v = make(ops, type, layout, e, e->keys);
    struct ops_tensor y = make(ops, type, layout, e, e->queries);
    struct ops_tensor bias = ops_make(ops, TENSOR_F32, layout, FILL_NORMAL, 1,
                                      SHAPE(e->heads, e->queries + e->keys - 1));
    double *want = ops_doubles(ops, y.count), *tolerance = ops_doubles(ops, y.count);
    float scale = e->biased ? 1 : (float)(1 / sqrt((double)e->width));
    struct operands o = {e,
                         q.value,
                         k.value,
                         v.value,
                         e->biased ? bias.value : NULL,
                         (double)scale,
                         type == TENSOR_BF16};
    double *p = ops_doubles(ops, e->keys);
    for (int64_t i = 0; i < e->queries; i++)
        for (int64_t head = 0; head < e->heads; head++)
            refer(&o, i, head, want, tolerance, p);
    op_attention(ops->b, y.t, q.t, k.t, v.t, scale, e->biased ? bias.t : (struct tensor){0});
    char what[128];
    snprintf(what, sizeof what, "attention %s: %lld queries, %lld keys, %lld heads of %lld%s, %s",
             tensor_type_name(type), (long long)e->queries, (long long)e->keys, (long long)e->heads,
             (long long)e->width, e->biased ? ", bias" : "", fill_name(e->fill));
    ops_compare(ops, what, &y, want, tolerance);
    ops_free(ops);
}

/* q, k and v as columns of one product: token stride 3 times the width. */
static void test_columns(struct ops *ops, enum tensor_type type, enum layout layout)
{
    struct example e = {22, 22, 3, 16, .fill = FILL_NORMAL};
    int64_t width = e.heads * e.width;
    struct ops_tensor qkv =
        ops_make(ops, type, layout, FILL_NORMAL, 1, SHAPE(e.queries, 3 * width));
    struct ops_tensor y =
        ops_output(ops, type, LAYOUT_DENSE, SHAPE(e.queries, e.heads, e.width));
    struct tensor part[3];
    double *value[3], *p = ops_doubles(ops, e.keys);
    for (int i = 0; i < 3; i++) {
        part[i] = tensor_reshape(tensor_slice(qkv.t, 1, i * width, width),
                                 SHAPE(e.queries, e.heads, e.width));
        value[i] = ops_doubles(ops, y.count);
        for (int64_t j = 0; j < y.count; j++)
            value[i][j] = qkv.value[j / width * 3 * width + i * width + j % width];
    }
    double *want = ops_doubles(ops, y.count), *tolerance = ops_doubles(ops, y.count);
    struct operands o = {&e, value[0], value[1], value[2], NULL, 0.25, type == TENSOR_BF16};
    for (int64_t i = 0; i < e.queries; i++)
        for (int64_t head = 0; head < e.heads; head++)
            refer(&o, i, head, want, tolerance, p);
    op_attention(ops->b, y.t, part[0], part[1], part[2], 0.25f, (struct tensor){0});
    ops_compare(ops, "attention over columns", &y, want, tolerance);
    ops_free(ops);
}

static void test_all(struct ops *ops)
{
    static const struct example examples[] = {
        {1, 1, 1, 1},
        {1, 3, 2, 4},
        {3, 17, 2, 17},
        {17, 1, 1, 64, .biased = true},
        {50, 129, 2, 64},
        {33, 260, 3, 32, .biased = true},
        {193, 128, 1, 128},
        {400, 31, 1, 20},
        {32, 201, 12, 128}, /* even numbers of queries are aligned, as libraries want it */
        {16, 97, 1, 384},
        {40, 72, 2, 24},
        {7, 300, 1, 384},
        {5, 40, 2, 16, .fill = FILL_LARGE, .large = 8},
        {5, 140, 2, 16, .fill = FILL_LARGE, .large = 30},
        {5, 140, 2, 16, .fill = FILL_EQUAL},
        {5, 140, 2, 16, .fill = FILL_ZERO, .biased = true},
        {5, 140, 2, 16, .fill = FILL_TINY},
        {5, 140, 2, 16, .fill = FILL_DENORMAL},
        {9, 70, 2, 24, .fill = FILL_MIXED, .large = 10},
    };
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        check(ops, &examples[i], TENSOR_F32);
        check(ops, &examples[i], TENSOR_BF16);
    }
    test_columns(ops, TENSOR_F32, LAYOUT_ROWS);
    test_columns(ops, TENSOR_F32, LAYOUT_DENSE);
    test_columns(ops, TENSOR_BF16, LAYOUT_ROWS);
    test_columns(ops, TENSOR_BF16, LAYOUT_DENSE);
}

int main(int argc, char **argv)
{
    ops_options(argc, argv);
    ops_run("attention", true, test_all);
    return test_end();
}
