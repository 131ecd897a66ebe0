/* What tests of rollouts share: the small golden model, two texts, rollouts of it and their latents. */
#pragma once

#include "base/philox.h"
#include "model/rollout.h"
#include "test.h"

enum { H = 4, W = 6, BLOCK = 3, FRAME = H * W * 16, MOST = 64 };

static struct backend *b;
static struct weights *weights;
static struct transformer transformer;
static struct arena arena;
static struct tensor text[2]; /* two embeddings */

static inline void fill(float *x, int64_t count, uint32_t seed)
{
    for (int64_t i = 0; i < count; i++) {
        const uint32_t counter[4] = {(uint32_t)i, seed, 0, 0}, key[2] = {1, 2};
        uint32_t out[4];
        philox_4x32_10(counter, key, out);
        x[i] = 1.5f * ((float)out[0] * 0x1p-31f - 1);
    }
}

/* The folder of golden models. */
static inline bool open_model(const char *golden)
{
    char path[4200];
    struct transformer_config config;
    const struct backend_config machine = {.device = "cpu", .dtype = "f32", .threads = 2};
    CHECK(backend_open(&b, &machine, &test_log) == 0);
    snprintf(path, sizeof path, "%s/nano/wan_models/Wan2.1-T2V-nano/config.json", golden);
    CHECK(transformer_config_read(&config, path, &test_log) == 0);
    snprintf(path, sizeof path, "%s/nano/checkpoints/self_forcing_mini.pt", golden);
    CHECK(weights_open(&weights, path, "generator_ema", &test_log) == 0);
    int code = transformer_open(&transformer, b, &config, weights, &test_log);
    CHECK_MSG(code == 0, "%s", test_message);
    if (code < 0)
        return false;
    arena_init(&arena, b);
    for (int i = 0; i < 2; i++) {
        int64_t count = (int64_t)config.text_len * transformer.text_dim;
        float *host = malloc((size_t)count * sizeof *host);
        text[i] = arena_tensor(&arena, TENSOR_F32, SHAPE(config.text_len, transformer.text_dim));
        fill(host, count, 100 + (uint32_t)i);
        backend_upload(b, text[i], tensor_make(host, TENSOR_F32, 2, text[i].shape));
        free(host);
    }
    return backend_status(b) == 0;
}

static inline void close_model(void)
{
    arena_finish(&arena);
    transformer_close(&transformer);
    backend_close(b);
    weights_close(weights);
}

/* Noise named by frame and step, `opaque` frames further on. */
static inline int fill_noise(void *opaque, float *x, int64_t frame, int frames, int step)
{
    for (int i = 0; i < frames; i++)
        fill(x + i * FRAME, FRAME, (uint32_t)(1000 * (frame + i + *(int *)opaque) + step));
    return 0;
}

struct setup {
    int window, sink;
    int64_t given, frames;
    bool relative, multi;
    int shift;      /* of the noise */
    float guidance; /* 0: 3 */
    int guidance_steps;
};

static inline struct rollout open_rollout(struct setup *setup)
{
    struct rollout r;
    struct rollout_config config = {
        .h = H,
        .w = W,
        .window = setup->window,
        .sink = setup->sink,
        .relative = setup->relative,
        .steps = setup->multi ? 0 : 2,
        .timestep = {1000, 500},
        .shift = 5,
        .context_noise = 20,
        .sampling_steps = 3,
        .sampling_shift = 5,
        .guidance_scale = setup->guidance > 0 ? setup->guidance : 3,
        .guidance_steps = setup->guidance_steps,
    };
    block_plan_init(&config.plan, BLOCK, setup->given, setup->frames, false);
    const struct noise_source noise = {.fill = fill_noise, .opaque = &setup->shift};
    CHECK(rollout_open(&r, &transformer, &config, noise) == 0);
    rollout_set_text(&r, text[0], text[1]);
    return r;
}

/* The next block's latents [frames, FRAME] into x; how many frames it has. */
static inline int64_t next(struct rollout *r, float *x)
{
    struct tensor latents = rollout_next(r);
    CHECK(backend_status(b) == 0);
    if (!latents.data)
        return 0;
    backend_download(b, tensor_make(x, TENSOR_F32, 4, latents.shape), latents);
    return latents.shape[0];
}

static inline double difference(const float *x, const float *y, int64_t count)
{
    double worst = 0;
    for (int64_t i = 0; i < count; i++)
        worst = test_worse(worst, fabs((double)x[i] - y[i]));
    return worst;
}
