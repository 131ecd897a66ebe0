/* Recording and replaying, without a device: the CUDA backend's host code as a module over stand-ins
 * that capture what is queued.
 *
 *   test_record GOLDEN MODULE */
#include <stdlib.h>

#include "backend/recorder.h"
#include "model/rollout.h"
#include "model/video_decoder.h"
#include "test.h"

enum { ROWS = 6, WIDTH = 16, H = 4, W = 6, BLOCK = 3, BLOCKS = 6 };

static const char *golden, *module;

static struct backend *open_cuda(const char *dtype)
{
    const struct backend_config config = {.device = "cuda", .dtype = dtype, .module = module};
    struct backend *b = NULL;
    CHECK_MSG(backend_open(&b, &config, &test_log) == 0, "%s", test_message);
    if (!b)
        exit(1);
    return b;
}

/* ---- a piece of work -------------------------------------------------------------------------- */

struct work {
    struct backend *b;
    struct arena arena;
    struct linear linear;
    struct conv conv;
    struct tensor x, y, sum, large; /* bf16 [ROWS, WIDTH] thrice; [4 ROWS, WIDTH] */
    struct recorder recorder;
    atomic_bool cancel;
    bool cancels;
    int issued;
};

static void open_work(struct work *w)
{
    static float weight[WIDTH * WIDTH * 9];
    *w = (struct work){.b = open_cuda("bf16")};
    for (int i = 0; i < WIDTH * WIDTH * 9; i++)
        weight[i] = (float)(i * 37 % 29 - 14) / 64;
    struct linear_desc linear = {.parts = 1, .weight = {tensor_make(weight, TENSOR_F32, SHAPE(WIDTH, WIDTH))}};
    struct conv_desc conv = {.weight = tensor_make(weight, TENSOR_F32, SHAPE(WIDTH, WIDTH, 1, 3, 3)),
                             .pad_before = 1,
                             .pad_after = 1};
    arena_init(&w->arena, w->b);
    recorder_init(&w->recorder, w->b);
    backend_linear_init(w->b, &w->linear, &linear);
    backend_conv_init(w->b, &w->conv, &conv);
    w->x = arena_tensor(&w->arena, TENSOR_BF16, SHAPE(ROWS, WIDTH));
    w->y = arena_tensor(&w->arena, TENSOR_BF16, SHAPE(ROWS, WIDTH));
    w->sum = arena_tensor(&w->arena, TENSOR_BF16, SHAPE(ROWS, WIDTH));
    w->large = arena_tensor(&w->arena, TENSOR_BF16, SHAPE(4 * ROWS, WIDTH));
}

static void close_work(struct work *w)
{
    recorder_finish(&w->recorder);
    backend_linear_finish(w->b, &w->linear);
    backend_conv_finish(w->b, &w->conv);
    arena_finish(&w->arena);
    CHECK(w->b->bytes == 0);
    backend_close(w->b);
}

/* A product, an attention, a convolution that adds, a copy. */
static void issue(void *opaque)
{
    struct work *w = opaque;
    struct tensor y = tensor_reshape(w->y, SHAPE(ROWS, 2, WIDTH / 2));
    struct tensor sum = tensor_reshape(w->sum, SHAPE(ROWS, 2, WIDTH / 2));
    w->issued++;
    op_linear(w->b, w->y, w->x, &w->linear, ACT_GELU_TANH);
    op_attention(w->b, sum, y, y, y, 0.5f, (struct tensor){0});
    if (w->cancels)
        atomic_store(&w->cancel, true);
    op_conv(w->b, tensor_reshape(w->y, SHAPE(1, 2, 3, WIDTH)),
            tensor_reshape(w->sum, SHAPE(1, 2, 3, WIDTH)), &w->conv, ACT_NONE, true);
    op_copy(w->b, w->sum, w->y);
}

/* Runs the work on input number `input`; the result's sum of bits, which differs between inputs. */
static uint64_t run(struct work *w, uint64_t name, int input)
{
    float x[ROWS * WIDTH];
    uint64_t key[RECORDING_KEY] = {name}, sum = 0;
    for (int i = 0; i < ROWS * WIDTH; i++)
        x[i] = (float)((i * 11 + input * 7) % 23 - 11) / 8;
    backend_upload(w->b, w->x, tensor_make(x, TENSOR_F32, SHAPE(ROWS, WIDTH)));
    recorder_run(&w->recorder, key, issue, w);
    backend_download(w->b, tensor_make(x, TENSOR_F32, SHAPE(ROWS, WIDTH)), w->sum);
    for (int i = 0; i < ROWS * WIDTH; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        sum = sum * 31 + bits;
    }
    return sum;
}

static void test_replay(void)
{
    struct work w;
    open_work(&w);
    uint64_t first = run(&w, 1, 1), other = run(&w, 2, 2);
    CHECK(first != other && w.issued == 2 && w.recorder.recorded == 0);
    CHECK(run(&w, 1, 2) == other && w.issued == 3 && w.recorder.recorded == 1);
    for (int i = 0; i < 4; i++)
        CHECK(run(&w, 1, i % 2 + 1) == (i % 2 ? other : first));
    CHECK(w.issued == 3 && w.recorder.replayed == 4);
    struct op_profile profile = {0}; /* operation by operation */
    w.b->profile = &profile;
    CHECK(run(&w, 1, 1) == first && w.issued == 4 && profile.calls[OP_LINEAR] == 1);
    w.b->profile = NULL;
    CHECK(run(&w, 1, 2) == other && w.issued == 4);
    /* The oldest make room. */
    for (uint64_t name = 10; name < 10 + RECORDINGS; name++)
        CHECK(run(&w, name, 1) == first && run(&w, name, 2) == other);
    int issued = w.issued;
    CHECK(run(&w, 1, 1) == first && w.issued == issued + 1);
    CHECK_MSG(backend_status(w.b) == 0, "%s", test_message);
    close_work(&w);
}

/* Scratch memory that grew lies elsewhere: what names the old is recorded again. */
static void test_moved(void)
{
    struct work w;
    open_work(&w);
    uint64_t first = run(&w, 1, 1);
    CHECK(run(&w, 1, 1) == first && run(&w, 1, 1) == first && w.recorder.recorded == 1);
    op_conv(w.b, tensor_reshape(w.large, SHAPE(4, 2, 3, WIDTH)),
            tensor_reshape(w.large, SHAPE(4, 2, 3, WIDTH)), &w.conv, ACT_NONE, true);
    CHECK(run(&w, 1, 1) == first && w.recorder.recorded == 2);
    CHECK(run(&w, 1, 1) == first && w.recorder.recorded == 2 && w.issued == 3);
    CHECK_MSG(backend_status(w.b) == 0, "%s", test_message);
    close_work(&w);
}

static void ask_host(void *opaque)
{
    struct work *w = opaque;
    float x[WIDTH];
    issue(w);
    backend_download(w->b, tensor_make(x, TENSOR_F32, SHAPE(1, WIDTH)), tensor_slice(w->y, 0, 0, 1));
}

/* What cannot be recorded runs, and that is said once. */
static void test_refused(void)
{
    struct work w;
    open_work(&w);
    uint64_t first = run(&w, 1, 1);
    setenv("UNREEL_EMULATE_REFUSE", "graphs", 1);
    test_message[0] = 0;
    CHECK(run(&w, 1, 1) == first && w.recorder.refused && strstr(test_message, "recording failed"));
    unsetenv("UNREEL_EMULATE_REFUSE");
    test_message[0] = 0;
    CHECK(run(&w, 1, 1) == first && !*test_message && w.recorder.recorded == 0 && w.issued == 4);
    recorder_finish(&w.recorder);
    const uint64_t key[RECORDING_KEY] = {5};
    for (int i = 0; i < 3; i++)
        recorder_run(&w.recorder, key, ask_host, &w);
    CHECK(w.recorder.refused && backend_status(w.b) == 0 && w.issued == 8);
    close_work(&w);
}

static void test_cancelled(void)
{
    struct work w;
    open_work(&w);
    w.b->cancel = &w.cancel;
    uint64_t first = run(&w, 1, 1);
    w.cancels = true; /* in the middle of what is recorded */
    run(&w, 1, 1);
    CHECK(backend_status(w.b) == UNREEL_ECANCELED && !w.recorder.refused);
    w.cancels = false;
    atomic_store(&w.cancel, false);
    backend_clear(w.b);
    for (int i = 0; i < 3; i++)
        CHECK(run(&w, 1, 1) == first && backend_status(w.b) == 0);
    CHECK(w.recorder.recorded == 1 && w.recorder.replayed == 2);
    close_work(&w);
}

/* ---- whole videos ------------------------------------------------------------------------------ */

static const struct noise_key noise_key = {.seed = 7};

/* Latents of BLOCKS blocks; forwards and replays of the few-step rollout. */
static void roll(struct backend *b, struct transformer *t, struct tensor text, bool relative, float *x,
                 struct recorder *seen)
{
    struct rollout r;
    struct rollout_config config = {
        .h = H, .w = W, .window = 7, .sink = 1, .relative = relative, .steps = 3,
        .timestep = {1000, 700, 400}, .shift = 5, .context_noise = 20,
    };
    block_plan_init(&config.plan, BLOCK, 0, BLOCKS * BLOCK, false);
    CHECK(rollout_open(&r, t, &config, (struct noise_source){.key = &noise_key}) == 0);
    rollout_set_text(&r, text, (struct tensor){0});
    for (int i = 0; i < BLOCKS; i++) {
        struct tensor latents = rollout_next(&r);
        CHECK_MSG(latents.data && backend_status(b) == 0, "%s", test_message);
        backend_download(b, tensor_make(x + i * BLOCK * H * W * LATENT_CHANNELS, TENSOR_F32, 4, latents.shape),
                         latents);
    }
    rollout_keep(&r);
    *seen = r.work.recorder;
    CHECK(r.times.forwards == 4 * BLOCKS);
    rollout_close(&r);
}

static void test_rollout(const char *dtype)
{
    enum { COUNT = BLOCKS * BLOCK * H * W * LATENT_CHANNELS };
    static float plain[COUNT], replayed[COUNT];
    char path[4200];
    struct backend *b = open_cuda(dtype);
    struct weights *weights;
    struct transformer t;
    struct transformer_config config;
    struct recorder seen;
    struct arena arena;
    snprintf(path, sizeof path, "%s/nano/wan_models/Wan2.1-T2V-nano/config.json", golden);
    CHECK(transformer_config_read(&config, path, &test_log) == 0);
    snprintf(path, sizeof path, "%s/nano/checkpoints/self_forcing_mini.pt", golden);
    CHECK(weights_open(&weights, path, "generator_ema", &test_log) == 0);
    CHECK(transformer_open(&t, b, &config, weights, &test_log) == 0);
    arena_init(&arena, b);
    struct tensor text = arena_tensor(&arena, TENSOR_F32, SHAPE(config.text_len, t.text_dim));
    for (int relative = 0; relative < 2; relative++) {
        struct backend_ops ops = *b->ops;
        const struct backend_ops *real = b->ops;
        ops.record_begin = NULL;
        b->ops = &ops;
        roll(b, &t, text, relative, plain, &seen);
        CHECK(seen.runs == 0);
        b->ops = real;
        roll(b, &t, text, relative, replayed, &seen);
        CHECK_MSG(!memcmp(plain, replayed, sizeof plain), "%s: replayed forwards differ", dtype);
        /* 3, 6 and then 7 frames are held: flows are asked for 3 times, 3 times and 12 times, keys alone
         * once, once and 4 times. Where keys are rotated as they are read, the ring's places count too:
         * there are two of them among the last. The first of a kind is not recorded. */
        CHECK_MSG(!seen.refused && seen.recorded == (relative ? 6 : 4) &&
                      seen.replayed == (relative ? 10 : 14),
                  "%s, relative %d: %d recorded, %d replayed", dtype, relative, (int)seen.recorded,
                  (int)seen.replayed);
    }
    arena_finish(&arena);
    transformer_close(&t);
    weights_close(weights);
    backend_close(b);
}

/* ---- pictures --------------------------------------------------------------------------------- */

enum { SIDE = 2, SCENES = 2, CALLS = 4, FRAMES = 1 + 2 + 3 * (CALLS - 2), PIXELS = 64 * SIDE * SIDE * 3 };

/* Two scenes of a first frame alone, the rest of its block and whole blocks, all from one buffer as a
 * session does it. Pixels into x. */
static void decode(struct backend *b, struct video_decoder *d, struct tensor latents, float *x)
{
    float z[BLOCK * SIDE * SIDE * LATENT_CHANNELS];
    for (int i = 0; i < SCENES * CALLS; i++) {
        int call = i % CALLS, frames = call < BLOCK - 1 ? call + 1 : BLOCK;
        for (int k = 0; k < BLOCK * SIDE * SIDE * LATENT_CHANNELS; k++)
            z[k] = (float)((k * 13 + i * 5) % 31 - 15) / 8;
        backend_upload(b, latents, tensor_make(z, TENSOR_F32, 4, latents.shape));
        if (!call)
            video_decoder_reset(d);
        struct tensor pixels = video_decoder_decode(d, tensor_slice(latents, 0, call == 1, frames));
        CHECK_MSG(pixels.data && backend_status(b) == 0, "%s", test_message);
        if (!pixels.data)
            return;
        backend_download(b, tensor_make(x, TENSOR_F32, 4, pixels.shape), pixels);
        x += tensor_count(&pixels);
    }
}

/* `recorded` and `replayed`: passes through the network that are expected to be. */
static void check_decoder(struct backend *b, struct video_decoder *plain, struct video_decoder *d,
                          uint64_t recorded, uint64_t replayed)
{
    enum { COUNT = SCENES * 4 * FRAMES * PIXELS };
    static float x[COUNT], y[COUNT];
    const struct backend_ops *real = b->ops;
    struct backend_ops ops = *real;
    struct arena arena;
    arena_init(&arena, b);
    struct tensor latents = arena_tensor(&arena, TENSOR_F32, SHAPE(BLOCK, SIDE, SIDE, LATENT_CHANNELS));
    memset(x, 0, sizeof x);
    memset(y, 0, sizeof y);
    ops.record_begin = NULL;
    b->ops = &ops;
    decode(b, plain, latents, x);
    b->ops = real;
    decode(b, d, latents, y);
    CHECK_MSG(!memcmp(x, y, sizeof x), "%s: replayed passes differ", d->ops->name);
    CHECK(plain->recorder->runs == 0);
    CHECK_MSG(!d->recorder->refused && d->recorder->recorded == recorded &&
                  d->recorder->replayed == replayed,
              "%s: %d recorded, %d replayed", d->ops->name, (int)d->recorder->recorded,
              (int)d->recorder->replayed);
    video_decoder_close(plain);
    video_decoder_close(d);
    arena_finish(&arena);
}

static void test_decoders(const char *dtype)
{
    char path[4200];
    struct backend *b = open_cuda(dtype);
    struct weights *vae_weights, *light_weights;
    struct vae *vae;
    struct taehv *light;
    struct video_decoder *d[2];
    snprintf(path, sizeof path, "%s/nano/wan_models/Wan2.1-T2V-nano/Wan2.1_VAE.pth", golden);
    CHECK(weights_open(&vae_weights, path, NULL, &test_log) == 0);
    snprintf(path, sizeof path, "%s/taehv/taew2_1.safetensors", golden);
    CHECK(weights_open(&light_weights, path, NULL, &test_log) == 0);
    CHECK(vae_open(&vae, b, vae_weights, &test_log) == 0);
    CHECK(taehv_open(&light, b, light_weights, &test_log) == 0);
    /* The first frame, the two behind it and whole blocks; of those, 2 of 4 are not replayed. What is
     * compared with shares its convolutions' inputs. */
    for (int i = 0; i < 2; i++) {
        b->decode_apart = i;
        CHECK(vae_decoder_open(&d[i], vae, SIDE, SIDE, BLOCK) == 0);
    }
    check_decoder(b, d[0], d[1], 3, 2);
    /* Frame by frame: those of whole blocks, the first of which is a scene's first frame's too, and the
     * two behind that. */
    for (int i = 0; i < 2; i++) {
        b->decode_apart = i;
        CHECK(taehv_decoder_open(&d[i], light, SIDE, SIDE, BLOCK) == 0);
    }
    check_decoder(b, d[0], d[1], 5, 8);
    taehv_close(light);
    vae_close(vae);
    weights_close(light_weights);
    weights_close(vae_weights);
    CHECK(b->bytes == 0);
    backend_close(b);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    golden = argv[1];
    module = argv[2];
    test_replay();
    test_moved();
    test_refused();
    test_cancelled();
    test_rollout("f32");
    test_rollout("bf16");
    test_rollout("fp8");
    test_decoders("f32");
    test_decoders("bf16");
    return test_end();
}
