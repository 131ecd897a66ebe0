/* Making latents block by block: the few-step rollout (spec section 4) and the multi-step one with
 * UniPC and guidance (section 5). */
#pragma once

#include "model/blocks.h"
#include "model/schedule.h"
#include "model/transformer.h"
#include "model/unipc.h"

#define ROLLOUT_STEPS_MAX 64
#define ROLLOUT_BLOCK_MAX 64 /* latent frames */

/* Standard normals for latent frames [frame, frame + frames), host memory [frames, h, w, 16]. step 0:
 * what the frames start from; i: the re-noising after the i-th denoising step. */
struct noise_source {
    int (*fill)(void *opaque, float *x, int64_t frame, int frames, int step);
    void *opaque;
};

struct rollout_config {
    struct block_plan plan;
    int h, w;         /* latent height and width */
    int window, sink; /* latent frames */

    /* few steps */
    int steps;                         /* 0: multi-step */
    float timestep[ROLLOUT_STEPS_MAX]; /* falling, already warped */
    float shift;                       /* of the schedule that gives their sigmas */
    float context_noise;               /* timestep of the forward that writes the clean keys */

    /* multi-step */
    int sampling_steps;
    float sampling_shift, guidance_scale;
};

struct rollout_times {
    double denoise, cache; /* seconds, all blocks */
    int64_t forwards;
};

struct rollout {
    struct rollout_config config;
    struct transformer *transformer;
    struct noise_source noise;
    struct schedule schedule;
    struct unipc solver;                  /* multi-step */
    struct transformer_work work;
    struct kv_cache cache, uncond_cache;  /* the second: multi-step */
    struct text_context text, uncond_text;
    struct arena arena;
    struct tensor x, flow, uncond_flow, fresh; /* f32 [block, h, w, 16] */
    float *host;                               /* the same, for noise */
    int64_t frame;                             /* next latent frame of the video */
    struct rollout_times times;
};

/* Allocates everything. Logs and refuses windows that cannot hold a block beside the sink. */
int rollout_open(struct rollout *rollout, struct transformer *transformer,
                 const struct rollout_config *config, struct noise_source noise);
void rollout_close(struct rollout *rollout);

/* embeds f32 [text_len, text_dim] in backend memory; negative is only read by the multi-step rollout.
 * To be called before the first block. */
void rollout_set_text(struct rollout *rollout, struct tensor embeds, struct tensor negative);

/* Given latents, f32 [F, h, w, 16] in backend memory, F being plan.given: pushed through at timestep
 * 0, block by block, to fill the cache. */
void rollout_give(struct rollout *rollout, struct tensor latents);

/* Denoises the next block and writes its clean keys and values. Returns the latents f32 [F, h, w, 16]
 * in backend memory, valid until the next call; data NULL at the end of the video and on errors
 * (backend_status). */
struct tensor rollout_next(struct rollout *rollout);

/* Bytes of keys and values, the prompt's included. */
uint64_t rollout_cache_bytes(const struct rollout *rollout);
