#include "model/kv_cache.h"

#include <assert.h>
#include <stdlib.h>

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
    *cache = (struct kv_cache){0};
}

void kv_cache_reset(struct kv_cache *cache)
{
    cache->end = 0;
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
    return (int)(cache->sink + (frame - cache->sink) % (cache->window - cache->sink));
}

int kv_cache_held(const struct kv_cache *cache)
{
    return (int)(cache->end < cache->window ? cache->end : cache->window);
}
