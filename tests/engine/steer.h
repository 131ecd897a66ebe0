/* What tests of steered sessions share: endless sessions whose worker waits at a known picture, and
 * comparing what they show. */
#pragma once

#include <stdbool.h>

#include "nano.h"

enum {
    WAITING = 24,  /* pictures that fit the queue: the worker then waits in the third chunk, */
    BORDER = 33,   /* so that a change takes effect with this picture */
    PICTURES = 90, /* that are compared */
};

#define FOX "a red fox"
#define BOAT "a blue boat"

struct picture {
    uint64_t sum;
    int64_t chunk, scene;
    unsigned flags;
};

static inline unreel_options *endless(void)
{
    return options_for(FOX, "0");
}

static inline unreel_session *open_session(unreel_engine *e, const unreel_options *o)
{
    unreel_session *s = NULL;
    CHECK_MSG(unreel_session_open(&s, e, o, NULL) == 0, "%s", test_message);
    return s;
}

/* Pictures [from, to) of a session; how many came. */
static inline int pull(unreel_session *s, struct picture *p, int from, int to)
{
    for (int i = from; i < to; i++) {
        unreel_frame *f;
        if (unreel_session_pull(s, &f, -1) < 0)
            return i - from;
        CHECK(f->index == i && fabs(f->time - i / 16.0) < 1e-9);
        p[i] = (struct picture){picture_sum(1, f), f->chunk, f->scene, f->flags};
        unreel_frame_unref(f);
    }
    return to - from;
}

static inline unreel_stats stats_of(unreel_session *s)
{
    unreel_stats stats;
    unreel_session_stats(s, &stats);
    return stats;
}

/* Until the worker waits for room in the queue. */
static inline void wait_full(unreel_session *s)
{
    for (int i = 0; i < 6000; i++) {
        if (stats_of(s).pictures_waiting == WAITING)
            return;
        usleep(10000);
    }
    CHECK_MSG(0, "the queue never filled");
}

/* What a session that nobody steers shows. */
static inline void plain_video(unreel_engine *e, const unreel_options *o, struct picture *p,
                               int count)
{
    unreel_session *s = open_session(e, o);
    CHECK(pull(s, p, 0, count) == count);
    for (int i = 0; i < count; i++)
        CHECK(p[i].scene == 0 && p[i].flags == 0);
    unreel_session_close(s);
}

/* How many of the pictures [from, to) are the same, those of q being `shift` further on. */
static inline int same(const struct picture *p, const struct picture *q, int from, int to,
                       int shift)
{
    int count = 0;
    for (int i = from; i < to; i++)
        count += p[i].sum == q[i + shift].sum;
    return count;
}

static inline int flagged(const struct picture *p, int from, int to, unsigned flag)
{
    int count = 0;
    for (int i = from; i < to; i++)
        count += (p[i].flags & flag) != 0;
    return count;
}

/* Up to the border nothing changes, with it everything. Runs the session that far; the caller
 * closes it. */
static inline unreel_session *switched(unreel_engine *e, const unreel_options *o,
                                       enum unreel_switch how, struct picture *p)
{
    unreel_session *s = open_session(e, o);
    wait_full(s);
    CHECK(unreel_session_set_prompt(s, BOAT, how, 0) == 1);
    unreel_stats stats = stats_of(s);
    CHECK(stats.scene_asked == 1 && stats.scene == 0 && stats.seconds_change == 0);
    CHECK(pull(s, p, 0, PICTURES) == PICTURES);
    return s;
}
