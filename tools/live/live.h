/* A running session as outputs and remote controls see it.
 *
 * One session feeds any number of outputs. Pictures are paced once for every pacing policy in use,
 * encoded once for every policy and codec in use, and handed to the outputs; each output is a
 * pipeline of its own, so that a dead one never touches the others.
 *
 *     session -> pictures -> pacer (stretch | hold | content) -> encoder (H.264 | VP8) -> outputs
 *
 * Threads: functions may be called from any thread unless they say otherwise. Callbacks come from
 * streaming threads, must not block (but for a file's, which waits for its disk) and must not
 * subscribe, unsubscribe or ask for a key. The program's first thread runs GLib's default main
 * context while outputs are open. */
#pragma once

#include <gst/gst.h>
#include <stdbool.h>
#include <unreel/unreel.h>

#include "console.h"

struct live;

/* What becomes of the time when pictures come slower than the video's rate. */
enum live_pacing {
    LIVE_STRETCH, /* pictures are shown longer: smooth slow motion (preview, WebRTC) */
    LIVE_HOLD,    /* the last picture is repeated at the video's rate (RTMP, SRT, HLS) */
    LIVE_CONTENT, /* every picture once, at index / fps, whenever it comes (recordings) */
};

enum live_codec {
    LIVE_H264, /* byte-stream, access units, with parameter sets before each key picture */
    LIVE_VP8,
    LIVE_RAW, /* I420 pictures */
};

/* ---- pictures ------------------------------------------------------------------------------- */

/* One encoded access unit or raw picture. PTS is running time of the shared clock for the paced
 * policies and content time for LIVE_CONTENT. Ref the sample to keep it. */
typedef void (*live_unit_fn)(void *opaque, GstSample *sample, bool key);

struct live_subscription;

/* Encoding of a pacing and codec starts with its first subscriber and ends with its last. The first
 * unit is a key picture: one is asked for. NULL with the error printed if no encoder is there. */
struct live_subscription *live_subscribe(struct live *live, enum live_pacing pacing,
                                         enum live_codec codec, live_unit_fn receive, void *opaque);
void live_request_key(struct live_subscription *subscription);
void live_unsubscribe(struct live_subscription *subscription); /* no call of receive after this */

/* Clock and base time that all paced pipelines share. The clock is a new reference. */
GstClock *live_clock(struct live *live);
GstClockTime live_base_time(struct live *live);

/* ---- control -------------------------------------------------------------------------------- */

/* What can be asked of the session; `who` ("window", "stdin", "192.0.2.7", ...) is for the history.
 * The number of the change, or a negative code of enum unreel_error; the refusal is printed. */
int64_t live_prompt(struct live *live, const char *who, const char *prompt, enum unreel_switch how);
int64_t live_seed(struct live *live, const char *who, int64_t seed);
int64_t live_reset(struct live *live, const char *who);
void live_pause(struct live *live, const char *who, bool paused);
void live_stop(struct live *live); /* the program ends in an orderly way */

/* Writes the newest picture shown as PNG. `path` NULL: a name of its own in the working folder. The
 * name used, to be freed by g_free; NULL with the error printed. */
char *live_snapshot(struct live *live, const char *path);

/* Starts or ends a recording beside those of the command line (the page's button). Start: the
 * file's name, to be freed by g_free; NULL with the error printed. */
char *live_record_start(struct live *live);
int live_record_stop(struct live *live); /* 0, or as follows */

#define LIVE_ENONE -1   /* nothing is being recorded */
#define LIVE_EBROKEN -2 /* the recording is not whole; the error is printed */

/* ---- state ---------------------------------------------------------------------------------- */

/* Everything that page, overlay, metrics and --json show, as one JSON object in UTF-8 (documented
 * in docs/live.md): prompt, how, seed, scene, history, pictures/s, buffer, cushion, latency, times
 * of the stages, outputs with their state and counts. To be freed by g_free. */
char *live_state_json(struct live *live);

/* The prompt asked for last. To be freed by g_free. */
char *live_prompt_text(struct live *live);

/* The same numbers for code. */
struct live_state {
    unreel_stats stats;
    double pictures_per_second; /* of the last 5 s, as generated */
    double cushion;             /* seconds that paced pictures wait to be even */
    double buffered;            /* seconds of video made and not yet due */
    int64_t shown;              /* paced pictures handed out */
    int64_t late;               /* of these after their time: stretched or held */
    int64_t dropped;            /* made, and dropped by --eager */
    bool recording;             /* by live_record_start */
    int viewers;
};
void live_state(struct live *live, struct live_state *state);

/* Number of viewers an output serves now (WebRTC), for the state. */
void live_set_viewers(struct live *live, int viewers);

/* `changed` is called from any thread after a prompt, seed, pause, reset or recording changed and
 * once a second; not during it. One function at most. */
void live_watch(struct live *live, void (*changed)(void *opaque), void *opaque);

/* ---- outputs -------------------------------------------------------------------------------- */

/* An output behind the command line's switches: opened before the first picture, closed after the
 * last. Failures after opening are its own: printed, shown in the state, tried again if that helps.
 */
struct live_output;

struct live_output_class {
    const char *name;   /* "rtmp" */
    const char *option; /* of the option table whose value opens it: "rtmp" */
    enum live_pacing pacing;
    /* 0, or -1 with one line printed: then the command ends before it starts; LIVE_EUSAGE the same
     * if the option's value cannot be meant. `options` holds one value of `option`, also if several
     * were given. The session does not run yet. */
    int (*open)(struct live_output **output, struct live *live, struct console *console,
                const unreel_options *options);
    /* "connected", "waiting 4 s to reconnect", ...: for the state. Written into text. "failed":
     * takes no more pictures; when all have failed, the program ends. */
    void (*status)(struct live_output *output, char *text, size_t size);
    void (*counts)(struct live_output *output, int64_t *pictures, int64_t *dropped);
    /* Completes files; at most 5 s for a network. 0, or -1 with one line printed: what it wrote is
     * not whole. */
    int (*close)(struct live_output *output);
};

#define LIVE_EUSAGE -2

/* The pacing of an output: its own, or what the option "pacing" says for it. */
enum live_pacing live_pacing_of(struct live *live, const struct live_output_class *class);

extern const struct live_output_class live_preview, live_rtmp, live_srt, live_hls, live_record,
    live_webrtc, live_v4l2;
