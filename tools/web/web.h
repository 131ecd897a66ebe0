/* The browser page: `unreel live --webrtc [HOST:]PORT`. The server runs in a thread of its own with
 * its own main context; everything in this folder belongs to that thread unless it says otherwise.
 */
#pragma once

#include <libsoup/soup.h>

#include "live/live.h"
#include "web/access.h"
#include "web/control.h"
#include "web/listen.h"
#include "web/steer.h"
#include "web/whep.h"

struct web {
    struct live *live;
    struct console *console;
    GMainContext *context;
    GMainLoop *loop;
    GThread *thread;
    SoupServer *server;
    struct access access;
    struct listen listen;
    struct steer steer;
    struct control control;
    struct whep whep;
    GThreadPool *cleaners;
    GThread *warming;
    GstElement *certificate_holder; /* set by it */
    bool snapshot_busy;
    int64_t watched_pictures; /* for /healthz: pictures when they last grew ... */
    gint64 watched_since;     /* ... and when that was, monotonic time, us */
    GMutex lock;              /* for what follows, which any thread reads */
    int viewers;
    int64_t pictures, dropped;
};
