#include "cpu/peak.h"

#include "base/clock.h"
#include "cpu/amx/amx.h"

#define RUNS 16
#define WIDENS_RUNS 8
#define PIECES 8 /* of a run, for each thread: a late one leaves some to the others */

/* One measurement in one thread: `rounds` times the FLOPs of one round. */
struct gauge {
    const char *instruction;
    void (*run)(long rounds);
    double flops; /* of a round */
    long rounds;  /* about a millisecond */
};

#if defined(__x86_64__)
/* Twelve accumulators hide the latency of two units. */
#define TWELVE(instruction, r)                                                                     \
    instruction " %%" r "12, %%" r "13, %%" r "0\n" instruction " %%" r "12, %%" r "13, %%" r "1\n"  \
    instruction " %%" r "12, %%" r "13, %%" r "2\n" instruction " %%" r "12, %%" r "13, %%" r "3\n"  \
    instruction " %%" r "12, %%" r "13, %%" r "4\n" instruction " %%" r "12, %%" r "13, %%" r "5\n"  \
    instruction " %%" r "12, %%" r "13, %%" r "6\n" instruction " %%" r "12, %%" r "13, %%" r "7\n"  \
    instruction " %%" r "12, %%" r "13, %%" r "8\n" instruction " %%" r "12, %%" r "13, %%" r "9\n"  \
    instruction " %%" r "12, %%" r "13, %%" r "10\n"                                                 \
    instruction " %%" r "12, %%" r "13, %%" r "11\n"

#define CLEAR(r) "vpxor %%xmm12, %%xmm12, %%xmm12\nvpxor %%xmm13, %%xmm13, %%xmm13\n"

#define VECTOR_LOOP(name, features, instruction, r)                                                \
    __attribute__((target(features))) static void name(long rounds)                                \
    {                                                                                              \
        asm volatile(CLEAR(r) ".balign 64\n1:\n" TWELVE(instruction, r) "dec %0\njnz 1b\n"         \
                     : "+r"(rounds)                                                                \
                     :                                                                             \
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",     \
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "cc");                          \
    }

VECTOR_LOOP(fma_ymm, "avx2,fma", "vfmadd231ps", "ymm")
VECTOR_LOOP(fma_zmm, "avx512f", "vfmadd231ps", "zmm")
VECTOR_LOOP(dot_zmm, "avx512f", "vdpbf16ps", "zmm")
#endif

#if defined(UNREEL_AMX)
static void amx_tiles(long rounds)
{
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t columns[16];
        uint8_t rows[16];
    } config = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    asm volatile("ldtilecfg %0\n"
                 "tilezero %%tmm0\ntilezero %%tmm1\ntilezero %%tmm2\ntilezero %%tmm3\n"
                 "tilezero %%tmm4\ntilezero %%tmm5\ntilezero %%tmm6\ntilezero %%tmm7\n"
                 :
                 : "m"(config));
    for (long i = 0; i < rounds; i++)
        asm volatile("tdpbf16ps %tmm6, %tmm4, %tmm0\ntdpbf16ps %tmm7, %tmm4, %tmm1\n"
                     "tdpbf16ps %tmm6, %tmm5, %tmm2\ntdpbf16ps %tmm7, %tmm5, %tmm3\n");
    asm volatile("tilerelease");
}
#endif

/* What the compiler makes of it with the instructions every processor has. */
static void plain_loop(long rounds)
{
    typedef float vector __attribute__((vector_size(16)));
    vector sum[12] = {{0}}, a = {1e-3f, 1e-3f, 1e-3f, 1e-3f}, b = {0.5f, 0.5f, 0.5f, 0.5f};
    for (long i = 0; i < rounds; i++)
#pragma GCC unroll 12
        for (int j = 0; j < 12; j++)
            sum[j] = sum[j] * a + b;
    for (int j = 0; j < 12; j++)
        asm volatile("" : : "m"(sum[j]));
}

/* False: this processor has none. */
static bool choose(struct gauge *gauge, enum cpu_peak peak)
{
    *gauge = (struct gauge){NULL};
#if defined(__x86_64__)
    if (peak == CPU_PEAK_BF16_DOT && __builtin_cpu_supports("avx512bf16"))
        *gauge = (struct gauge){"vdpbf16ps zmm", dot_zmm, 12 * 64, 100000};
    else if (peak == CPU_PEAK_MULTIPLY_ADD && __builtin_cpu_supports("avx512f"))
        *gauge = (struct gauge){"vfmadd231ps zmm", fma_zmm, 12 * 32, 500000};
    else if (peak == CPU_PEAK_MULTIPLY_ADD && __builtin_cpu_supports("fma"))
        *gauge = (struct gauge){"vfmadd231ps ymm", fma_ymm, 12 * 16, 500000};
#endif
#if defined(UNREEL_AMX)
    if (peak == CPU_PEAK_AMX && amx_usable())
        *gauge = (struct gauge){"tdpbf16ps", amx_tiles, 4 * 16 * 16 * 32 * 2, 60000};
#endif
    if (peak == CPU_PEAK_MULTIPLY_ADD && !gauge->run)
        *gauge = (struct gauge){"multiply and add of 4", plain_loop, 12 * 8, 200000};
    return gauge->run;
}

static void run_gauge(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct gauge *gauge = arg;
    for (int64_t i = begin; i < end; i++)
        gauge->run(gauge->rounds);
}

double cpu_peak_measure(struct cpu_backend *cpu, enum cpu_peak peak, const char **instruction)
{
    struct gauge gauge;
    double best = 0;
    if (!choose(&gauge, peak))
        return 0;
    if (instruction)
        *instruction = gauge.instruction;
    for (int i = 0; i < RUNS; i++) {
        double begun = clock_seconds();
        thread_pool_run(cpu->pool, PIECES * cpu->base.threads, 1, run_gauge, &gauge);
        double rate = PIECES * cpu->base.threads * (double)gauge.rounds * gauge.flops /
                      (clock_seconds() - begun);
        if (rate > best)
            best = rate;
    }
    return best;
}

static double seconds_of(const struct gauge *gauge, long rounds)
{
    double begun = clock_seconds();
    gauge->run(rounds);
    return clock_seconds() - begun;
}

/* In turns, some 30 us each, so that other work on the machine does not disturb all of one kind. */
bool cpu_widens(void)
{
    struct gauge gauge[2];
    double rate[2] = {0, 0};
    if (choose(&gauge[0], CPU_PEAK_AMX)) /* faster than both */
        return false;
    if (!choose(&gauge[0], CPU_PEAK_BF16_DOT) || !choose(&gauge[1], CPU_PEAK_MULTIPLY_ADD))
        return true;
    for (int i = 0; i < 2 * WIDENS_RUNS; i++) {
        const struct gauge *g = &gauge[i % 2];
        double now = (double)(g->rounds / 32) * g->flops / seconds_of(g, g->rounds / 32);
        rate[i % 2] = now > rate[i % 2] ? now : rate[i % 2];
    }
    return rate[1] >= rate[0];
}

double cpu_peak(struct backend *b, enum tensor_type type, const char **instruction)
{
    struct cpu_backend *cpu = cpu_of(b);
    double best = 0;
    for (enum cpu_peak peak = 0; peak < CPU_PEAKS; peak++) {
        const char *name = NULL;
        double rate = peak == CPU_PEAK_MULTIPLY_ADD || type == TENSOR_BF16
                          ? cpu_peak_measure(cpu, peak, &name)
                          : 0;
        if (rate > best) {
            best = rate;
            if (instruction)
                *instruction = name;
        }
    }
    return best;
}
