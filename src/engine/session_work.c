/* What a session's worker does: denoise a block, decode it latent frame by latent frame, and queue
 * every picture as soon as it exists. The device is held a step at a time, never while waiting for
 * room in the queue. */
#include "base/clock.h"
#include "engine/session.h"

struct chunk {
    int64_t index;
    double begin;
};

/* The first reason counts. */
static void end_video(struct unreel_session *s, int code)
{
    pthread_mutex_lock(&s->lock);
    if (!s->finished) {
        s->ended = clock_seconds();
        s->finished = code;
    }
    pthread_mutex_unlock(&s->lock);
    frame_queue_end(&s->queue, code);
}

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
    struct backend *b = s->engine->backend;
    int count = 0;
    double begin = clock_seconds();
    engine_lock(s->engine, &s->cancel, session_log(s));
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
    int code = engine_unlock(s->engine);
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
        end_video(s, code);
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

static void count_chunk(struct unreel_session *s, const struct chunk *chunk)
{
    pthread_mutex_lock(&s->lock);
    s->chunk_times[chunk->index % CHUNK_TIMES] =
        (float)(clock_seconds() - chunk->begin - s->waited);
    s->first_times[chunk->index % CHUNK_TIMES] = (float)(s->first - chunk->begin);
    s->stats.chunks = chunk->index + 1;
    s->stats.latent_frames = s->rollout.done;
    s->stats.seconds_denoise = s->rollout.times.denoise;
    s->stats.seconds_cache = s->rollout.times.cache;
    pthread_mutex_unlock(&s->lock);
}

/* After the last chunk's latents no border comes at which a change could take effect: its pictures
 * are the video's end, and are kept. */
static void note_last(struct unreel_session *s)
{
    if (rollout_left(&s->rollout))
        return;
    pthread_mutex_lock(&s->lock);
    s->last = true;
    frame_queue_hurry(&s->queue, false);
    pthread_mutex_unlock(&s->lock);
}

/* The given latents, or as many as the video has room for: into the cache and out as pictures. */
static bool give(struct unreel_session *s, int64_t chunk)
{
    struct tensor given = tensor_slice(s->given, 0, 0, s->rollout.plan.given);
    engine_lock(s->engine, &s->cancel, session_log(s));
    rollout_give(&s->rollout, given);
    if (s->settings.latents_path)
        latents_file_add(&s->latents_file, s->engine->backend, given);
    int code = engine_unlock(s->engine);
    if (code < 0) {
        end_video(s, code);
        return false;
    }
    note_last(s);
    return decode_block(s, given, chunk);
}

/* One block of the rollout. 0: go on; else what ends the video. */
static int make_chunk(struct unreel_session *s, int64_t index)
{
    struct chunk chunk = {.index = index, .begin = clock_seconds()};
    s->waited = s->first = 0;
    engine_lock(s->engine, &s->cancel, session_log(s));
    struct tensor latents = rollout_next(&s->rollout);
    if (latents.data && s->settings.latents_path)
        latents_file_add(&s->latents_file, s->engine->backend, latents);
    int code = engine_unlock(s->engine);
    if (code < 0)
        return code;
    if (!latents.data)
        return UNREEL_END;
    note_last(s);
    if (!decode_block(s, latents, index))
        return UNREEL_ECANCELED;
    count_chunk(s, &chunk);
    return 0;
}

/* What was asked for, then a chunk. 0: go on; else what ends the video. */
static int work(struct unreel_session *s, int64_t chunk)
{
    bool again;
    if (!rollout_left(&s->rollout))
        return atomic_load(&s->cancel) ? UNREEL_ECANCELED : UNREEL_END;
    int code = session_border(s, &again);
    if (code == 0 && again && !give(s, chunk))
        code = UNREEL_ECANCELED;
    return code < 0 ? code : make_chunk(s, chunk);
}

/* A change that came while the last chunk was made would else vanish without a word. */
static void say_what_is_unshown(struct unreel_session *s)
{
    pthread_mutex_lock(&s->lock);
    bool unshown = s->stats.scene_asked > s->stats.scene;
    pthread_mutex_unlock(&s->lock);
    if (unshown)
        log_warning(session_log(s),
                    "the last change came after the video's last chunk had begun: no "
                    "picture shows it");
}

void *session_work(void *session)
{
    struct unreel_session *s = session;
    int code = s->given.data && !give(s, 0) ? UNREEL_ECANCELED : 0;
    for (int64_t index = 0; code == 0; index++)
        code = work(s, index);
    if (code == UNREEL_END && s->settings.latents_path) {
        int saved = latents_file_save(&s->latents_file, session_log(s));
        if (saved < 0)
            code = saved;
    }
    end_video(s, code);
    if (code == UNREEL_END)
        say_what_is_unshown(s);
    return NULL;
}
