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

/* A change, for whoever shows the pictures. */
struct notice {
    int64_t number; /* 0: none */
    double asked;   /* clock */
    bool eager;
    bool cut;     /* a scene begins */
    int64_t left; /* latent frames still to be made at that border; -1: without end */
    int64_t seed; /* that is in effect from then on */
};

/* A block's latents on their way to pictures. */
struct block {
    struct tensor latents; /* f32 [F, h, w, 16] in backend memory */
    bool stays;            /* they lie there as long as the session */
    int64_t chunk;
    bool given;   /* the clip's: no chunk */
    double begin; /* clock: of the chunk */
    /* So far: */
    int64_t latent_frames;
    double seconds_denoise, seconds_cache;
    /* Of the border before it, if there was one: */
    bool border;
    bool restart; /* a stream begins */
    struct notice notice;
};

struct unreel_session {
    struct unreel_engine *engine;
    unreel_options *options; /* own copy: settings point into it */
    struct session_settings settings;

    struct rollout rollout;
    struct video_decoder *decoder;
    struct arena arena;
    struct tensor given; /* f32 [F, h, w, 16]: latents of the clip; data NULL: none */
    struct tensor handed_latents; /* f32 [block, h, w, 16]: of `handed`, where decoding is beside */
    struct text_blend text;
    struct noise_file noise_file;
    struct latents_file latents_file;
    struct frame_pool *pool;
    struct frame_queue queue;

    pthread_t worker, shower, deliverer;
    bool worker_runs, shower_runs, deliverer_runs;
    atomic_bool cancel;
    unreel_frame_fn receive;
    void *receive_opaque;

    struct block next; /* the worker's: what a border says about the next block */

    /* The worker's, or if decoding is beside the shower's: */
    int64_t scene;   /* the newest change in effect */
    double asked;    /* clock: when that was */
    unsigned flags;  /* of the next picture, enum unreel_frame_flags */
    bool discarding; /* pictures up to the next chunk border go nowhere */
    double waited;   /* seconds that pictures of this chunk waited for room */
    double first;    /* clock: when its first pictures were ready; 0: not yet */

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t steered; /* a pause ended, the session is cancelled, a block comes or is shown */
    struct change change;
    bool eager_coming; /* an eager change has left `change`, but no block with it has come */
    struct block handed;
    bool is_handed; /* until it is shown */
    bool no_more;   /* will be handed */
    bool shown_all; /* the shower has ended: cancelled, or it failed, which has ended the video */
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
    int frames = session->engine->decoder->decode_frames;
    return frames > DECODE_CHUNK_MAX ? DECODE_CHUNK_MAX : frames;
}

/* The worker thread: makes the video, ends the queue. */
void *session_work(void *session);

/* ---- showing: from latents to pictures in the queue --------------------------------------------- */

/* Out of memory: logs what takes less, behind the line that said how many bytes there were not. */
void session_say_smaller(const struct unreel_session *session);

/* Ends the video, and the queue behind what is in it; the first reason counts. */
void session_end(struct unreel_session *session, int code);

/* Brings a change's notice into effect for the pictures that follow. */
void session_note(struct unreel_session *session, const struct notice *notice);

/* Decodes a block and queues its pictures: at once, or where decoding is beside, by a thread that has
 * one block at a time; then the latents are copied unless they stay. False: the session is cancelled,
 * or something failed, which has ended the video. */
bool session_show(struct unreel_session *session, const struct block *block);

/* Waits until the pictures of what is shown need not wait: a change then comes as soon as if the worker
 * had shown them itself. */
void session_await_room(struct unreel_session *session);

/* The thread, for a session whose decoding is beside. Stopping waits for what was handed to be shown;
 * false: it was not. */
int session_start_showing(struct unreel_session *session);
bool session_stop_showing(struct unreel_session *session);

/* Whether the queue waits for room, with the lock held. */
static inline void session_hurry(struct unreel_session *s)
{
    frame_queue_hurry(&s->queue, (s->change.eager || s->eager_coming) && !s->last);
}

/* ---- steering: the worker at a chunk border ----------------------------------------------------- */

/* Waits while the session is paused, then brings what was asked for into effect. 0, or what ends the
 * video. *again: the given latents are due again. */
int session_border(struct unreel_session *session, bool *again);
