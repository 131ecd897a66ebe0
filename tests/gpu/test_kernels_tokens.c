/* Rotary embedding, the ring of keys and values, angles, attention over a part of the ring. */
#include "base/angles.h"
#include "test_kernels.h"

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

void test_store(struct ops *ops)
{
    static const int64_t shapes[][5] = {
        {1, 1, 1, 1, 6}, {3, 2, 5, 2, 64}, {2, 3, 1, 3, 22}, {3, 1, 2, 12, 128}};
    for (int s = 0; s < 4; s++)
        for (int variant = 0; variant < 16; variant++)
            check_store(ops, shapes[s], variant);
}

void test_positions(struct ops *ops)
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

/* ---- attention ----------------------------------------------------------------------------- */

/* Only the keys held count, whatever lies behind them. */
void test_keys_held(struct ops *ops)
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
