/* The emulation itself: it computes what a device would, and what a device would not forgive fails.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "cuda_runtime.h"
#include "test.h"

#define THREADS 96

struct numbers {
    float x[THREADS];
};

static numbers shared_numbers;

/* y = x backwards, block by block, through shared memory. */
static void reverse(float *y, const float *x, bool barrier)
{
    emulate_shared(&shared_numbers, sizeof shared_numbers);
    unsigned i = threadIdx.x, first = blockIdx.x * blockDim.x;
    shared_numbers.x[i] = x[first + i];
    if (barrier)
        __syncthreads();
    y[first + i] = shared_numbers.x[blockDim.x - 1 - i];
}

static void sum_warp(float *y)
{
    float x = (float)(threadIdx.x + 1);
    for (int step = 16; step; step /= 2)
        x += __shfl_xor_sync(0xffffffff, x, step);
    y[threadIdx.x] = x;
}

/* Some threads leave before the barrier. */
static void leave_early(int how)
{
    if (threadIdx.x % 3 == 1)
        return;
    if (how)
        __shfl_xor_sync(0xffffffff, 1, 1);
    else
        __syncthreads();
}

static void one_half_waits()
{
    if (threadIdx.x < THREADS / 3)
        __shfl_xor_sync(0xffff, 1, 1);
}

/* Local memory past its end, after other threads ran. */
static void read_past(float *y, int at)
{
    float x[8];
    for (int i = 0; i < 8; i++)
        x[i] = (float)i;
    __syncthreads();
    const float *volatile unknown = x; /* or the compiler's own check of sizes is first */
    y[threadIdx.x] = unknown[at];
}

template <typename... P, typename... A>
static cudaError_t launch(void (*kernel)(P...), unsigned blocks, unsigned threads, A... arguments)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(blocks);
    config.blockDim = dim3(threads);
    return cudaLaunchKernelEx(&config, kernel, P(arguments)...);
}

static int wrong_reversals(bool barrier)
{
    float x[4 * THREADS], y[4 * THREADS];
    int wrong = 0;
    for (int i = 0; i < 4 * THREADS; i++)
        x[i] = (float)i;
    CHECK(launch(reverse, 4, THREADS, y, x, barrier) == cudaSuccess);
    for (int i = 0; i < 4 * THREADS; i++)
        wrong += !(y[i] == x[i / THREADS * THREADS + THREADS - 1 - i % THREADS]);
    return wrong;
}

static void test_barrier()
{
    for (int i = 0; i < 4; i++) {
        CHECK(wrong_reversals(true) == 0);
        CHECK(wrong_reversals(false) >= THREADS / 2); /* NaN, whichever end goes first */
    }
}

static void test_shuffle()
{
    float y[THREADS];
    CHECK(launch(sum_warp, 1, THREADS, y) == cudaSuccess);
    for (int i = 0; i < THREADS; i++)
        CHECK(y[i] == 528 + 32 * 32 * (float)(i / 32));
}

/* Whether the kernel ends the program, with lines that have `word`. */
template <typename... P, typename... A>
static void expect_abort(const char *word, void (*kernel)(P...), A... arguments)
{
    int ends[2], status = 0;
    char line[4096] = {0}; /* and what sanitizers say */
    size_t length = 0;
    CHECK(pipe(ends) == 0);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        dup2(ends[1], 2);
        launch(kernel, 1, THREADS, arguments...);
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t more = 1; more > 0 && length < sizeof line - 1;
         length += (size_t)(more > 0 ? more : 0))
        more = read(ends[0], line + length, sizeof line - 1 - length);
    waitpid(child, &status, 0);
    close(ends[0]);
    CHECK_MSG(status && strstr(line, word), "%s: status %d, %s", word, status, line);
}

int main()
{
    test_barrier();
    test_shuffle();
    expect_abort("a barrier that not all threads reach", leave_early, 0);
    expect_abort("a shuffle that not all 32 lanes reach", leave_early, 1);
    expect_abort("a shuffle of part of a warp", one_half_waits);
    float y[THREADS];
    CHECK(launch(read_past, 1, THREADS, y, 7) == cudaSuccess);
#ifdef EMULATE_SANITIZED
    expect_abort("stack-buffer-overflow", read_past, y, 8);
#endif
    CHECK(launch(sum_warp, 1, 0, y) == cudaErrorInvalidConfiguration);
    CHECK(launch(sum_warp, 0, 32, y) == cudaErrorInvalidConfiguration);
    CHECK(launch(sum_warp, 1, 1025, y) == cudaErrorInvalidConfiguration);
    return test_end();
}
