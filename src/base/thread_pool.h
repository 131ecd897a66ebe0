/* A pool of threads that split loops. Where there is a processor for each, threads look for the next
 * loop for 50 us before they sleep, unless others want the processor, so that the pool shares a busy
 * machine well. One loop runs at a time; a pool belongs to one thread at a time. */
#pragma once

#include <stdint.h>

struct thread_pool;

/* Items [begin, end) of a loop. `thread` is 0..threads-1, never the same for two calls that run at
 * once: an index of scratch memory. */
typedef void (*thread_pool_fn)(void *arg, int64_t begin, int64_t end, int thread);

/* `threads` counts the caller of thread_pool_run(); 1 creates none. NULL: out of memory or threads.
 */
struct thread_pool *thread_pool_create(int threads);
void thread_pool_destroy(struct thread_pool *pool); /* NULL is fine */
int thread_pool_threads(const struct thread_pool *pool);

/* Runs items [0, count) and returns when all are done. The loop is cut into pieces of at least
 * `grain` items (>= 1), several a thread so that a slow thread holds nobody up; no more threads are
 * woken than there are pieces. Pieces do not depend on timing, who runs them does. */
void thread_pool_run(struct thread_pool *pool, int64_t count, int64_t grain, thread_pool_fn run,
                     void *arg);

/* Processors this process may run on. */
int thread_pool_processors(void);
