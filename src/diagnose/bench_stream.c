/* A whole video as a session makes it, step after step, with made-up weights: what a chunk takes
 * once the window is full, and what somebody waits for who has just asked for one. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/rank.h"
#include "diagnose/bench.h"
#include "model/latent.h"
#include "model/rollout.h"
#include "model/video_decoder.h"
#include "weights/made_up.h"

#define BLOCK 3
#define SEED 1
#define PICTURES_MAX 16

struct stream {
    struct bench *bench;
    struct weights *weights, *vae_weights, *light_weights;
    struct transformer transformer;
    struct vae *vae;
    struct taehv *light;
    struct rollout rollout;
    struct video_decoder *decoder[2]; /* full, light */
    struct arena arena;
    uint8_t *picture;            /* I420, all of a call in one place */
    double *times[STREAM_PARTS]; /* [runs] each */
};

static const struct noise_key noise_key = {.seed = SEED};

static int open_networks(struct stream *s, const struct made_up_shape *shape)
{
    struct backend *b = s->bench->backend;
    const unreel_log *log = &s->bench->log;
    const struct transformer_config config = bench_transformer_config(shape);
    int code = made_up_weights(&s->weights, shape, MADE_UP_TRANSFORMER, TENSOR_BF16, SEED, log);
    if (code == 0)
        code = made_up_weights(&s->vae_weights, shape, MADE_UP_VAE, TENSOR_F32, SEED, log);
    if (code == 0)
        code = made_up_weights(&s->light_weights, shape, MADE_UP_TAEHV, TENSOR_F32, SEED, log);
    if (code == 0)
        code = transformer_open(&s->transformer, b, &config, s->weights, log);
    if (code == 0)
        code = vae_open(&s->vae, b, s->vae_weights, log);
    if (code == 0)
        code = taehv_open(&s->light, b, s->light_weights, log);
    return code;
}

static int open_video(struct stream *s, const struct made_up_shape *shape)
{
    struct bench *bench = s->bench;
    struct rollout_config config = {
        .h = bench->height / LATENT_PIXELS,
        .w = bench->width / LATENT_PIXELS,
        .window = bench->window,
        .steps = 4,
        .timestep = {1000, 937.5f, 833.3333f, 625},
        .shift = 5,
    };
    block_plan_init(&config.plan, BLOCK, 0, 0, false);
    int code = rollout_open(&s->rollout, &s->transformer, &config,
                            (struct noise_source){.key = &noise_key});
    if (code == 0)
        code = vae_decoder_open(&s->decoder[0], s->vae, config.h, config.w, BLOCK);
    if (code == 0)
        code = taehv_decoder_open(&s->decoder[1], s->light, config.h, config.w, BLOCK);
    if (code < 0)
        return code;
    struct tensor embeds =
        arena_tensor(&s->arena, TENSOR_F32, SHAPE(shape->text_len, shape->text_dim));
    if (!backend_status(bench->backend))
        bench_fill(bench->backend, embeds, 4);
    rollout_set_text(&s->rollout, embeds, (struct tensor){0});
    s->picture = malloc((size_t)bench->width * (size_t)bench->height * 3 / 2);
    for (int i = 0; i < STREAM_PARTS; i++)
        if (!(s->times[i] = calloc((size_t)bench->runs, sizeof *s->times[i])))
            code = UNREEL_ENOMEM;
    if (!s->picture || code < 0)
        return log_error(&bench->log, UNREEL_ENOMEM, "bench: out of host memory");
    return backend_status(bench->backend);
}

void bench_fetch(const struct bench *bench, const struct video_decoder *decoder,
                 struct tensor pixels, uint8_t *picture)
{
    size_t w = (size_t)bench->width, h = (size_t)bench->height;
    struct picture_target target[PICTURES_MAX];
    for (int i = 0; i < PICTURES_MAX; i++)
        target[i] = (struct picture_target){
            .format = UNREEL_FORMAT_I420,
            .data = {picture, picture + w * h, picture + w * h * 5 / 4},
            .stride = {w, w / 2, w / 2},
        };
    if (pixels.data)
        op_pictures(decoder->backend, (int)pixels.shape[0], target, pixels, decoder->scale,
                    decoder->offset);
}

/* Decodes and fetches the pictures. Seconds of both. */
static void show(struct stream *s, int which, struct tensor latents, double *decode, double *fetch)
{
    struct backend *b = s->bench->backend;
    struct video_decoder *d = s->decoder[which];
    double begin = clock_seconds();
    struct tensor pixels = video_decoder_decode(d, latents);
    backend_sync(b);
    double middle = clock_seconds();
    bench_fetch(s->bench, d, pixels, s->picture);
    *decode = middle - begin;
    *fetch = clock_seconds() - middle;
}

/* One chunk with both decoders; its times as number `run` unless that is negative. */
static void make_chunk(struct stream *s, int run)
{
    struct rollout_times before = s->rollout.times;
    struct tensor latents = rollout_next(&s->rollout);
    double times[STREAM_PARTS] = {
        [STREAM_DENOISE] = s->rollout.times.denoise - before.denoise,
        [STREAM_CACHE] = s->rollout.times.cache - before.cache,
    };
    if (!latents.data)
        return;
    show(s, 0, latents, &times[STREAM_VAE], &times[STREAM_VAE_PICTURES]);
    show(s, 1, latents, &times[STREAM_LIGHT], &times[STREAM_LIGHT_PICTURES]);
    for (int i = 0; i < STREAM_PARTS && run >= 0; i++)
        s->times[i][run] = times[i];
}

/* From a prompt's embedding to the first picture, everything being warm. */
static double first_picture(struct stream *s, int which)
{
    double unused[2];
    rollout_restart(&s->rollout, true);
    video_decoder_reset(s->decoder[which]);
    backend_sync(s->bench->backend);
    double begin = clock_seconds();
    struct tensor latents = rollout_next(&s->rollout);
    if (latents.data)
        show(s, which, tensor_slice(latents, 0, 0, 1), &unused[0], &unused[1]);
    return clock_seconds() - begin;
}

/* FLOPs of a chunk, by one whose operations are timed one by one. */
static void count(struct stream *s, struct bench_stream *result)
{
    struct backend *b = s->bench->backend;
    double *flops[] = {&result->flops_transformer, &result->flops_vae, &result->flops_light};
    struct tensor latents = {0};
    for (int part = 0; part < 3; part++) {
        struct op_profile profile = {0};
        b->profile = &profile;
        if (part == 0)
            latents = rollout_next(&s->rollout);
        else if (latents.data)
            video_decoder_decode(s->decoder[part - 1], latents);
        b->profile = NULL;
        backend_sync(b);
        for (int i = 0; i < OP_KINDS; i++)
            *flops[part] += profile.flops[i];
        if (part == 0)
            result->profile = profile;
        if (part == 1)
            result->profile_vae = profile;
    }
}

static void measure(struct stream *s)
{
    struct bench *bench = s->bench;
    struct bench_stream *r = &bench->stream;
    int fill = (bench->window + BLOCK - 1) / BLOCK;
    double begin = clock_seconds();
    for (int i = 0; i < fill + 2; i++) /* the last two are recorded where that is possible */
        make_chunk(s, -1);
    r->seconds_warm_up = clock_seconds() - begin;
    for (int i = 0; i < bench->runs && backend_ready(bench->backend); i++)
        make_chunk(s, i);
    if (backend_status(bench->backend))
        return;
    r->chunks = bench->runs;
    r->pictures = 4 * BLOCK;
    r->steps = s->rollout.config.steps;
    for (int i = 0; i < STREAM_PARTS; i++) {
        for (int k = 0; k < bench->runs; k++)
            r->mean[i] += s->times[i][k] / bench->runs;
        qsort(s->times[i], (size_t)bench->runs, sizeof *s->times[i], bench_compare_doubles);
        r->p50[i] = s->times[i][nearest_rank(bench->runs, 50)];
        r->p99[i] = s->times[i][nearest_rank(bench->runs, 99)];
    }
    count(s, r);
    for (int i = 0; i < 2; i++) {
        first_picture(s, i); /* chooses algorithms */
        first_picture(s, i);
        r->first_picture[i] = first_picture(s, i);
    }
    r->replayed = s->rollout.work.recorder.replayed;
    r->forwards = (uint64_t)s->rollout.times.forwards;
    r->cannot_record = s->rollout.work.recorder.refused;
    for (int i = 0; i < 2; i++) {
        const struct recorder *of = s->decoder[i]->recorder;
        r->passes += of->runs;
        r->passes_replayed += of->replayed;
        r->cannot_record |= of->refused;
    }
}

int bench_stream(struct bench *bench)
{
    struct stream s = {.bench = bench};
    struct made_up_shape shape;
    int code = bench_find_shape(bench, &shape);
    if (code < 0)
        return code;
    if (bench->blocks && bench->blocks < shape.layers)
        shape.layers = bench->blocks;
    arena_init(&s.arena, bench->backend);
    code = open_networks(&s, &shape);
    if (code == 0)
        code = open_video(&s, &shape);
    if (code == 0) {
        measure(&s);
        bench_look_at_memory(bench);
        bench->cache_bytes = rollout_cache_bytes(&s.rollout);
        bench->work_bytes = s.rollout.work.arena.bytes + s.rollout.arena.bytes +
                            s.decoder[0]->bytes + s.decoder[1]->bytes;
        code = backend_status(bench->backend);
    }
    if (code == 0 && bench->backend->beside) {
        for (int i = 0; i < 2; i++) { /* make room */
            video_decoder_close(s.decoder[i]);
            s.decoder[i] = NULL;
        }
        code = bench_beside(bench, &s.rollout, s.vae_weights, &bench->stream.rate_beside);
    }
    for (int i = 0; i < STREAM_PARTS; i++)
        free(s.times[i]);
    free(s.picture);
    for (int i = 0; i < 2; i++)
        video_decoder_close(s.decoder[i]);
    rollout_close(&s.rollout);
    arena_finish(&s.arena);
    taehv_close(s.light);
    vae_close(s.vae);
    transformer_close(&s.transformer);
    weights_close(s.light_weights);
    weights_close(s.vae_weights);
    weights_close(s.weights);
    return code;
}
