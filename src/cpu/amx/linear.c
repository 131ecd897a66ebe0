/* Matrix products by AMX: cutting into pieces that fit the caches, and packing. */
#include <stdatomic.h>
#include <stdlib.h>

#include "cpu/amx/heavy.h"
#include "cpu/amx/product.h"
#include "cpu/load.h"

/* A piece is at most BLOCKS blocks of rows; DEPTH_RUNS runs of K of it are packed at a time, 768 KiB,
 * and the second-level cache holds them beside the weights that stream past. */
#define BLOCKS 8
#define RUN_STEPS 16
#define DEPTH_RUNS 3
#define PIECES 4           /* a thread, if rows are few */
#define TRANSIENT_PANELS 4 /* packed at a time */

struct amx_linear {
    char *packed; /* [panels][steps] AMX_STEP_BYTES; NULL: not yet, or transient */
    float *bias;
    int runs;
    struct amx_run run[]; /* K cut into pieces */
};

/* One call. A piece of work is some blocks of rows by some panels; pieces are taken by whichever
 * thread is free. */
struct product {
    struct cpu_backend *cpu;
    struct linear *w;
    const struct tensor *y, *x;
    enum activation act;       /* one that amx_product knows */
    enum activation act_after; /* or else one for afterwards */
    int64_t blocks, panels;    /* of all */
    int64_t row_pieces, panel_pieces;
    size_t input_at, panel_at; /* in scratch memory, after the sums */
    _Atomic int64_t next;      /* piece that nobody has taken */
};

int amx_linear_init(struct backend *b, struct linear *w)
{
    int64_t steps = amx_steps(w->k), done = 0;
    int runs = (int)((steps + RUN_STEPS - 1) / RUN_STEPS);
    struct amx_linear *impl = calloc(1, sizeof *impl + (size_t)runs * sizeof impl->run[0]);
    if (!impl)
        return UNREEL_ENOMEM;
    impl->runs = runs;
    for (int i = 0; i < runs; i++) {
        impl->run[i] = (struct amx_run){done * AMX_STEP_BYTES, (steps - done) / (runs - i)};
        done += impl->run[i].steps;
    }
    w->impl = impl;
    return 0;
}

void amx_linear_finish(struct backend *b, struct linear *w)
{
    struct amx_linear *impl = w->impl;
    cpu_free(b, impl->packed);
    free(impl->bias);
    free(impl);
    w->impl = NULL;
}

/* ---- weights ------------------------------------------------------------------------------ */

/* A panel, whatever parts its outputs come from. */
static void pack_panel(const struct product *p, int64_t panel, char *to, float *scratch)
{
    const struct linear *w = p->w;
    int64_t first = panel * AMX_COLUMNS, left = w->n - first, begin = 0;
    int64_t columns = left < AMX_COLUMNS ? left : AMX_COLUMNS;
    for (int i = 0; i < w->desc.parts; begin += w->desc.weight[i++].shape[0]) {
        const struct tensor *part = &w->desc.weight[i];
        if (part->type == TENSOR_BF16 && first >= begin &&
            first + columns <= begin + part->shape[0]) {
            amx_pack_bf16(to, (const uint16_t *)part->data + (first - begin) * w->k, w->k, columns,
                          w->k);
            return;
        }
    }
    cpu_load_rows(&p->cpu->base, scratch, w, first, columns);
    amx_pack_f32(to, scratch, w->k, columns, w->k);
}

static void pack_panels(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct product *p = arg;
    struct amx_linear *impl = p->w->impl;
    for (int64_t i = begin; i < end; i++)
        pack_panel(p, i, impl->packed + (size_t)i * amx_panel_bytes(p->w->k),
                   cpu_scratch_of(p->cpu, thread));
}

static bool pack_weight(struct product *p)
{
    struct backend *b = &p->cpu->base;
    struct amx_linear *impl = p->w->impl;
    int64_t panels = cpu_up(p->w->n, AMX_COLUMNS);
    if (!cpu_scratch_reserve(p->cpu, (size_t)(AMX_COLUMNS * p->w->k) * sizeof(float)))
        return false;
    impl->packed = cpu_alloc(b, (size_t)panels * amx_panel_bytes(p->w->k));
    if (!impl->packed) {
        backend_fail(b, UNREEL_ENOMEM, "out of memory: weight [%lld, %lld]", (long long)p->w->n,
                     (long long)p->w->k);
        return false;
    }
    thread_pool_run(p->cpu->pool, panels, 1, pack_panels, p);
    cpu_drop_linear_pages(p->w);
    return true;
}

/* ---- products ----------------------------------------------------------------------------- */

/* Rows of blocks [first, end) by panels [panel, panel + panels), over one depth of K after the other. */
static void run_piece(const struct product *p, int64_t first, int64_t end, int64_t panel,
                      int64_t panels, const char *weights, char *scratch)
{
    const struct amx_linear *impl = p->w->impl;
    struct amx_block blocks[BLOCKS];
    int64_t steps = amx_steps(p->w->k), row = first * AMX_ROWS;
    int64_t rows = (end * AMX_ROWS < p->x->shape[0] ? end * AMX_ROWS : p->x->shape[0]) - row;
    struct amx_product product = {
        .block = blocks, .blocks = (int)(end - first), .a_stride = 64,
        .y_stride = p->y->stride[0] * (int64_t)tensor_type_size(p->y->type),
        .a_half = 1024, .a_step = 2048, .steps = steps, .first_panel = panel, .panels = panels,
        .columns = p->w->n, .bias = impl->bias, .y_type = p->y->type, .act = p->act,
        .large = tensor_bytes(p->y) >= AMX_LARGE, .sums = (float *)scratch,
    };
    for (int run = 0; run < impl->runs; run += DEPTH_RUNS) {
        int64_t from = impl->run[run].offset / AMX_STEP_BYTES;
        product.runs = impl->runs - run < DEPTH_RUNS ? impl->runs - run : DEPTH_RUNS;
        int64_t to = run + product.runs < impl->runs
                         ? impl->run[run + product.runs].offset / AMX_STEP_BYTES
                         : steps;
        product.continues = run > 0;
        product.unfinished = run + product.runs < impl->runs;
        product.sums_stride =
            impl->runs > DEPTH_RUNS ? product.blocks * (AMX_SUM_BYTES / 4) : 0;
        product.weights = weights + from * AMX_STEP_BYTES;
        int64_t k = to < steps ? (to - from) * AMX_STEP : p->w->k - from * AMX_STEP;
        amx_pack_rows(scratch + p->input_at,
                      cpu_row_of(p->x, row * p->x->stride[0] + from * AMX_STEP).data,
                      p->x->stride[0], rows, k);
        for (int i = 0; i < product.blocks; i++)
            blocks[i] = (struct amx_block){
                .a = scratch + p->input_at + (i * (to - from) - from) * AMX_STEP_BYTES,
                .run = impl->run + run,
                .y = cpu_row_of(p->y, (row + i * AMX_ROWS) * p->y->stride[0]).data,
                .rows = (int)(rows - i * AMX_ROWS < AMX_ROWS ? rows - i * AMX_ROWS : AMX_ROWS),
            };
        amx_product(&product);
    }
    for (int64_t i = row; i < row + rows && p->act_after != ACT_NONE; i++) {
        struct cpu_row y = cpu_row_of(p->y, i * p->y->stride[0] + panel * AMX_COLUMNS);
        int64_t left = p->w->n - panel * AMX_COLUMNS, columns = panels * AMX_COLUMNS;
        p->cpu->kernels->activate(y, y, left < columns ? left : columns, p->act_after);
    }
}

/* Begin of part i when n are dealt out to `parts`. */
static int64_t deal(int64_t n, int64_t parts, int64_t i)
{
    return n * i / parts;
}

static void run_packed(void *arg, int64_t begin, int64_t end, int thread)
{
    struct product *p = arg;
    const struct amx_linear *impl = p->w->impl;
    int64_t i;
    amx_begin();
    while ((i = atomic_fetch_add(&p->next, 1)) < p->row_pieces * p->panel_pieces) {
        int64_t row = i / p->panel_pieces, column = i % p->panel_pieces;
        int64_t panel = deal(p->panels, p->panel_pieces, column);
        run_piece(p, deal(p->blocks, p->row_pieces, row), deal(p->blocks, p->row_pieces, row + 1),
                  panel, deal(p->panels, p->panel_pieces, column + 1) - panel, impl->packed,
                  cpu_scratch_of(p->cpu, thread));
    }
    amx_end();
}

/* A few panels at a time, packed when they are needed. */
static void run_transient(void *arg, int64_t begin, int64_t end, int thread)
{
    struct product *p = arg;
    char *scratch = cpu_scratch_of(p->cpu, thread), *packed = scratch + p->panel_at;
    size_t bytes = amx_panel_bytes(p->w->k);
    int64_t i;
    amx_begin();
    while ((i = atomic_fetch_add(&p->next, 1)) < p->panel_pieces) {
        int64_t first = deal(p->panels, p->panel_pieces, i);
        int64_t count = deal(p->panels, p->panel_pieces, i + 1) - first;
        for (int64_t j = 0; j < count; j++)
            pack_panel(p, first + j, packed + (size_t)j * bytes,
                       (float *)(packed + TRANSIENT_PANELS * bytes));
        for (int64_t row = 0; row < p->row_pieces; row++)
            run_piece(p, deal(p->blocks, p->row_pieces, row),
                      deal(p->blocks, p->row_pieces, row + 1), first, count,
                      packed - (size_t)first * bytes, scratch);
    }
    amx_end();
}

/* ---- the operation ------------------------------------------------------------------------ */

/* As many pieces as every thread finds enough, of no more than BLOCKS blocks. */
static void cut(struct product *p)
{
    int64_t threads = p->cpu->base.threads;
    p->blocks = cpu_up(p->x->shape[0], AMX_ROWS);
    p->panels = cpu_up(p->w->n, AMX_COLUMNS);
    p->row_pieces = cpu_up(p->blocks, BLOCKS);
    if (p->w->desc.transient) {
        p->panel_pieces = cpu_up(p->panels, TRANSIENT_PANELS);
        return;
    }
    if (p->row_pieces > threads)
        p->row_pieces = cpu_up(p->row_pieces, threads) * threads;
    if (p->row_pieces > p->blocks)
        p->row_pieces = p->blocks;
    p->panel_pieces = threads == 1 ? 1 : cpu_up(threads * PIECES, p->row_pieces);
    if (p->row_pieces >= threads && p->row_pieces % threads == 0)
        p->panel_pieces = 1;
    p->panel_pieces = p->panel_pieces < p->panels ? p->panel_pieces : p->panels;
}

static bool reserve(struct product *p)
{
    const struct amx_linear *impl = p->w->impl;
    int runs = impl->runs < DEPTH_RUNS ? impl->runs : DEPTH_RUNS;
    size_t panels = impl->runs > DEPTH_RUNS ? (size_t)cpu_up(p->panels, p->panel_pieces) : 1;
    p->input_at = panels * BLOCKS * AMX_SUM_BYTES;
    p->panel_at = p->input_at + (size_t)runs * RUN_STEPS * BLOCKS * AMX_STEP_BYTES;
    size_t packed = TRANSIENT_PANELS * amx_panel_bytes(p->w->k);
    size_t plain = (size_t)(AMX_COLUMNS * p->w->k) * sizeof(float);
    return cpu_scratch_reserve(p->cpu, p->panel_at + (p->w->desc.transient ? packed + plain : 0));
}

void amx_linear(struct backend *b, const struct tensor *y, const struct tensor *x,
                struct linear *w, enum activation act)
{
    struct amx_linear *impl = w->impl;
    bool fused = act == ACT_SILU || act == ACT_GELU_TANH || act == ACT_RELU;
    struct product p = {cpu_of(b), w, y, x, fused ? act : ACT_NONE, fused ? ACT_NONE : act};
    cut(&p);
    if (!impl->bias)
        impl->bias = cpu_load_linear_bias(b, w);
    if (!impl->bias || (!w->desc.transient && !impl->packed && !pack_weight(&p)) || !reserve(&p))
        return;
    if (!w->desc.transient) {
        thread_pool_run(p.cpu->pool, b->threads, 1, run_packed, &p);
        return;
    }
    thread_pool_run(p.cpu->pool, b->threads, 1, run_transient, &p);
    cpu_drop_linear_pages(w);
}
