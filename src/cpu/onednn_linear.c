/* Matrix products by oneDNN. A weight is packed in panels of PANEL outputs, each a product of its
 * own, so that work is split over rows and columns alike. A block of rows times a panel is computed in
 * scratch memory, which the second-level cache holds, and then activated and stored in its place. A transient
 * weight is packed panel by panel into scratch memory each time it is used. */
#include <stdlib.h>
#include <string.h>

#include "cpu/load.h"
#include "cpu/onednn.h"

#define PANEL 256    /* outputs */
#define ROWS_MAX 256 /* a block */
#define ROWS_FEW 64  /* no more than these are not split */

struct onednn_linear {
    uint8_t *packed;      /* panels, panel_bytes each; NULL: not yet, or transient */
    size_t panel_bytes;
    float *bias;          /* [N] */
    struct linear plain;  /* stands in where oneDNN refuses; impl NULL: not needed */
};

/* One call. Index 0 of an array: full size; 1: the rest. */
struct product {
    struct cpu_backend *cpu;
    struct linear *w;
    const struct tensor *y, *x;
    enum activation act;
    int64_t panels, blocks, rows; /* of outputs; of `rows` rows */
    const struct onednn_primitive *run[2][2]; /* [rows][outputs] */
    const struct onednn_primitive *pack[2];
    bool direct; /* panels are packed from where the file has them */
    size_t sums_at, x_at, plain_at, packed_at; /* in scratch memory, after oneDNN's own */
};

int onednn_linear_init(struct backend *b, struct linear *w)
{
    w->impl = calloc(1, sizeof(struct onednn_linear));
    return w->impl ? 0 : UNREEL_ENOMEM;
}

void onednn_linear_finish(struct backend *b, struct linear *w)
{
    struct onednn_linear *impl = w->impl;
    if (impl->plain.impl)
        cpu_plain.linear_finish(b, &impl->plain);
    cpu_free(b, impl->packed);
    free(impl->bias);
    free(impl);
    w->impl = NULL;
}

/* Whether every panel lies in one part and in a type that needs nothing but packing. */
static bool is_direct(const struct backend *b, const struct linear *w)
{
    enum tensor_type type = w->desc.weight[0].type;
    for (int i = 0; i < w->desc.parts; i++)
        if (w->desc.weight[i].type != type ||
            (i + 1 < w->desc.parts && w->desc.weight[i].shape[0] % PANEL))
            return false;
    bool rounded = w->type == TENSOR_F32 && cpu_rounds_weights(b, w->desc.precise);
    return type == TENSOR_BF16 || (type == TENSOR_F32 && !rounded);
}

static int64_t panel_width(const struct linear *w, int64_t panel)
{
    int64_t left = w->n - panel * PANEL;
    return left < PANEL ? left : PANEL;
}

/* The weights of a panel as the pack primitive wants them, gathered into `scratch` if need be. */
static const void *plain_panel(const struct product *p, int64_t panel, float *scratch)
{
    const struct linear *w = p->w;
    int64_t first = panel * PANEL, begin = 0;
    int i = 0;
    if (!p->direct) {
        cpu_load_rows(&p->cpu->base, scratch, w, first, panel_width(w, panel));
        return scratch;
    }
    while (first >= begin + w->desc.weight[i].shape[0])
        begin += w->desc.weight[i++].shape[0];
    return (const char *)w->desc.weight[i].data +
           (size_t)((first - begin) * w->k) * tensor_type_size(w->desc.weight[i].type);
}

static void pack_panel(const struct product *p, int64_t panel, int thread, void *packed)
{
    char *scratch = cpu_scratch_of(p->cpu, thread);
    const struct onednn_primitive *pack = p->pack[panel_width(p->w, panel) < PANEL];
    onednn_run(p->cpu->onednn, pack, thread, plain_panel(p, panel, (float *)(scratch + p->plain_at)),
               NULL, NULL, packed, scratch);
}

static void pack_panels(void *arg, int64_t begin, int64_t end, int thread)
{
    struct product *p = arg;
    struct onednn_linear *impl = p->w->impl;
    for (int64_t i = begin; i < end; i++)
        pack_panel(p, i, thread, impl->packed + (size_t)i * impl->panel_bytes);
}

/* Rows of a block, one after the other. */
static const void *block_input(const struct product *p, int64_t row, int64_t rows, char *scratch)
{
    size_t bytes = (size_t)p->w->k * tensor_type_size(p->x->type);
    if (p->x->stride[0] == p->w->k || rows == 1)
        return cpu_row_of(p->x, row * p->x->stride[0]).data;
    for (int64_t i = 0; i < rows; i++)
        memcpy(scratch + (size_t)i * bytes, cpu_row_of(p->x, (row + i) * p->x->stride[0]).data,
               bytes);
    return scratch;
}

static void run_block(const struct product *p, int64_t block, int64_t panel, int thread,
                      const void *packed)
{
    struct onednn_linear *impl = p->w->impl;
    char *scratch = cpu_scratch_of(p->cpu, thread);
    float *sums = (float *)(scratch + p->sums_at);
    int64_t row = block * p->rows, column = panel * PANEL, left = p->x->shape[0] - row;
    int64_t rows = left < p->rows ? left : p->rows, columns = panel_width(p->w, panel);
    onednn_run(p->cpu->onednn, p->run[rows < p->rows][columns < PANEL], thread,
               block_input(p, row, rows, scratch + p->x_at), packed, impl->bias + column, sums,
               scratch);
    for (int64_t i = 0; i < rows; i++, sums += columns)
        p->cpu->kernels->activate(cpu_row_of(p->y, (row + i) * p->y->stride[0] + column),
                                  (struct cpu_row){sums, TENSOR_F32}, columns, p->act);
}

static void run_packed(void *arg, int64_t begin, int64_t end, int thread)
{
    struct product *p = arg;
    struct onednn_linear *impl = p->w->impl;
    for (int64_t i = begin; i < end; i++) {
        int64_t panel = i % p->panels;
        run_block(p, i / p->panels, panel, thread, impl->packed + (size_t)panel * impl->panel_bytes);
    }
}

static void run_transient(void *arg, int64_t begin, int64_t end, int thread)
{
    struct product *p = arg;
    void *packed = (char *)cpu_scratch_of(p->cpu, thread) + p->packed_at;
    for (int64_t panel = begin; panel < end; panel++) {
        pack_panel(p, panel, thread, packed);
        for (int64_t block = 0; block < p->blocks; block++)
            run_block(p, block, panel, thread, packed);
    }
}

/* False: oneDNN refuses one of them. */
static bool get_primitives(struct product *p)
{
    int64_t m = p->x->shape[0], rest_m = m % p->rows, rest_n = p->w->n % PANEL;
    for (int i = 0; i < 4; i++) {
        int64_t rows = i / 2 ? rest_m : p->rows, columns = i % 2 ? rest_n : PANEL;
        if (!rows || !columns || rows > m || columns > p->w->n)
            continue;
        struct onednn_key key = {
            .kind = ONEDNN_LINEAR,
            .x_type = p->x->type, .w_type = p->w->type, .y_type = TENSOR_F32,
            .m = rows, .n = columns, .k = p->w->k,
        };
        p->run[i / 2][i % 2] = onednn_get(p->cpu->onednn, &key);
        struct onednn_key pack = {
            .kind = ONEDNN_LINEAR_PACK,
            .x_type = p->direct ? p->w->desc.weight[0].type : TENSOR_F32,
            .w_type = p->w->type, .y_type = p->w->type, .n = columns, .k = p->w->k,
        };
        p->pack[i % 2] = onednn_get(p->cpu->onednn, &pack);
        if (!p->run[i / 2][i % 2] || !p->pack[i % 2])
            return false;
    }
    return true;
}

static bool reserve(struct product *p)
{
    size_t scratch = 0, packed = 0;
    for (int i = 0; i < 4; i++) {
        const struct onednn_primitive *run = p->run[i / 2][i % 2], *pack = p->pack[i % 2];
        if (run && run->scratch > scratch)
            scratch = run->scratch;
        if (pack && pack->scratch > scratch)
            scratch = pack->scratch;
        if (pack && pack->packed > packed)
            packed = pack->packed;
    }
    struct onednn_linear *impl = p->w->impl;
    impl->panel_bytes = cpu_aligned(packed);
    size_t k = (size_t)p->w->k, rows = (size_t)p->rows;
    bool dense = p->x->stride[0] == p->w->k;
    p->sums_at = cpu_aligned(scratch);
    p->x_at = p->sums_at + rows * PANEL * sizeof(float);
    p->plain_at = p->x_at + (dense ? 0 : cpu_aligned(rows * k * tensor_type_size(p->x->type)));
    p->packed_at = p->plain_at + (p->direct ? 0 : cpu_aligned(PANEL * k * sizeof(float)));
    return cpu_scratch_reserve(p->cpu, p->packed_at + impl->panel_bytes);
}

static bool pack_weight(struct product *p)
{
    struct backend *b = &p->cpu->base;
    struct onednn_linear *impl = p->w->impl;
    impl->packed = cpu_alloc(b, (size_t)p->panels * impl->panel_bytes);
    if (!impl->packed) {
        backend_fail(b, UNREEL_ENOMEM, "out of memory: weight [%lld, %lld]", (long long)p->w->n,
                     (long long)p->w->k);
        return false;
    }
    thread_pool_run(p->cpu->pool, p->panels, 1, pack_panels, p);
    cpu_drop_linear_pages(p->w);
    return true;
}

static void run_plain(struct backend *b, const struct tensor *y, const struct tensor *x,
                      struct linear *w, enum activation act)
{
    struct onednn_linear *impl = w->impl;
    if (!impl->plain.impl) {
        impl->plain = *w;
        if (cpu_plain.linear_init(b, &impl->plain) < 0) {
            impl->plain.impl = NULL;
            backend_fail(b, UNREEL_ENOMEM, "out of memory");
            return;
        }
    }
    cpu_plain.linear(b, y, x, &impl->plain, act);
}

void onednn_linear(struct backend *b, const struct tensor *y, const struct tensor *x,
                   struct linear *w, enum activation act)
{
    struct onednn_linear *impl = w->impl;
    struct product p = {.cpu = cpu_of(b), .w = w, .y = y, .x = x, .act = act};
    int64_t m = x->shape[0], most = m <= ROWS_FEW ? 1 : b->threads;
    p.blocks = (m + ROWS_MAX - 1) / ROWS_MAX;
    p.blocks = p.blocks < most ? most : p.blocks;
    p.rows = (m + p.blocks - 1) / p.blocks;
    p.blocks = (m + p.rows - 1) / p.rows;
    p.panels = (w->n + PANEL - 1) / PANEL;
    p.direct = is_direct(b, w);
    if (impl->plain.impl || !get_primitives(&p)) {
        run_plain(b, y, x, w, act);
        return;
    }
    if (!impl->bias)
        impl->bias = cpu_load_linear_bias(b, w);
    if (!impl->bias || !reserve(&p))
        return;
    if (w->desc.transient) {
        thread_pool_run(p.cpu->pool, p.panels, 1, run_transient, &p);
        cpu_drop_linear_pages(w);
        return;
    }
    if (impl->packed || pack_weight(&p))
        thread_pool_run(p.cpu->pool, p.blocks * p.panels, 1, run_packed, &p);
}
