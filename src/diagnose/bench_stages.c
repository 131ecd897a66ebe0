/* The stages that unreel_bench times, with made-up weights of a known shape. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diagnose/bench.h"
#include "engine/settings.h"
#include "model/rollout.h"
#include "model/video_decoder.h"
#include "text/text.h"
#include "weights/made_up.h"

#define BLOCK 3           /* latent frames that are denoised together */
#define TIMESTEP 750      /* any: the work does not depend on it */
#define TEXT_TOKENS 64    /* of a typical extended prompt, padding left out */
#define BENCH_SEED 1

int bench_find_shape(const struct bench *bench, struct made_up_shape *shape)
{
    const struct made_up_shape *found = made_up_shape_find(bench->shape);
    if (!found)
        return log_error(&bench->log, UNREEL_EINVAL,
                         "shape %s: known are wan2.1-1.3b, postcard and tiny", bench->shape);
    *shape = *found;
    return 0;
}

void bench_fill(struct backend *b, struct tensor t, uint64_t seed)
{
    struct made_up_tensor made_up = {.name = "bench", .scale = 1};
    int64_t count = tensor_count(&t);
    float *host = malloc((size_t)count * sizeof *host);
    if (!host) {
        backend_fail(b, UNREEL_ENOMEM, "bench: out of host memory");
        return;
    }
    made_up_fill(host, TENSOR_F32, &made_up, seed, 0, count);
    backend_upload(b, t, tensor_make(host, TENSOR_F32, t.dims, t.shape));
    free(host);
}

/* ---- text ------------------------------------------------------------------------------------ */

struct text_run {
    struct text_encoder *encoder;
    struct tensor embeds;
    int32_t ids[TEXT_TOKENS];
    int tokens;
};

static void run_text(void *opaque)
{
    struct text_run *run = opaque;
    text_encoder_encode(run->encoder, run->ids, run->tokens, run->embeds);
}

int bench_text(struct bench *bench)
{
    struct made_up_shape shape;
    struct weights *weights = NULL;
    struct text_run run = {0};
    struct arena arena;
    int code = bench_find_shape(bench, &shape);
    if (code < 0)
        return code;
    int layers = shape.text_layers;
    if (bench->blocks && bench->blocks < layers)
        shape.text_layers = bench->blocks;
    if (shape.vocabulary > 1024)
        shape.vocabulary = 1024; /* a few rows of the table are read, whatever its length */
    arena_init(&arena, bench->backend);
    code = made_up_weights(&weights, &shape, MADE_UP_TEXT, TENSOR_BF16, BENCH_SEED, &bench->log);
    if (code == 0)
        code = text_encoder_from_weights(&run.encoder, bench->backend, weights, &bench->log);
    if (code == 0) {
        run.embeds = arena_tensor(&arena, TENSOR_F32, SHAPE(shape.text_len, shape.text_dim));
        run.tokens = shape.text_len < TEXT_TOKENS ? shape.text_len : TEXT_TOKENS;
        for (int i = 0; i < run.tokens; i++)
            run.ids[i] = i % shape.vocabulary;
        bench_time(bench, "text", run_text, &run, "%d of %d layers, %d tokens", shape.text_layers,
                   layers, run.tokens);
        code = backend_status(bench->backend);
    }
    arena_finish(&arena);
    text_encoder_close(run.encoder);
    return code;
}

/* ---- transformer ----------------------------------------------------------------------------- */

struct transformer_run {
    struct transformer transformer;
    struct transformer_work work;
    struct kv_cache cache;
    struct text_context text;
    struct tensor latents, flow;
    int64_t start;
};

static void forward(struct transformer_run *run, struct tensor flow)
{
    const float timesteps[BLOCK] = {TIMESTEP, TIMESTEP, TIMESTEP};
    transformer_forward(&run->transformer, &run->work, &run->cache, &run->text, run->latents,
                        timesteps, run->start, flow);
}

static void run_forward(void *opaque)
{
    struct transformer_run *run = opaque;
    forward(run, run->flow);
}

static void run_cache_forward(void *opaque)
{
    forward(opaque, (struct tensor){0});
}

/* Every slot holds the same: making 3 billion numbers takes a core a minute and a half. */
void bench_fill_cache(struct backend *b, struct kv_cache *cache)
{
    struct tensor first[2] = {{0}};
    for (int i = 0; i < cache->layers; i++) {
        for (int slot = 0; slot < cache->window; slot++) {
            struct tensor ring[] = {cache->k[i], cache->v[i]};
            for (int j = 0; j < 2; j++) {
                struct tensor to =
                    tensor_slice(ring[j], 0, (int64_t)slot * cache->tokens, cache->tokens);
                if (first[j].data) {
                    op_copy(b, to, first[j]);
                } else {
                    bench_fill(b, to, (uint64_t)(2 + j));
                    first[j] = to;
                }
            }
        }
    }
    cache->end = cache->window;
}

struct transformer_config bench_transformer_config(const struct made_up_shape *shape)
{
    return (struct transformer_config){
        .dim = shape->dim,
        .ffn_dim = shape->ffn_dim,
        .freq_dim = shape->freq_dim,
        .heads = shape->heads,
        .layers = shape->layers,
        .in_dim = LATENT_CHANNELS,
        .out_dim = LATENT_CHANNELS,
        .text_len = shape->text_len,
        .eps = 1e-6f,
    };
}

static int open_transformer(struct bench *bench, struct transformer_run *run,
                            const struct made_up_shape *shape, struct weights *weights, int h, int w)
{
    struct backend *b = bench->backend;
    const struct transformer_config config = bench_transformer_config(shape);
    const struct kv_cache_config cache = {
        .layers = shape->layers,
        .heads = shape->heads,
        .head_dim = shape->dim / shape->heads,
        .window = bench->window,
        .tokens = h / 2 * (w / 2),
    };
    int code = transformer_open(&run->transformer, b, &config, weights, &bench->log);
    if (code == 0)
        code = transformer_work_open(&run->work, &run->transformer, BLOCK, h, w);
    if (code == 0)
        code = kv_cache_open(&run->cache, b, &cache);
    if (code == 0)
        code = text_context_open(&run->text, &run->transformer);
    return code;
}

int bench_transformer(struct bench *bench)
{
    struct made_up_shape shape;
    struct weights *weights = NULL;
    struct transformer_run run = {0};
    struct arena arena;
    struct backend *b = bench->backend;
    int h = bench->height / LATENT_PIXELS, w = bench->width / LATENT_PIXELS;
    int code = bench_find_shape(bench, &shape);
    if (code < 0)
        return code;
    if (bench->window < BLOCK)
        return log_error(&bench->log, UNREEL_EINVAL, "bench_window: at least %d", BLOCK);
    int layers = shape.layers;
    if (bench->blocks && bench->blocks < layers)
        shape.layers = bench->blocks;
    arena_init(&arena, b);
    code = made_up_weights(&weights, &shape, MADE_UP_TRANSFORMER, TENSOR_BF16, BENCH_SEED,
                           &bench->log);
    if (code == 0)
        code = open_transformer(bench, &run, &shape, weights, h, w);
    if (code == 0) {
        struct tensor embeds = arena_tensor(&arena, TENSOR_F32, SHAPE(shape.text_len, shape.text_dim));
        run.latents = arena_tensor(&arena, TENSOR_F32, SHAPE(BLOCK, h, w, LATENT_CHANNELS));
        run.flow = arena_tensor(&arena, TENSOR_F32, SHAPE(BLOCK, h, w, LATENT_CHANNELS));
        run.start = bench->window - BLOCK;
        if (!backend_status(b)) {
            bench_fill(b, embeds, 4);
            bench_fill(b, run.latents, 5);
            text_context_set(&run.text, &run.transformer, embeds);
            bench_fill_cache(b, &run.cache);
        }
        const char *what = "%d of %d blocks, %d tokens, %d keys";
        int tokens = run.cache.tokens;
        bench_time(bench, "transformer", run_forward, &run, what, shape.layers, layers,
                   BLOCK * tokens, bench->window * tokens);
        bench_time(bench, "cache forward", run_cache_forward, &run, what, shape.layers, layers,
                   BLOCK * tokens, bench->window * tokens);
        bench->cache_bytes = run.cache.arena.bytes + run.text.arena.bytes;
        bench->work_bytes += run.work.arena.bytes;
        code = backend_status(b);
    }
    arena_finish(&arena);
    text_context_close(&run.text);
    kv_cache_close(&run.cache);
    transformer_work_close(&run.work);
    transformer_close(&run.transformer);
    weights_close(weights);
    return code;
}

/* ---- VAE ------------------------------------------------------------------------------------- */

struct vae_run {
    struct video_decoder *decoder;
    struct video_encoder *encoder;
    struct tensor latents, pixels;
};

static void run_decode(void *opaque)
{
    struct vae_run *run = opaque;
    video_decoder_decode(run->decoder, run->latents);
}

static void run_encode(void *opaque)
{
    struct vae_run *run = opaque;
    video_encoder_encode(run->encoder, run->pixels);
}

static int time_decoder(struct bench *bench, struct vae *vae, struct vae_run *run, int h, int w)
{
    int frames = (int)run->latents.shape[0];
    int code = vae_decoder_open(&run->decoder, vae, h, w, frames);
    if (code < 0)
        return code;
    run_decode(run); /* the first latent frame is special: one picture, less work */
    bench_time(bench, "vae decode", run_decode, run, "%d latent frame%s, %d pictures %dx%d", frames,
               frames > 1 ? "s" : "", 4 * frames, bench->width, bench->height);
    bench->work_bytes += run->decoder->bytes;
    video_decoder_close(run->decoder);
    return backend_status(bench->backend);
}

static int time_encoder(struct bench *bench, struct vae *vae, struct vae_run *run, int h, int w)
{
    int code = vae_encoder_open(&run->encoder, vae, h, w, 1);
    if (code < 0)
        return code;
    struct tensor all = run->pixels;
    run->pixels = tensor_slice(all, 0, 0, 1);
    run_encode(run);
    run->pixels = all;
    bench_time(bench, "vae encode", run_encode, run, "4 pictures %dx%d, 1 latent frame", bench->width,
               bench->height);
    video_encoder_close(run->encoder);
    return backend_status(bench->backend);
}

int bench_vae(struct bench *bench)
{
    struct made_up_shape shape;
    struct weights *weights = NULL;
    struct vae *vae = NULL;
    struct vae_run run = {0};
    struct arena arena;
    struct backend *b = bench->backend;
    int h = bench->height / LATENT_PIXELS, w = bench->width / LATENT_PIXELS;
    int code = bench_find_shape(bench, &shape);
    if (code < 0)
        return code;
    arena_init(&arena, b);
    code = made_up_weights(&weights, &shape, MADE_UP_VAE, TENSOR_F32, BENCH_SEED, &bench->log);
    if (code == 0)
        code = vae_open(&vae, b, weights, &bench->log);
    if (code == 0) {
        int frames = b->decode_frames;
        run.latents = arena_tensor(&arena, TENSOR_F32, SHAPE(frames, h, w, LATENT_CHANNELS));
        run.pixels = arena_tensor(&arena, TENSOR_F32, SHAPE(4, bench->height, bench->width, 3));
        code = backend_status(b);
    }
    if (code == 0) {
        bench_fill(b, run.latents, 6);
        bench_fill(b, run.pixels, 7);
        code = time_decoder(bench, vae, &run, h, w);
    }
    if (code == 0)
        code = time_encoder(bench, vae, &run, h, w);
    arena_finish(&arena);
    vae_close(vae);
    weights_close(weights);
    return code;
}
