/* The implementation for processors with AMX, when the compute type is bf16. What AMX does not help,
 * products in f32 and attention with a bias, goes on to the one behind it. */
#include "cpu/amx/heavy.h"

#include "cpu/amx/amx.h"
#include "cpu/amx/attention.h"

#ifdef UNREEL_ONEDNN
#define NEXT cpu_onednn
#else
#define NEXT cpu_plain
#endif

static bool usable(const struct cpu_backend *cpu)
{
    return cpu->isa == CPU_AVX512 && cpu->base.compute == TENSOR_BF16 && amx_usable();
}

static int open_amx(struct cpu_backend *cpu)
{
    return NEXT.open ? NEXT.open(cpu) : 0;
}

static void close_amx(struct cpu_backend *cpu)
{
    if (NEXT.close)
        NEXT.close(cpu);
}

static int linear_init(struct backend *b, struct linear *w)
{
    return w->type == TENSOR_BF16 ? amx_linear_init(b, w) : NEXT.linear_init(b, w);
}

static void linear_finish(struct backend *b, struct linear *w)
{
    if (w->type == TENSOR_BF16)
        amx_linear_finish(b, w);
    else
        NEXT.linear_finish(b, w);
}

static void linear(struct backend *b, const struct tensor *y, const struct tensor *x,
                   struct linear *w, enum activation act)
{
    if (w->type == TENSOR_BF16)
        amx_linear(b, y, x, w, act);
    else
        NEXT.linear(b, y, x, w, act);
}

/* ---- attention ---------------------------------------------------------------------------- */

struct heads {
    struct cpu_backend *cpu;
    const struct tensor *y, *q, *k, *v;
    float scale;
    int64_t groups, queries; /* each head's queries in `groups` parts of `queries` */
};

static void *head_of(const struct tensor *t, int64_t token, int64_t head)
{
    return cpu_row_of(t, token * t->stride[0] + head * t->stride[1]).data;
}

static void run_heads(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct heads *h = arg;
    for (int64_t i = begin; i < end; i++) {
        int64_t head = i / h->groups, first = i % h->groups * h->queries;
        int64_t left = h->q->shape[0] - first;
        struct amx_attention a = {
            .q = head_of(h->q, first, head), .k = head_of(h->k, 0, head),
            .v = head_of(h->v, 0, head), .y = head_of(h->y, first, head),
            .q_stride = h->q->stride[0], .k_stride = h->k->stride[0],
            .v_stride = h->v->stride[0], .y_stride = h->y->stride[0],
            .queries = left < h->queries ? left : h->queries, .keys = h->k->shape[0],
            .width = (int)h->q->shape[2], .scale = h->scale,
        };
        if (left > 0)
            amx_attention(&a, cpu_scratch_of(h->cpu, thread));
    }
}

static int64_t divisor(int64_t a, int64_t b)
{
    return b ? divisor(b, a % b) : a;
}

static void attention(struct backend *b, const struct tensor *y, const struct tensor *q,
                      const struct tensor *k, const struct tensor *v, float scale,
                      const struct tensor *relative_bias)
{
    if (q->type != TENSOR_BF16 || relative_bias) {
        NEXT.attention(b, y, q, k, v, scale, relative_bias);
        return;
    }
    /* As few parts as share the work evenly: each of them reorders the keys for itself. */
    struct heads h = {cpu_of(b), y, q, k, v, scale};
    h.groups = b->threads / divisor(q->shape[1], b->threads);
    h.queries = ((q->shape[0] + h.groups - 1) / h.groups + 31) & ~(int64_t)31;
    size_t memory = amx_attention_memory(h.queries, k->shape[0], (int)q->shape[2]);
    if (cpu_scratch_reserve(h.cpu, memory))
        thread_pool_run(h.cpu->pool, q->shape[1] * h.groups, 1, run_heads, &h);
}

const struct cpu_heavy cpu_amx = {
    .name = "amx",
    .usable = usable,
    .open = open_amx,
    .close = close_amx,
    .linear_init = linear_init,
    .linear_finish = linear_finish,
    .linear = linear,
    .conv_init = amx_conv_init,
    .conv_finish = amx_conv_finish,
    .conv = amx_conv,
    .attention = attention,
};
