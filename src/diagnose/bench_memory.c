/* Memory of a whole session at full size: a model folder's files as an engine opens them, one prompt
 * encoded, the cache filled to its window with made-up values (reaching that state by generating takes
 * hours on a CPU), one forward, one latent frame decoded. What is resident then is what a long video
 * holds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "diagnose/bench.h"
#include "engine/model_folder.h"
#include "engine/settings.h"
#include "model/rollout.h"
#include "model/video_decoder.h"
#include "text/text.h"

#define BLOCK 3
#define TIMESTEP 750
#define TEXT_TOKENS 64

struct whole {
    struct model_folder folder;
    struct weights *weights, *vae_weights;
    struct transformer transformer;
    struct vae *vae;
    struct text_encoder *text;
    struct rollout rollout;
    struct video_decoder *decoder;
    struct arena arena;
};

static int open_engine(struct bench *bench, struct whole *w)
{
    struct transformer_config config;
    int code = model_folder_find(&w->folder, bench->shape, &bench->log);
    if (code == 0 && (!w->folder.transformer || !w->folder.text))
        code = log_error(&bench->log, UNREEL_EIO, "%s: transformer or text encoder is missing",
                         bench->shape);
    if (code == 0)
        code = transformer_config_read(&config, w->folder.config, &bench->log);
    if (code == 0)
        code = weights_open(&w->weights, w->folder.transformer, NULL, &bench->log);
    if (code == 0)
        code = transformer_open(&w->transformer, bench->backend, &config, w->weights, &bench->log);
    if (code == 0)
        code = weights_open(&w->vae_weights, w->folder.vae, NULL, &bench->log);
    if (code == 0)
        code = vae_open(&w->vae, bench->backend, w->vae_weights, &bench->log);
    if (code == 0)
        code = text_encoder_open(&w->text, bench->backend, w->folder.text, &bench->log);
    return code;
}

static int no_noise(void *opaque, float *x, int64_t frame, int frames, int step)
{
    return UNREEL_EINVAL;
}

static int open_session(struct bench *bench, struct whole *w)
{
    struct rollout_config config = {
        .h = bench->height / LATENT_PIXELS,
        .w = bench->width / LATENT_PIXELS,
        .window = bench->window,
        .steps = 1,
        .timestep = {1000},
        .shift = 5,
    };
    block_plan_init(&config.plan, BLOCK, 0, 0, false);
    int code = rollout_open(&w->rollout, &w->transformer, &config, (struct noise_source){no_noise, NULL});
    if (code == 0)
        code = vae_decoder_open(&w->decoder, w->vae, config.h, config.w, 1);
    return code;
}

static int encode_text(struct bench *bench, struct whole *w)
{
    int32_t ids[TEXT_TOKENS];
    int text_len = w->transformer.config.text_len;
    int tokens = text_len < TEXT_TOKENS ? text_len : TEXT_TOKENS;
    for (int i = 0; i < tokens; i++)
        ids[i] = i;
    struct tensor embeds = arena_tensor(&w->arena, TENSOR_F32,
                                        SHAPE(text_len, w->transformer.text_dim));
    int code = backend_status(bench->backend);
    if (code == 0)
        code = text_encoder_encode(w->text, ids, tokens, embeds);
    if (code == 0)
        rollout_set_text(&w->rollout, embeds, (struct tensor){0});
    return code < 0 ? code : backend_status(bench->backend);
}

static void run_chunk(struct bench *bench, struct whole *w)
{
    const float timesteps[BLOCK] = {TIMESTEP, TIMESTEP, TIMESTEP};
    struct rollout *r = &w->rollout;
    bench_fill_cache(bench->backend, &r->cache);
    bench_fill(bench->backend, r->x, 5);
    transformer_forward(&w->transformer, &r->work, &r->cache, &r->text, r->x, timesteps,
                        bench->window - BLOCK, r->flow);
    struct tensor latents = tensor_slice(r->flow, 0, 0, 1);
    video_decoder_decode(w->decoder, latents); /* the first: one picture */
    video_decoder_decode(w->decoder, latents);
    backend_sync(bench->backend);
}

/* A line of /proc/self/status in bytes; 0 where there is none. */
static uint64_t resident(const char *name)
{
    char line[256];
    uint64_t bytes = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f)) {
        if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
            bytes = strtoull(line + strlen(name) + 1, NULL, 10) * 1024;
    }
    if (f)
        fclose(f);
    return bytes;
}

int bench_memory(struct bench *bench)
{
    struct whole w = {0};
    arena_init(&w.arena, bench->backend);
    double begin = clock_seconds();
    int code = open_engine(bench, &w);
    bench->seconds_open = clock_seconds() - begin;
    if (code == 0)
        code = open_session(bench, &w);
    begin = clock_seconds();
    if (code == 0)
        code = encode_text(bench, &w);
    bench->seconds_text = clock_seconds() - begin;
    if (code == 0) {
        run_chunk(bench, &w);
        code = backend_status(bench->backend);
    }
    if (code == 0) {
        bench->resident_anonymous = resident("RssAnon");
        bench->resident_file = resident("RssFile");
        bench->resident_peak = resident("VmHWM");
        bench->cache_bytes = rollout_cache_bytes(&w.rollout);
        bench->work_bytes = w.rollout.work.arena.bytes + w.rollout.arena.bytes + w.decoder->bytes;
    }
    video_decoder_close(w.decoder);
    rollout_close(&w.rollout);
    text_encoder_close(w.text);
    arena_finish(&w.arena);
    vae_close(w.vae);
    transformer_close(&w.transformer);
    weights_close(w.weights);
    weights_close(w.vae_weights);
    model_folder_finish(&w.folder);
    return code;
}
