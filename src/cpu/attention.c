/* Attention, plain: blocks of queries meet blocks of keys, with a running maximum and sum for each
 * query (softmax in one pass over the keys), everything in f32. */
#include <math.h>
#include <string.h>

#include "cpu/cpu.h"

#define QUERIES 480 /* at most, a block */
#define KEYS 128    /* a block; a multiple of every gemm_width */

struct attention {
    struct cpu_backend *cpu;
    const struct tensor *y, *q, *k, *v;
    float scale;
    const struct tensor *bias;
    int64_t queries, blocks; /* of one head */
    int64_t width;           /* D, rounded up to whole panels */
};

/* A thread's memory. */
struct workspace {
    float *q;          /* [queries, width] */
    float *k;          /* [KEYS / panel, D, panel]: transposed */
    float *v;          /* [width / panel, KEYS, panel] */
    float *scores;     /* [queries, KEYS] */
    float *out;        /* [queries, width], not yet divided by sum */
    float *most, *sum; /* [queries] */
};

static size_t lay_out(const struct attention *a, struct workspace *work, float *memory)
{
    size_t width = (size_t)a->width, at = 0;
    struct {
        float **part;
        size_t count;
    } parts[] = {
        {&work->q, QUERIES * width},     {&work->k, width * KEYS},      {&work->v, KEYS * width},
        {&work->scores, QUERIES * KEYS}, {&work->out, QUERIES * width}, {&work->most, QUERIES},
        {&work->sum, QUERIES},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (memory)
            *parts[i].part = memory + at;
        at += (parts[i].count + 15) & ~(size_t)15;
    }
    return at * sizeof(float);
}

static struct cpu_row head_row(const struct tensor *t, int64_t token, int64_t head)
{
    return cpu_row_of(t, token * t->stride[0] + head * t->stride[1]);
}

/* rows [count, width] of a head as f32, zeros past D */
static void load_rows(const struct attention *a, float *to, const struct tensor *t, int64_t first,
                      int64_t count, int64_t head)
{
    int64_t d = t->shape[2];
    for (int64_t i = 0; i < count; i++, to += a->width) {
        a->cpu->kernels->convert((struct cpu_row){to, TENSOR_F32}, head_row(t, first + i, head), d);
        memset(to + d, 0, (size_t)(a->width - d) * sizeof *to);
    }
}

/* scores [queries, keys] -> probabilities relative to the running maximum */
static void soften(const struct attention *a, struct workspace *work, int64_t head, int64_t query,
                   int64_t queries, int64_t key, int64_t keys)
{
    const struct cpu_kernels *kernels = a->cpu->kernels;
    for (int64_t i = 0; i < queries; i++) {
        const float *bias = NULL;
        float *row = work->scores + i * KEYS, *out = work->out + i * a->width;
        if (a->bias) /* entry j - i + Lq - 1 */
            bias = (const float *)a->bias->data + head * a->bias->stride[0] + key - (query + i) +
                   a->q->shape[0] - 1;
        float most = kernels->scale_max(row, a->scale, bias, work->most[i], keys);
        float fade = expf(work->most[i] - most);
        work->sum[i] = work->sum[i] * fade + kernels->exp_sum(row, most, keys);
        if (fade != 1)
            kernels->combine(out, 1, &fade, &(const float *){out}, a->width);
        work->most[i] = most;
    }
}

/* Keys and values in panels as wide as a product: rows of a whole block lie a power of two apart and
 * would share a few sets of the first-level cache. */
static void load_keys(const struct attention *a, struct workspace *work, int64_t head, int64_t key,
                      int64_t keys)
{
    const struct cpu_kernels *kernels = a->cpu->kernels;
    const int64_t d = a->q->shape[2], panel = kernels->gemm_width;
    for (int64_t j = 0; j < keys; j += panel)
        kernels->transpose(work->k + j * d, panel, head_row(a->k, key + j, head), a->k->stride[0],
                           keys - j < panel ? keys - j : panel, d);
    for (int64_t j = 0; j < d; j += panel) {
        int64_t count = d - j < panel ? d - j : panel;
        float *to = work->v + j * KEYS;
        for (int64_t i = 0; i < keys; i++, to += panel) {
            kernels->convert((struct cpu_row){to, TENSOR_F32},
                             cpu_row_at(head_row(a->v, key + i, head), j), count);
            for (int64_t rest = count; rest < panel; rest++)
                to[rest] = 0;
        }
    }
}

static void add_keys(const struct attention *a, struct workspace *work, int64_t head, int64_t query,
                     int64_t queries, int64_t key, int64_t keys)
{
    const struct cpu_kernels *kernels = a->cpu->kernels;
    const int64_t d = a->q->shape[2], panel = kernels->gemm_width;
    load_keys(a, work, head, key, keys);
    memset(work->scores, 0, (size_t)(queries * KEYS) * sizeof(float));
    for (int64_t j = 0; j < keys; j += panel)
        kernels->gemm(work->scores + j, KEYS, work->q, a->width, queries, d,
                      (struct cpu_row){work->k + j * d, TENSOR_F32}, panel);
    soften(a, work, head, query, queries, key, keys);
    for (int64_t j = 0; j < a->width; j += panel)
        kernels->gemm(work->out + j, a->width, work->scores, KEYS, queries, keys,
                      (struct cpu_row){work->v + j * KEYS, TENSOR_F32}, panel);
}

static void attend(const struct attention *a, struct workspace *work, int64_t index)
{
    const struct cpu_kernels *kernels = a->cpu->kernels;
    int64_t head = index / a->blocks, query = index % a->blocks * a->queries;
    int64_t left = a->q->shape[0] - query, queries = left < a->queries ? left : a->queries;
    load_rows(a, work->q, a->q, query, queries, head);
    memset(work->out, 0, (size_t)(queries * a->width) * sizeof(float));
    for (int64_t i = 0; i < queries; i++) {
        work->most[i] = -INFINITY;
        work->sum[i] = 0;
    }
    for (int64_t key = 0; key < a->k->shape[0]; key += KEYS) {
        int64_t keys = a->k->shape[0] - key;
        add_keys(a, work, head, query, queries, key, keys < KEYS ? keys : KEYS);
    }
    for (int64_t i = 0; i < queries; i++) {
        float *out = work->out + i * a->width, part = 1 / work->sum[i];
        kernels->combine(out, 1, &part, &(const float *){out}, a->q->shape[2]);
        kernels->convert(head_row(a->y, query + i, head), (struct cpu_row){out, TENSOR_F32},
                         a->q->shape[2]);
    }
}

static void attend_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct attention *a = arg;
    struct workspace work;
    lay_out(a, &work, cpu_scratch_of(a->cpu, thread));
    for (int64_t i = begin; i < end; i++)
        attend(a, &work, i);
}

void cpu_attention(struct backend *b, const struct tensor *y, const struct tensor *q,
                   const struct tensor *k, const struct tensor *v, float scale,
                   const struct tensor *relative_bias)
{
    struct attention a = {cpu_of(b), y, q, k, v, scale, relative_bias, .queries = QUERIES};
    int64_t panel = a.cpu->kernels->gemm_width, heads = q->shape[1];
    a.width = (q->shape[2] + panel - 1) / panel * panel;
    /* Smaller blocks turn keys around more often, but give every thread work. */
    while (a.queries > 48 && heads * ((q->shape[0] + a.queries - 1) / a.queries) < 2 * b->threads)
        a.queries /= 2;
    a.blocks = (q->shape[0] + a.queries - 1) / a.queries;
    struct workspace sizes;
    if (cpu_scratch_reserve(a.cpu, lay_out(&a, &sizes, NULL)))
        thread_pool_run(a.cpu->pool, heads * a.blocks, 1, attend_range, &a);
}
