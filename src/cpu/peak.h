/* The most multiplications and additions a second that this machine does, measured: independent
 * multiply-adds in registers, nothing loaded. What kernels are compared with. */
#pragma once

#include "cpu/cpu.h"

enum cpu_peak {
    CPU_PEAK_MULTIPLY_ADD, /* f32, with the vectors of the processor's widest instruction set */
    CPU_PEAK_BF16_DOT,     /* vdpbf16ps */
    CPU_PEAK_AMX,          /* tdpbf16ps */
    CPU_PEAKS,
};

/* FLOP/s of all threads of the backend together, the best of several runs of some milliseconds; 0 if
 * the processor has no such instruction. `instruction` is what was measured. */
double cpu_peak_measure(struct cpu_backend *cpu, enum cpu_peak peak, const char **instruction);

/* The highest for this type: struct backend_ops.peak. */
double cpu_peak(struct backend *b, enum tensor_type type, const char **instruction);
