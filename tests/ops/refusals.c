/* Wrong shapes and types: the status sticks, one line is logged, later operations do nothing, and
 * after backend_clear() all is well again. Also opening with options that make no sense. */
#include "ops.h"

#include "cpu/cpu.h"
#include "cpu/peak.h"

/* One test asks for more memory than there is. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static int lines;

static void count_line(void *opaque, int level, const char *message)
{
    test_log_write(opaque, level, message);
    lines += level <= UNREEL_LOG_WARNING;
}

static struct tensor f32(struct ops *ops, int dims, const int64_t *shape)
{
    return ops_output(ops, TENSOR_F32, LAYOUT_DENSE, dims, shape).t;
}

static struct tensor of(struct ops *ops, enum tensor_type type, int dims, const int64_t *shape)
{
    return ops_output(ops, type, LAYOUT_DENSE, dims, shape).t;
}

/* The operation before this call must have failed; `word` is in its message. */
static void expect(struct ops *ops, const char *word)
{
    CHECK_MSG(backend_status(ops->b) == UNREEL_EINVAL, "%s: %s was not refused", ops->name, word);
    CHECK_MSG(lines == 1 && strstr(test_message, word), "%s: %d lines: %s", ops->name, lines,
              test_message);
    /* Nothing happens now. */
    struct backend *b = ops->b;
    b->status = 0;
    struct ops_tensor y = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(7));
    b->status = UNREEL_EINVAL;
    op_activate(b, y.t, y.t, ACT_CLAMP01);
    op_mul(b, y.t, y.t, y.t);
    op_activate(b, tensor_slice(y.t, 0, 0, 3), y.t, ACT_NONE); /* wrong, and not logged either */
    CHECK(lines == 1 && backend_status(b) == UNREEL_EINVAL);
    backend_clear(b);
    CHECK(backend_status(b) == 0);
    double tolerance[7] = {0};
    ops_compare(ops, "untouched after a refusal", &y, y.value, tolerance);
    op_activate(b, y.t, y.t, ACT_CLAMP01);
    const double *now = ops_read(ops, &y);
    for (int i = 0; i < 7; i++)
        CHECK(now[i] == fmin(fmax(y.value[i], 0), 1));
    lines = 0;
    test_message[0] = 0;
}

static void refuse_elementwise(struct ops *ops)
{
    struct backend *b = ops->b;
    struct tensor a = f32(ops, SHAPE(4, 6)), c = f32(ops, SHAPE(4, 5)), g = f32(ops, SHAPE(3, 6));
    op_copy(b, a, c);
    expect(ops, "copy");
    op_activate(b, a, c, ACT_SILU);
    expect(ops, "activate");
    op_activate(b, tensor_slice(a, 1, 0, 5), c, ACT_SILU); /* not contiguous */
    expect(ops, "activate");
    op_activate(b, (struct tensor){.dims = 2, .shape = {4, 6}}, a, ACT_SILU); /* no memory */
    expect(ops, "activate");
    op_mul(b, a, a, c);
    expect(ops, "mul");
    op_add_gated(b, a, c, (struct tensor){0});
    expect(ops, "add_gated");
    op_add_gated(b, a, a, g); /* 3 does not divide 4 */
    expect(ops, "add_gated");
    op_combine(b, a, 2, (float[]){1, 1}, (struct tensor[]){a, c});
    expect(ops, "combine");
    op_combine(b, a, COMBINE_TERMS + 1, (float[COMBINE_TERMS + 1]){0}, &a);
    expect(ops, "combine");
    backend_upload(b, a, c);
    expect(ops, "upload");
    backend_download(b, a, c);
    expect(ops, "download");
}

static void refuse_norms(struct ops *ops)
{
    struct backend *b = ops->b;
    struct tensor x = f32(ops, SHAPE(4, 6)), g = f32(ops, SHAPE(6)), one = f32(ops, SHAPE(1, 6));
    op_rms_norm(b, x, x, f32(ops, SHAPE(5)), 0, ACT_NONE);
    expect(ops, "rms_norm");
    op_rms_norm(b, x, x, of(ops, TENSOR_BF16, SHAPE(6)), 0, ACT_NONE);
    expect(ops, "rms_norm");
    op_rms_norm(b, x, tensor_slice(x, 0, 0, 3), g, 0, ACT_NONE);
    expect(ops, "rms_norm");
    op_layer_norm(b, x, x, one, f32(ops, SHAPE(2, 6)), 0, 0);
    expect(ops, "layer_norm");
    op_layer_norm(b, x, x, f32(ops, SHAPE(3, 6)), f32(ops, SHAPE(3, 6)), 0, 0);
    expect(ops, "layer_norm");
    struct tensor r = f32(ops, SHAPE(1, 1, 2, 1, 8));
    struct rope_tables t = {f32(ops, SHAPE(1, 2, 2)), f32(ops, SHAPE(1, 1, 2)),
                            f32(ops, SHAPE(2, 2, 2))};
    op_rope(b, r, r, &t); /* 5 pairs for 8 */
    expect(ops, "rope");
    t.frame = f32(ops, SHAPE(1, 1, 2));
    t.column = f32(ops, SHAPE(1, 2, 2)); /* one column for 2 */
    op_rms_norm_rope(b, r, r, f32(ops, SHAPE(8)), 0, &t);
    expect(ops, "rms_norm_rope");
}

static void refuse_heavy(struct ops *ops)
{
    struct backend *b = ops->b;
    enum tensor_type type = b->compute, other = type == TENSOR_F32 ? TENSOR_BF16 : TENSOR_F32;
    float *memory = ops_memory(ops, 4096);
    struct linear_desc desc = {.parts = 1,
                               .weight = {tensor_make(memory, TENSOR_F32, SHAPE(5, 6))}};
    struct linear w;
    backend_linear_init(b, &w, &desc);
    op_linear(b, f32(ops, SHAPE(4, 5)), of(ops, type, SHAPE(4, 7)), &w, ACT_NONE);
    expect(ops, "linear");
    op_linear(b, f32(ops, SHAPE(4, 6)), of(ops, type, SHAPE(4, 6)), &w, ACT_NONE);
    expect(ops, "linear");
    op_linear(b, f32(ops, SHAPE(4, 5)), of(ops, other, SHAPE(4, 6)), &w, ACT_NONE);
    expect(ops, "linear");
    backend_linear_finish(b, &w);
    desc.parts = 2; /* the second is missing */
    backend_linear_init(b, &w, &desc);
    expect(ops, "linear");
    backend_linear_finish(b, &w);
    desc.parts = 1;
    desc.quantise = desc.precise = true;
    backend_linear_init(b, &w, &desc);
    expect(ops, "linear");
    backend_linear_finish(b, &w);
    struct tensor e4m3 = arena_tensor(&ops->arena, TENSOR_E4M3, SHAPE(4, 6));
    op_quantise(b, e4m3, f32(ops, SHAPE(4, 6))); /* not on a CPU */
    expect(ops, "quantise");

    struct conv_desc conv_desc = {.weight = tensor_make(memory, TENSOR_F32, SHAPE(2, 3, 3, 3, 3)),
                                  .pad_before = 1,
                                  .pad_after = 1};
    struct conv conv;
    backend_conv_init(b, &conv, &conv_desc);
    struct tensor x = of(ops, type, SHAPE(3, 4, 5, 3));
    op_conv(b, of(ops, type, SHAPE(3, 4, 5, 2)), x, &conv, ACT_NONE, false); /* one frame fits */
    expect(ops, "conv");
    op_conv(b, of(ops, type, SHAPE(1, 4, 5, 3)), x, &conv, ACT_NONE, false);
    expect(ops, "conv");
    op_conv(b, of(ops, type, SHAPE(1, 4, 5, 2)), x, &conv, ACT_SILU, true);
    expect(ops, "conv");
    op_conv(b, of(ops, other, SHAPE(1, 4, 5, 2)), x, &conv, ACT_NONE, false);
    expect(ops, "conv");
    backend_conv_finish(b, &conv);
    conv_desc.bias = tensor_make(memory, TENSOR_F32, SHAPE(3));
    backend_conv_init(b, &conv, &conv_desc);
    expect(ops, "conv");
    backend_conv_finish(b, &conv);

    struct tensor q = f32(ops, SHAPE(4, 2, 8)), k = f32(ops, SHAPE(6, 2, 8)), none = {0};
    op_attention(b, q, q, k, q, 1, none);
    expect(ops, "attention");
    op_attention(b, q, q, k, of(ops, TENSOR_BF16, SHAPE(6, 2, 8)), 1, none);
    expect(ops, "attention");
    op_attention(b, q, q, k, k, 1, f32(ops, SHAPE(2, 8)));
    expect(ops, "attention");
    op_attention(b, q, q, k, k, 1, f32(ops, SHAPE(3, 9)));
    expect(ops, "attention");
}

static void refuse_rest(struct ops *ops)
{
    struct backend *b = ops->b;
    struct picture_target target = {.format = UNREEL_FORMAT_I420};
    op_picture(b, &target, f32(ops, SHAPE(3, 4, 3)), 1, 0);
    expect(ops, "picture");
    op_picture(b, &target, f32(ops, SHAPE(4, 4, 4)), 1, 0);
    expect(ops, "picture");
    struct tensor t = arena_tensor(&ops->arena, TENSOR_F32, SHAPE(INT64_MAX / 2, 1000));
    CHECK(!t.data);
    expect(ops, "size");
    t = arena_tensor(&ops->arena, TENSOR_F32, SHAPE(1, -1));
    CHECK(!t.data);
    expect(ops, "size");
    t = arena_tensor(&ops->arena, TENSOR_F32, SHAPE((int64_t)1 << 58)); /* nobody has this much */
    CHECK(!t.data && backend_status(b) == UNREEL_ENOMEM && lines == 1);
    backend_clear(b);
    lines = 0;
}

static struct tensor ints(struct ops *ops, int64_t count)
{
    struct tensor t = arena_tensor(&ops->arena, TENSOR_I32, SHAPE(count));
    int32_t *host = ops_memory(ops, (size_t)count * sizeof *host);
    for (int64_t i = 0; i < count; i++)
        host[i] = (int32_t)i;
    backend_upload(ops->b, t, tensor_make(host, TENSOR_I32, SHAPE(count)));
    return t;
}

static void refuse_forward(struct ops *ops)
{
    struct backend *b = ops->b;
    const struct noise_key key = {0};
    op_rope_table(b, f32(ops, SHAPE(3, 4, 2)), f32(ops, SHAPE(1)));
    expect(ops, "rope_table");
    op_rope_table(b, f32(ops, SHAPE(3, 4, 3)), ints(ops, 1));
    expect(ops, "rope_table");
    op_sinusoid(b, f32(ops, SHAPE(3, 8)), f32(ops, SHAPE(2)));
    expect(ops, "sinusoid");
    op_sinusoid(b, f32(ops, SHAPE(3, 7)), f32(ops, SHAPE(3)));
    expect(ops, "sinusoid");
    op_noise(b, of(ops, TENSOR_BF16, SHAPE(2, 8)), &key, 0, 0);
    expect(ops, "noise");
    backend_upload(b, ints(ops, 4), f32(ops, SHAPE(4)));
    expect(ops, "whole numbers");
    struct tensor q = f32(ops, SHAPE(5, 2, 8)), k = f32(ops, SHAPE(9, 2, 8));
    op_attention_held(b, q, q, k, k, 1, ints(ops, 1), 10);
    expect(ops, "attention_held");
    op_attention_held(b, q, q, k, k, 1, ints(ops, 2), 9);
    expect(ops, "attention_held");
    struct tensor x = f32(ops, SHAPE(6, 8)), one = f32(ops, SHAPE(1, 8));
    op_add_gated_layer_norm(b, f32(ops, SHAPE(6, 8)), x, f32(ops, SHAPE(5, 8)), one, one, one, 0, 1);
    expect(ops, "add_gated");
    op_pictures(b, 2, NULL, f32(ops, SHAPE(1, 4, 4, 3)), 1, 0);
    expect(ops, "pictures");
    ops_free(ops);
}

static void refuse_store(struct ops *ops)
{
    struct backend *b = ops->b;
    int32_t slots[] = {0, 3};
    struct tensor x = f32(ops, SHAPE(2, 1, 3, 2, 8)), ring = f32(ops, SHAPE(4, 1, 3, 2, 8));
    struct store_qkv good = {
        .k = ring,
        .v = ring,
        .x_q = x,
        .x_k = x,
        .x_v = x,
        .gain_q = f32(ops, SHAPE(16)),
        .gain_k = f32(ops, SHAPE(16)),
        .rope = {f32(ops, SHAPE(2, 2, 2)), f32(ops, SHAPE(1, 1, 2)), f32(ops, SHAPE(3, 1, 2))},
        .slot = ints(ops, 2),
        .slots = slots,
    };
    op_store_qkv(b, &good);
    CHECK_MSG(backend_status(b) == 0, "%s", test_message);
    struct store_qkv bad[5] = {good, good, good, good, good};
    bad[0].gain_k = f32(ops, SHAPE(15));
    bad[1].k = f32(ops, SHAPE(4, 1, 4, 2, 8));
    bad[2].slot = ints(ops, 3);
    bad[3].x_v = of(ops, TENSOR_BF16, SHAPE(2, 1, 3, 2, 8));
    bad[4].q = f32(ops, SHAPE(3, 1, 3, 2, 8));
    for (int i = 0; i < 5; i++) {
        op_store_qkv(b, &bad[i]);
        expect(ops, "store_qkv");
    }
    slots[1] = 4; /* behind the last */
    op_store_qkv(b, &good);
    expect(ops, "store_qkv");
    ops_free(ops);
}

static void test_all(struct ops *ops)
{
    ops->b->log = (unreel_log){count_line, NULL};
    refuse_elementwise(ops);
    refuse_norms(ops);
    refuse_heavy(ops);
    refuse_rest(ops);
    refuse_forward(ops);
    refuse_store(ops);
}

static void test_open(void)
{
    struct backend *b;
    struct backend_config config = {"cpu", "f16", 1};
    CHECK(backend_open(&b, &config, &test_log) == UNREEL_EINVAL && !b);
    CHECK(strstr(test_message, "f16"));
    config = (struct backend_config){"toaster", "f32", 1};
    CHECK(backend_open(&b, &config, &test_log) < 0 && !b);
    CHECK(strstr(test_message, "toaster"));
    config = (struct backend_config){"cpu", "auto", 0};
    CHECK(backend_open(&b, &config, NULL) == 0 && b->threads >= 1);
    CHECK(!b->round_bf16);
    backend_close(b);
    config.dtype = "bf16";
    CHECK(backend_open(&b, &config, NULL) == 0);
    CHECK(b->compute == TENSOR_BF16 || b->round_bf16);
    backend_close(b);
    backend_close(NULL);
}

static void last_line(void *opaque, int level, const char *message)
{
    snprintf(test_message, sizeof test_message, "%d %s", level, message);
    lines++;
}

/* A type that is only imitated is said so, once, and only where it was asked for. */
static void test_imitation(void)
{
    static const char *const types[] = {"bf16", "auto", "f32"};
    for (int i = 0; i < 3; i++) {
        struct backend *b;
        struct backend_config config = {"cpu", types[i], 1};
        struct cpu_choice choice = {.bf16 = -1};
        lines = 0;
        CHECK(cpu_open_as(&b, &config, &(unreel_log){last_line, NULL}, &choice) == 0);
        CHECK(b->compute == TENSOR_F32 && b->round_bf16 == (i == 0) && lines == (i == 0));
        CHECK(i || (test_message[0] == '0' + UNREEL_LOG_INFO && strstr(test_message, "bf16")));
        backend_close(b);
        choice.bf16 = 1;
        choice.widens = -1;
        lines = 0;
        CHECK(cpu_open_as(&b, &config, &(unreel_log){last_line, NULL}, &choice) == 0);
        CHECK(b->compute == (i == 2 ? TENSOR_F32 : TENSOR_BF16) && !b->round_bf16 && !lines);
        CHECK(!cpu_of(b)->widens);
        backend_close(b);
        choice.widens = 1;
        CHECK(cpu_open_as(&b, &config, &(unreel_log){last_line, NULL}, &choice) == 0);
        CHECK(cpu_of(b)->widens == (i < 2) && lines == (i < 2));
        CHECK(i == 2 || (test_message[0] == '0' + UNREEL_LOG_DEBUG && strstr(test_message, "f32")));
        backend_close(b);
    }
}

/* The choice agrees with the peaks that a longer measurement finds. */
static void test_widens(void)
{
    struct backend *b;
    struct backend_config config = {"cpu", "f32", 1};
    if (cpu_open_as(&b, &config, &test_log, &(struct cpu_choice){0}) < 0)
        exit(1);
    double f32 = cpu_peak_measure(cpu_of(b), CPU_PEAK_MULTIPLY_ADD, NULL);
    double dot = cpu_peak_measure(cpu_of(b), CPU_PEAK_BF16_DOT, NULL);
    double amx = cpu_peak_measure(cpu_of(b), CPU_PEAK_AMX, NULL);
    for (int i = 0; i < 5; i++)
        CHECK_MSG(cpu_widens() == (f32 >= dot && f32 >= amx), "f32 %g, dot %g, AMX %g FLOP/s", f32,
                  dot, amx);
    backend_close(b);
}

int main(int argc, char **argv)
{
    ops_options(argc, argv);
    ops_run("refusals", true, test_all);
    test_open();
    test_imitation();
    test_widens();
    return test_end();
}
