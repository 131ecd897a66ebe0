/* Time that stands still while any thread has something to do. The threads under test and the test itself sleep
 * in it; when all of them wait, it jumps to the first moment that one of them waits for. So nothing depends on
 * how busy the machine is, and nobody waits for anything. The linker puts these functions in the place of
 * GLib's (-Wl,--wrap=NAME, for every NAME in meson.build). */
#pragma once

#include <gst/gst.h>

struct sleeper {
    GCond *cond;  /* that wakes it; NULL: only time does */
    gint64 until; /* us; G_MAXINT64: never by time */
    gboolean awake, by_time;
};

static GMutex time_lock;
static GCond time_wake;
static GPtrArray *sleepers; /* struct sleeper */
static int time_threads = 1;      /* that there are, */
static int time_blocked;          /* and that wait */
static GThread *time_joined;      /* that somebody waits for the end of */
static gint64 time_now = 1000000; /* us */

gint64 __wrap_g_get_monotonic_time(void);
GstClockTime __wrap_gst_clock_get_time(GstClock *clock);
void __wrap_g_usleep(gulong us);
void __wrap_g_cond_wait(GCond *cond, GMutex *mutex);
gboolean __wrap_g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 until);
void __wrap_g_cond_broadcast(GCond *cond);
GThread *__wrap_g_thread_new(const gchar *name, GThreadFunc run, gpointer data);
gpointer __wrap_g_thread_join(GThread *thread);

void __real_g_cond_wait(GCond *cond, GMutex *mutex);
void __real_g_cond_broadcast(GCond *cond);
GThread *__real_g_thread_new(const gchar *name, GThreadFunc run, gpointer data);
gpointer __real_g_thread_join(GThread *thread);

/* With time_lock. */
static void rouse(struct sleeper *s, gboolean by_time)
{
    if (s->awake)
        return;
    s->awake = TRUE;
    s->by_time = by_time;
    time_blocked--;
}

/* With time_lock: if nobody has anything to do, the time of the next who will have. */
static void pass(void)
{
    gint64 next = G_MAXINT64;
    if (time_blocked < time_threads || !sleepers)
        return;
    for (guint i = 0; i < sleepers->len; i++)
        next = MIN(next, ((struct sleeper *)sleepers->pdata[i])->until);
    if (next == G_MAXINT64)
        return; /* all wait for each other: Meson's limit says so */
    time_now = MAX(time_now, next);
    for (guint i = 0; i < sleepers->len; i++) {
        struct sleeper *s = sleepers->pdata[i];
        if (s->until <= time_now)
            rouse(s, TRUE);
    }
    __real_g_cond_broadcast(&time_wake);
}

static gboolean sleep_in_time(GCond *cond, GMutex *mutex, gint64 until)
{
    struct sleeper s = {.cond = cond, .until = until};
    g_mutex_lock(&time_lock);
    if (!sleepers)
        sleepers = g_ptr_array_new();
    g_ptr_array_add(sleepers, &s);
    time_blocked++;
    if (mutex)
        g_mutex_unlock(mutex);
    pass();
    while (!s.awake)
        __real_g_cond_wait(&time_wake, &time_lock);
    g_ptr_array_remove_fast(sleepers, &s);
    g_mutex_unlock(&time_lock);
    if (mutex)
        g_mutex_lock(mutex);
    return !s.by_time;
}

gint64 __wrap_g_get_monotonic_time(void)
{
    g_mutex_lock(&time_lock);
    gint64 now = time_now;
    g_mutex_unlock(&time_lock);
    return now;
}

GstClockTime __wrap_gst_clock_get_time(GstClock *clock)
{
    return (GstClockTime)__wrap_g_get_monotonic_time() * 1000;
}

void __wrap_g_usleep(gulong us)
{
    sleep_in_time(NULL, NULL, __wrap_g_get_monotonic_time() + (gint64)us);
}

void __wrap_g_cond_wait(GCond *cond, GMutex *mutex)
{
    sleep_in_time(cond, mutex, G_MAXINT64);
}

gboolean __wrap_g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 until)
{
    return sleep_in_time(cond, mutex, until);
}

void __wrap_g_cond_broadcast(GCond *cond)
{
    g_mutex_lock(&time_lock);
    for (guint i = 0; sleepers && i < sleepers->len; i++)
        if (((struct sleeper *)sleepers->pdata[i])->cond == cond)
            rouse(sleepers->pdata[i], FALSE);
    __real_g_cond_broadcast(&time_wake);
    g_mutex_unlock(&time_lock);
}

struct start {
    GThreadFunc run;
    gpointer data;
};

static gpointer run_in_time(gpointer opaque)
{
    struct start start = *(struct start *)opaque;
    g_free(opaque);
    gpointer result = start.run(start.data);
    g_mutex_lock(&time_lock);
    time_threads--;
    if (time_joined == g_thread_self()) { /* whoever waits for it has something to do now */
        time_joined = NULL;
        time_blocked--;
    }
    pass();
    g_mutex_unlock(&time_lock);
    return result;
}

GThread *__wrap_g_thread_new(const gchar *name, GThreadFunc run, gpointer data)
{
    struct start *start = g_new(struct start, 1);
    *start = (struct start){run, data};
    g_mutex_lock(&time_lock);
    time_threads++;
    g_mutex_unlock(&time_lock);
    return __real_g_thread_new(name, run_in_time, start);
}

gpointer __wrap_g_thread_join(GThread *thread)
{
    g_mutex_lock(&time_lock);
    time_joined = thread;
    time_blocked++;
    pass();
    g_mutex_unlock(&time_lock);
    gpointer result = __real_g_thread_join(thread);
    g_mutex_lock(&time_lock);
    if (time_joined == thread) { /* it had ended before */
        time_joined = NULL;
        time_blocked--;
    }
    g_mutex_unlock(&time_lock);
    return result;
}
