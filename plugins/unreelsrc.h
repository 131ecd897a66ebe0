/* unreelsrc: a live or file-like video source that generates its pictures.
 *
 * Properties are those of the command's option table, with dashes, and a few of a source's own
 * (is-live, underrun, latency, paused, stats). prompt, seed, prompt-switch and paused may be set while
 * playing; the rest counts from the next start.
 *
 * Threads: properties are set from any thread. `settings` and `engine` are guarded by the object lock
 * or only touched while the streaming thread does not run; `session` is opened and closed by the
 * streaming thread and by stop(), and read under `lock`. */
#pragma once

#include <gst/base/gstpushsrc.h>
#include <gst/video/video.h>
#include <unreel/unreel.h>

G_BEGIN_DECLS

#define UNREEL_TYPE_SRC (unreel_src_get_type())
G_DECLARE_FINAL_TYPE(UnreelSrc, unreel_src, UNREEL, SRC, GstPushSrc)

/* What a live source does while the generator is slower than the video's rate. */
typedef enum {
    UNDERRUN_STRETCH, /* pictures are shown longer: slow motion without a freeze */
    UNDERRUN_HOLD,    /* the last picture again, at a constant rate */
    UNDERRUN_GAP,     /* nothing until the cushion is full again */
} UnreelUnderrun;

struct _UnreelSrc {
    GstPushSrc parent;

    GMutex lock;               /* of the block below */
    unreel_options *settings;  /* every property of the table that was set */
    unreel_session *session;   /* NULL: not running */
    gchar *complaint;          /* the library's last error */
    gboolean paused;

    gboolean live;
    UnreelUnderrun underrun;
    GstClockTime cushion;

    /* streaming thread, and start and stop */
    unreel_engine *engine;
    GstVideoInfo info;
    gboolean plain;        /* downstream wants the default layout of planes */
    gboolean flushing;     /* atomic */
    GstClockTime duration; /* of a picture */
    GstClockTime next;     /* PTS of the next picture; NONE: not known yet */
    GstBuffer *last;       /* the picture pushed last, to hold */
    gint64 chunk;          /* of the picture before */
    guint64 pushed, repeated, stretched;
};

/* properties.c: the option table as properties. */
void unreel_properties_install(GObjectClass *klass, guint first);
gboolean unreel_properties_set(UnreelSrc *src, GParamSpec *spec, const GValue *value);
gboolean unreel_properties_get(UnreelSrc *src, GParamSpec *spec, GValue *value);

/* bundled.c: the model that comes with unreel, if none is set. FALSE: there is none. */
gboolean unreel_bundled_apply(UnreelSrc *src, unreel_options *options);

/* pictures.c: frames of the library as buffers, without a copy where downstream takes any layout. */
GstBuffer *unreel_picture_wrap(unreel_frame *frame, const GstVideoInfo *info, gboolean plain);

G_END_DECLS
