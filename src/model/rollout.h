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
    /* 0, a negative code, or 1: those of `key` are to be taken, and x is untouched. NULL: always 1. */
    int (*fill)(void *opaque, float *x, int64_t frame, int frames, int step);
    void *opaque;
    const struct noise_key *key; /* read when noise is drawn; NULL: fill never returns 1 */
};

struct rollout_config {
    struct block_plan plan;
    int h, w;         /* latent height and width */
    int window, sink; /* latent frames */
    bool relative;    /* rotary positions are those in the window, see kv_cache.h */

    /* few steps */
    int steps;                         /* 0: multi-step */
    float timestep[ROLLOUT_STEPS_MAX]; /* falling, already warped */
    float shift;                       /* of the schedule that gives their sigmas */
    float context_noise;               /* timestep of the forward that writes the clean keys */

    /* multi-step */
    int sampling_steps;
    float sampling_shift, guidance_scale;
    /* The first steps of a block that are guided, 0: all; the rest is half the work. What a video shows
     * is settled at high noise. Kynkäänniemi et al., "Applying Guidance in a Limited Interval Improves
     * Sample and Distribution Quality in Diffusion Models", 2024. */
    int guidance_steps;
};

/* Whether steps are computed a second time, under the negative prompt, with a cache of its own. A scale
 * of 1 takes nothing from that. */
static inline bool rollout_is_guided(const struct rollout_config *config)
{
    return !config->steps && config->guidance_scale != 1;
}

struct rollout_times {
    double denoise, cache; /* seconds, all blocks */
    int64_t forwards;
};

struct rollout {
    struct rollout_config config;
    struct block_plan plan; /* of the present scene */
    struct transformer *transformer;
    struct noise_source noise;
    struct schedule schedule;
    struct unipc solver;                  /* multi-step */
    struct transformer_work work;
    struct kv_cache cache, uncond_cache;  /* the second: guided */
    struct text_context text, uncond_text;
    struct arena arena;
    struct tensor x, flow, uncond_flow, fresh; /* f32 [block, h, w, 16] */
    float *host;                               /* the same, for noise */
    struct tensor clean;  /* f32 [window, h, w, 16]: finished latents of the frames that are held */
    struct tensor unkept; /* the newest block's, while it is not in the cache; data NULL: it is */
    int64_t frame;        /* next latent frame of the scene; a video is one scene unless restarted */
    int64_t noise_frame;  /* which frame's noise that one is made from */
    int64_t done;         /* latent frames of all scenes */
    struct rollout_times times;
};

/* Allocates everything. Logs and refuses windows that cannot hold a block beside the sink. */
int rollout_open(struct rollout *rollout, struct transformer *transformer,
                 const struct rollout_config *config, struct noise_source noise);
void rollout_close(struct rollout *rollout);

/* embeds f32 [text_len, text_dim] in backend memory; negative is only read where there is guidance,
 * data NULL: it stays. To be called before the first block, and again between blocks for another
 * prompt: what is in the cache stays as it is. */
void rollout_set_text(struct rollout *rollout, struct tensor embeds, struct tensor negative);

/* Given latents, f32 [F, h, w, 16] in backend memory, F being the scene's plan.given: pushed through at timestep
 * 0, block by block, to fill the cache. */
void rollout_give(struct rollout *rollout, struct tensor latents);

/* Before rollout_set_text, where rollout_recache with the same `sink` follows it: what the cache still lacks
 * is not written under the old prompt if it is then written anyway. */
void rollout_expect_recache(struct rollout *rollout, bool sink);

/* Computes the window's keys and values again, under the present prompt, as if its latents were the
 * given beginning of a video: in their blocks, cut where frames were evicted, at their positions. The
 * sink stays as it is unless `sink` says otherwise, as does what guidance compares with. */
void rollout_recache(struct rollout *rollout, bool sink);

/* Begins another scene that owes nothing to what was made before. Its noise is that of the video's
 * further frames, or with `again` what the video began with; then rollout_give is due again, if there
 * were given latents, for the first plan.given of them. */
void rollout_restart(struct rollout *rollout, bool again);

/* Latent frames still to be made: 0 at the end, -1: without end. */
int64_t rollout_left(const struct rollout *rollout);

/* Denoises the next block. Returns the latents f32 [F, h, w, 16] in backend memory, valid until the
 * next call; data NULL at the end of the video and on errors (backend_status). */
struct tensor rollout_next(struct rollout *rollout);

/* Writes the clean keys and values of the newest block. Whatever needs them does it first, so that
 * pictures need not wait for it; to be called where there is time. */
void rollout_keep(struct rollout *rollout);

/* Bytes of keys and values, the prompt's included. */
uint64_t rollout_cache_bytes(const struct rollout *rollout);
