#include "cpu/onednn.h"

static bool usable(const struct cpu_backend *cpu)
{
    return cpu->base.compute == TENSOR_F32 || onednn_has_bf16();
}

static int open_onednn(struct cpu_backend *cpu)
{
    cpu->onednn = onednn_create(cpu->base.threads, &cpu->base.log);
    return cpu->onednn ? 0 : log_error(&cpu->base.log, UNREEL_ENOMEM, "oneDNN does not start");
}

static void close_onednn(struct cpu_backend *cpu)
{
    onednn_destroy(cpu->onednn);
    cpu->onednn = NULL;
}

const struct cpu_heavy cpu_onednn = {
    .name = "onednn",
    .usable = usable,
    .open = open_onednn,
    .close = close_onednn,
    .linear_init = onednn_linear_init,
    .linear_finish = onednn_linear_finish,
    .linear = onednn_linear,
    .conv_init = onednn_conv_init,
    .conv_finish = onednn_conv_finish,
    .conv = onednn_conv,
    .attention = cpu_attention,
};
