/* Opening and closing sessions, pulling, statistics. */
#include "engine/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rank.h"
#include "config/options.h"
#include "model/image.h"

#define QUEUE_CHUNKS 2 /* chunks of pictures that may wait to be taken */

static int fill_noise(void *file, float *x, int64_t frame, int frames, int step)
{
    return noise_file_fill(file, x, frame, frames, step);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Latent frames that a clip gives, or a negative code. */
static int given_frames(const unreel_clip *clip, const unreel_log *log)
{
    if (!clip)
        return 0;
    if (!clip->rgb || clip->frames < 1 || clip->width < 1 || clip->height < 1 ||
        clip->stride < 3 * (size_t)clip->width)
        return log_error(log, UNREEL_EINVAL, "clip: an empty picture");
    if ((clip->frames - 1) % 4)
        return log_error(log, UNREEL_EINVAL,
                         "clip: %d pictures do not make whole latent frames: %d or %d would",
                         clip->frames, (clip->frames - 1) / 4 * 4 + 1,
                         (clip->frames - 1) / 4 * 4 + 5);
    return 1 + (clip->frames - 1) / 4;
}

/* The clip's latent frames must be whole blocks, but for a first one that stands alone. */
static int check_given(const struct block_plan *plan, const unreel_clip *clip,
                       const unreel_log *log)
{
    int64_t first = plan->first_alone ? 1 : 0, blocks = (plan->given - first) / plan->block;
    if (!plan->given || (plan->given - first) % plan->block == 0)
        return 0;
    int64_t below = first + blocks * plan->block, above = below + plan->block;
    return log_error(log, UNREEL_EINVAL,
                     "clip: %d pictures are %lld latent frames, which do not fit blocks of %d%s: "
                     "%lld or %lld pictures would",
                     clip->frames, (long long)plan->given, plan->block,
                     first ? " after an independent first frame" : "",
                     below ? (long long)pictures_of(below) : 1, (long long)pictures_of(above));
}

/* Pictures to latents, once. With the decoders' device taken. */
static int encode_clip(struct unreel_session *s, const unreel_clip *clip, int given)
{
    struct backend *b = s->engine->decoder;
    const struct rollout_config *r = &s->settings.rollout;
    int64_t width = s->settings.width, height = s->settings.height;
    struct video_encoder *encoder = NULL;
    struct arena scratch;
    arena_init(&scratch, b);
    struct tensor pixels = arena_tensor(&scratch, TENSOR_F32, SHAPE(clip->frames, height, width, 3));
    float *host = malloc((size_t)(height * width * 3) * sizeof *host);
    int code = backend_status(b);
    if (code == 0 && !host)
        code = log_error(session_log(s), UNREEL_ENOMEM, "clip: out of memory");
    for (int i = 0; code == 0 && i < clip->frames; i++) {
        code =
            image_resize(host, (int)width, (int)height, clip->rgb + (size_t)i * clip->frames_stride,
                         clip->width, clip->height, clip->stride, session_log(s));
        if (code == 0)
            backend_upload(b, tensor_slice(pixels, 0, i, 1),
                           tensor_make(host, TENSOR_F32, SHAPE(1, height, width, 3)));
    }
    if (code == 0)
        code = vae_encoder_open(&encoder, s->engine->vae, r->h, r->w, given);
    if (code == 0) {
        struct tensor latents = video_encoder_encode(encoder, pixels);
        if (!backend_status(b))
            op_copy(b, s->given, latents);
        backend_sync(b);
        code = backend_status(b);
    }
    video_encoder_close(encoder);
    arena_finish(&scratch);
    free(host);
    return code;
}

static int encode(struct unreel_session *s, const char *prompt, struct tensor embeds)
{
    int32_t *ids = NULL;
    int code = engine_tokenize(s->engine, prompt, &ids, session_log(s));
    if (code > 0)
        code = engine_encode(s->engine, ids, code, embeds);
    free(ids);
    return code;
}

static int encode_prompts(struct unreel_session *s)
{
    struct unreel_engine *e = s->engine;
    double begin = clock_seconds();
    text_blend_init(&s->text, &s->arena, e->transformer.config.text_len, e->transformer.text_dim);
    int code = backend_status(e->backend);
    if (code == 0)
        code = engine_tokenizer(e, session_log(s));
    if (code == 0)
        code = encode(s, s->settings.prompt, s->text.to);
    struct tensor negative = {0};
    if (code == 0) {
        text_blend_begin(&s->text, 1);
        text_blend_step(&s->text);
        if (rollout_is_guided(&s->settings.rollout)) {
            negative = s->text.from; /* free until the next blend begins */
            code = encode(s, s->settings.negative ? s->settings.negative : "", negative);
        }
    }
    if (code == 0) {
        rollout_set_text(&s->rollout, s->text.now, negative);
        code = backend_status(e->backend);
    }
    s->stats.seconds_text = clock_seconds() - begin;
    return code;
}

static int open_decoder(struct unreel_session *s)
{
    struct unreel_engine *e = s->engine;
    const struct rollout_config *r = &s->settings.rollout;
    if (!s->settings.light)
        return vae_decoder_open(&s->decoder, e->vae, r->h, r->w, session_decode_chunk(s));
    struct taehv *light;
    int code = engine_light(&light, e, s->settings.decoder_path, session_log(s));
    if (code == 0)
        code = taehv_decoder_open(&s->decoder, light, r->h, r->w, session_decode_chunk(s));
    return code;
}

/* What is not the decoders'. With the device taken. */
static int open_on_device(struct unreel_session *s, int given)
{
    struct backend *b = s->engine->backend;
    const struct rollout_config *r = &s->settings.rollout;
    const struct noise_source noise = {
        .fill = s->settings.noise_path ? fill_noise : NULL,
        .opaque = &s->noise_file,
        .key = &s->settings.noise,
    };
    arena_init(&s->arena, b);
    int code = rollout_open(&s->rollout, &s->engine->transformer, r, noise);
    if (given)
        s->given = arena_tensor(&s->arena, TENSOR_F32, SHAPE(given, r->h, r->w, LATENT_CHANNELS));
    if (engine_decodes_beside(s->engine))
        s->handed_latents = arena_tensor(&s->arena, TENSOR_F32,
                                         SHAPE(r->plan.block, r->h, r->w, LATENT_CHANNELS));
    if (code == 0)
        code = encode_prompts(s);
    backend_sync(b); /* before the decoders see any of it */
    return code ? code : backend_status(b);
}

static int open_files(struct unreel_session *s)
{
    const struct rollout_config *r = &s->settings.rollout;
    const unreel_log *log = session_log(s);
    int code = 0;
    if (s->settings.noise_path)
        code = noise_file_open(&s->noise_file, s->settings.noise_path, r->h, r->w, r->plan.given,
                               r->plan.frames - r->plan.given, log);
    if (code == 0 && s->settings.latents_path)
        code = latents_file_open(&s->latents_file, s->settings.latents_path, r->plan.frames, r->h,
                                 r->w, log);
    return code;
}

static int open_queue(struct unreel_session *s)
{
    const struct session_settings *set = &s->settings;
    s->pool = frame_pool_create(set->width, set->height, set->format);
    if (!s->pool || frame_queue_init(&s->queue, QUEUE_CHUNKS * 4 * set->rollout.plan.block) < 0)
        return log_error(session_log(s), UNREEL_ENOMEM, "session: out of memory");
    s->stats.pictures_total = pictures_of(set->rollout.plan.frames);
    s->stats.width = set->width;
    s->stats.height = set->height;
    s->stats.fps = set->fps;
    s->stats.seed = (int64_t)set->noise.seed;
    s->stats.bytes_weights = engine_weight_bytes(s->engine);
    s->stats.bytes_cache = rollout_cache_bytes(&s->rollout);
    s->stats.bytes_work =
        s->rollout.work.arena.bytes + s->rollout.arena.bytes + s->arena.bytes + s->decoder->bytes;
    return 0;
}

static int open_decoders(struct unreel_session *s, const unreel_clip *clip, int given)
{
    engine_lock_decoder(s->engine, NULL, session_log(s));
    int code = open_decoder(s);
    if (code == 0 && clip)
        code = encode_clip(s, clip, given);
    int status = engine_unlock_decoder(s->engine);
    return code ? code : status;
}

static int open_all(struct unreel_session *s, const unreel_clip *clip)
{
    const unreel_log *log = session_log(s);
    int given = given_frames(clip, log);
    if (given < 0)
        return given;
    int code = session_settings_read(&s->settings, s->options, given);
    if (code == 0)
        code = check_given(&s->settings.rollout.plan, clip, log);
    if (code == 0)
        code = open_files(s);
    if (code < 0)
        return code;
    engine_lock(s->engine, NULL, log);
    code = open_on_device(s, given);
    int status = engine_unlock(s->engine);
    if (code == 0)
        code = status;
    if (code == 0)
        code = open_decoders(s, clip, given);
    if (code == UNREEL_ENOMEM)
        session_say_smaller(s);
    if (code == 0)
        code = open_queue(s);
    if (code == 0 && !(s->prompt = strdup(s->settings.prompt)))
        code = log_error(log, UNREEL_ENOMEM, "session: out of memory");
    if (code == 0 && pthread_create(&s->worker, NULL, session_work, s))
        code = log_error(log, UNREEL_ENOMEM, "session: cannot start a thread");
    s->worker_runs = code == 0;
    return code;
}

int unreel_session_open(unreel_session **session, unreel_engine *engine,
                        const unreel_options *options, const unreel_clip *clip)
{
    *session = NULL;
    struct unreel_session *s = calloc(1, sizeof *s);
    if (s)
        s->options = unreel_options_copy(options);
    if (!s || !s->options || pthread_mutex_init(&s->lock, NULL)) {
        if (s)
            unreel_options_destroy(s->options);
        free(s);
        return log_error(options_log(options), UNREEL_ENOMEM, "session: out of memory");
    }
    pthread_cond_init(&s->steered, NULL);
    s->engine = engine;
    s->opened = clock_seconds();
    atomic_init(&s->cancel, false);
    engine_ref(engine);
    int code = open_all(s, clip);
    if (code < 0) {
        unreel_session_close(s);
        return code;
    }
    *session = s;
    return 0;
}

/* ---- closing --------------------------------------------------------------------------------- */

void unreel_session_cancel(unreel_session *session)
{
    atomic_store(&session->cancel, true);
    pthread_mutex_lock(&session->lock); /* the worker either sees it before it waits, or is woken */
    pthread_cond_broadcast(&session->steered);
    pthread_mutex_unlock(&session->lock);
}

void unreel_session_close(unreel_session *session)
{
    struct unreel_session *s = session;
    if (!s)
        return;
    if (s->deliverer_runs && pthread_equal(s->deliverer, pthread_self())) {
        log_error(session_log(s), UNREEL_EINVAL,
                  "session: not closed: its own delivery called for it and would wait for itself");
        return;
    }
    unreel_session_cancel(s);
    if (s->queue.ring)
        frame_queue_stop(&s->queue);
    if (s->worker_runs)
        pthread_join(s->worker, NULL);
    if (s->deliverer_runs)
        pthread_join(s->deliverer, NULL);
    engine_lock_decoder(s->engine, NULL, session_log(s));
    video_decoder_close(s->decoder);
    engine_unlock_decoder(s->engine);
    engine_lock(s->engine, NULL, session_log(s));
    rollout_close(&s->rollout);
    if (s->arena.backend)
        arena_finish(&s->arena);
    engine_unlock(s->engine);
    frame_queue_finish(&s->queue);
    frame_pool_unref(s->pool);
    noise_file_close(&s->noise_file);
    latents_file_close(&s->latents_file);
    unreel_options_destroy(s->options);
    free(s->change.ids);
    free(s->prompt);
    pthread_cond_destroy(&s->steered);
    pthread_mutex_destroy(&s->lock);
    unreel_engine_close(s->engine);
    free(s);
}

/* ---- taking pictures -------------------------------------------------------------------------- */

int unreel_session_pull(unreel_session *session, unreel_frame **frame, int timeout_ms)
{
    return frame_queue_pull(&session->queue, frame, timeout_ms);
}

static void *deliver(void *session)
{
    struct unreel_session *s = session;
    unreel_frame *frame;
    int code;
    pthread_mutex_lock(&s->lock); /* until this thread is noted: it may close nothing */
    pthread_mutex_unlock(&s->lock);
    while ((code = frame_queue_pull(&s->queue, &frame, -1)) == 0) {
        s->receive(s->receive_opaque, frame, 0);
        unreel_frame_unref(frame);
    }
    s->receive(s->receive_opaque, NULL, code);
    return NULL;
}

int unreel_session_deliver(unreel_session *session, unreel_frame_fn receive, void *opaque)
{
    const unreel_log *log = session_log(session);
    if (session->deliverer_runs)
        return log_error(log, UNREEL_EINVAL, "session: pictures are already delivered");
    session->receive = receive;
    session->receive_opaque = opaque;
    pthread_mutex_lock(&session->lock);
    bool runs = pthread_create(&session->deliverer, NULL, deliver, session) == 0;
    session->deliverer_runs = runs;
    pthread_mutex_unlock(&session->lock);
    return runs ? 0 : log_error(log, UNREEL_ENOMEM, "session: cannot start a thread");
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Puts the times in order. */
static double percentile(float *times, int count, int percent)
{
    qsort(times, (size_t)count, sizeof *times, compare_floats);
    return times[nearest_rank(count, percent)];
}

void unreel_session_stats(unreel_session *session, unreel_stats *stats)
{
    float times[CHUNK_TIMES], first[CHUNK_TIMES];
    int waiting = frame_queue_count(&session->queue);
    pthread_mutex_lock(&session->lock);
    *stats = session->stats;
    stats->pictures_waiting = waiting;
    stats->seconds_total =
        (session->ended > 0 ? session->ended : clock_seconds()) - session->opened;
    memcpy(times, session->chunk_times, sizeof times);
    memcpy(first, session->first_times, sizeof first);
    pthread_mutex_unlock(&session->lock);
    int count = stats->chunks < CHUNK_TIMES ? (int)stats->chunks : CHUNK_TIMES;
    if (count) {
        stats->chunk_p50 = percentile(times, count, 50);
        stats->chunk_p99 = percentile(times, count, 99);
        stats->chunk_first = percentile(first, count, 50);
    }
}
