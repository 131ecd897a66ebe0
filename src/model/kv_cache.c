#include "model/kv_cache.h"

#include <assert.h>
#include <stdlib.h>

#include "base/angles.h"
#include "model/rope.h"

int kv_cache_open(struct kv_cache *cache, struct backend *backend,
                  const struct kv_cache_config *config)
{
    *cache = (struct kv_cache){
        .layers = config->layers,
        .heads = config->heads,
        .head_dim = config->head_dim,
        .window = config->window,
        .sink = config->sink,
        .tokens = config->tokens,
        .relative = config->relative,
    };
    arena_init(&cache->arena, backend);
    cache->k = calloc((size_t)config->layers, sizeof *cache->k);
    cache->v = calloc((size_t)config->layers, sizeof *cache->v);
    if (!cache->k || !cache->v) {
        kv_cache_close(cache);
        return log_error(&backend->log, UNREEL_ENOMEM, "key and value cache: out of memory");
    }
    int64_t rows = (int64_t)config->window * config->tokens;
    for (int i = 0; i < config->layers; i++) {
        cache->k[i] = arena_tensor(&cache->arena, backend->compute,
                                   SHAPE(rows, config->heads, config->head_dim));
        cache->v[i] = arena_tensor(&cache->arena, backend->compute,
                                   SHAPE(rows, config->heads, config->head_dim));
    }
    if (config->relative) {
        int pairs = rope_split(config->head_dim).frame;
        cache->rotated = arena_tensor(&cache->arena, backend->compute,
                                      SHAPE(rows, config->heads, config->head_dim));
        cache->angles = arena_tensor(&cache->arena, TENSOR_F32, SHAPE(config->window, pairs, 2));
        cache->host = malloc((size_t)config->window * (size_t)pairs * 2 * sizeof *cache->host);
        if (!cache->host)
            backend_fail(backend, UNREEL_ENOMEM, "key and value cache: out of memory");
    }
    int code = backend_status(backend);
    if (code < 0)
        kv_cache_close(cache);
    return code;
}

void kv_cache_close(struct kv_cache *cache)
{
    if (cache->arena.backend)
        arena_finish(&cache->arena);
    free(cache->k);
    free(cache->v);
    free(cache->host);
    *cache = (struct kv_cache){0};
}

void kv_cache_reset(struct kv_cache *cache)
{
    cache->end = cache->gap = 0;
}

void kv_cache_keep(struct kv_cache *cache, int frames)
{
    assert(frames <= cache->sink && frames <= cache->end);
    cache->end = frames;
    cache->gap = 0;
}

void kv_cache_skip(struct kv_cache *cache, int64_t frame)
{
    assert(cache->end == cache->sink && cache->gap == 0 && frame >= cache->end);
    cache->gap = frame - cache->end;
    cache->end = frame;
}

void kv_cache_begin(struct kv_cache *cache, int64_t start, int frames)
{
    assert(start <= cache->end && start + frames >= cache->end);
    assert(cache->window - cache->sink >= frames || start + frames <= cache->window);
    cache->end = start + frames;
}

int kv_cache_slot(const struct kv_cache *cache, int64_t frame)
{
    if (frame < cache->sink)
        return (int)frame;
    return (int)(cache->sink + (frame - cache->sink - cache->gap) % (cache->window - cache->sink));
}

int kv_cache_held(const struct kv_cache *cache)
{
    int64_t written = cache->end - cache->gap;
    return (int)(written < cache->window ? written : cache->window);
}

int64_t kv_cache_position(const struct kv_cache *cache, int64_t frame)
{
    if (!cache->relative || frame < cache->sink)
        return frame;
    return kv_cache_held(cache) - (cache->end - frame);
}

void kv_cache_turn(struct kv_cache *cache)
{
    int held = kv_cache_held(cache);
    int pairs = (int)cache->angles.shape[1];
    for (int place = 0; place < held; place++) {
        int64_t frame = place < cache->sink ? place : cache->end - held + place;
        angles_of_positions(cache->host + (int64_t)kv_cache_slot(cache, frame) * pairs * 2, place, 1, pairs);
    }
    backend_upload(cache->arena.backend, tensor_slice(cache->angles, 0, 0, held),
                   tensor_make(cache->host, TENSOR_F32, SHAPE(held, pairs, 2)));
}
