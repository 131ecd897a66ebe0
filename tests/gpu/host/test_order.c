/* The operations that the CUDA backend is asked for, against those of the CPU backend: the same ones on
 * the same shapes and types in the same order, and nothing allocated once a video is in its stride.
 *
 *   test_order GOLDEN MODULE        MODULE: the backend's host code over stand-ins, no device */
#include <inttypes.h>

#include "model/rollout.h"
#include "model/vae.h"
#include "model/video_decoder.h"
#include "test.h"

enum { H = 4, W = 6, BLOCK = 3, LINES_MAX = 20000, LINE = 160 };

struct journal {
    char (*line)[LINE];
    int count;
    int steady; /* lines before the last block */
};

static const char *golden;
static const struct backend_ops *real;
static struct journal *into;

/* ---- the recorder ------------------------------------------------------------------------------ */

static void note(const char *name, const struct tensor *a, const struct tensor *b, const char *more)
{
    char text[2][64] = {"", ""};
    const struct tensor *t[] = {a, b};
    for (int i = 0; i < 2; i++) {
        size_t length = 0;
        for (int d = 0; t[i] && t[i]->data && d < t[i]->dims; d++)
            length += (size_t)snprintf(text[i] + length, sizeof text[i] - length, "%s%" PRId64,
                                       d ? "x" : t[i]->type == TENSOR_F32 ? "f32 " : "16 ", t[i]->shape[d]);
    }
    if (into->count < LINES_MAX)
        snprintf(into->line[into->count++], LINE, "%s [%s] [%s] %s", name, text[0], text[1], more);
}

static const char *named(const char *format, int a, int b)
{
    static char text[64];
    snprintf(text, sizeof text, format, a, b);
    return text;
}

static void *rec_alloc(struct backend *b, size_t bytes)
{
    note("alloc", NULL, NULL, "");
    return real->alloc(b, bytes);
}

static void rec_copy(struct backend *b, const struct tensor *y, const struct tensor *x)
{
    note("copy", y, x, "");
    real->copy(b, y, x);
}

static void rec_activate(struct backend *b, const struct tensor *y, const struct tensor *x,
                         enum activation act)
{
    note("activate", y, x, named("%d", act, 0));
    real->activate(b, y, x, act);
}

static void rec_linear(struct backend *b, const struct tensor *y, const struct tensor *x,
                       struct linear *w, enum activation act)
{
    note("linear", y, x, named("%d precise %d", act, w->desc.precise));
    real->linear(b, y, x, w, act);
}

static void rec_conv(struct backend *b, const struct tensor *y, const struct tensor *x, struct conv *w,
                     enum activation act, bool accumulate)
{
    note("conv", y, x, named("%d add %d", act, accumulate));
    real->conv(b, y, x, w, act, accumulate);
}

/* Counts as the convolution onto its result that it stands for, and the activation behind it. */
static void rec_conv_add(struct backend *b, const struct tensor *y, const struct tensor *z,
                         const struct tensor *x, struct conv *w, enum activation act)
{
    note("conv", y, x, named("%d add %d", ACT_NONE, true));
    if (act != ACT_NONE)
        note("activate", y, y, named("%d", act, 0));
    real->conv_add(b, y, z, x, w, act);
}

static void rec_attention(struct backend *b, const struct tensor *y, const struct tensor *q,
                          const struct tensor *k, const struct tensor *v, float scale,
                          const struct tensor *relative_bias)
{
    note("attention", q, k, named("bias %d", relative_bias != NULL, 0));
    real->attention(b, y, q, k, v, scale, relative_bias);
}

static void rec_rms_norm(struct backend *b, const struct tensor *y, const struct tensor *x,
                         const struct tensor *gain, float eps, enum activation act)
{
    note("rms_norm", y, x, named("%d", act, 0));
    real->rms_norm(b, y, x, gain, eps, act);
}

static void rec_layer_norm(struct backend *b, const struct tensor *y, const struct tensor *x,
                           const struct tensor *scale, const struct tensor *shift, float eps,
                           float offset)
{
    note("layer_norm", y, x, "");
    real->layer_norm(b, y, x, scale, shift, eps, offset);
}

static void rec_rope(struct backend *b, const struct tensor *y, const struct tensor *x,
                     const struct rope_tables *tables)
{
    note("rope", y, x, "");
    real->rope(b, y, x, tables);
}

/* Where it is one operation it counts as the two that it stands for. */
static void rec_rms_norm_rope(struct backend *b, const struct tensor *y, const struct tensor *x,
                              const struct tensor *gain, float eps, const struct rope_tables *tables)
{
    note("rms_norm", y, x, named("%d", ACT_NONE, 0));
    note("rope", y, y, "");
    real->rms_norm_rope(b, y, x, gain, eps, tables);
}

static void rec_add_gated(struct backend *b, const struct tensor *x, const struct tensor *y,
                          const struct tensor *gate)
{
    note("add_gated", x, y, named("gate %d", gate != NULL, 0));
    real->add_gated(b, x, y, gate);
}

static void rec_mul(struct backend *b, const struct tensor *y, const struct tensor *a,
                    const struct tensor *c)
{
    note("mul", y, a, "");
    real->mul(b, y, a, c);
}

static void rec_combine(struct backend *b, const struct tensor *y, int terms, const float *factor,
                        const struct tensor *x)
{
    note("combine", y, x, named("%d terms", terms, 0));
    real->combine(b, y, terms, factor, x);
}

static void rec_picture(struct backend *b, const struct picture_target *target, const struct tensor *x,
                        float scale, float offset)
{
    note("picture", x, NULL, named("%d", (int)target->format, 0));
    real->picture(b, target, x, scale, offset);
}

/* Fused operations count as what they stand for. */
static void rec_add_gated_layer_norm(struct backend *b, const struct tensor *y, const struct tensor *x,
                                     const struct tensor *a, const struct tensor *gate,
                                     const struct tensor *scale, const struct tensor *shift, float eps,
                                     float offset)
{
    note("add_gated", x, a, named("gate %d", gate != NULL, 0));
    note("layer_norm", y, x, "");
    real->add_gated_layer_norm(b, y, x, a, gate, scale, shift, eps, offset);
}

static void note_turned(struct tensor y, struct tensor x)
{
    note("rms_norm", &y, &x, named("%d", ACT_NONE, 0));
    note("rope", &y, &y, "");
}

static void rec_store_qkv(struct backend *b, const struct store_qkv *s)
{
    for (int64_t i = 0, run; i < s->x_k.shape[0]; i += run) {
        int64_t slot = s->slots[i];
        for (run = 1; i + run < s->x_k.shape[0] && s->slots[i + run] == slot + run;)
            run++;
        struct tensor v = tensor_slice(s->v, 0, slot, run), x_v = tensor_slice(s->x_v, 0, i, run);
        note_turned(tensor_slice(s->k, 0, slot, run), tensor_slice(s->x_k, 0, i, run));
        note("copy", &v, &x_v, "");
    }
    if (s->q.data)
        note_turned(s->q, s->x_q);
    real->store_qkv(b, s);
}

static void rec_attention_held(struct backend *b, const struct tensor *y, const struct tensor *q,
                               const struct tensor *k, const struct tensor *v, float scale,
                               const struct tensor *held, int64_t count)
{
    struct tensor keys = tensor_slice(*k, 0, 0, count);
    note("attention", q, &keys, named("bias %d", 0, 0));
    real->attention_held(b, y, q, k, v, scale, held, count);
}

static void rec_rope_table(struct backend *b, const struct tensor *table, const struct tensor *start)
{
    note("rope_table", table, NULL, "");
    real->rope_table(b, table, start);
}

static void rec_sinusoid(struct backend *b, const struct tensor *y, const struct tensor *timestep)
{
    note("sinusoid", y, timestep, "");
    real->sinusoid(b, y, timestep);
}

static void rec_noise(struct backend *b, const struct tensor *x, const struct noise_key *key,
                      uint64_t frame, uint32_t step)
{
    note("noise", x, NULL, named("frame %d step %d", (int)frame, (int)step));
    real->noise(b, x, key, frame, step);
}

static const struct backend_ops *recorder(void)
{
    static struct backend_ops ops;
    ops = *real;
    ops.alloc = rec_alloc;
    ops.copy = rec_copy;
    ops.activate = rec_activate;
    ops.linear = rec_linear;
    ops.conv = rec_conv;
    ops.conv_add = real->conv_add ? rec_conv_add : NULL;
    ops.attention = rec_attention;
    ops.rms_norm = rec_rms_norm;
    ops.layer_norm = rec_layer_norm;
    ops.rope = rec_rope;
    ops.rms_norm_rope = real->rms_norm_rope ? rec_rms_norm_rope : NULL;
    ops.add_gated = rec_add_gated;
    ops.mul = rec_mul;
    ops.combine = rec_combine;
    ops.picture = rec_picture;
    ops.pictures = NULL;
    ops.rope_table = rec_rope_table;
    ops.sinusoid = rec_sinusoid;
    ops.noise = rec_noise;
    ops.add_gated_layer_norm = real->add_gated_layer_norm ? rec_add_gated_layer_norm : NULL;
    ops.store_qkv = real->store_qkv ? rec_store_qkv : NULL;
    ops.attention_held = real->attention_held ? rec_attention_held : NULL;
    ops.record_begin = NULL; /* every operation is to be seen */
    return &ops;
}

/* ---- what is recorded ---------------------------------------------------------------------------- */

static const struct noise_key noise_key = {.seed = 7};

/* Four blocks, the window computed again before the last; with guidance if `multi`. */
static void denoise(struct backend *b, struct transformer *transformer, struct tensor text, bool multi)
{
    struct rollout r;
    struct rollout_config config = {
        .h = H, .w = W, .window = 6, .sink = 1, .steps = multi ? 0 : 2, .timestep = {1000, 500},
        .shift = 5, .context_noise = 20, .sampling_steps = 3, .sampling_shift = 5, .guidance_scale = 3,
    };
    block_plan_init(&config.plan, BLOCK, 0, 4 * BLOCK, false);
    CHECK(rollout_open(&r, transformer, &config, (struct noise_source){.key = &noise_key}) == 0);
    rollout_set_text(&r, text, text);
    for (int block = 0; block < 4; block++) {
        if (block == 3) {
            into->steady = into->count;
            rollout_recache(&r, true);
        }
        CHECK(rollout_next(&r).shape[0] == BLOCK && backend_status(b) == 0);
    }
    for (int i = into->steady; i < into->count; i++)
        CHECK_MSG(strncmp(into->line[i], "alloc", 5), "allocated in the last block");
    rollout_close(&r);
}

static void decode(struct backend *b)
{
    char path[4200];
    struct weights *weights;
    struct vae *vae;
    struct video_decoder *decoder;
    struct arena arena;
    snprintf(path, sizeof path, "%s/nano/wan_models/Wan2.1-T2V-nano/Wan2.1_VAE.pth", golden);
    CHECK(weights_open(&weights, path, NULL, &test_log) == 0);
    CHECK(vae_open(&vae, b, weights, &test_log) == 0);
    CHECK(vae_decoder_open(&decoder, vae, H, W, 1) == 0);
    arena_init(&arena, b);
    struct tensor z = arena_tensor(&arena, TENSOR_F32, SHAPE(1, H, W, LATENT_CHANNELS));
    for (int i = 0; i < 3; i++)
        CHECK(video_decoder_decode(decoder, z).shape[0] == (i ? 4 : 1) && backend_status(b) == 0);
    arena_finish(&arena);
    video_decoder_close(decoder);
    vae_close(vae);
    weights_close(weights);
}

static void record(struct journal *recording, const struct backend_config *machine)
{
    char path[4200];
    struct backend *b;
    struct weights *weights;
    struct transformer transformer;
    struct transformer_config config;
    struct arena arena;
    recording->line = calloc(LINES_MAX, sizeof *recording->line);
    into = recording;
    CHECK_MSG(backend_open(&b, machine, &test_log) == 0, "%s", test_message);
    real = b->ops;
    b->ops = recorder();
    snprintf(path, sizeof path, "%s/nano/wan_models/Wan2.1-T2V-nano/config.json", golden);
    CHECK(transformer_config_read(&config, path, &test_log) == 0);
    snprintf(path, sizeof path, "%s/nano/checkpoints/self_forcing_mini.pt", golden);
    CHECK(weights_open(&weights, path, "generator_ema", &test_log) == 0);
    CHECK(transformer_open(&transformer, b, &config, weights, &test_log) == 0);
    arena_init(&arena, b);
    struct tensor text = arena_tensor(&arena, TENSOR_F32, SHAPE(config.text_len, transformer.text_dim));
    denoise(b, &transformer, text, false);
    denoise(b, &transformer, text, true);
    decode(b);
    arena_finish(&arena);
    transformer_close(&transformer);
    weights_close(weights);
    b->ops = real;
    backend_close(b);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    golden = argv[1];
    for (int bf16 = 0; bf16 < 2; bf16++) {
        struct journal cpu = {0}, cuda = {0};
        struct backend_config machine = {.device = "cpu", .dtype = "f32", .threads = 1};
        record(&cpu, &machine);
        machine.device = "cuda";
        machine.module = argv[2];
        machine.dtype = bf16 ? "bf16" : "f32"; /* not every processor has bf16: types are not compared */
        record(&cuda, &machine);
        CHECK_MSG(cpu.count > 500 && cpu.count < LINES_MAX, "%d operations", cpu.count);
        CHECK_MSG(cpu.count == cuda.count, "%d operations, %d on the device", cpu.count, cuda.count);
        int differ = 0;
        for (int i = 0; i < cpu.count && i < cuda.count && !differ && !bf16; i++) {
            differ = strcmp(cpu.line[i], cuda.line[i]);
            CHECK_MSG(!differ, "operation %d: %s, on the device %s", i, cpu.line[i], cuda.line[i]);
        }
        printf("%s: %d operations\n", machine.dtype, cuda.count);
        free(cpu.line);
        free(cuda.line);
    }
    return test_end();
}
