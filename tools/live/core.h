/* What the files of the core share: struct live. */
#pragma once

#include <gst/video/video.h>

#include "encoder.h"
#include "live.h"
#include "player.h"
#include "stream.h"

#define PACINGS 3
#define CODECS 3
#define HISTORY_MAX 100 /* changes that are remembered */
#define RATE_SECONDS 5  /* over which rates are taken */

struct live_change {
    int64_t number;
    double seconds; /* since the start */
    char *who, *what, *prompt;
    enum unreel_switch how;
    int64_t seed;
    int64_t picture; /* the first that was made under it or a newer one; -1: none yet */
    double shown;    /* seconds from asking for it until that picture was due; 0: not yet */
};

struct live_open_output {
    const struct live_output_class *class;
    struct live_output *output;
    char *target; /* the option's value without secrets */
    enum live_pacing pacing;
};

struct live {
    struct console *console;
    const unreel_options *options;
    GstClock *clock;
    GstClockTime base_time;
    int rate, per; /* pictures a time */
    double fps;
    GstVideoInfo info;
    GstCaps *caps;
    GstClockTime cushion;
    bool stamp, eager;
    int chunk_pictures;
    struct player *player;
    struct schedule *schedule;
    struct stream *streams[PACINGS][CODECS];
    GThread *puller, *ticker;
    int64_t scene; /* of the newest picture; the puller's */

    GMutex session_lock;     /* of the next four; held while the session is asked something */
    unreel_session *session; /* NULL before it runs and after its end */
    bool paused, resting;    /* by a person; by the player */
    int64_t hurried;         /* change for whose sake the player is not heard; 0: none */

    GMutex record_lock; /* held while the page's recording begins or ends */

    GMutex lock; /* of all below */
    GCond wake;
    const char *phase;
    char *prompt; /* asked for */
    enum unreel_switch how;
    int64_t seed;
    GQueue history;                   /* struct live_change, the newest last */
    int64_t made_scene, made_picture; /* the newest scene of which a picture was made, its first */
    unreel_stats stats;               /* the last ones */
    unreel_stats before[RATE_SECONDS + 1]; /* one a second, the newest first */
    double before_time[RATE_SECONDS + 1];
    int before_count;
    int64_t eager_dropped;
    int viewers;
    GArray *outputs; /* struct live_open_output */
    struct live_output *page_recording;
    bool stop, news, ticker_ends, file_failed;
    int result; /* of the session: UNREEL_END, UNREEL_ECANCELED, an error */
    bool pulled_all;
    bool drained; /* live_drain() was called */

    GMutex watch_lock; /* held during a call of changed */
    void (*changed)(void *opaque);
    void *changed_opaque;
};

/* ---- live.c ---------------------------------------------------------------------------------- */

/* Everything but the session; outputs can be opened now. NULL with the error printed. */
struct live *live_open(struct console *console, const unreel_options *options);

/* Opens one output for every line of its option's value. 0 or an exit code. */
int live_open_outputs(struct live *live, const struct live_output_class *const *classes);

/* Takes the session and starts. `seed`, `prompt`: as it was opened with. */
void live_start(struct live *live, unreel_session *session, const char *prompt, int64_t seed);

/* Closes an output that is in the list no longer. -1: what it wrote is not whole, and the program's
 * exit code will say so. */
int live_close_output(struct live *live, struct live_open_output *open);

bool live_is_stopping(struct live *live); /* live_stop was called, or the session has ended */
bool live_is_dead(struct live *live);     /* no output can go on, or an encoder cannot */

/* Waits until what is to be shown has been handed out; the outputs are still open, and their counts to be seen.
 * live_finish() does it if nobody has. */
void live_drain(struct live *live);

/* Ends in an orderly way: the session, the player, the encoders, the outputs. Pictures that were
 * made reach the recordings; unless the video ended by itself, those not yet due are not shown. 0
 * or an exit code. */
int live_finish(struct live *live);
void live_close(struct live *live);

/* With session_lock: tells the session whether to make pictures. */
void live_apply_pause(struct live *live);

/* ---- state.c --------------------------------------------------------------------------------- */

void live_refresh(struct live *live, unreel_stats *stats); /* the session's numbers now */
void live_set_phase(struct live *live, const char *phase); /* a literal */
void live_note_change(struct live *live, int64_t number, const char *who, const char *what,
                      const char *prompt, enum unreel_switch how, int64_t seed);
void live_note_made(struct live *live, int64_t scene, int64_t picture);
void live_note_shown(struct live *live, int64_t picture);
void live_changed(struct live *live); /* tells the watcher, soon */
gpointer live_run_ticker(gpointer live);
void live_free_history(struct live *live);

/* ---- schedule.c ------------------------------------------------------------------------------ */

/* Prompts at times of the video. */
struct schedule;

/* 0, or -1 with the error printed, which names the line. */
int schedule_load(struct schedule **schedule, struct console *console, const char *path);

/* The prompt at time 0, NULL if there is none; it can be what the session begins with. */
const char *schedule_first(const struct schedule *schedule);
void schedule_skip_first(struct schedule *schedule);

/* Asks for what is due once the video is `seconds` long. */
void schedule_run(struct schedule *schedule, struct live *live, double seconds);
void schedule_free(struct schedule *schedule); /* NULL is fine */

/* Set before live_start: run by the thread that takes pictures. */
void live_set_schedule(struct live *live, struct schedule *schedule);
