/* From latents to pictures: decodes a block latent frame by latent frame, or as many at a time as the
 * device likes, and queues every picture as soon as it exists. The device is held a step at a time,
 * never while waiting for room in the queue. The worker does this itself, or a thread beside it. */
#include <string.h>

#include "base/clock.h"
#include "engine/session.h"

void session_say_smaller(const struct unreel_session *session)
{
    const struct unreel_session *s = session;
    const struct session_settings *set = &s->settings;
    const struct backend *b = s->engine->backend;
    log_info(session_log(s),
             "%dx%d with a window of %d latent frames does not fit the memory that is free: a smaller size or window "
             "takes less%s",
             set->width, set->height, set->rollout.window,
             strcmp(b->ops->name, "cuda") || b->fp8 ? "" : ", dtype fp8 as well where the device has it");
}

void session_end(struct unreel_session *session, int code)
{
    struct unreel_session *s = session;
    pthread_mutex_lock(&s->lock);
    bool first = !s->finished;
    if (first) {
        s->ended = clock_seconds();
        s->finished = code;
    }
    pthread_mutex_unlock(&s->lock);
    if (first && code == UNREEL_ENOMEM)
        session_say_smaller(s);
    frame_queue_end(&s->queue, code);
}

/* ---- changes ----------------------------------------------------------------------------------- */

/* Pictures that nobody took yet. A cut among them is still one for whoever sees the next picture. */
static void drop_waiting(struct unreel_session *s)
{
    unsigned flags;
    int count = frame_queue_drop(&s->queue, &flags);
    s->flags |= flags & UNREEL_FRAME_CUT;
    pthread_mutex_lock(&s->lock);
    s->stats.pictures -= count;
    s->stats.pictures_dropped += count;
    pthread_mutex_unlock(&s->lock);
}

void session_note(struct unreel_session *session, const struct notice *notice)
{
    struct unreel_session *s = session;
    int64_t left = notice->left;
    if (notice->eager)
        drop_waiting(s);
    if (notice->cut)
        s->flags |= UNREEL_FRAME_CUT;
    s->flags |= UNREEL_FRAME_CHANGE;
    s->scene = notice->number;
    s->asked = notice->asked;
    pthread_mutex_lock(&s->lock);
    s->stats.scene = s->scene;
    s->stats.seed = notice->seed;
    if (left >= 0) /* a scene's first latent frame gives fewer pictures, and some may be dropped */
        s->stats.pictures_total = s->stats.pictures + (notice->cut ? pictures_of(left) : 4 * left);
    pthread_mutex_unlock(&s->lock);
}

/* What the border before a block has left to its pictures. False: an operation failed. */
static bool cross_border(struct unreel_session *s, const struct block *block)
{
    int code = 0;
    s->discarding = false;
    if (block->restart) {
        engine_lock_decoder(s->engine, &s->cancel, session_log(s));
        video_decoder_reset(s->decoder);
        code = engine_unlock_decoder(s->engine);
    }
    if (block->notice.number) {
        session_note(s, &block->notice);
        pthread_mutex_lock(&s->lock);
        s->eager_coming &= !block->notice.eager;
        session_hurry(s);
        pthread_mutex_unlock(&s->lock);
    }
    if (code < 0)
        session_end(s, code);
    return code == 0;
}

/* ---- pictures ---------------------------------------------------------------------------------- */

/* Numbers a picture and queues it; waits for room. False: the session was cancelled. */
static bool queue_picture(struct unreel_session *s, unreel_frame *frame, int64_t chunk)
{
    unsigned flags = s->flags;
    pthread_mutex_lock(&s->lock);
    frame->index = s->stats.pictures++;
    if (s->stats.seconds_first == 0)
        s->stats.seconds_first = clock_seconds() - s->opened;
    if (flags & UNREEL_FRAME_CHANGE)
        s->stats.seconds_change = clock_seconds() - s->asked;
    pthread_mutex_unlock(&s->lock);
    frame->chunk = chunk;
    frame->time = (double)frame->index / s->settings.fps;
    frame->scene = s->scene;
    frame->flags = frame->index ? flags : 0;
    double begin = clock_seconds();
    enum frame_queue_result result = frame_queue_push(&s->queue, frame);
    s->waited += clock_seconds() - begin;
    if (result == FRAME_QUEUED) {
        s->flags = 0;
    } else if (result == FRAME_DROPPED) { /* a gap: what follows would only show it */
        s->discarding = true;
        pthread_mutex_lock(&s->lock);
        s->stats.pictures--;
        s->stats.pictures_dropped++;
        pthread_mutex_unlock(&s->lock);
    }
    return result != FRAME_STOPPED;
}

/* Counts a picture that goes nowhere. */
static void drop_picture(struct unreel_session *s)
{
    pthread_mutex_lock(&s->lock);
    s->stats.pictures_dropped++;
    pthread_mutex_unlock(&s->lock);
}

/* The pictures of `pixels` [P, H, W, 3] into the queue. Converts with the device taken; false: the
 * session was cancelled, or an operation failed. */
static bool deliver_pictures(struct unreel_session *s, struct tensor latents, int64_t chunk)
{
    enum { PICTURES = 4 * DECODE_CHUNK_MAX };
    unreel_frame *frames[PICTURES] = {0};
    struct picture_target target[PICTURES];
    struct backend *b = s->engine->decoder;
    int count = 0;
    double begin = clock_seconds();
    engine_lock_decoder(s->engine, &s->cancel, session_log(s));
    struct tensor pixels = video_decoder_decode(s->decoder, latents);
    int64_t pictures = pixels.data && !s->discarding ? pixels.shape[0] : 0;
    for (int64_t i = 0; i < pictures && backend_ready(b); i++) {
        unreel_frame *frame = frame_pool_take(s->pool);
        if (!frame) {
            backend_fail(b, UNREEL_ENOMEM, "no memory for pictures");
            break;
        }
        target[count] = (struct picture_target){
            .format = frame->format,
            .data = {frame_plane(frame, 0), frame_plane(frame, 1), frame_plane(frame, 2)},
            .stride = {frame->stride[0], frame->stride[1], frame->stride[2]},
        };
        frames[count++] = frame;
    }
    if (count)
        op_pictures(b, count, target, tensor_slice(pixels, 0, 0, count), s->decoder->scale,
                    s->decoder->offset);
    int code = engine_unlock_decoder(s->engine);
    double now = clock_seconds();
    if (!s->first)
        s->first = now;
    pthread_mutex_lock(&s->lock);
    s->stats.seconds_decode += now - begin;
    if (pixels.data && s->discarding)
        s->stats.pictures_dropped += pixels.shape[0];
    pthread_mutex_unlock(&s->lock);

    bool going = code == 0;
    for (int i = 0; i < count; i++) {
        if (going && !s->discarding) {
            going = queue_picture(s, frames[i], chunk);
            continue;
        }
        unreel_frame_unref(frames[i]);
        if (going)
            drop_picture(s);
    }
    if (code < 0)
        session_end(s, code);
    return going;
}

static bool decode_block(struct unreel_session *s, struct tensor latents, int64_t chunk)
{
    for (int64_t i = 0, frames; i < latents.shape[0]; i += frames) {
        /* A scene's first picture leaves alone: it is what somebody waits for. */
        bool first = video_decoder_pictures(s->decoder, 1) == 1;
        frames = first ? 1 : session_decode_chunk(s);
        if (frames > latents.shape[0] - i)
            frames = latents.shape[0] - i;
        if (!deliver_pictures(s, tensor_slice(latents, 0, i, frames), chunk))
            return false;
    }
    return true;
}

static void count_chunk(struct unreel_session *s, const struct block *block)
{
    int64_t at = block->chunk % CHUNK_TIMES;
    pthread_mutex_lock(&s->lock);
    s->chunk_times[at] = (float)(clock_seconds() - block->begin - s->waited);
    s->first_times[at] = (float)(s->first - block->begin);
    s->stats.chunks = block->chunk + 1;
    s->stats.latent_frames = block->latent_frames;
    s->stats.seconds_denoise = block->seconds_denoise;
    s->stats.seconds_cache = block->seconds_cache;
    pthread_mutex_unlock(&s->lock);
}

static bool show(struct unreel_session *s, const struct block *block)
{
    s->waited = s->first = 0;
    if ((block->border && !cross_border(s, block)) ||
        !decode_block(s, block->latents, block->chunk))
        return false;
    if (!block->given)
        count_chunk(s, block);
    return true;
}

/* ---- beside the worker ------------------------------------------------------------------------- */

/* Takes what was handed. False: nothing will come, or the session is cancelled. */
static bool take(struct unreel_session *s, struct block *block)
{
    pthread_mutex_lock(&s->lock);
    while (!s->is_handed && !s->no_more && !atomic_load(&s->cancel))
        pthread_cond_wait(&s->steered, &s->lock);
    bool going = s->is_handed && !atomic_load(&s->cancel);
    *block = s->handed;
    pthread_mutex_unlock(&s->lock);
    return going;
}

/* The worker may write to the latents' memory again. */
static void release(struct unreel_session *s, bool good)
{
    engine_lock_decoder(s->engine, NULL, session_log(s));
    backend_sync(s->engine->decoder); /* pictures that go nowhere are not waited for */
    int code = engine_unlock_decoder(s->engine);
    if (code < 0)
        session_end(s, code);
    frame_queue_expect(&s->queue, 0);
    pthread_mutex_lock(&s->lock);
    s->is_handed = false;
    s->shown_all = !good || code < 0;
    pthread_cond_broadcast(&s->steered);
    pthread_mutex_unlock(&s->lock);
}

static void *show_all(void *session)
{
    struct unreel_session *s = session;
    struct block block;
    while (!s->shown_all && take(s, &block)) /* nobody else writes the first */
        release(s, show(s, &block));
    return NULL;
}

/* Waits until there is no other block; then it is the turn of this one. */
static bool hand(struct unreel_session *s, const struct block *block)
{
    struct block handed = *block;
    pthread_mutex_lock(&s->lock);
    while (s->is_handed && !s->shown_all && !atomic_load(&s->cancel))
        pthread_cond_wait(&s->steered, &s->lock);
    bool going = !s->shown_all && !atomic_load(&s->cancel);
    pthread_mutex_unlock(&s->lock);
    if (!going)
        return false;
    if (!block->stays) {
        handed.latents = tensor_slice(s->handed_latents, 0, 0, block->latents.shape[0]);
        engine_lock(s->engine, &s->cancel, session_log(s));
        op_copy(s->engine->backend, handed.latents, block->latents);
        backend_sync(s->engine->backend); /* the decoder's operations do not wait for these */
        int code = engine_unlock(s->engine);
        if (code < 0) {
            session_end(s, code);
            return false;
        }
    }
    frame_queue_expect(&s->queue, 4 * (int)block->latents.shape[0]);
    pthread_mutex_lock(&s->lock);
    s->handed = handed;
    s->is_handed = true;
    pthread_cond_broadcast(&s->steered);
    pthread_mutex_unlock(&s->lock);
    return true;
}

bool session_show(struct unreel_session *session, const struct block *block)
{
    return engine_decodes_beside(session->engine) ? hand(session, block) : show(session, block);
}

void session_await_room(struct unreel_session *session)
{
    if (engine_decodes_beside(session->engine))
        frame_queue_wait(&session->queue);
}

int session_start_showing(struct unreel_session *session)
{
    struct unreel_session *s = session;
    if (!engine_decodes_beside(s->engine))
        return 0;
    if (pthread_create(&s->shower, NULL, show_all, s))
        return log_error(session_log(s), UNREEL_ENOMEM, "session: cannot start a thread");
    s->shower_runs = true;
    return 0;
}

bool session_stop_showing(struct unreel_session *session)
{
    struct unreel_session *s = session;
    if (!s->shower_runs)
        return true;
    pthread_mutex_lock(&s->lock);
    s->no_more = true;
    pthread_cond_broadcast(&s->steered);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->shower, NULL);
    s->shower_runs = false;
    return !s->is_handed && !s->shown_all;
}
