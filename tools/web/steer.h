/* Changes of the session on behalf of remote controls. One of them steers at a time: the first that
 * asks for something, until it leaves, gives up the wheel or has asked nothing for a while. Whoever
 * may steer at all may also take the wheel over. */
#pragma once

#include <gio/gio.h>

#include "live/live.h"
#include "web/request.h"

#define STEER_IDLE_SECONDS 30

struct steer {
    struct live *live;
    const void *holder; /* NULL: nobody steers */
    char *name;
    gint64 until; /* monotonic time, us */
    int files;    /* being written in threads of their own */
    GQueue recordings; /* tasks that begin or end one, in the order they were asked for; the first runs */
};

void steer_init(struct steer *steer, struct live *live);
void steer_finish(struct steer *steer);

/* Who holds the wheel now, NULL: nobody. */
const void *steer_holder(const struct steer *steer);
void steer_release(struct steer *steer, const void *owner); /* if it holds the wheel */

/* What became of a request. `json` holds members of the answer, each with ", " before it: "change",
 * "file" or "error". */
struct outcome {
    unsigned status; /* as of HTTP */
    GString *json;
};

/* Everything but pings and what writes files. `owner` tells the controls apart; `hold`: it goes on to
 * hold the wheel afterwards. */
struct outcome steer_apply(struct steer *steer, const void *owner, const char *who, bool hold,
                           const struct request *request);
struct outcome steer_refusal(unsigned status, const char *error);

/* What waits for a disk has a thread of its own. `done` is called in the thread that asks, and calls
 * the finish that belongs to it.
 *
 * The newest picture: to `path`, or NULL for a name of its own. The finish returns the name, to be
 * freed, NULL if it failed. */
void steer_snapshot_async(struct steer *steer, const char *path, GAsyncReadyCallback done,
                          gpointer data);
char *steer_snapshot_finish(struct steer *steer, GAsyncResult *result);

/* Begins or ends a recording. */
void steer_record_async(struct steer *steer, bool on, GAsyncReadyCallback done, gpointer data);
struct outcome steer_record_finish(struct steer *steer, GAsyncResult *result);
