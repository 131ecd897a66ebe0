/* Attention, plain: blocks of queries meet blocks of keys, with a running maximum and sum for each
 * query (softmax in one pass over the keys), everything in f32.
 *
 * Scores are kept as [keys, queries]: keys are rows as they come, only queries are turned around,
 * once; and a vector holds several queries, so that neither maximum nor sum goes across one. */
#include <float.h>
#include <string.h>

#include "cpu/cpu.h"

#define QUERIES 480 /* a block, at most: its sums stay in the second-level cache */
#define GROUP 96    /* queries whose scores stay near the first-level cache */
#define KEYS 120    /* a block */
/* GROUP is a multiple of every gemm_width, GROUP and KEYS are of every gemm_rows. */

struct attention {
    struct cpu_backend *cpu;
    const struct tensor *y, *q, *k, *v;
    float scale;
    const struct tensor *bias;
    int64_t queries, blocks; /* of one head */
    int64_t width;           /* D, rounded up to whole panels */
    int64_t stride;          /* of keys: an odd number of cache lines, D not being one */
};

/* A thread's memory. */
struct workspace {
    float *q;          /* [queries / panel, D, panel]: transposed */
    float *k;          /* [KEYS, stride] */
    float *v;          /* [width / panel, KEYS, panel] */
    float *scores;     /* [KEYS, GROUP] */
    float *out;        /* [queries, width], not yet divided by sum */
    float *most, *sum; /* [queries] */
};

static size_t lay_out(const struct attention *a, struct workspace *work, float *memory)
{
    size_t width = (size_t)a->width, at = 0;
    size_t queries = (size_t)(a->queries + GROUP - 1) / GROUP * GROUP;
    struct {
        float **part;
        size_t count;
    } parts[] = {
        {&work->q, queries * width},   {&work->k, KEYS * (size_t)a->stride},
        {&work->v, KEYS * width},      {&work->scores, KEYS * GROUP},
        {&work->out, queries * width}, {&work->most, queries},
        {&work->sum, queries},
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

/* Columns past the last query are zeros: they are computed with, not used. */
static void load_queries(const struct attention *a, struct workspace *work, int64_t head,
                         int64_t query, int64_t queries)
{
    const int64_t d = a->q->shape[2], panel = a->cpu->kernels->gemm_width;
    if (queries % panel)
        memset(work->q + queries / panel * panel * d, 0, (size_t)(panel * d) * sizeof(float));
    for (int64_t j = 0; j < queries; j += panel)
        a->cpu->kernels->transpose(work->q + j * d, panel, head_row(a->q, query + j, head),
                                   a->q->stride[0], queries - j < panel ? queries - j : panel, d);
}

static void load_keys(const struct attention *a, struct workspace *work, int64_t head, int64_t key,
                      int64_t keys)
{
    const struct cpu_kernels *kernels = a->cpu->kernels;
    const int64_t d = a->q->shape[2];
    for (int64_t i = 0; i < keys; i++)
        kernels->convert((struct cpu_row){work->k + i * a->stride, TENSOR_F32},
                         head_row(a->k, key + i, head), d);
    kernels->panels(work->v, head_row(a->v, key, head), a->v->stride[0], keys, d);
}

/* Queries [first, first + count) of the block meet a block of keys. */
static void add_keys(const struct attention *a, struct workspace *work, int64_t first,
                     int64_t count, const float *bias, int64_t keys)
{
    const struct cpu_kernels *kernels = a->cpu->kernels;
    const int64_t d = a->q->shape[2], panel = kernels->gemm_width;
    const int64_t columns = (count + panel - 1) / panel * panel;
    float *out = work->out + first * a->width, fade[GROUP];
    memset(work->scores, 0, (size_t)(keys * GROUP) * sizeof(float));
    for (int64_t j = 0; j < columns; j += panel)
        kernels->gemm(work->scores + j, GROUP, work->k, a->stride, keys, d,
                      (struct cpu_row){work->q + (first + j) * d, TENSOR_F32}, panel);
    kernels->softmax(work->scores, GROUP, keys, count, a->scale, bias, work->most + first,
                     work->sum + first, fade);
    for (int64_t i = 0; i < count; i++)
        if (fade[i] != 1)
            kernels->combine(out + i * a->width, 1, &fade[i], &(const float *){out + i * a->width},
                             a->width);
    for (int64_t j = 0; j < a->width; j += panel)
        kernels->gemm_columns(out + j, a->width, work->scores, GROUP, count, keys,
                              work->v + j * keys, panel);
}

static void attend(const struct attention *a, struct workspace *work, int64_t index)
{
    const struct cpu_kernels *kernels = a->cpu->kernels;
    int64_t head = index / a->blocks, query = index % a->blocks * a->queries;
    int64_t left = a->q->shape[0] - query, queries = left < a->queries ? left : a->queries;
    load_queries(a, work, head, query, queries);
    memset(work->out, 0, (size_t)(queries * a->width) * sizeof(float));
    for (int64_t i = 0; i < queries; i++) {
        work->most[i] = -FLT_MAX;
        work->sum[i] = 0;
    }
    for (int64_t key = 0; key < a->k->shape[0]; key += KEYS) {
        int64_t rest = a->k->shape[0] - key, keys = rest < KEYS ? rest : KEYS;
        load_keys(a, work, head, key, keys);
        for (int64_t i = 0; i < queries; i += GROUP) {
            const float *bias = NULL; /* entry j - i + Lq - 1 */
            if (a->bias)
                bias = (const float *)a->bias->data + head * a->bias->stride[0] + key -
                       (query + i) + a->q->shape[0] - 1;
            add_keys(a, work, i, queries - i < GROUP ? queries - i : GROUP, bias, keys);
        }
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
    struct attention a = {cpu_of(b), y, q, k, v, scale, relative_bias};
    int64_t panel = a.cpu->kernels->gemm_width, rows = a.cpu->kernels->gemm_rows;
    int64_t heads = q->shape[1], length = q->shape[0];
    a.width = (q->shape[2] + panel - 1) / panel * panel;
    a.stride = ((q->shape[2] + 15) / 16 | 1) * 16;
    /* Smaller blocks load keys more often, but give every thread work. */
    int64_t least = b->threads > 1 ? (2 * b->threads + heads - 1) / heads : 1;
    a.blocks = (length + QUERIES - 1) / QUERIES;
    a.blocks = a.blocks < least ? least : a.blocks;
    a.queries = ((length + a.blocks - 1) / a.blocks + rows - 1) / rows * rows;
    if (a.queries > GROUP) /* whole groups */
        a.queries = (a.queries + GROUP - 1) / GROUP * GROUP;
    a.blocks = (length + a.queries - 1) / a.queries;
    struct workspace sizes;
    if (cpu_scratch_reserve(a.cpu, lay_out(&a, &sizes, NULL)))
        thread_pool_run(a.cpu->pool, heads * a.blocks, 1, attend_range, &a);
}
