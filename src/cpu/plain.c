#include "cpu/cpu.h"

const struct cpu_heavy cpu_plain = {
    .name = "plain",
    .linear_init = cpu_linear_init,
    .linear_finish = cpu_linear_finish,
    .linear = cpu_linear,
    .conv_init = cpu_conv_init,
    .conv_finish = cpu_conv_finish,
    .conv = cpu_conv,
    .attention = cpu_attention,
};
