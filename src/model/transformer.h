/* The causal diffusion transformer of Wan2.1 (spec section 4): latents and a timestep in, flow out,
 * with a cache of the keys and values of earlier latent frames. */
#pragma once

#include "backend/recorder.h"
#include "model/kv_cache.h"
#include "model/latent.h"
#include "weights/weights.h"

/* Where the whole numbers of a forward lie in transformer_work.place: 16 bytes apart, which some
 * libraries want. */
enum { PLACE_START = 0, PLACE_HELD = 4, PLACE_SLOTS = 8 };

/* From a model folder's config.json; text_dim is read off the weights. */
struct transformer_config {
    int dim, ffn_dim, freq_dim, heads, layers;
    int in_dim, out_dim; /* latent channels: LATENT_CHANNELS both */
    int text_len;        /* rows of a text embedding */
    float eps;
};

/* Reads config.json; every number is required and checked for sense. */
int transformer_config_read(struct transformer_config *config, const char *path,
                            const unreel_log *log);

struct transformer_layer {
    /* All but cross_kv, which runs once a prompt, are quantised where the backend has FP8. */
    struct linear qkv, o;                   /* self attention: [3C, C], [C, C] */
    struct linear cross_q, cross_kv, cross_o; /* [C, C], [2C, C], [C, C] */
    struct linear ffn_in, ffn_out;          /* [FFN, C], [C, FFN] */
    struct tensor norm_q, norm_k;           /* gains [C] */
    struct tensor cross_norm_q, cross_norm_k;
    struct tensor cross_gain, cross_bias;   /* affine norm before cross attention [1, C] */
    struct tensor modulation;               /* [6, C] */
};

/* Weights. Read only once open, so that sessions can share them. */
struct transformer {
    struct transformer_config config;
    int head_dim, text_dim;
    struct backend *backend;
    struct arena arena;
    struct transformer_layer *layer; /* [layers] */
    struct linear patch;             /* [C, 2 * 2 * 16], inputs ordered (row, column, channel) */
    struct linear text_in, text_out; /* [C, text_dim], [C, C] */
    struct linear time_in, time_out; /* [C, freq_dim], [C, C] */
    struct linear time_projection;   /* [6C, C] */
    struct linear head;              /* [2 * 2 * 16, C], outputs ordered (row, column, channel) */
    struct tensor head_modulation;   /* [2, C] */
    float *patch_weight;             /* reordered on the host, referred to by `patch` */
};

int transformer_open(struct transformer *transformer, struct backend *backend,
                     const struct transformer_config *config, const struct weights *weights,
                     const unreel_log *log);
void transformer_close(struct transformer *transformer);

/* ---- a prompt ------------------------------------------------------------------------------ */

/* Keys and values of one text embedding for every layer: computed once per prompt. */
struct text_context {
    struct arena arena;
    int layers;
    struct tensor *kv; /* [layers] of [text_len, 2, heads, head_dim]: keys (normed), values */
    struct tensor input;        /* [text_len, text_dim]: what text_context_set works in */
    struct tensor hidden, text; /* [text_len, C] */
};

int text_context_open(struct text_context *context, struct transformer *transformer);
void text_context_close(struct text_context *context);

/* embeds: f32 [text_len, text_dim] in backend memory. */
void text_context_set(struct text_context *context, struct transformer *transformer,
                      struct tensor embeds);

/* ---- forwards ------------------------------------------------------------------------------ */

/* Everything a forward writes to apart from the cache: for one picture size and up to frames_max
 * latent frames. */
struct transformer_work {
    struct arena arena;
    int frames_max, rows, columns; /* tokens of a latent frame: rows x columns */
    struct tensor x;         /* residual stream, f32 [L, C] */
    struct tensor h;         /* normed [L, C], as products take it */
    struct tensor h_precise; /* f32 [L, C]: input of the head */
    struct tensor qkv;       /* [L, 3C] */
    struct tensor q;         /* [L, C] */
    struct tensor attended;  /* [L, C] */
    struct tensor ffn;       /* [L, FFN], as products take it */
    struct tensor patches;   /* f32 [L, 64] */
    struct tensor timestep;  /* f32 [F] */
    struct tensor place;     /* i32: start, held, slots, at PLACE_START, ... */
    struct tensor sinusoid;  /* f32 [F, freq_dim] */
    struct tensor e, e_act;  /* f32 [F, C] */
    struct tensor e6;        /* f32 [F, 6C] */
    struct tensor m[2];      /* f32 [F, 6, C]: modulation of a layer and of the next */
    struct tensor rope_frame, rope_row, rope_column; /* f32 [F | rows | columns, pairs, 2] */
    int32_t *place_host;     /* as place */
    struct recorder recorder;
};

/* h, w: latent height and width, even. */
int transformer_work_open(struct transformer_work *work, struct transformer *transformer,
                          int frames_max, int h, int w);
void transformer_work_close(struct transformer_work *work);

/* flow = model(latents) for F latent frames that begin at latent frame `start` of the video; both
 * f32 [F, h, w, 16]; timestep of each of them, 0..1000. Writes their keys and values into the cache,
 * replacing what an earlier forward at the same start wrote. flow data NULL: only the cache is wanted,
 * and what only the flow needs is left out. */
void transformer_forward(struct transformer *transformer, struct transformer_work *work,
                         struct kv_cache *cache, const struct text_context *text,
                         struct tensor latents, const float *timesteps, int64_t start,
                         struct tensor flow);
