/* linear: parts, biases, types of files, precise, transient, mapped. */
#include "ops.h"

#include <unistd.h>

#include "base/file.h"

/* Weights as a file holds them, and what they are worth. */
struct host {
    struct tensor t;
    double *value;
};

static uint16_t encode_bf16(double x)
{
    union {
        float f;
        uint32_t u;
    } v = {.f = (float)x};
    return (uint16_t)(v.u >> 16);
}

static struct host make_host(struct ops *ops, enum tensor_type type, enum fill fill, int dims,
                             const int64_t *shape)
{
    struct host h = {tensor_make(NULL, type, dims, shape), NULL};
    int64_t count = tensor_count(&h.t);
    h.t.data = ops_memory(ops, (size_t)count * 4);
    h.value = ops_doubles(ops, count);
    for (int64_t i = 0; i < count; i++) {
        double x = ops_value(fill, 1e10);
        if (type == TENSOR_F32) {
            h.value[i] = ops_round(x, TENSOR_F32);
            ((float *)h.t.data)[i] = (float)h.value[i];
        } else if (type == TENSOR_BF16) {
            h.value[i] = ops_round(x, TENSOR_BF16);
            ((uint16_t *)h.t.data)[i] = encode_bf16(h.value[i]);
        } else { /* f16 with sizes from 2^-7 to 2^2 */
            int fraction = (int)ops_between(0, 1023), exponent = (int)ops_between(8, 16);
            int negative = (int)ops_between(0, 1);
            ((uint16_t *)h.t.data)[i] = (uint16_t)(negative << 15 | exponent << 10 | fraction);
            h.value[i] = ldexp(1024 + fraction, exponent - 25) * (negative ? -1 : 1);
        }
    }
    return h;
}

static double activation(double x, enum activation act)
{
    if (act == ACT_GELU_TANH)
        return 0.5 * x * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
    return act == ACT_SILU ? x / (1 + exp(-x)) : x;
}

struct example {
    int64_t m, k;
    int parts;
    int64_t n[LINEAR_PARTS];
    enum tensor_type file, y;
    enum layout layout;
    enum fill fill;
    enum activation act;
    bool biased, precise, transient, mapped;
};

struct weights {
    struct host weight[LINEAR_PARTS], bias[LINEAR_PARTS];
    int64_t n;
};

/* y [M, N] and what it may be off by. */
static void refer(struct ops *ops, const struct example *e, const struct weights *w,
                  const struct ops_tensor *x, double *want, double *tolerance)
{
    for (int64_t m = 0; m < e->m; m++) {
        int64_t column = 0;
        for (int p = 0; p < e->parts; p++) {
            for (int64_t n = 0; n < e->n[p]; n++, column++) {
                double sum = e->biased ? w->bias[p].value[n] : 0, size = fabs(sum);
                sum += ops_dot(x->value + m * e->k, 1, w->weight[p].value + n * e->k, 1, e->k, &size);
                double y = activation(sum, e->act);
                want[m * w->n + column] = y;
                tolerance[m * w->n + column] =
                    ops_unit(e->y) * 1.01 * fabs(y) +
                    (8 + sqrt((double)e->k)) * 0x1p-24 * size * (1 + 1.2 * (e->act != ACT_NONE)) +
                    4e-6 * fabs(y) * (e->act != ACT_NONE) +
                    (double)e->k * 1.2e-38; /* bf16 units flush denormal products */
            }
        }
    }
}

static void describe(const struct example *e, char *text, size_t size)
{
    snprintf(text, size, "linear %lld x %lld x %lld.. (%d parts) file %s, y %s, %s, act %d%s%s%s",
             (long long)e->m, (long long)e->n[0], (long long)e->k, e->parts,
             tensor_type_name(e->file), tensor_type_name(e->y), fill_name(e->fill), e->act,
             e->biased ? ", bias" : "", e->precise ? ", precise" : "",
             e->transient ? ", transient" : "");
}

/* Weights that lie in a file: their pages can be dropped. */
static void map_weights(struct ops *ops, const struct example *e, struct weights *w,
                        struct file *file)
{
    char path[] = "/tmp/unreel-test-XXXXXX";
    int fd = mkstemp(path);
    size_t at[LINEAR_PARTS], end = 0;
    bool good = fd >= 0;
    for (int p = 0; p < e->parts; p++) {
        size_t bytes = tensor_bytes(&w->weight[p].t);
        at[p] = end;
        good = good && pwrite(fd, w->weight[p].t.data, bytes, (off_t)end) == (ssize_t)bytes;
        end += (bytes + 63) & ~(size_t)63;
    }
    good = good && ftruncate(fd, (off_t)end) == 0 && file_map(file, path, &test_log) == 0;
    CHECK(good);
    for (int p = 0; good && p < e->parts; p++) {
        w->weight[p].t.data = (void *)(file->data + at[p]);
        w->weight[p].t.mapped = true;
    }
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
}

static void check(struct ops *ops, const struct example *e)
{
    struct weights w = {0};
    struct file file = {0};
    bool rounds = !e->precise && (ops->b->round_bf16 || ops->b->compute == TENSOR_BF16);
    struct linear_desc desc = {
        .parts = e->parts, .precise = e->precise, .transient = e->transient};
    for (int p = 0; p < e->parts; p++) {
        w.weight[p] = make_host(ops, e->file, e->fill == FILL_EQUAL ? FILL_NORMAL : e->fill,
                                SHAPE(e->n[p], e->k));
        w.bias[p] = make_host(ops, e->file, FILL_NORMAL, SHAPE(e->n[p]));
        w.n += e->n[p];
        for (int64_t i = 0; rounds && i < e->n[p] * e->k; i++)
            w.weight[p].value[i] = ops_round(w.weight[p].value[i], TENSOR_BF16);
        for (int64_t i = 0; rounds && ops->b->round_bias && i < e->n[p]; i++)
            w.bias[p].value[i] = ops_round(w.bias[p].value[i], TENSOR_BF16);
    }
    if (e->mapped)
        map_weights(ops, e, &w, &file);
    for (int p = 0; p < e->parts; p++) {
        desc.weight[p] = w.weight[p].t;
        if (e->biased)
            desc.bias[p] = w.bias[p].t;
    }
    struct linear linear;
    backend_linear_init(ops->b, &linear, &desc);
    struct ops_tensor x = ops_make(ops, e->precise ? TENSOR_F32 : ops->b->compute, e->layout,
                                   e->fill, 1e10, SHAPE(e->m, e->k));
    struct ops_tensor y = ops_output(ops, e->y, e->layout, SHAPE(e->m, w.n));
    double *want = ops_doubles(ops, y.count), *tolerance = ops_doubles(ops, y.count);
    refer(ops, e, &w, &x, want, tolerance);
    char what[160];
    describe(e, what, sizeof what);
    for (int times = 0; times < 2; times++) { /* the second time weights are there */
        op_linear(ops->b, y.t, x.t, &linear, e->act);
        ops_compare(ops, what, &y, want, tolerance);
        ops_set(ops, &y, y.value);
    }
    backend_linear_finish(ops->b, &linear);
    if (e->mapped)
        file_unmap(&file);
    ops_free(ops);
}

static void test_shapes(struct ops *ops)
{
    static const int64_t shapes[][3] = {{1, 1, 1},     {1, 17, 3},    {3, 33, 17},   {17, 31, 64},
                                        {2, 100, 257}, {97, 40, 300}, {5, 300, 513}, {200, 70, 33}};
    static const enum tensor_type files[] = {TENSOR_F32, TENSOR_BF16, TENSOR_F16};
    for (int s = 0; s < 8; s++) {
        for (int i = 0; i < 12; i++) {
            struct example e = {
                .m = shapes[s][0],
                .k = shapes[s][2],
                .parts = 1,
                .n = {shapes[s][1]},
                .file = files[i % 3],
                .y = i & 1 ? TENSOR_BF16 : TENSOR_F32,
                .layout = i & 2 ? LAYOUT_ROWS : LAYOUT_DENSE,
                .fill = (enum fill)((s + i) % FILLS),
                .act = i % 5 == 1   ? ACT_GELU_TANH
                       : i % 5 == 3 ? ACT_SILU
                                    : ACT_NONE,
                .biased = i % 4 != 2,
                .precise = i % 3 == 1,
            };
            check(ops, &e);
        }
    }
}

static void test_parts(struct ops *ops)
{
    static const int64_t n[][LINEAR_PARTS] = {{32, 32, 32}, {1, 2, 3, 4}, {17, 64, 5}, {384, 1}};
    for (int i = 0; i < 16; i++) {
        struct example e = {.m = 19,
                            .k = 48 + i,
                            .parts = i % 4 == 1   ? 4
                                     : i % 4 == 3 ? 2
                                                  : 3,
                            .file = i & 1 ? TENSOR_BF16 : TENSOR_F32,
                            .y = i & 2 ? TENSOR_BF16 : TENSOR_F32,
                            .biased = i & 4,
                            .precise = i & 8};
        memcpy(e.n, n[i % 4], sizeof e.n);
        check(ops, &e);
    }
}

static void test_pages(struct ops *ops)
{
    for (int i = 0; i < 12; i++) {
        struct example e = {.m = i & 1 ? 120 : 7,
                            .k = 500,
                            .parts = 2,
                            .n = {61, 37},
                            .file = i & 2 ? TENSOR_BF16 : TENSOR_F32,
                            .y = TENSOR_F32,
                            .act = i & 1 ? ACT_SILU : ACT_NONE,
                            .biased = true,
                            .mapped = i < 8,
                            .transient = i >= 4};
        check(ops, &e);
    }
}

static void test_all(struct ops *ops)
{
    test_shapes(ops);
    test_parts(ops);
    test_pages(ops);
}

int main(int argc, char **argv)
{
    ops_options(argc, argv);
    ops_run("linear", true, test_all);
    return test_end();
}
