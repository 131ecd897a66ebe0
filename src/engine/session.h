/* A session: the parts of one video and the thread that makes it. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "config/options.h"
#include "engine/engine.h"
#include "engine/frame.h"
#include "engine/frame_queue.h"
#include "engine/latents_file.h"
#include "engine/settings.h"
#include "model/text_blend.h"

#define CHUNK_TIMES 512 /* of the last chunks, for percentiles */

/* What is asked for at the next chunk border: the newest of each kind. */
struct change {
    int64_t number; /* of the newest of them all; 0: nothing is asked */
    double asked;   /* clock, likewise */
    int32_t *ids;   /* tokens of the prompt; NULL: it stays */
    int tokens;
    enum unreel_switch how;
    bool eager;
    bool reset;
    bool reseed;
    int64_t seed;
};

struct unreel_session {
    struct unreel_engine *engine;
    unreel_options *options; /* own copy: settings point into it */
    struct session_settings settings;

    struct rollout rollout;
    struct video_decoder *decoder;
    struct arena arena;
    struct tensor given; /* f32 [F, h, w, 16]: latents of the clip; data NULL: none */
    struct text_blend text;
    struct noise_file noise_file;
    struct latents_file latents_file;
    struct frame_pool *pool;
    struct frame_queue queue;

    pthread_t worker, deliverer;
    bool worker_runs, deliverer_runs;
    atomic_bool cancel;
    unreel_frame_fn receive;
    void *receive_opaque;

    /* The worker's: */
    int64_t scene;   /* the newest change in effect */
    double asked;    /* clock: when that was */
    unsigned flags;  /* of the next picture, enum unreel_frame_flags */
    bool discarding; /* pictures up to the next chunk border go nowhere */
    double waited;   /* seconds that pictures of this chunk waited for room */
    double first;    /* clock: when its first pictures were ready; 0: not yet */

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t steered; /* a pause ended, or the session is cancelled */
    struct change change;
    char *prompt;  /* the newest asked for */
    int finished;  /* status that ended the video; 0: it goes on */
    bool last;     /* no chunk follows the one that is decoded now */
    unreel_stats stats;
    double opened, ended; /* clock; ended 0: still at work */
    float chunk_times[CHUNK_TIMES], first_times[CHUNK_TIMES];
};

/* Where the session's messages go. */
static inline const unreel_log *session_log(const struct unreel_session *session)
{
    return options_log(session->options);
}

/* Latent frames decoded at a time: one lets pictures leave early and needs little memory, which only
 * gives way to what the device works best on. */
static inline int session_decode_chunk(const struct unreel_session *session)
{
    int frames = session->engine->backend->decode_frames;
    return frames > DECODE_CHUNK_MAX ? DECODE_CHUNK_MAX : frames;
}

/* The worker thread: makes the video, ends the queue. */
void *session_work(void *session);

/* ---- steering: the worker at a chunk border ----------------------------------------------------- */

/* Waits while the session is paused, then brings what was asked for into effect. 0, or what ends the
 * video. *again: the given latents are due again. */
int session_border(struct unreel_session *session, bool *again);
