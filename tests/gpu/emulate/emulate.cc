#include "cuda_runtime.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <mutex>
#include <vector>

#include "capture.h"

#define WARP 32
#define THREADS_MAX 1024
#define STACK_BYTES (64 * 1024)
#define SHARED_MAX 16 /* pieces a block */

/* Stacks are changed by jumps: nanoseconds, where swapcontext() makes two system calls, and so does longjmp()
 * under the address sanitizer, which forgets all it knows of the stack besides. There the compiler's own jumps
 * are taken, and the sanitizer is told of each. */
#ifdef EMULATE_SANITIZED
#include <sanitizer/common_interface_defs.h>
#ifdef __clang__ /* keeps values in registers over such a jump where it optimises */
#define SWITCHES __attribute__((noinline, optnone, no_sanitize_address))
#else
#define SWITCHES __attribute__((noinline, no_sanitize_address))
#endif
#define SET_JUMP(jump) __builtin_setjmp(reinterpret_cast<void **>(jump))
#else
#define SWITCHES __attribute__((noinline))
#define SET_JUMP(jump) _setjmp(jump)
#define __sanitizer_start_switch_fiber(fake, bottom, size) ((void)(fake), (void)(bottom), (void)(size))
#define __sanitizer_finish_switch_fiber(fake, bottom, size) ((void)(fake), (void)(bottom), (void)(size))
#endif

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace
{
enum state { RUNNING, AT_BARRIER, AT_SHUFFLE, ENDED };

struct thread {
    ucontext_t context;
    jmp_buf jump;
    void *fake; /* the sanitizer's */
    bool begun;
    enum state state;
    float given; /* to a shuffle */
};

/* What runs now; one host thread at a time. */
struct machine {
    jmp_buf jump;
    void *fake;
    const void *bottom; /* of the scheduler's stack */
    size_t size;
    thread threads[THREADS_MAX];
    char *stacks;
    thread *current;
    float taken[THREADS_MAX]; /* what the lanes gave, when the last one had */
    void *shared[SHARED_MAX];
    int shared_count;
    void (*body)(void *);
    void *opaque;
    unsigned turn; /* of orders */
};

machine m;

[[noreturn]] void die(const char *what)
{
    fprintf(stderr, "emulation: block %u of %u, %u threads: %s\n", blockIdx.x, gridDim.x,
            blockDim.x, what);
    abort();
}

SWITCHES void long_jump(jmp_buf to)
{
#ifdef EMULATE_SANITIZED
    __builtin_longjmp(reinterpret_cast<void **>(to), 1);
#else
    _longjmp(to, 1);
#endif
}

/* Compilers do not look for the way back from a call of which they know that it does not return. */
void (*volatile jump)(jmp_buf to) = long_jump;

/* To the scheduler, until it resumes this thread. */
SWITCHES void leave(enum state state)
{
    thread *t = m.current;
    t->state = state;
    __sanitizer_start_switch_fiber(&t->fake, m.bottom, m.size);
    if (!SET_JUMP(t->jump))
        jump(m.jump);
    __sanitizer_finish_switch_fiber(m.current->fake, &m.bottom, &m.size);
}

/* Every thread of every block: a coroutine serves one after another. */
void serve()
{
    __sanitizer_finish_switch_fiber(NULL, &m.bottom, &m.size);
    for (;;) {
        m.body(m.opaque);
        leave(ENDED);
    }
}

SWITCHES void jump_to(thread *t)
{
    if (SET_JUMP(m.jump))
        return;
    if (t->begun)
        jump(t->jump);
    t->begun = true;
    setcontext(&t->context);
}

void resume(thread *t)
{
    m.current = t;
    threadIdx = dim3((unsigned)(t - m.threads), 0, 0);
    t->state = RUNNING;
    __sanitizer_start_switch_fiber(&m.fake, t->context.uc_stack.ss_sp, STACK_BYTES);
    jump_to(t);
    __sanitizer_finish_switch_fiber(m.fake, NULL, NULL);
}

void create_threads()
{
    m.stacks = static_cast<char *>(malloc((size_t)THREADS_MAX * STACK_BYTES));
    if (!m.stacks)
        die("out of memory");
    for (int i = 0; i < THREADS_MAX; i++) {
        thread *t = &m.threads[i];
        getcontext(&t->context);
        t->context.uc_stack.ss_sp = m.stacks + (size_t)i * STACK_BYTES;
        t->context.uc_stack.ss_size = STACK_BYTES;
        makecontext(&t->context, serve, 0);
    }
}

/* The i-th of n in the order of a turn: forward, backward, or with a stride that is odd, so that it
 * reaches all of a power of two. */
int pick(int i, int n, unsigned turn)
{
    if (turn % 3 == 2 && (n & (n - 1)) == 0)
        return (i * 13 + (int)(turn / 3)) & (n - 1);
    return turn % 3 == 1 ? n - 1 - i : i;
}

/* Lanes that could go on have done so; says whether they all wait for a shuffle, which then
 * happens. */
bool shuffle(thread *lane, float *taken)
{
    int waiting = 0;
    for (int i = 0; i < WARP; i++)
        waiting += lane[i].state == AT_SHUFFLE;
    if (!waiting)
        return false;
    if (waiting < WARP)
        die("a shuffle that not all 32 lanes reach");
    for (int i = 0; i < WARP; i++) {
        taken[i] = lane[i].given;
        lane[i].state = RUNNING;
    }
    return true;
}

/* A warp until all its threads wait for a barrier or have ended. */
void run_warp(int first, int lanes)
{
    do {
        m.turn++;
        for (int i = 0; i < lanes; i++) {
            thread *t = &m.threads[first + pick(i, lanes, m.turn)];
            if (t->state == RUNNING)
                resume(t);
        }
        if (lanes < WARP) {
            for (int i = 0; i < lanes; i++)
                if (m.threads[first + i].state == AT_SHUFFLE)
                    die("a shuffle in a warp of fewer than 32 lanes");
            return;
        }
    } while (shuffle(&m.threads[first], &m.taken[first]));
}

void run_block(int threads)
{
    int warps = (threads + WARP - 1) / WARP, ended = 0;
    m.shared_count = 0;
    for (int i = 0; i < threads; i++)
        m.threads[i].state = RUNNING;
    while (ended < threads) {
        unsigned turn = m.turn;
        for (int i = 0; i < warps; i++) {
            int first = pick(i, warps, turn) * WARP;
            run_warp(first, threads - first < WARP ? threads - first : WARP);
        }
        ended = 0;
        for (int i = 0; i < threads; i++)
            ended += m.threads[i].state == ENDED;
        if (ended && ended < threads)
            die("a barrier that not all threads reach");
        for (int i = 0; i < threads && !ended; i++)
            m.threads[i].state = RUNNING;
    }
}
} // namespace

/* ---- capture --------------------------------------------------------------------------------- */

struct emulated_calls {
    struct call {
        void (*run)(void *);
        void (*drop)(void *);
        void *opaque;
    };
    std::vector<call> list;
    int refs = 1;
};

static thread_local emulated_calls *captured;

void emulate_capture_begin(void)
{
    if (captured)
        die("two captures at once");
    captured = new emulated_calls;
}

bool emulate_capturing(void)
{
    return captured;
}

void emulate_capture(void (*run)(void *opaque), void (*drop)(void *opaque), void *opaque)
{
    captured->list.push_back({run, drop, opaque});
}

emulated_calls *emulate_capture_end(void)
{
    emulated_calls *calls = captured;
    captured = NULL;
    return calls;
}

void emulate_calls_run(emulated_calls *calls)
{
    for (auto &call : calls->list)
        call.run(call.opaque);
}

void emulate_calls_ref(emulated_calls *calls)
{
    calls->refs++;
}

void emulate_calls_unref(emulated_calls *calls)
{
    if (--calls->refs)
        return;
    for (auto &call : calls->list)
        call.drop(call.opaque);
    delete calls;
}

/* ---- what kernels call ----------------------------------------------------------------------- */

void emulate_barrier()
{
    leave(AT_BARRIER);
}

float emulate_shuffle_xor(unsigned mask, float x, int other)
{
    if (mask != 0xffffffff || other < 0 || other >= WARP)
        die("a shuffle of part of a warp");
    m.current->given = x;
    leave(AT_SHUFFLE);
    return m.taken[(m.current - m.threads) ^ other];
}

void emulate_shared(void *memory, size_t bytes)
{
    for (int i = 0; i < m.shared_count; i++) {
        if (m.shared[i] == memory)
            return;
    }
    if (m.shared_count == SHARED_MAX)
        die("too many pieces of shared memory");
    m.shared[m.shared_count++] = memory;
    memset(memory, 0xff, bytes);
}

void emulate_access(const void *data, size_t alignment)
{
    if ((uintptr_t)data % alignment)
        die("an access that is not aligned");
}

cudaError_t emulate_launch(const dim3 &grid, const dim3 &block, void (*body)(void *), void *opaque)
{
    int threads = (int)block.x;
    if (block.x < 1 || block.x > THREADS_MAX || block.y != 1 || block.z != 1 || grid.x < 1 ||
        grid.x > 0x7fffffff || grid.y != 1 || grid.z != 1)
        return cudaErrorInvalidConfiguration;
    if (emulate_dry())
        return cudaSuccess;
    static std::mutex one_at_a_time; /* backends may be at work in threads of their own */
    std::lock_guard<std::mutex> guard(one_at_a_time);
    if (!m.stacks)
        create_threads();
    gridDim = grid;
    blockDim = block;
    m.body = body;
    m.opaque = opaque;
    bool backward = m.turn & 1;
    for (unsigned i = 0; i < grid.x; i++) {
        blockIdx = dim3(backward ? grid.x - 1 - i : i, 0, 0);
        run_block(threads);
    }
    return cudaSuccess;
}
