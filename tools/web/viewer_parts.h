/* Inside a viewer: what its pictures and connection (viewer.c) and its answer (viewer_answer.c)
 * share. */
#pragma once

#include <gst/app/gstappsrc.h>

#include "web/viewer.h"

enum phase {
    WAIT_KEY, /* for the picture that the answer needs */
    PRIMED,   /* it is in; nothing until the connection stands */
    SENDING,
    ENDED,
};

struct viewer {
    gatomicrefcount references; /* callbacks of GStreamer hold one each */
    struct viewer_place place;
    struct offer offer;
    enum live_codec codec;
    char *id, *who;
    GstElement *pipeline, *rtc;
    GstAppSrc *source;
    struct live_subscription *subscription;
    GSource *deadline, *bus_watch;
    bool remote_set, caps_set, asked, replied, connected, closed;

    GMutex lock; /* for what follows */
    enum phase phase;
    bool need_key;
    int64_t pictures, dropped;
    gint64 key_asked; /* monotonic time, us */
};

/* ---- viewer.c -------------------------------------------------------------------------------- */

struct viewer *viewer_ref(struct viewer *viewer);
void viewer_unref(gpointer viewer);

/* From any thread: `step` in the thread of the place, unless the viewer is closed by then. */
void viewer_call(struct viewer *viewer, GSourceFunc step);

/* One at a time: `step` unless something happens before. */
void viewer_set_deadline(struct viewer *viewer, guint seconds, GSourceFunc step);
void viewer_end_deadline(struct viewer *viewer);

/* Before the answer: tells why there is none. After it: that the viewer is gone. */
void viewer_give_up(struct viewer *viewer, const char *reason, bool retry);

/* ---- viewer_answer.c ------------------------------------------------------------------------- */

void viewer_watch_signalling(struct viewer *viewer); /* before the offer */
void viewer_take_offer(struct viewer *viewer);
gboolean viewer_on_primed(gpointer viewer); /* the picture that the answer needs is in */
