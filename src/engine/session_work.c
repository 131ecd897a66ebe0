/* What a session's worker does: bring changes into effect, denoise a block, have it shown. The device
 * is held a step at a time. */
#include "base/clock.h"
#include "engine/session.h"

/* After the last chunk's latents no border comes at which a change could take effect: its pictures
 * are the video's end, and are kept. */
static void note_last(struct unreel_session *s)
{
    if (rollout_left(&s->rollout))
        return;
    pthread_mutex_lock(&s->lock);
    s->last = true;
    session_hurry(s);
    pthread_mutex_unlock(&s->lock);
}

/* A block's latents on their way to pictures, with what the border before them says. */
static bool show(struct unreel_session *s, struct tensor latents, int64_t chunk, bool given,
                 double begin)
{
    struct block block = s->next;
    block.latents = latents;
    block.stays = block.given = given;
    block.chunk = chunk;
    block.begin = begin;
    block.latent_frames = s->rollout.done;
    block.seconds_denoise = s->rollout.times.denoise;
    block.seconds_cache = s->rollout.times.cache;
    s->next = (struct block){0};
    return session_show(s, &block);
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
        session_end(s, code);
        return false;
    }
    note_last(s);
    return show(s, given, chunk, true, 0);
}

/* One block of the rollout. 0: go on; else what ends the video. */
static int make_chunk(struct unreel_session *s, int64_t index)
{
    double begin = clock_seconds();
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
    return show(s, latents, index, false, begin) ? 0 : UNREEL_ECANCELED;
}

/* What was asked for, then a chunk. 0: go on; else what ends the video. */
static int work(struct unreel_session *s, int64_t chunk)
{
    bool again;
    if (!rollout_left(&s->rollout))
        return atomic_load(&s->cancel) ? UNREEL_ECANCELED : UNREEL_END;
    session_await_room(s);
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
    int code = session_start_showing(s);
    if (code == 0 && s->given.data && !give(s, 0))
        code = UNREEL_ECANCELED;
    for (int64_t index = 0; code == 0; index++)
        code = work(s, index);
    if (!session_stop_showing(s) && code == UNREEL_END)
        code = UNREEL_ECANCELED;
    if (code == UNREEL_END && s->settings.latents_path) {
        int saved = latents_file_save(&s->latents_file, session_log(s));
        if (saved < 0)
            code = saved;
    }
    session_end(s, code);
    if (code == UNREEL_END)
        say_what_is_unshown(s);
    return NULL;
}
