/* unreel: video generated in real time.
 *
 * Copyright the unreel authors. SPDX-License-Identifier: Apache-2.0
 *
 * An engine holds the weights of one model on one device. A session makes one video with them: a
 * worker thread denoises one chunk of latent frames after another, decodes each at once, and hands
 * every picture out the moment it exists. Several sessions may share an engine; their work on the
 * device is serialised chunk by chunk.
 *
 *     unreel_options *o = unreel_options_create(NULL);
 *     unreel_options_set(o, "model", "models/postcard");
 *     unreel_options_load_config(o, NULL, NULL);
 *     unreel_options_set(o, "prompt", "a red sailboat drifts left on a calm sea");
 *     unreel_engine *e;
 *     unreel_session *s;
 *     unreel_frame *f;
 *     if (unreel_engine_open(&e, o) < 0 || unreel_session_open(&s, e, o, NULL) < 0)
 *         return 1;
 *     while (unreel_session_pull(s, &f, -1) == 0) {
 *         show(f->data, f->stride, f->width, f->height);
 *         unreel_frame_unref(f);
 *     }
 *     unreel_session_close(s);
 *     unreel_engine_close(e);
 *     unreel_options_destroy(o);
 *
 * Errors: functions that can fail return 0 or a negative code of enum unreel_error. The message, one
 * line that names the file and the thing, goes to the log callback once, where it is known. The
 * library never prints, exits or aborts and never reads the environment.
 *
 * Threads: an options object belongs to one thread at a time. Engines, sessions and frames may be
 * used from any thread; a session is pulled by one thread at a time. On a GPU, device 0 is used, and the
 * device that a thread has current stays so.
 */
#ifndef UNREEL_UNREEL_H
#define UNREEL_UNREEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define UNREEL_API __attribute__((visibility("default")))
#else
#define UNREEL_API
#endif

#define UNREEL_VERSION_MAJOR 0
#define UNREEL_VERSION_MINOR 1
#define UNREEL_VERSION_PATCH 0

enum unreel_error {
    UNREEL_OK = 0,
    UNREEL_EINVAL = -1,       /* an argument or option has no meaning here */
    UNREEL_EIO = -2,          /* a file cannot be opened, read or written */
    UNREEL_EFORMAT = -3,      /* a file is not what it should be */
    UNREEL_ENOMEM = -4,       /* out of memory, on the host or the device */
    UNREEL_EUNSUPPORTED = -5, /* this build or this machine cannot do it */
    UNREEL_EDEVICE = -6,      /* the device failed */
    UNREEL_ECANCELED = -7,    /* the session was cancelled */
    UNREEL_EAGAIN = -8,       /* nothing yet: the time given to a pull has passed */
    UNREEL_END = -9,          /* the video is complete, no picture will follow */
};

UNREEL_API const char *unreel_error_text(int code); /* static, never NULL */
UNREEL_API const char *unreel_version(void);        /* "0.1.0" */

/* ---- log ---------------------------------------------------------------------------------- */

enum unreel_log_level {
    UNREEL_LOG_ERROR,
    UNREEL_LOG_WARNING,
    UNREEL_LOG_INFO,
    UNREEL_LOG_DEBUG,
};

/* Receives one line without a line end. May be called from any thread, also from several at once. */
typedef void (*unreel_log_fn)(void *opaque, int level, const char *message);

typedef struct unreel_log {
    unreel_log_fn write; /* NULL: messages are dropped */
    void *opaque;
} unreel_log;

/* ---- options ------------------------------------------------------------------------------ */

/* One table of options is behind the YAML files, the command line, the GStreamer properties and
 * this interface. Names use underscores; dashes are accepted. Nested keys of published YAML files
 * are written with dots: "model_kwargs.timestep_shift". */
typedef struct unreel_options unreel_options;

enum unreel_option_kind {
    UNREEL_OPTION_BOOL,
    UNREEL_OPTION_INT,
    UNREEL_OPTION_FLOAT,
    UNREEL_OPTION_STRING,
    UNREEL_OPTION_PATH,
    UNREEL_OPTION_INTS, /* a list: "1000,750,500,250" */
    UNREEL_OPTION_SIZE, /* "832x480" */
};

typedef struct unreel_option_info {
    const char *name; /* with underscores */
    enum unreel_option_kind kind;
    const char *fallback; /* default as text, NULL if there is none */
    double min, max;      /* for numbers; min > max: no limit */
    const char *choices;  /* "a|b|c" or NULL */
    const char *unit;     /* "latent frames", "px", ... or NULL */
    const char *help;     /* one sentence */
    const char *group;    /* heading in --help; NULL: not listed there */
} unreel_option_info;

/* The table, in the order of --help. NULL past its end. */
UNREEL_API const unreel_option_info *unreel_option_at(size_t index);

/* All options at their defaults. `log` is copied and used by everything opened with these options. */
UNREEL_API unreel_options *unreel_options_create(const unreel_log *log);
UNREEL_API unreel_options *unreel_options_copy(const unreel_options *options);
UNREEL_API void unreel_options_destroy(unreel_options *options); /* NULL is fine */

/* Checks and sets one option from text. Unknown names and bad values are errors. NULL takes back
 * what was set: files and defaults count again. */
UNREEL_API int unreel_options_set(unreel_options *options, const char *name, const char *value);

/* The value as canonical text; NULL if it was never set and has no default, or is unknown.
 * Valid until the option is set again or the object is destroyed. */
UNREEL_API const char *unreel_options_get(const unreel_options *options, const char *name);

/* Whether somebody chose the value: a configuration or unreel_options_set, not a default. */
UNREEL_API int unreel_options_is_set(const unreel_options *options, const char *name);

/* Merges a YAML file: its keys win over what an earlier file said, never over what
 * unreel_options_set said, whatever the order of the calls. */
UNREEL_API int unreel_options_load(unreel_options *options, const char *path);

/* Loads a configuration as published ones are meant: over the default_config.yaml beside it if
 * there is one, otherwise over the file `fallback`. Either may be NULL; `path` NULL is the model's
 * own: unreel.yaml in the folder that "model" names, if it has one. */
UNREEL_API int unreel_options_load_config(unreel_options *options, const char *path,
                                          const char *fallback);

/* ---- engine and session ------------------------------------------------------------------- */

typedef struct unreel_engine unreel_engine;
typedef struct unreel_session unreel_session;

/* Opens the model folder ("model", "checkpoint_path", "use_ema") on a device ("device", "dtype",
 * "threads", "device_cache", "device_without"). Weights stay mapped; all that is missing, misshapen
 * or unexpected in them is logged at once. */
UNREEL_API int unreel_engine_open(unreel_engine **engine, const unreel_options *options);

/* Sessions keep the engine alive: it goes when the last of them is closed. NULL is fine. */
UNREEL_API void unreel_engine_close(unreel_engine *engine);

/* Pictures that a video starts from: packed RGB, 8 bits, rows of `stride` bytes, pictures
 * `frames_stride` bytes apart. Resized to the session's size. One picture counts as an independent
 * first frame; a clip has 1 + 4 n pictures, and its 1 + n latent frames make whole chunks of
 * "num_frame_per_block" (behind the first one with "independent_first_frame"). Only read during
 * unreel_session_open. The option "image" is not read here: programs decode pictures themselves. */
typedef struct unreel_clip {
    const uint8_t *rgb;
    size_t stride, frames_stride;
    int frames, width, height;
} unreel_clip;

/* Encodes the prompt, allocates everything the session will ever need and starts the worker.
 * `clip` may be NULL. "num_output_frames" 0 makes a video without end. */
UNREEL_API int unreel_session_open(unreel_session **session, unreel_engine *engine,
                                   const unreel_options *options, const unreel_clip *clip);

/* Stops the worker at the next operation and frees the session. Frames stay valid. NULL is fine.
 * Not from within the function given to unreel_session_deliver. */
UNREEL_API void unreel_session_close(unreel_session *session);

/* Asks the worker to stop; pictures already made can still be pulled, then UNREEL_ECANCELED. */
UNREEL_API void unreel_session_cancel(unreel_session *session);

/* ---- steering ----------------------------------------------------------------------------- */

/* All of these return at once, from any thread, and take effect at the next chunk border. Asked again
 * before it took effect, the later change counts; changes of different kinds add up. Once the video has
 * ended they return what ended it. The number of a change is what unreel_frame.scene of the pictures
 * made under it holds. */

enum unreel_switch {
    /* As the option "prompt_switch" says. */
    UNREEL_SWITCH_DEFAULT,
    /* The caches stay; the text embedding moves to the new prompt over "blend_chunks" chunks. */
    UNREEL_SWITCH_BLEND,
    /* Keys and values of the window are computed again from its clean latents under the new prompt,
     * those of the sink too if "recache_sink" says so. */
    UNREEL_SWITCH_RECACHE,
    /* A new scene: nothing of the past is kept. Its first picture has UNREEL_FRAME_CUT. */
    UNREEL_SWITCH_CUT,
};

/* A new prompt, UTF-8, copied; at most UNREEL_PROMPT_MAX bytes. With `eager`, pictures that are made
 * but not yet taken when the change takes effect are dropped (their numbers stay unused only inside
 * unreel_stats.pictures_dropped: frame.index goes on without gaps). Returns the number of the change,
 * from 1, or a negative code. */
#define UNREEL_PROMPT_MAX 16384
UNREEL_API int64_t unreel_session_set_prompt(unreel_session *session, const char *prompt,
                                             enum unreel_switch how, int eager);

/* Noise of another seed from the next chunk on. Returns the number of the change. */
UNREEL_API int64_t unreel_session_set_seed(unreel_session *session, int64_t seed);

/* The video begins anew, from its picture or clip if it has one, as a cut with the present prompt and
 * seed: its noise is repeated, a cut's is not. "num_output_frames" goes on counting. Returns the number
 * of the change. */
UNREEL_API int64_t unreel_session_reset(unreel_session *session);

/* Holds the generation before the next chunk, or lets it go on. Pictures already made can be pulled. */
UNREEL_API void unreel_session_pause(unreel_session *session, int paused);

/* The prompt that the newest change asks for, UTF-8. To be freed by unreel_free. NULL: no memory. */
UNREEL_API char *unreel_session_prompt(unreel_session *session);
UNREEL_API void unreel_free(void *memory); /* NULL is fine */

/* ---- frames ------------------------------------------------------------------------------- */

enum unreel_format {
    UNREEL_FORMAT_I420, /* BT.709, limited range: data[0..2] = Y, U, V */
    UNREEL_FORMAT_NV12, /* BT.709, limited range: data[0..1] = Y, UV */
    UNREEL_FORMAT_RGB,  /* packed, 3 bytes a pixel */
    UNREEL_FORMAT_BGRX, /* packed, 4 bytes a pixel */
};

/* The first picture of a session has neither. */
enum unreel_frame_flags {
    UNREEL_FRAME_CUT = 1,    /* the first picture of a scene that owes nothing to the one before */
    UNREEL_FRAME_CHANGE = 2, /* the first picture made under its `scene` */
};

/* One picture. Read only, reference counted, valid after session and engine are gone. */
typedef struct unreel_frame {
    const uint8_t *data[3];
    size_t stride[3]; /* bytes a row */
    int width, height;
    enum unreel_format format;
    int64_t index; /* from 0, without gaps */
    int64_t chunk; /* which chunk of the session it came with */
    double time;   /* seconds from the video's start: index / fps */
    int64_t scene; /* number of the newest change (prompt, seed, reset) it was made under, from 0 */
    unsigned flags; /* of enum unreel_frame_flags */
} unreel_frame;

UNREEL_API unreel_frame *unreel_frame_ref(unreel_frame *frame);
UNREEL_API void unreel_frame_unref(unreel_frame *frame); /* NULL is fine */

/* Takes the next picture, waiting up to timeout_ms (-1: for ever, 0: not at all). 0 and a frame
 * that the caller unrefs, or UNREEL_EAGAIN, UNREEL_END, or the error that stopped the worker. */
UNREEL_API int unreel_session_pull(unreel_session *session, unreel_frame **frame, int timeout_ms);

/* Instead of pulling: `receive` is called from a thread of the session for every picture, which it
 * must not unref (ref to keep), and once with frame NULL and the final status (UNREEL_END if all
 * went well). Blocking in it holds the generation back. Call before the first pull, once. The
 * session must not be closed from within `receive`: that would wait for itself, and is refused. */
typedef void (*unreel_frame_fn)(void *opaque, unreel_frame *frame, int status);
UNREEL_API int unreel_session_deliver(unreel_session *session, unreel_frame_fn receive, void *opaque);

/* ---- statistics --------------------------------------------------------------------------- */

typedef struct unreel_stats {
    int64_t pictures;        /* delivered or ready */
    int64_t pictures_total;  /* of the whole video, 0 if it has no end */
    int64_t latent_frames;   /* denoised */
    int64_t chunks;          /* finished */
    int width, height;       /* px */
    double fps;              /* rate the video plays at */
    double seconds_text;     /* encoding the prompt */
    double seconds_denoise;  /* all denoising forwards */
    double seconds_cache;    /* forwards that write the clean keys and values */
    double seconds_decode;   /* latents to pictures */
    double seconds_first;    /* from opening the session to its first picture */
    double seconds_total;    /* from opening the session until now, or until it ended */
    double chunk_p50, chunk_p99; /* seconds a chunk, from the last 512; without the time that its
                                    pictures waited to be taken */
    double chunk_first; /* seconds until a chunk's first picture is ready, the median likewise */
    uint64_t bytes_weights; /* as the files have them; on the device they may be of another type or form */
    uint64_t bytes_cache, bytes_work; /* memory on the device */

    int64_t seed;             /* in effect */
    int64_t scene_asked;      /* number of the newest change, 0: none yet */
    int64_t scene;            /* number of the newest change in effect */
    int64_t pictures_dropped; /* made, but dropped by an eager change */
    int pictures_waiting;     /* made, not yet taken */
    int paused;
    double seconds_change; /* from asking for the newest change that has a picture to that picture's
                              being ready; 0: none yet */
} unreel_stats;

UNREEL_API void unreel_session_stats(unreel_session *session, unreel_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
