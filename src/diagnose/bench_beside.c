/* Pictures a second as a session makes them where a device runs decoding beside denoising: two
 * backends, two threads, the VAE's latents handed over a block at a time. */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "diagnose/bench.h"
#include "model/latent.h"
#include "model/rollout.h"
#include "model/video_decoder.h"

struct decoding {
    struct bench *bench;
    struct backend *backend;
    struct video_decoder *decoder;
    struct tensor latents;
    uint8_t *picture;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool full, over; /* latents are to be decoded; none will be */
};

static void *decode_all(void *opaque)
{
    struct decoding *d = opaque;
    pthread_mutex_lock(&d->lock);
    for (;;) {
        while (!d->full && !d->over)
            pthread_cond_wait(&d->changed, &d->lock);
        if (!d->full)
            break;
        pthread_mutex_unlock(&d->lock);
        struct tensor pixels = video_decoder_decode(d->decoder, d->latents);
        bench_fetch(d->bench, d->decoder, pixels, d->picture);
        pthread_mutex_lock(&d->lock);
        d->full = false;
        pthread_cond_broadcast(&d->changed);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static void wait_for_pictures(struct decoding *d)
{
    pthread_mutex_lock(&d->lock);
    while (d->full)
        pthread_cond_wait(&d->changed, &d->lock);
    pthread_mutex_unlock(&d->lock);
}

static void hand(struct decoding *d, struct tensor latents)
{
    struct backend *b = d->bench->backend;
    wait_for_pictures(d);
    op_copy(b, d->latents, latents);
    backend_sync(b);
    pthread_mutex_lock(&d->lock);
    d->full = true;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

static void say_no_more(struct decoding *d)
{
    pthread_mutex_lock(&d->lock);
    d->over = true;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

/* Seconds of all chunks but those that warm up, or a negative code. */
static double make_chunks(struct decoding *d, struct rollout *rollout)
{
    struct bench *bench = d->bench;
    int block = rollout->config.plan.block;
    int fill = (bench->window + block - 1) / block + 2; /* the last two are recorded */
    pthread_t thread;
    double begin = 0;
    if (pthread_create(&thread, NULL, decode_all, d))
        return log_error(&bench->log, UNREEL_ENOMEM, "bench: cannot start a thread");
    for (int i = 0; i < fill + bench->runs && !backend_status(bench->backend); i++) {
        if (i == fill) {
            wait_for_pictures(d);
            begin = clock_seconds();
        }
        struct tensor latents = rollout_next(rollout);
        if (latents.data)
            hand(d, latents);
    }
    wait_for_pictures(d);
    double seconds = clock_seconds() - begin;
    say_no_more(d);
    pthread_join(thread, NULL);
    int code = backend_status(bench->backend);
    if (code == 0)
        code = backend_status(d->backend);
    return code ? code : seconds;
}

static int measure(struct decoding *d, struct vae *vae, struct rollout *rollout, double *rate)
{
    const struct rollout_config *config = &rollout->config;
    struct arena arena;
    arena_init(&arena, d->bench->backend);
    d->latents = arena_tensor(&arena, TENSOR_F32,
                              SHAPE(config->plan.block, config->h, config->w, LATENT_CHANNELS));
    d->picture = malloc((size_t)(d->bench->width * d->bench->height) * 3 / 2);
    int code = backend_status(d->bench->backend);
    if (code == 0 && !d->picture)
        code = log_error(&d->bench->log, UNREEL_ENOMEM, "bench: out of host memory");
    if (code == 0)
        code = vae_decoder_open(&d->decoder, vae, config->h, config->w, config->plan.block);
    double seconds = code ? code : make_chunks(d, rollout);
    if (seconds > 0)
        *rate = 4 * config->plan.block * d->bench->runs / seconds;
    backend_sync(d->backend);
    video_decoder_close(d->decoder);
    arena_finish(&arena);
    free(d->picture);
    return seconds > 0 ? 0 : (int)seconds;
}

int bench_beside(struct bench *bench, struct rollout *rollout, const struct weights *weights,
                 double *rate)
{
    struct decoding d = {
        .bench = bench, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct backend_config config = *bench->config;
    struct vae *vae = NULL;
    config.beside = true;
    int code = backend_open(&d.backend, &config, &bench->log);
    if (code == 0)
        code = vae_open(&vae, d.backend, weights, &bench->log);
    if (code == 0)
        code = measure(&d, vae, rollout, rate);
    vae_close(vae);
    backend_close(d.backend);
    return code;
}
