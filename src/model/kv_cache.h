/* Keys and values of past latent frames: a ring that never moves. A slot holds one latent frame in
 * every layer. The first `sink` frames of the video keep their slots for ever; the others take turns,
 * so that a new frame overwrites the oldest. Attention has no mask, so the order of slots does not
 * matter, and the held slots are always the first ones: attention reads one contiguous view.
 *
 * Keys are rotated either before they are stored, by the frame's number in the video, or (`relative`)
 * each time they are read, by its place among the held frames: videos without end then never leave the
 * positions that the model was trained on. */
#pragma once

#include "backend/backend.h"

struct kv_cache {
    struct arena arena;
    int layers, heads, head_dim;
    int window, sink; /* latent frames */
    int tokens;       /* a latent frame */
    int64_t end;      /* latent frames written so far: held are the sink and the last ones */
    int64_t gap;      /* of these, frames behind the sink that were left out */
    bool relative;
    struct tensor *k; /* [layers] of [window * tokens, heads, head_dim] */
    struct tensor *v;
    struct tensor rotated; /* relative: keys of the layer at work, [window * tokens, heads, head_dim] */
    struct tensor angles;  /* relative: of the slots, f32 [window, pairs, 2], see kv_cache_turn */
    float *host;           /* the same, where they are computed */
};

struct kv_cache_config {
    int layers, heads, head_dim;
    int window, sink, tokens;
    bool relative;
};

/* UNREEL_ENOMEM if the device has no room. */
int kv_cache_open(struct kv_cache *cache, struct backend *backend,
                  const struct kv_cache_config *config);
void kv_cache_close(struct kv_cache *cache);
void kv_cache_reset(struct kv_cache *cache); /* nothing held, nothing freed */

/* To write the window anew: forgets all but the first `frames` <= sink frames, which must be held. */
void kv_cache_keep(struct kv_cache *cache, int frames);

/* Leaves out the frames from the end of the sink, which must be the cache's end, up to `frame`. */
void kv_cache_skip(struct kv_cache *cache, int64_t frame);

/* Makes room for frames [start, start + frames): start is where the last block began (to write it
 * again) or its end. Asserts window - sink >= frames. */
void kv_cache_begin(struct kv_cache *cache, int64_t start, int frames);

/* Slot of a latent frame of the video. */
int kv_cache_slot(const struct kv_cache *cache, int64_t frame);

/* Latent frames held, the newest included: slots 0 .. held - 1. */
int kv_cache_held(const struct kv_cache *cache);

/* The position that a held frame is rotated by: its number, or its place in the window (the sink,
 * then the others in order). Neighbours outside the sink are neighbours here. */
int64_t kv_cache_position(const struct kv_cache *cache, int64_t frame);

/* Relative: computes `angles` for the frames held now. */
void kv_cache_turn(struct kv_cache *cache);
