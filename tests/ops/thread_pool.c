/* The pool: every item once, scratch indices never shared, loops of every size one after another.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/thread_pool.h"
#include "test.h"

#define ITEMS 1000
#define THREADS 9

struct loop {
    int seen[ITEMS];
    atomic_int inside[THREADS];
    atomic_int collisions, calls, highest;
    int64_t least; /* shortest piece but for the last */
    int64_t count;
};

static void visit(void *arg, int64_t begin, int64_t end, int thread)
{
    struct loop *loop = arg;
    if (atomic_fetch_add(&loop->inside[thread], 1))
        loop->collisions++;
    if (thread > loop->highest)
        loop->highest = thread;
    if (end - begin < loop->least && end != loop->count)
        loop->collisions++;
    for (int64_t i = begin; i < end; i++)
        loop->seen[i]++;
    loop->calls++;
    atomic_fetch_sub(&loop->inside[thread], 1);
}

static void check(struct thread_pool *pool, int64_t count, int64_t grain)
{
    struct loop loop = {.least = grain, .count = count};
    thread_pool_run(pool, count, grain, visit, &loop);
    bool once = true;
    for (int64_t i = 0; i < ITEMS; i++)
        once = once && loop.seen[i] == (i < count);
    CHECK_MSG(once, "%d of grain %d", (int)count, (int)grain);
    CHECK(!loop.collisions && loop.highest < thread_pool_threads(pool));
    CHECK(loop.calls <= (count + grain - 1) / grain);
    if (count <= grain)
        CHECK(loop.highest == 0);
}

static void test_loops(int threads)
{
    struct thread_pool *pool = thread_pool_create(threads);
    CHECK(pool && thread_pool_threads(pool) == threads);
    for (int64_t count = 0; count <= 40; count++)
        for (int64_t grain = 1; grain <= 41; grain += 4)
            check(pool, count, grain);
    for (int times = 0; times < 200; times++)
        check(pool, ITEMS - times, 1 + times % 30);
    thread_pool_destroy(pool);
}

/* A pool belongs to one thread at a time, not to the one that made it; pools are independent. */
static void *use(void *arg)
{
    for (int times = 0; times < 50; times++) {
        struct loop loop = {.least = 1, .count = ITEMS};
        thread_pool_run(arg, ITEMS, 1, visit, &loop);
        if (loop.collisions || loop.seen[ITEMS - 1] != 1)
            return arg;
    }
    return NULL;
}

static void test_owners(void)
{
    struct thread_pool *pools[3];
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pools[i] = thread_pool_create(i + 2);
    for (int i = 0; i < 3; i++)
        CHECK(!pthread_create(&threads[i], NULL, use, pools[i]));
    for (int i = 0; i < 3; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        CHECK(!failed);
        CHECK(!use(pools[i]));
        thread_pool_destroy(pools[i]);
    }
}

int main(void)
{
    CHECK(thread_pool_processors() >= 1);
    thread_pool_destroy(NULL);
    for (int threads = 1; threads <= THREADS; threads++)
        test_loops(threads);
    test_owners();
    return test_end();
}
