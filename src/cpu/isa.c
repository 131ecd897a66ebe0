/* What the processor has. */
#include "cpu/cpu.h"

const struct cpu_kernels *cpu_isa_kernels(enum cpu_isa isa)
{
    switch (isa) {
    case CPU_BASELINE:
        return &cpu_kernels_baseline;
#if defined(__x86_64__)
    case CPU_AVX2:
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
            return &cpu_kernels_avx2;
        return NULL;
    case CPU_AVX512:
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
            return &cpu_kernels_avx512;
        return NULL;
#endif
    default:
        return NULL;
    }
}

const char *cpu_isa_name(enum cpu_isa isa)
{
    static const char *const names[] = {"baseline", "avx2", "avx512"};
    return names[isa];
}

bool cpu_prefers_bf16(void)
{
#if defined(__x86_64__) && defined(UNREEL_ONEDNN)
    return __builtin_cpu_supports("avx512bf16"); /* processors with AMX have it too */
#else
    return false;
#endif
}
