#include "cpu/onednn.h"

static bool usable(const struct cpu_backend *cpu)
{
    return cpu->base.compute == TENSOR_F32 || cpu->widens || onednn_has_bf16();
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

/* Weights of a product that widens are kept as bf16, and widened piece by piece when they are used:
 * the plain one does that. */
static bool is_plain(const struct backend *b, const struct linear *w)
{
    return cpu_of((struct backend *)b)->widens && w->type == TENSOR_BF16;
}

static int linear_init(struct backend *b, struct linear *w)
{
    return is_plain(b, w) ? cpu_linear_init(b, w) : onednn_linear_init(b, w);
}

static void linear_finish(struct backend *b, struct linear *w)
{
    if (is_plain(b, w))
        cpu_linear_finish(b, w);
    else
        onednn_linear_finish(b, w);
}

static void linear(struct backend *b, const struct tensor *y, const struct tensor *x,
                   struct linear *w, enum activation act)
{
    if (is_plain(b, w))
        cpu_linear(b, y, x, w, act);
    else
        onednn_linear(b, y, x, w, act);
}

const struct cpu_heavy cpu_onednn = {
    .name = "onednn",
    .usable = usable,
    .open = open_onednn,
    .close = close_onednn,
    .linear_init = linear_init,
    .linear_finish = linear_finish,
    .linear = linear,
    .conv_init = onednn_conv_init,
    .conv_finish = onednn_conv_finish,
    .conv = onednn_conv,
    .attention = cpu_attention,
};
