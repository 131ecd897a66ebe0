/* One viewer: a pipeline of its own that sends the shared encoder's pictures to one browser.
 *
 *     live_subscribe() -> appsrc -> RTP payloader -> webrtcbin
 *
 * One key picture goes in before the answer is made: only then webrtcbin knows the SSRC, and
 * without it in the answer browsers decode and show nothing. Then nothing until the connection
 * stands, so that no burst of old pictures follows, and from there on everything, beginning with a
 * new key picture.
 *
 * RTP timestamps are the shared running time in units of 1/90000 s, without an offset: a page that
 * knows the running time knows how late each picture is.
 *
 * All functions belong to the thread of `context`. */
#pragma once

#include <stdbool.h>

#include "live/live.h"
#include "web/offer.h"

struct viewer;

struct viewer_place {
    struct live *live;
    struct console *console;
    GMainContext *context;
    GThreadPool *cleaners; /* closes pipelines: that may take a while. See viewer_clean. */
    enum live_pacing pacing;
    const char *stun, *turn;
    bool no_h264; /* there is no encoder for it */
    /* Once: the answer, or NULL with the reason. `retry`: it may work in a second. */
    void (*answered)(void *opaque, struct viewer *viewer, const char *sdp, const char *error,
                     bool retry);
    void (*connected)(void *opaque, struct viewer *viewer);
    /* Once, after answered: nothing more comes. The viewer is still to be closed. */
    void (*gone)(void *opaque, struct viewer *viewer, const char *reason);
    void *opaque;
};

/* Takes the offer over. NULL with the reason in `error`, a static text. `place` is copied. */
struct viewer *viewer_open(const struct viewer_place *place, struct offer *offer, const char *who,
                           const char **error);
void viewer_close(struct viewer *viewer);            /* NULL is fine. No callback follows. */
void viewer_clean(gpointer viewer, gpointer unused); /* function of `cleaners` */

/* One of the browser's ICE candidates, "candidate:1 1 UDP ...". */
void viewer_add_candidate(struct viewer *viewer, const char *candidate);

const char *viewer_id(const struct viewer *viewer); /* cannot be guessed */
const char *viewer_who(const struct viewer *viewer);
const char *viewer_ufrag(const struct viewer *viewer); /* the browser's */
const char *viewer_codec(const struct viewer *viewer);
bool viewer_connected(const struct viewer *viewer);
void viewer_counts(struct viewer *viewer, int64_t *pictures, int64_t *dropped);
