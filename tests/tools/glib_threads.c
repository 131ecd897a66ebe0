/* GLib's locks as pthread's, for ThreadSanitizer, which does not see into GLib's own and takes all that they
 * guard for races. To be preloaded. It does not see into GLib's and GStreamer's counts of references either, so
 * it is of use for programs that hand few of their objects from thread to thread. */
#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* The lock behind a pointer that is NULL before its first use, as static locks are. */
static void *lazily(void **place, size_t size, int (*init)(void *))
{
    void *p = __atomic_load_n(place, __ATOMIC_ACQUIRE), *none = NULL;
    if (p)
        return p;
    p = calloc(1, size);
    if (!p || init(p))
        abort();
    if (__atomic_compare_exchange_n(place, &none, p, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return p;
    free(p);
    return none;
}

static int init_mutex(void *mutex)
{
    return pthread_mutex_init(mutex, NULL);
}

static pthread_mutex_t *mutex_of(GMutex *mutex)
{
    return lazily(&mutex->p, sizeof(pthread_mutex_t), init_mutex);
}

void g_mutex_init(GMutex *mutex)
{
    mutex->p = NULL;
}

void g_mutex_clear(GMutex *mutex)
{
    if (mutex->p)
        pthread_mutex_destroy(mutex->p);
    free(mutex->p);
    mutex->p = NULL;
}

void g_mutex_lock(GMutex *mutex)
{
    pthread_mutex_lock(mutex_of(mutex));
}

void g_mutex_unlock(GMutex *mutex)
{
    pthread_mutex_unlock(mutex_of(mutex));
}

gboolean g_mutex_trylock(GMutex *mutex)
{
    return !pthread_mutex_trylock(mutex_of(mutex));
}

static int init_cond(void *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* that of g_get_monotonic_time() */
    int code = pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
    return code;
}

static pthread_cond_t *cond_of(GCond *cond)
{
    return lazily(&cond->p, sizeof(pthread_cond_t), init_cond);
}

void g_cond_init(GCond *cond)
{
    cond->p = NULL;
}

void g_cond_clear(GCond *cond)
{
    if (cond->p)
        pthread_cond_destroy(cond->p);
    free(cond->p);
    cond->p = NULL;
}

void g_cond_wait(GCond *cond, GMutex *mutex)
{
    pthread_cond_wait(cond_of(cond), mutex_of(mutex));
}

gboolean g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end)
{
    const struct timespec until = {end / G_USEC_PER_SEC, end % G_USEC_PER_SEC * 1000};
    return pthread_cond_timedwait(cond_of(cond), mutex_of(mutex), &until) != ETIMEDOUT;
}

void g_cond_signal(GCond *cond)
{
    pthread_cond_signal(cond_of(cond));
}

void g_cond_broadcast(GCond *cond)
{
    pthread_cond_broadcast(cond_of(cond));
}
