#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

#define PIECES_PER_THREAD 4
#define LOOK_SECONDS 50e-6
#define YIELD_SECONDS 5e-6 /* it takes longer if another thread has run meanwhile */

struct worker {
    struct thread_pool *pool;
    pthread_t thread;
    sem_t wake;
    int index; /* 1..threads-1 */
};

struct thread_pool {
    int threads, started; /* started: workers that exist */
    bool stop;
    bool looks; /* threads look for the next loop before they sleep */
    /* The loop at hand; written before workers are woken, constant until all are through. */
    thread_pool_fn run;
    void *arg;
    int64_t count, piece;
    _Atomic int64_t next;   /* first item nobody has taken */
    _Atomic int unfinished; /* threads still in the loop, caller included */
    sem_t done;
    struct worker workers[];
};

static void take_pieces(struct thread_pool *pool, int thread)
{
    for (;;) {
        int64_t begin = atomic_fetch_add(&pool->next, pool->piece);
        if (begin >= pool->count)
            return;
        int64_t left = pool->count - begin;
        pool->run(pool->arg, begin, begin + (left < pool->piece ? left : pool->piece), thread);
    }
}

/* A loop follows another within microseconds, and falling asleep and being woken take tens of them. So
 * look for a while, but hand the processor to whoever else wants it, and sleep if somebody did. */
static bool came_soon(sem_t *semaphore)
{
    double begun = clock_seconds(), now = begun;
    while (now - begun < LOOK_SECONDS) {
        if (!sem_trywait(semaphore))
            return true;
        sched_yield();
        double before = now;
        now = clock_seconds();
        if (now - before > YIELD_SECONDS)
            return false;
    }
    return false;
}

static void wait_for(const struct thread_pool *pool, sem_t *semaphore)
{
    if (pool->looks && came_soon(semaphore))
        return;
    while (sem_wait(semaphore))
        ; /* interrupted by a signal */
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct thread_pool *pool = worker->pool;
    for (;;) {
        wait_for(pool, &worker->wake);
        if (pool->stop)
            return NULL;
        take_pieces(pool, worker->index);
        if (atomic_fetch_sub(&pool->unfinished, 1) == 1)
            sem_post(&pool->done);
    }
}

/* Signals are for the program's own threads. */
static int start(struct worker *worker)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&worker->thread, NULL, work, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

struct thread_pool *thread_pool_create(int threads)
{
    if (threads < 1)
        threads = 1;
    struct thread_pool *pool =
        calloc(1, sizeof *pool + (size_t)(threads - 1) * sizeof pool->workers[0]);
    if (!pool)
        return NULL;
    pool->threads = threads;
    pool->looks = threads <= thread_pool_processors();
    sem_init(&pool->done, 0, 0);
    for (int i = 0; i < threads - 1; i++) {
        struct worker *worker = &pool->workers[i];
        worker->pool = pool;
        worker->index = i + 1;
        sem_init(&worker->wake, 0, 0);
        if (start(worker)) {
            sem_destroy(&worker->wake);
            thread_pool_destroy(pool);
            return NULL;
        }
        pool->started++;
    }
    return pool;
}

void thread_pool_destroy(struct thread_pool *pool)
{
    if (!pool)
        return;
    pool->stop = true;
    for (int i = 0; i < pool->started; i++)
        sem_post(&pool->workers[i].wake);
    for (int i = 0; i < pool->started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
        sem_destroy(&pool->workers[i].wake);
    }
    sem_destroy(&pool->done);
    free(pool);
}

int thread_pool_threads(const struct thread_pool *pool)
{
    return pool->threads;
}

void thread_pool_run(struct thread_pool *pool, int64_t count, int64_t grain, thread_pool_fn run,
                     void *arg)
{
    if (count <= 0)
        return;
    if (pool->threads == 1 || count <= grain) {
        run(arg, 0, count, 0);
        return;
    }
    int64_t most = (int64_t)pool->threads * PIECES_PER_THREAD;
    int64_t piece = (count + most - 1) / most;
    pool->piece = piece < grain ? grain : piece;
    pool->count = count;
    pool->run = run;
    pool->arg = arg;
    int64_t pieces = (count + pool->piece - 1) / pool->piece;
    int helpers = pieces < pool->threads ? (int)pieces - 1 : pool->threads - 1;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->unfinished, helpers + 1);
    for (int i = 0; i < helpers; i++)
        sem_post(&pool->workers[i].wake);
    take_pieces(pool, 0);
    if (atomic_fetch_sub(&pool->unfinished, 1) != 1)
        wait_for(pool, &pool->done);
}

int thread_pool_processors(void)
{
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set))
        return CPU_COUNT(&set);
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (int)count : 1;
}
