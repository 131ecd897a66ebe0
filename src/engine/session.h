/* A session: the parts of one video and the thread that makes it. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/frame.h"
#include "engine/frame_queue.h"
#include "engine/latents_file.h"
#include "engine/settings.h"

#define CHUNK_TIMES 512 /* of the last chunks, for percentiles */

struct unreel_session {
    struct unreel_engine *engine;
    unreel_options *options; /* own copy: settings point into it */
    struct session_settings settings;

    struct rollout rollout;
    struct video_decoder *decoder;
    struct arena arena;
    struct tensor given; /* f32 [F, h, w, 16]: latents of the clip; data NULL: none */
    struct noise_file noise_file;
    struct latents_file latents_file;
    struct frame_pool *pool;
    struct frame_queue queue;

    pthread_t worker, deliverer;
    bool worker_runs, deliverer_runs;
    atomic_bool cancel;
    unreel_frame_fn receive;
    void *receive_opaque;

    pthread_mutex_t lock; /* of all below */
    unreel_stats stats;
    double opened, ended; /* clock; ended 0: still at work */
    float chunk_times[CHUNK_TIMES];
};

/* The worker thread: makes the video, ends the queue. */
void *session_work(void *session);
