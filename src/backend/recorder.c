#include "backend/recorder.h"

#include <string.h>

void recorder_init(struct recorder *recorder, struct backend *backend)
{
    *recorder = (struct recorder){.backend = backend};
}

static void forget(struct recorder *r, struct recording *recording)
{
    if (recording->impl)
        r->backend->ops->record_free(r->backend, recording->impl);
    recording->impl = NULL;
}

void recorder_finish(struct recorder *recorder)
{
    for (int i = 0; recorder->backend && i < RECORDINGS; i++)
        forget(recorder, &recorder->recording[i]);
    *recorder = (struct recorder){.backend = recorder->backend};
}

/* The recording of a key; *seen: it was there before. A new one takes the place of that which was not
 * used for longest. */
static struct recording *find(struct recorder *r, const uint64_t key[RECORDING_KEY], bool *seen)
{
    struct recording *oldest = &r->recording[0];
    *seen = true;
    for (int i = 0; i < RECORDINGS; i++) {
        struct recording *each = &r->recording[i];
        if (each->used && !memcmp(each->key, key, sizeof each->key))
            return each;
        if (each->used < oldest->used)
            oldest = each;
    }
    forget(r, oldest);
    memcpy(oldest->key, key, sizeof oldest->key);
    *seen = false;
    return oldest;
}

/* Whether the operations now are a recording. Else nothing has run. */
static bool record(struct recorder *r, struct recording *recording, void (*run)(void *), void *opaque)
{
    struct backend *b = r->backend;
    if (b->ops->record_begin(b)) {
        run(opaque);
        recording->impl = b->ops->record_end(b);
    }
    if (b->status == UNREEL_ECANCELED) {
        forget(r, recording); /* it ends where the session was cancelled */
        return true;
    }
    if (b->status) {
        forget(r, recording);
        backend_clear(b); /* what failed was recording: done one by one, the same may succeed */
    }
    r->refused = !recording->impl;
    r->recorded += !r->refused;
    return !r->refused;
}

void recorder_run(struct recorder *recorder, const uint64_t key[RECORDING_KEY],
                  void (*run)(void *opaque), void *opaque)
{
    struct recorder *r = recorder;
    struct backend *b = r->backend;
    bool seen;
    if (!backend_ready(b))
        return;
    if (!b->ops->record_begin || b->profile || r->refused) {
        run(opaque);
        return;
    }
    struct recording *recording = find(r, key, &seen);
    recording->used = ++r->runs;
    if (recording->impl && b->ops->record_run(b, recording->impl)) {
        r->replayed++;
        return;
    }
    if (b->status)
        return;
    forget(r, recording);
    if (!seen || !record(r, recording, run, opaque)) {
        run(opaque);
    } else if (recording->impl && !b->ops->record_run(b, recording->impl) && !b->status) {
        forget(r, recording);
        run(opaque);
    }
}
