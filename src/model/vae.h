/* Inside the Wan VAE (spec section 6): its weights, and what its decoder and encoder share. */
#pragma once

#include "model/latent.h"
#include "model/video_decoder.h"
#include "model/video_stream.h"

/* x' + conv2(SiLU(RMS(conv1(SiLU(RMS(x)))))), x' being x or a 1x1x1 convolution of it. */
struct vae_residual {
    struct tensor gain1, gain2; /* [Ci], [Co] */
    struct conv conv1, conv2;   /* 3x3x3 */
    struct linear shortcut;     /* [Co, Ci]; n 0: none */
};

/* RMS, one head over the positions of a frame, plus input. */
struct vae_attention {
    struct tensor gain;      /* [C] */
    struct linear qkv, proj; /* [3C, C], [C, C] */
};

/* Decoder: time doubling (optional), then nearest 2x in space and a 3x3 convolution, C to C / 2.
 * Encoder: a 3x3 convolution of stride 2, then time halving (optional). */
struct vae_resample {
    struct conv space;
    struct conv time[2]; /* 3x1x1; decoder: earlier and later frame; encoder: the first only */
    bool has_time;
};

struct vae_stage {
    bool is_resample;
    struct vae_residual residual;
    struct vae_resample resample;
};

#define VAE_STAGES_MAX 64

/* Encoder or decoder. */
struct vae_half {
    bool present;
    struct conv first; /* 3x3x3 from latents or pictures */
    struct vae_residual middle[2];
    struct vae_attention attention;
    struct vae_stage stage[VAE_STAGES_MAX];
    int stages;
    struct tensor head_gain; /* [C] */
    struct conv head;        /* 3x3x3 */
    struct linear latent;    /* 1x1x1 with the latents' mean and std folded in, f32 */
    float *latent_weight;    /* its folded host weights [n, n] and bias [n] */
};

struct vae {
    struct backend *backend;
    struct arena arena;
    struct vae_half encoder, decoder;
};

/* ---- blocks in a stream ------------------------------------------------------------------------- */

/* y = act(rms(x) * gain); any shape. */
void vae_norm(struct video_stream *stream, struct tensor y, struct tensor x, struct tensor gain,
              enum activation act);

/* In: x of `shape`. Out: x of the returned shape. */
struct video_shape vae_run_residual(struct video_stream *stream, struct vae_residual *block,
                                  struct video_shape shape);
void vae_run_attention(struct video_stream *stream, struct vae_attention *block,
                       struct video_shape shape);
