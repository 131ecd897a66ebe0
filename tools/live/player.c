#include "player.h"

#include <string.h>

#define RATE_CHUNKS 4      /* chunks over which the generator's rate is measured */
#define SLOW_DOWN_MAX 0.25 /* how much longer than its rate says, to fill the cushion again */
#define SPEED_UP_MAX 0.10
#define WAITING_MAX                                                                                \
    64 /* pictures beyond those at which the generator rests: then they are not taken */
#define HELD_MAX                                                                                   \
    16 /* pictures that may be behind in the constant rate: its encoder is too slow                \
        */
#define BEHIND_MAX (2 * GST_SECOND) /* after this a suspended program does not catch up */

struct arrival {
    GstClockTime began; /* running time of the chunk's first picture */
    int pictures;
};

struct player {
    struct player_settings settings;
    GThread *shower, *holder;

    GMutex lock; /* of all below */
    GCond wake;
    GQueue waiting; /* pictures with PTS = running time of their arrival */
    GQueue held;    /* shown, not yet in the stream of constant rate */
    GstBuffer *newest;
    bool paused, ending, drain, shown_all;
    bool resting, rested; /* the generator rests; it did since the last chunk came */

    GstClockTime next;       /* running time at which the next picture is due */
    double interval, frame;  /* ns between pictures now, and at the video's rate */
    GstClockTime even_begin; /* of the constant rate's tick 0 */

    struct arrival arrivals[RATE_CHUNKS + 2]; /* the newest last */
    int arrival_count;
    int64_t chunk;
    GstClockTime lead;    /* what waits for it beside the cushion when a chunk is begun ... */
    GstClockTime further; /* ... and with a change under way */
    int64_t asked, made;  /* changes */
    struct player_numbers numbers;
};

static GstClockTime running_time(struct player *p)
{
    return gst_clock_get_time(p->settings.clock) - p->settings.base_time;
}

/* Sleeps until running time `t` or until something changes; with the lock. */
static void wait_until(struct player *p, GstClockTime t)
{
    GstClockTime now = running_time(p);
    if (now < t)
        g_cond_wait_until(&p->wake, &p->lock,
                          g_get_monotonic_time() + (gint64)((t - now + 999) / 1000));
}

static int cushion_pictures(const struct player *p)
{
    return (int)((double)p->settings.cushion / p->frame + 0.5);
}

/* Running time at which the generator is to begin its next chunk; with the lock. */
static GstClockTime begin_time(const struct player *p, GstClockTime now)
{
    /* With nothing left to show, nobody would wake the generator later. */
    if (p->next == GST_CLOCK_TIME_NONE || p->ending || !p->waiting.length)
        return now;
    GstClockTime empty = MAX(p->next, now) + (GstClockTime)(p->waiting.length * p->interval + 0.5);
    GstClockTime needed = p->settings.cushion + p->lead + (p->asked > p->made ? p->further : 0);
    return empty > now + needed ? empty - needed : now;
}

/* Lets the generator rest or work; with the lock. */
static void regulate(struct player *p)
{
    GstClockTime now = running_time(p);
    bool rest = begin_time(p, now) > now;
    if (rest == p->resting)
        return;
    p->resting = rest;
    if (rest)
        p->rested = true;
    p->settings.rest(p->settings.opaque, rest);
}

/* ---- the rate of the generator --------------------------------------------------------------- */

/* The first picture of a new chunk. What a chunk brings was made since the chunk before began, so
 * the rate is that of the complete chunks but the first. */
static void begin_chunk(struct player *p, GstClockTime now)
{
    int level = (int)p->waiting.length;
    if (p->rested) { /* it can do more than was taken */
        p->arrival_count = 0;
        p->interval = p->frame;
        p->rested = p->resting;
    } else if (p->arrival_count >= 2) {
        const struct arrival *first = &p->arrivals[0], *last = &p->arrivals[p->arrival_count - 1];
        int pictures = 0;
        for (int i = 1; i < p->arrival_count; i++)
            pictures += p->arrivals[i].pictures;
        double missing = (cushion_pictures(p) - level) / (2.0 * last->pictures);
        double factor = 1 + CLAMP(missing, -SPEED_UP_MAX, SLOW_DOWN_MAX);
        double interval = factor * (double)(last->began - first->began) / pictures;
        p->interval = MAX(interval, p->frame);
    }
    if (p->arrival_count == G_N_ELEMENTS(p->arrivals)) {
        memmove(p->arrivals, p->arrivals + 1, sizeof p->arrivals - sizeof *p->arrivals);
        p->arrival_count--;
    }
    p->arrivals[p->arrival_count++] = (struct arrival){now, 0};
}

void player_push(struct player *p, GstBuffer *picture, int64_t chunk)
{
    g_mutex_lock(&p->lock);
    int usual = cushion_pictures(p) + (int)((double)p->lead / p->frame + 0.5);
    while (!p->ending && (int)p->waiting.length > usual + WAITING_MAX)
        g_cond_wait(&p->wake, &p->lock);
    GstClockTime now = running_time(p);
    if (chunk != p->chunk)
        begin_chunk(p, now);
    p->chunk = chunk;
    p->arrivals[p->arrival_count - 1].pictures++;
    GST_BUFFER_PTS(picture) = now;
    g_queue_push_tail(&p->waiting, picture);
    regulate(p);
    g_cond_broadcast(&p->wake);
    g_mutex_unlock(&p->lock);
}

void player_expect(struct player *p, double chunk_seconds, double lead_seconds, int chunk_pictures)
{
    g_mutex_lock(&p->lock);
    bool faster =
        chunk_seconds * 1e9 < chunk_pictures * p->frame; /* else there is no time to rest */
    p->lead = (GstClockTime)((faster ? lead_seconds : chunk_seconds) * 1e9);
    p->further = (GstClockTime)(chunk_seconds * 1e9);
    if (p->arrival_count < 2 && !p->rested) /* nothing measured yet */
        p->interval = MAX(p->frame, chunk_seconds * 1e9 / chunk_pictures);
    regulate(p);
    g_cond_broadcast(&p->wake);
    g_mutex_unlock(&p->lock);
}

void player_asked(struct player *p, int64_t change)
{
    g_mutex_lock(&p->lock);
    p->asked = MAX(p->asked, change);
    regulate(p);
    g_cond_broadcast(&p->wake); /* it may rest for a shorter time now */
    g_mutex_unlock(&p->lock);
}

void player_made(struct player *p, int64_t change)
{
    g_mutex_lock(&p->lock);
    p->made = MAX(p->made, change);
    regulate(p);
    g_mutex_unlock(&p->lock);
}

/* ---- showing --------------------------------------------------------------------------------- */

static void emit(struct player *p, enum live_pacing pacing, GstBuffer *picture, GstClockTime pts)
{
    GstBuffer *copy = gst_buffer_copy(picture); /* the memory is shared */
    GST_BUFFER_PTS(copy) = pts;
    GST_BUFFER_DTS(copy) = GST_CLOCK_TIME_NONE;
    GST_BUFFER_DURATION(copy) = (GstClockTime)p->frame;
    p->settings.emit(p->settings.opaque, pacing, copy);
    gst_buffer_unref(copy);
}

/* When the picture that is next should be shown; with the lock. */
static GstClockTime due_time(struct player *p)
{
    GstClockTime now = running_time(p);
    if (p->next == GST_CLOCK_TIME_NONE)
        p->next = now + p->settings.cushion;
    else if (now > p->next + (GstClockTime)(p->frame / 2)) /* it came late: no hurry after it */
        p->next = now;
    return p->next;
}

static void show(struct player *p, GstClockTime previous)
{
    GstBuffer *picture = g_queue_pop_head(&p->waiting);
    GstClockTime due = p->next, arrived = GST_BUFFER_PTS(picture);
    p->next += (GstClockTime)(p->interval + 0.5);
    p->numbers.shown++;
    if (p->numbers.shown > 1 && (double)(due - previous) > 1.1 * p->frame)
        p->numbers.late++;
    p->numbers.latency += ((double)(due - MIN(due, arrived)) / 1e9 - p->numbers.latency) /
                          (double)MIN(p->numbers.shown, 32);
    if (p->even_begin == GST_CLOCK_TIME_NONE)
        p->even_begin = due + (GstClockTime)(p->frame / 2);
    gst_buffer_replace(&p->newest, picture);
    g_queue_push_tail(&p->held, gst_buffer_ref(picture));
    regulate(p);
    g_cond_broadcast(&p->wake);
    g_mutex_unlock(&p->lock);
    emit(p, LIVE_STRETCH, picture, due);
    gst_buffer_unref(picture);
    g_mutex_lock(&p->lock);
}

static gpointer run_shower(gpointer opaque)
{
    struct player *p = opaque;
    GstClockTime previous = 0;
    g_mutex_lock(&p->lock);
    while (!p->ending || (p->drain && p->waiting.length)) {
        if (!p->waiting.length || p->held.length > HELD_MAX || (p->paused && !p->ending)) {
            g_cond_wait(&p->wake, &p->lock);
            continue;
        }
        GstClockTime due = due_time(p), now = running_time(p);
        regulate(p);
        if (now < due) {
            wait_until(p, p->resting ? MIN(due, begin_time(p, now)) : due);
            continue; /* paused, dropped or ended meanwhile? */
        }
        show(p, previous);
        previous = due;
    }
    p->shown_all = true;
    g_cond_broadcast(&p->wake);
    g_mutex_unlock(&p->lock);
    return NULL;
}

/* The stream of constant rate. Its ticks lie half a picture after the even times of the other, so
 * that neither waits for the other's thread. */
static gpointer run_holder(gpointer opaque)
{
    struct player *p = opaque;
    GstBuffer *picture = NULL;
    guint64 tick = 0;
    g_mutex_lock(&p->lock);
    while (!p->shown_all || (p->drain && p->held.length)) {
        if (p->even_begin == GST_CLOCK_TIME_NONE) {
            g_cond_wait(&p->wake, &p->lock);
            continue;
        }
        GstClockTime now = running_time(p);
        GstClockTime t =
            p->even_begin + gst_util_uint64_scale(tick, GST_SECOND * (guint64)p->settings.per,
                                                  (guint64)p->settings.rate);
        if (now < t) {
            wait_until(p, t);
            continue;
        }
        tick++;
        if (now > t + BEHIND_MAX)
            continue;
        GstBuffer *next = g_queue_pop_head(&p->held);
        if (next) {
            gst_clear_buffer(&picture);
            picture = next;
        }
        g_cond_broadcast(&p->wake);
        g_mutex_unlock(&p->lock);
        emit(p, LIVE_HOLD, picture, t);
        g_mutex_lock(&p->lock);
    }
    g_mutex_unlock(&p->lock);
    gst_clear_buffer(&picture);
    return NULL;
}

/* ---- opening, control ------------------------------------------------------------------------ */

struct player *player_open(const struct player_settings *settings)
{
    struct player *p = g_new0(struct player, 1);
    p->settings = *settings;
    gst_object_ref(p->settings.clock);
    g_mutex_init(&p->lock);
    g_cond_init(&p->wake);
    p->frame = p->interval = 1e9 * settings->per / settings->rate;
    p->next = p->even_begin = GST_CLOCK_TIME_NONE;
    p->chunk = -1;
    p->shower = g_thread_new("show", run_shower, p);
    p->holder = g_thread_new("hold", run_holder, p);
    return p;
}

void player_pause(struct player *p, bool paused)
{
    g_mutex_lock(&p->lock);
    p->paused = paused;
    p->arrival_count = 0; /* a pause is no slowness */
    p->chunk = -1;
    g_cond_broadcast(&p->wake);
    g_mutex_unlock(&p->lock);
}

int player_drop(struct player *p)
{
    g_mutex_lock(&p->lock);
    int count = (int)p->waiting.length;
    g_queue_clear_full(&p->waiting, (GDestroyNotify)gst_buffer_unref);
    regulate(p);
    g_mutex_unlock(&p->lock);
    return count;
}

void player_numbers(struct player *p, struct player_numbers *numbers)
{
    g_mutex_lock(&p->lock);
    *numbers = p->numbers;
    numbers->waiting = (int)p->waiting.length;
    g_mutex_unlock(&p->lock);
}

GstBuffer *player_newest(struct player *p)
{
    g_mutex_lock(&p->lock);
    GstBuffer *newest = p->newest ? gst_buffer_ref(p->newest) : NULL;
    g_mutex_unlock(&p->lock);
    return newest;
}

void player_end(struct player *p, bool drain)
{
    g_mutex_lock(&p->lock);
    p->ending = true;
    p->drain = drain;
    regulate(p);
    g_cond_broadcast(&p->wake);
    g_mutex_unlock(&p->lock);
    if (p->shower)
        g_thread_join(p->shower);
    if (p->holder)
        g_thread_join(p->holder);
    p->shower = p->holder = NULL;
}

void player_close(struct player *p)
{
    if (!p)
        return;
    g_queue_clear_full(&p->waiting, (GDestroyNotify)gst_buffer_unref);
    g_queue_clear_full(&p->held, (GDestroyNotify)gst_buffer_unref);
    gst_clear_buffer(&p->newest);
    gst_object_unref(p->settings.clock);
    g_mutex_clear(&p->lock);
    g_cond_clear(&p->wake);
    g_free(p);
}
