/* Inside the Wan VAE (spec section 6): its weights, and what its decoder and encoder share. */
#pragma once

#include "model/video_decoder.h"

#define LATENT_WIDTH 16

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

/* ---- streams ------------------------------------------------------------------------------------ */

/* What a stream carries from call to call, and the buffers it works in. The network is walked twice by
 * the same code: once planning, which only sizes buffers and histories, then for real. */
struct vae_stream {
    struct backend *b;
    struct arena arena;
    bool planning;
    /* Flat buffers of compute type; tensors are cut from their front. */
    struct tensor x;        /* activations that go from block to block */
    struct tensor a;        /* the other one: blocks swap them */
    struct tensor in;       /* input of a causal convolution: history, then the frames */
    struct tensor qkv, mix; /* attention */
    struct tensor zero;     /* one element */
    int64_t x_max, in_max, qkv_max; /* elements */
    struct tensor *history; /* [kt - 1, h, w, Ci] of each causal convolution, in order of use */
    int histories, capacity, cursor;
};

/* Where a walk is: the shape of what is in x. */
struct vae_shape {
    int64_t t, h, w, c;
};

int vae_stream_init(struct vae_stream *stream, struct backend *backend);
int vae_stream_allocate(struct vae_stream *stream); /* after the planning walk */
void vae_stream_finish(struct vae_stream *stream);
void vae_stream_reset(struct vae_stream *stream); /* histories to zero */

/* x or a buffer as [t, h, w, c]. */
struct tensor vae_view(struct vae_stream *stream, struct tensor *buffer, struct vae_shape shape);

/* Input of the next causal convolution: [history + t, h, w, c], its history in place. The caller
 * writes the frames behind it, then calls vae_causal, which convolves and keeps the new history. */
struct tensor vae_input(struct vae_stream *stream, struct vae_shape shape, int history);
void vae_causal(struct vae_stream *stream, struct tensor y, struct tensor in, struct conv *conv,
                bool accumulate);

/* y = act(rms(x) * gain); any shape. */
void vae_norm(struct vae_stream *stream, struct tensor y, struct tensor x, struct tensor gain,
              enum activation act);

/* In: x of `shape`. Out: x of the returned shape. */
struct vae_shape vae_run_residual(struct vae_stream *stream, struct vae_residual *block,
                                  struct vae_shape shape);
void vae_run_attention(struct vae_stream *stream, struct vae_attention *block,
                       struct vae_shape shape);
void vae_swap(struct vae_stream *stream); /* a becomes x */
