#include "cpu/product.h"

#include <stdlib.h>
#include <string.h>

/* A piece of work: ROWS rows by up to COLUMNS outputs, over DEPTH inputs at a time. Inputs, as f32
 * [ROWS, DEPTH_STRIDE], and sums [ROWS, COLUMNS] stay in the second-level cache, DEPTH rows of a
 * panel in the first. The odd stride keeps rows out of each other's cache sets. */
#define ROWS 192
#define COLUMNS 512
#define DEPTH 256
#define DEPTH_STRIDE (DEPTH + 16)
#define ROWS_WIDENED 24 /* for as many it pays to widen bf16 weights once */
#define PACK_DEPTH 64

void cpu_load_file(float *y, const struct tensor *x, int64_t start, int64_t count)
{
    const uint16_t *halves = (const uint16_t *)x->data + start;
    switch (x->type) {
    case TENSOR_F32:
        memcpy(y, (const float *)x->data + start, (size_t)count * sizeof *y);
        break;
    case TENSOR_BF16:
        for (int64_t i = 0; i < count; i++)
            y[i] = bf16_to_f32(halves[i]);
        break;
    default:
        for (int64_t i = 0; i < count; i++)
            y[i] = tensor_element(x->data, x->type, start + i);
    }
}

static int64_t panels(const struct cpu_packed *packed)
{
    return (packed->n + packed->width - 1) / packed->width;
}

static size_t panel_bytes(const struct cpu_packed *packed)
{
    return (size_t)(packed->k * packed->width) * tensor_type_size(packed->type);
}

bool cpu_packed_init(struct cpu_packed *packed, const struct cpu_kernels *kernels, int64_t n,
                     int64_t k, enum tensor_type type, bool rounded)
{
    *packed = (struct cpu_packed){n, k, type, rounded, kernels->gemm_width};
    packed->bias = calloc((size_t)(panels(packed) * packed->width), sizeof(float));
    return packed->bias != NULL;
}

void cpu_packed_finish(struct cpu_packed *packed)
{
    free(packed->bias);
    cpu_free(NULL, packed->data);
    *packed = (struct cpu_packed){0};
}

/* ---- packing ------------------------------------------------------------------------------ */

struct packing {
    struct cpu_packed *packed;
    cpu_weight_fn source;
    const void *arg;
};

/* Output j of a panel: `from` are its weights for inputs [k, k + count). */
static void scatter(const struct cpu_packed *packed, void *panel, int64_t j, int64_t k,
                    int64_t count, const float *from)
{
    int64_t at = k * packed->width + j;
    if (packed->type == TENSOR_BF16) {
        for (int64_t i = 0; i < count; i++)
            ((uint16_t *)panel)[at + i * packed->width] = bf16_from_f32(from[i]);
    } else if (packed->rounded) {
        for (int64_t i = 0; i < count; i++)
            ((float *)panel)[at + i * packed->width] = bf16_to_f32(bf16_from_f32(from[i]));
    } else {
        for (int64_t i = 0; i < count; i++)
            ((float *)panel)[at + i * packed->width] = from[i];
    }
}

static void pack_panel(const struct cpu_packed *packed, int64_t index, void *panel,
                       cpu_weight_fn source, const void *arg)
{
    float row[PACK_DEPTH];
    int64_t first = index * packed->width;
    int64_t outputs = packed->n - first < packed->width ? packed->n - first : packed->width;
    for (int64_t k = 0; k < packed->k; k += PACK_DEPTH) {
        int64_t count = packed->k - k < PACK_DEPTH ? packed->k - k : PACK_DEPTH;
        for (int64_t j = 0; j < outputs; j++) {
            source(arg, first + j, k, count, row);
            scatter(packed, panel, j, k, count, row);
        }
    }
}

static void pack_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct packing *packing = arg;
    for (int64_t i = begin; i < end; i++)
        pack_panel(packing->packed, i,
                   (char *)packing->packed->data + (size_t)i * panel_bytes(packing->packed),
                   packing->source, packing->arg);
}

bool cpu_pack(struct cpu_backend *cpu, struct cpu_packed *packed, cpu_weight_fn source,
              const void *arg)
{
    packed->data = cpu_alloc(&cpu->base, (size_t)panels(packed) * panel_bytes(packed));
    if (!packed->data) {
        backend_fail(&cpu->base, UNREEL_ENOMEM, "out of memory: weights [%lld, %lld]",
                     (long long)packed->n, (long long)packed->k);
        return false;
    }
    struct packing packing = {packed, source, arg};
    thread_pool_run(cpu->pool, panels(packed), cpu_grain(packed->k * packed->width), pack_range,
                    &packing);
    return true;
}

/* ---- products ----------------------------------------------------------------------------- */

/* The loop over pieces: `blocks` of `rows` rows by `groups` of `wide` panels. */
struct split {
    struct cpu_backend *cpu;
    const struct cpu_product *product;
    int64_t rows, blocks, wide, groups;
};

/* Scratch memory of a thread. */
struct workspace {
    float sums[ROWS * COLUMNS];
    float inputs[ROWS * DEPTH_STRIDE];
    float wide[DEPTH * CPU_GEMM_WIDTH_MAX]; /* a piece of a bf16 panel */
    char panel[];                           /* where panels are packed when needed */
};

static void multiply(const struct split *split, struct workspace *work, int64_t m, int64_t rows,
                     int64_t panel, int64_t count, const char *weights)
{
    const struct cpu_product *product = split->product;
    const struct cpu_packed *packed = product->weights;
    const int64_t width = packed->width, stride = count * width;
    for (int64_t r = 0; r < rows; r++)
        memcpy(work->sums + r * stride, packed->bias + panel * width,
               (size_t)stride * sizeof(float));
    for (int64_t k = 0; k < packed->k; k += DEPTH) {
        int64_t depth = packed->k - k < DEPTH ? packed->k - k : DEPTH;
        for (int64_t r = 0; r < rows; r++)
            product->input(product->arg, m + r, k, depth, work->inputs + r * DEPTH_STRIDE);
        for (int64_t p = 0; p < count; p++) {
            struct cpu_row w = {(void *)(weights + (size_t)p * panel_bytes(packed)), packed->type};
            w = cpu_row_at(w, k * width);
            if (packed->type == TENSOR_BF16 && rows >= ROWS_WIDENED) {
                struct cpu_row wide = {work->wide, TENSOR_F32};
                split->cpu->kernels->convert(wide, w, depth * width);
                w = wide;
            }
            split->cpu->kernels->gemm(work->sums + p * width, stride, work->inputs, DEPTH_STRIDE,
                                      rows, depth, w, width);
        }
    }
    int64_t left = packed->n - panel * width, outputs = left < stride ? left : stride;
    for (int64_t r = 0; r < rows; r++) {
        struct cpu_row y = cpu_row_at(product->output(product->arg, m + r), panel * width);
        struct cpu_row sums = {work->sums + r * stride, TENSOR_F32};
        if (product->accumulate)
            split->cpu->kernels->add_gated(y, sums, NULL, outputs);
        else
            split->cpu->kernels->activate(y, sums, outputs, product->act);
    }
}

static void product_piece(const struct split *split, struct workspace *work, int64_t index)
{
    const struct cpu_product *product = split->product;
    const struct cpu_packed *packed = product->weights;
    int64_t panel = index % split->groups * split->wide;
    int64_t left = panels(packed) - panel, count = left < split->wide ? left : split->wide;
    const char *weights = (const char *)packed->data + (size_t)panel * panel_bytes(packed);
    int64_t begin = index / split->groups * split->rows, end = begin + split->rows;
    if (!packed->data) { /* one panel, all rows */
        pack_panel(packed, panel, work->panel, product->source, product->source_arg);
        weights = work->panel;
        end = product->m;
    }
    if (end > product->m)
        end = product->m;
    for (int64_t m = begin; m < end; m += split->rows)
        multiply(split, work, m, end - m < split->rows ? end - m : split->rows, panel, count,
                 weights);
}

static void product_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct split *split = arg;
    struct workspace *work = cpu_scratch_of(split->cpu, thread);
    for (int64_t i = begin; i < end; i++)
        product_piece(split, work, i);
}

/* Large pieces, but enough of them for all threads. */
static void choose_split(struct split *split)
{
    const struct cpu_product *product = split->product;
    int64_t all = panels(product->weights), enough = 2 * split->cpu->base.threads;
    split->rows = ROWS;
    split->wide = product->weights->data ? COLUMNS / product->weights->width : 1;
    for (;;) {
        split->blocks = (product->m + split->rows - 1) / split->rows;
        split->groups = (all + split->wide - 1) / split->wide;
        if (split->cpu->base.threads == 1 || split->blocks * split->groups >= enough)
            break;
        bool few = split->rows <= 24, narrow = split->wide == 1;
        if (few && narrow)
            break;
        /* Squares: rows are loaded again for every group, weights widened again for every block. */
        if (few || (!narrow && split->wide * product->weights->width >= split->rows))
            split->wide /= 2;
        else
            split->rows /= 2;
    }
    if (!product->weights->data) {
        split->rows = ROWS;
        split->blocks = 1;
    }
}

void cpu_product_run(struct cpu_backend *cpu, const struct cpu_product *product)
{
    struct split split = {cpu, product};
    size_t bytes = sizeof(struct workspace);
    if (!product->weights->data)
        bytes += panel_bytes(product->weights);
    if (!cpu_scratch_reserve(cpu, bytes))
        return;
    choose_split(&split);
    thread_pool_run(cpu->pool, split.blocks * split.groups, 1, product_range, &split);
}
