/* What a forward needs besides the plain operations: tables from numbers in backend memory, noise, and
 * fused operations against what they stand for. */
#include "base/angles.h"
#include "base/noise.h"
#include "ops.h"

static const enum tensor_type types[] = {TENSOR_F32, TENSOR_BF16};

/* i32 [count] in backend memory, between others. */
static struct tensor ints(struct ops *ops, int64_t count, const int32_t *value)
{
    struct tensor all = arena_tensor(&ops->arena, TENSOR_I32, SHAPE(count + 8));
    struct tensor t = tensor_slice(all, 0, 4, count);
    backend_upload(ops->b, t, tensor_make((void *)(uintptr_t)value, TENSOR_I32, SHAPE(count)));
    return t;
}

/* Against f32 values of the host. */
static void compare_host(struct ops *ops, const char *what, const struct ops_tensor *y,
                         const float *host, double relative, double absolute)
{
    double *want = ops_doubles(ops, y->count), *tolerance = ops_doubles(ops, y->count);
    for (int64_t i = 0; i < y->count; i++) {
        want[i] = (double)host[i];
        tolerance[i] = relative * fabs(want[i]) + absolute;
    }
    ops_compare(ops, what, y, want, tolerance);
}

static void test_tables(struct ops *ops)
{
    static const int32_t starts[] = {0, 1, 1023, 1000000000};
    for (int i = 0; i < 4; i++) {
        struct ops_tensor table = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(3, 22, 2));
        float *host = ops_memory(ops, (size_t)table.count * sizeof *host);
        op_rope_table(ops->b, table.t, ints(ops, 1, &starts[i]));
        angles_of_positions(host, starts[i], 3, 22);
        compare_host(ops, "rope_table", &table, host, 0, 0x1p-24 + starts[i] * 0x1p-51);
    }
    struct ops_tensor time = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(3));
    struct ops_tensor y = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(3, 2 * 13));
    float *host = ops_memory(ops, (size_t)y.count * sizeof *host), level[] = {0, 999.5f, 57.25f};
    ops_set(ops, &time, (const double[]){0, 999.5, 57.25});
    op_sinusoid(ops->b, y.t, time.t);
    angles_of_timesteps(host, level, 3, 13);
    compare_host(ops, "sinusoid", &y, host, 0, 0x1p-24);
    ops_free(ops);
}

static void test_noise(struct ops *ops)
{
    const struct noise_key key = {.seed = 0x123456789abcdef0, .prompt = 3, .sample = 9};
    enum { FRAMES = 3, COUNT = 1002 };
    struct ops_tensor x = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(FRAMES, 3, COUNT / 3));
    float *host = ops_memory(ops, (size_t)x.count * sizeof *host);
    op_noise(ops->b, x.t, &key, 0xfffffffe, 4);
    for (int f = 0; f < FRAMES; f++)
        noise_frame(host + f * COUNT, COUNT, &key, 0xfffffffe + (uint64_t)f, 4);
    compare_host(ops, "noise", &x, host, 0x1p-23, 0);
    ops_free(ops);
}

/* ---- fused ----------------------------------------------------------------------------------- */

/* The same sums of numbers about 1, in another order or rounded once more. */
static void compare_near(struct ops *ops, const char *what, const struct ops_tensor *y,
                         const double *want)
{
    double *tolerance = ops_doubles(ops, y->count), unit = ops_unit(y->t.type);
    double relative = (y->t.type == TENSOR_F32 ? 16 : 3.03) * unit;
    for (int64_t i = 0; i < y->count; i++)
        tolerance[i] = relative * fabs(want[i]) + 8 * unit;
    ops_compare(ops, what, y, want, tolerance);
}

static void check_sum(struct ops *ops, int64_t rows, int64_t width, int64_t groups, int variant)
{
    enum layout layout = variant & 4 ? LAYOUT_ROWS : LAYOUT_DENSE;
    enum tensor_type type = types[variant & 1];
    struct ops_tensor x = ops_make(ops, types[variant >> 1 & 1], layout, FILL_NORMAL, 1, SHAPE(rows, width));
    struct ops_tensor a = ops_make(ops, type, layout, FILL_NORMAL, 1, SHAPE(rows, width));
    struct ops_tensor y[2], sum = ops_output(ops, x.t.type, layout, SHAPE(rows, width));
    struct ops_tensor gate = ops_output(ops, TENSOR_F32, layout, SHAPE(groups, width));
    struct ops_tensor scale = ops_output(ops, TENSOR_F32, layout, SHAPE(groups, width));
    struct ops_tensor shift = ops_output(ops, TENSOR_F32, layout, SHAPE(groups, width));
    struct tensor gates = variant & 8 ? (struct tensor){0} : gate.t;
    for (int i = 0; i < 2; i++)
        y[i] = ops_output(ops, type, layout, SHAPE(rows, width));
    ops_set(ops, &sum, x.value);
    op_add_gated(ops->b, sum.t, a.t, gates);
    op_layer_norm(ops->b, y[0].t, sum.t, scale.t, shift.t, 1e-6f, 1);
    op_add_gated_layer_norm(ops->b, y[1].t, x.t, a.t, gates, scale.t, shift.t, 1e-6f, 1);
    compare_near(ops, "add_gated_layer_norm: sum", &x, ops_read(ops, &sum));
    compare_near(ops, "add_gated_layer_norm", &y[1], ops_read(ops, &y[0]));
    ops_free(ops);
}

static void test_sums(struct ops *ops)
{
    for (int variant = 0; variant < 16; variant++) {
        check_sum(ops, 6, 24, 3, variant);
        check_sum(ops, 5, 37, 1, variant);
        check_sum(ops, 4, 1536, 2, variant);
    }
}

enum { SLOTS = 7 };

/* Frames of one part of the product [F H W, 3 C]. */
static struct tensor part_of(const struct ops_tensor *qkv, const int64_t *shape, int part)
{
    int64_t c = shape[3] * shape[4];
    return tensor_reshape(tensor_slice(qkv->t, 1, part * c, c), 5, shape);
}

static void check_store(struct ops *ops, const int64_t *shape, int variant, const int32_t *slots)
{
    enum tensor_type type = types[variant & 1], out = types[variant >> 1 & 1];
    enum layout layout = variant & 4 ? LAYOUT_ROWS : LAYOUT_DENSE;
    int64_t c = shape[3] * shape[4], frame = shape[1] * shape[2] * c, half = shape[4] / 2;
    const int64_t pairs[3] = {half - 2 * (half / 3), half / 3, half / 3};
    struct ops_tensor qkv = ops_make(ops, type, layout, FILL_NORMAL, 1,
                                     SHAPE(shape[0] * shape[1] * shape[2], 3 * c));
    struct ops_tensor gain[2], axis[3], to[3], turned[2];
    for (int i = 0; i < 3; i++) {
        axis[i] = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(shape[i], pairs[i], (int64_t)2));
        to[i] = ops_output(ops, out, LAYOUT_FRAMES,
                           SHAPE(i ? SLOTS : shape[0], shape[1], shape[2], shape[3], shape[4]));
    }
    struct store_qkv s = {
        .q = variant & 8 ? (struct tensor){0} : to[0].t,
        .k = to[1].t,
        .v = to[2].t,
        .x_q = part_of(&qkv, shape, 0),
        .x_k = part_of(&qkv, shape, 1),
        .x_v = part_of(&qkv, shape, 2),
        .eps = 1e-6f,
        .rope = {axis[0].t, axis[1].t, axis[2].t},
        .slot = ints(ops, shape[0], slots),
        .slots = slots,
    };
    for (int i = 0; i < 2; i++) {
        gain[i] = ops_make(ops, TENSOR_F32, LAYOUT_DENSE, FILL_NORMAL, 1, SHAPE(c));
        turned[i] = ops_output(ops, out, LAYOUT_DENSE, 5, shape);
        op_rms_norm_rope(ops->b, turned[i].t, i ? s.x_k : s.x_q, gain[i].t, s.eps, &s.rope);
    }
    s.gain_q = gain[0].t;
    s.gain_k = gain[1].t;
    op_store_qkv(ops->b, &s);
    const double *k = ops_read(ops, &turned[1]);
    double *want[2] = {ops_doubles(ops, to[1].count), ops_doubles(ops, to[2].count)};
    for (int i = 0; i < 2; i++)
        memcpy(want[i], to[1 + i].value, (size_t)to[1 + i].count * sizeof(double));
    for (int64_t i = 0; i < shape[0] * frame; i++) {
        int64_t at = slots[i / frame] * frame + i % frame;
        want[0][at] = k[i];
        want[1][at] = ops_round(qkv.value[i / c * 3 * c + 2 * c + i % c], out);
    }
    compare_near(ops, "store_qkv: q", &to[0],
                 s.q.data ? ops_read(ops, &turned[0]) : to[0].value);
    compare_near(ops, "store_qkv: k", &to[1], want[0]);
    ops_compare_exact(ops, "store_qkv: v", &to[2], want[1]);
    ops_free(ops);
}

static void test_store(struct ops *ops)
{
    static const int64_t shapes[][5] = {{1, 1, 1, 1, 6}, {3, 2, 5, 2, 64}, {3, 1, 2, 12, 128}};
    static const int32_t slots[][3] = {{2, 3, 4}, {5, 6, 0}, {4, 1, 6}}; /* a run, wrapped, apart */
    for (int s = 0; s < 3; s++)
        for (int variant = 0; variant < 16; variant++)
            check_store(ops, shapes[s], variant, slots[variant % 3]);
}

/* Only the keys that are held count, whatever lies behind them. */
static void test_held(struct ops *ops)
{
    enum { QUERIES = 9, HEADS = 2, WIDTH = 16, KEYS = 21 };
    for (int32_t held = 1; held <= KEYS; held += 5) {
        enum tensor_type type = types[held / 5 % 2];
        struct ops_tensor q = ops_output(ops, type, LAYOUT_DENSE, SHAPE(QUERIES, HEADS, WIDTH));
        struct ops_tensor k = ops_output(ops, type, LAYOUT_DENSE, SHAPE(KEYS, HEADS, WIDTH));
        struct ops_tensor v = ops_output(ops, type, LAYOUT_DENSE, SHAPE(KEYS, HEADS, WIDTH));
        struct ops_tensor y[2];
        for (int i = 0; i < 2; i++)
            y[i] = ops_output(ops, type, LAYOUT_DENSE, SHAPE(QUERIES, HEADS, WIDTH));
        struct tensor front_k = tensor_slice(k.t, 0, 0, held), front_v = tensor_slice(v.t, 0, 0, held);
        op_attention(ops->b, y[0].t, q.t, front_k, front_v, 0.25f, (struct tensor){0});
        op_attention_held(ops->b, y[1].t, q.t, k.t, v.t, 0.25f, ints(ops, 1, &held), held);
        compare_near(ops, "attention_held", &y[1], ops_read(ops, &y[0]));
        ops_free(ops);
    }
}

static void test_all(struct ops *ops)
{
    test_tables(ops);
    test_noise(ops);
    test_sums(ops);
    test_store(ops);
    test_held(ops);
}

int main(int argc, char **argv)
{
    ops_options(argc, argv);
    ops_run("forward", false, test_all);
    return test_end();
}
