/* Keys and values of past latent frames: a ring that never moves. A slot holds one latent frame in
 * every layer. The first `sink` frames of the video keep their slots for ever; the others take turns,
 * so that a new frame overwrites the oldest. Keys are rotated before they are stored and attention
 * has no mask, so the order of slots does not matter, and the held slots are always the first ones:
 * attention reads one contiguous view. */
#pragma once

#include "backend/backend.h"

struct kv_cache {
    struct arena arena;
    int layers, heads, head_dim;
    int window, sink; /* latent frames */
    int tokens;       /* a latent frame */
    int64_t end;      /* latent frames written so far: held are the sink and the last ones */
    struct tensor *k; /* [layers] of [window * tokens, heads, head_dim] */
    struct tensor *v;
};

struct kv_cache_config {
    int layers, heads, head_dim;
    int window, sink, tokens;
};

/* UNREEL_ENOMEM if the device has no room. */
int kv_cache_open(struct kv_cache *cache, struct backend *backend,
                  const struct kv_cache_config *config);
void kv_cache_close(struct kv_cache *cache);
void kv_cache_reset(struct kv_cache *cache); /* nothing held, nothing freed */

/* Makes room for frames [start, start + frames): start is where the last block began (to write it
 * again) or its end. Asserts window - sink >= frames. */
void kv_cache_begin(struct kv_cache *cache, int64_t start, int frames);

/* Slot of a latent frame of the video. */
int kv_cache_slot(const struct kv_cache *cache, int64_t frame);

/* Latent frames held, the newest included: slots 0 .. held - 1. */
int kv_cache_held(const struct kv_cache *cache);
