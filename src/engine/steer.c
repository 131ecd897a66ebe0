/* Steering: what callers ask for, and how the worker brings it into effect at a chunk border. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/session.h"

/* ---- asking ---------------------------------------------------------------------------------- */

/* A number for one more change, with the lock held; or what ended the video: nothing changes then. */
static int64_t ask(struct unreel_session *s)
{
    if (s->finished)
        return s->finished;
    s->change.number = ++s->stats.scene_asked;
    s->change.asked = clock_seconds();
    return s->change.number;
}

/* Refuses prompts that could not be encoded later. */
static int check_prompt(const struct unreel_session *s, const char *prompt, enum unreel_switch how)
{
    const unreel_log *log = session_log(s);
    if (!prompt)
        return log_error(log, UNREEL_EINVAL, "prompt: none given");
    if (strnlen(prompt, UNREEL_PROMPT_MAX + 1) > UNREEL_PROMPT_MAX)
        return log_error(log, UNREEL_EINVAL, "prompt: longer than %d bytes", UNREEL_PROMPT_MAX);
    if (how < UNREEL_SWITCH_DEFAULT || how > UNREEL_SWITCH_CUT)
        return log_error(log, UNREEL_EINVAL, "prompt: no way of switching has the number %d", how);
    return 0;
}

int64_t unreel_session_set_prompt(unreel_session *session, const char *prompt,
                                  enum unreel_switch how, int eager)
{
    struct unreel_session *s = session;
    int32_t *ids = NULL;
    int code = check_prompt(s, prompt, how);
    if (code < 0)
        return code;
    int tokens = engine_tokenize(s->engine, prompt, &ids, session_log(s));
    if (tokens < 0)
        return tokens;
    char *copy = strdup(prompt);
    if (!copy) {
        free(ids);
        return log_error(session_log(s), UNREEL_ENOMEM, "prompt: out of memory");
    }
    pthread_mutex_lock(&s->lock);
    int64_t number = ask(s);
    if (number > 0) {
        char *before = s->prompt;
        int32_t *ids_before = s->change.ids;
        s->prompt = copy;
        s->change.ids = ids;
        s->change.tokens = tokens;
        s->change.how = how == UNREEL_SWITCH_DEFAULT ? s->settings.prompt_switch : how;
        s->change.eager = eager;
        session_hurry(s);
        copy = before;
        ids = ids_before;
    }
    pthread_mutex_unlock(&s->lock);
    free(copy);
    free(ids);
    return number;
}

int64_t unreel_session_set_seed(unreel_session *session, int64_t seed)
{
    struct unreel_session *s = session;
    const unreel_log *log = session_log(s);
    if (seed < 0)
        return log_error(log, UNREEL_EINVAL, "seed %lld: below 0", (long long)seed);
    if (s->settings.noise_path)
        return log_error(log, UNREEL_EINVAL, "seed: the noise comes from %s",
                         s->settings.noise_path);
    pthread_mutex_lock(&s->lock);
    int64_t number = ask(s);
    if (number > 0) {
        s->change.reseed = true;
        s->change.seed = seed;
    }
    pthread_mutex_unlock(&s->lock);
    return number;
}

int64_t unreel_session_reset(unreel_session *session)
{
    pthread_mutex_lock(&session->lock);
    int64_t number = ask(session);
    if (number > 0)
        session->change.reset = true;
    pthread_mutex_unlock(&session->lock);
    return number;
}

void unreel_session_pause(unreel_session *session, int paused)
{
    pthread_mutex_lock(&session->lock);
    session->stats.paused = paused != 0;
    pthread_cond_broadcast(&session->steered);
    pthread_mutex_unlock(&session->lock);
}

char *unreel_session_prompt(unreel_session *session)
{
    pthread_mutex_lock(&session->lock);
    char *prompt = strdup(session->prompt);
    pthread_mutex_unlock(&session->lock);
    return prompt;
}

void unreel_free(void *memory)
{
    free(memory);
}

/* ---- the worker at a chunk border -------------------------------------------------------------- */

/* Waits out a pause. Takes what was asked for; false: the session is cancelled. */
static bool take_change(struct unreel_session *s, struct change *change)
{
    pthread_mutex_lock(&s->lock);
    while (s->stats.paused && !atomic_load(&s->cancel))
        pthread_cond_wait(&s->steered, &s->lock);
    bool going = !atomic_load(&s->cancel);
    *change = going ? s->change : (struct change){0};
    if (going) {
        s->change = (struct change){0};
        s->eager_coming |= change->eager && engine_decodes_beside(s->engine);
        session_hurry(s);
    }
    pthread_mutex_unlock(&s->lock);
    return going;
}

/* The text of the next chunk: a blend's next step, or all of the way to its end. With the device
 * taken, as is the next. */
static int change_text(struct unreel_session *s, const struct change *change, bool at_once)
{
    if (change->ids || text_blend_is_due(&s->text))
        rollout_keep(&s->rollout); /* here, since it is no work for the text */
    double begin = clock_seconds();
    if (change->ids) {
        int code = engine_encode(s->engine, change->ids, change->tokens, s->text.to);
        if (code < 0)
            return code;
        text_blend_begin(&s->text, at_once ? 1 : s->settings.blend_chunks);
    }
    if (at_once)
        text_blend_hurry(&s->text);
    if (text_blend_step(&s->text)) {
        rollout_set_text(&s->rollout, s->text.now, (struct tensor){0});
        pthread_mutex_lock(&s->lock);
        s->stats.seconds_text += clock_seconds() - begin;
        pthread_mutex_unlock(&s->lock);
    }
    return 0;
}

static int change_scene(struct unreel_session *s, const struct change *change)
{
    bool cut = change->reset || (change->ids && change->how == UNREEL_SWITCH_CUT);
    bool recache = !cut && change->ids && change->how == UNREEL_SWITCH_RECACHE;
    if (cut) { /* first: what the cache still lacks is then not computed */
        rollout_restart(&s->rollout, change->reset);
        s->next.restart = true;
    }
    if (recache)
        rollout_expect_recache(&s->rollout, s->settings.recache_sink);
    int code = change_text(s, change, cut || recache);
    if (recache && code == 0)
        rollout_recache(&s->rollout, s->settings.recache_sink);
    return code;
}

/* Everything but the device: now, or where decoding is beside, before the first picture that it
 * concerns. */
static void note_change(struct unreel_session *s, const struct change *change)
{
    const struct notice notice = {
        .number = change->number,
        .asked = change->asked,
        .eager = change->eager,
        .cut = !s->rollout.frame,
        .left = rollout_left(&s->rollout),
        .seed = (int64_t)s->settings.noise.seed,
    };
    if (engine_decodes_beside(s->engine))
        s->next.notice = notice;
    else
        session_note(s, &notice);
}

/* What a pause leaves time for. */
static int keep_while_paused(struct unreel_session *s)
{
    pthread_mutex_lock(&s->lock);
    bool paused = s->stats.paused;
    pthread_mutex_unlock(&s->lock);
    if (!paused)
        return 0;
    engine_lock(s->engine, &s->cancel, session_log(s));
    rollout_keep(&s->rollout);
    return engine_unlock(s->engine);
}

int session_border(struct unreel_session *session, bool *again)
{
    struct unreel_session *s = session;
    struct change change;
    int code = keep_while_paused(s);
    *again = false;
    if (code < 0)
        return code;
    if (!take_change(s, &change))
        return UNREEL_ECANCELED;
    s->next.border = true;
    if (change.reseed)
        s->settings.noise.seed = (uint64_t)change.seed;
    if (change.reset)
        s->noise_file.next = 0;
    engine_lock(s->engine, &s->cancel, session_log(s));
    code = change_scene(s, &change);
    int status = engine_unlock(s->engine);
    if (code == 0)
        code = status;
    if (code == 0 && change.number)
        note_change(s, &change);
    *again = change.reset && s->given.data;
    free(change.ids);
    return code;
}
