/* Convolutions by AMX, without a copy of the input: the rows of the first factor are output pixels,
 * neighbours in an output row, and what one of them sees in a row of the kernel, kw pixels of Ci
 * features, lies in one piece, a run of amx_product; the next pixel's begins Ci features later. Only
 * blocks of pixels that see beyond the border work from a copy, with zeros around.
 *
 * A band is a few output rows of a segment of columns, such that its input and the sums of its blocks
 * fit the second-level cache; a piece of work is a run of bands down a segment, so that input rows are
 * met again. A frame is computed alone: results do not depend on how many come in a call. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/amx/heavy.h"
#include "cpu/amx/product.h"
#include "cpu/conv_common.h"
#include "cpu/load.h"

#define BLOCKS 16               /* a band, at most */
#define BAND_ROWS 4
#define BAND_BYTES (960 * 1024) /* of input */
#define RESIDENT (640 * 1024)   /* bytes of weights that stay in the cache from band to band */
#define PIECE_BANDS 8
#define FETCHES 64

struct amx_conv {
    char *packed[CONV_PHASES]; /* only the first, unless upsampling is folded in */
    float *bias;
    struct conv plain; /* stands in for what is not folded; impl NULL: not needed */
};

/* One call. */
struct convolution {
    struct cpu_backend *cpu;
    struct conv *w;
    const struct tensor *y, *x;
    enum activation act, act_after; /* fused; one that amx_product does not know */
    bool accumulate;
    int phases;
    int64_t kh, kw, stride, pad;
    int64_t h, width;              /* output, of a phase */
    int64_t in_h, in_width;        /* input */
    int64_t row_steps, row_runs;   /* of a row of the kernel; runs it is cut into */
    int64_t reach;                 /* pixels that a row's steps touch */
    int64_t columns;               /* blocks in an output row */
    int64_t segment, rows;         /* blocks of a segment, rows of a band */
    int64_t segments, bands, piece_bands, pieces;
    size_t edge_at;                /* in scratch memory, after the sums */
    size_t edge_bytes;             /* of one column of blocks */
    struct amx_run *direct, *edge; /* [kt * kh * row_runs] */
    _Atomic int64_t next;          /* piece that nobody has taken */
};

int amx_conv_init(struct backend *b, struct conv *w)
{
    w->impl = calloc(1, sizeof(struct amx_conv));
    return w->impl ? 0 : UNREEL_ENOMEM;
}

void amx_conv_finish(struct backend *b, struct conv *w)
{
    struct amx_conv *impl = w->impl;
    if (impl->plain.impl)
        cpu_plain.conv_finish(b, &impl->plain);
    for (int i = 0; i < CONV_PHASES; i++)
        cpu_free(b, impl->packed[i]);
    free(impl->bias);
    free(impl);
    w->impl = NULL;
}

/* ---- weights ------------------------------------------------------------------------------ */

/* Outputs [first, first + count) as rows of the packed K: [kt][kh] rows of the kernel, each [kw][Ci]
 * and filled up to whole steps. From [Co, Ci, kt, kh, kw]. */
static void order_outputs(const struct convolution *c, const float *weight, float *to,
                          int64_t first, int64_t count)
{
    int64_t ci = c->w->ci, taps = c->w->kt * c->kh * c->kw, row = c->row_steps * AMX_STEP;
    memset(to, 0, (size_t)(count * c->w->kt * c->kh * row) * sizeof *to);
    for (int64_t n = first; n < first + count; n++, to += c->w->kt * c->kh * row)
        for (int64_t i = 0; i < ci; i++)
            for (int64_t tap = 0; tap < taps; tap++)
                to[tap / c->kw * row + tap % c->kw * ci + i] = weight[(n * ci + i) * taps + tap];
}

static bool pack_phases(struct convolution *c, const float *weight, float *folded, float *ordered)
{
    struct amx_conv *impl = c->w->impl;
    int64_t k = c->w->kt * c->kh * c->row_steps * AMX_STEP, panels = cpu_up(c->w->co, AMX_COLUMNS);
    for (int phase = 0; phase < c->phases; phase++) {
        char *packed = cpu_alloc(&c->cpu->base, (size_t)panels * amx_panel_bytes(k));
        if (!packed)
            return false;
        if (c->phases > 1)
            conv_fold(folded, weight, c->w, phase);
        for (int64_t i = 0; i < panels; i++) {
            int64_t left = c->w->co - i * AMX_COLUMNS;
            int64_t count = left < AMX_COLUMNS ? left : AMX_COLUMNS;
            order_outputs(c, c->phases > 1 ? folded : weight, ordered, i * AMX_COLUMNS, count);
            amx_pack_f32(packed + (size_t)i * amx_panel_bytes(k), ordered, k, count, k);
        }
        impl->packed[phase] = packed;
    }
    return true;
}

static bool pack_weight(struct convolution *c)
{
    struct conv *w = c->w;
    struct amx_conv *impl = w->impl;
    size_t count = (size_t)tensor_count(&w->desc.weight);
    int64_t k = w->kt * c->kh * c->row_steps * AMX_STEP;
    float *weight = malloc(count * sizeof *weight), *folded = malloc(count * sizeof *folded);
    float *ordered = malloc((size_t)(AMX_COLUMNS * k) * sizeof *ordered);
    bool packed = weight && folded && ordered;
    if (packed) {
        cpu_load_weights(weight, &w->desc.weight, 0, (int64_t)count, true);
        packed = pack_phases(c, weight, folded, ordered);
    }
    free(weight);
    free(folded);
    free(ordered);
    if (!packed) {
        for (int i = 0; i < CONV_PHASES; i++)
            cpu_free(&c->cpu->base, impl->packed[i]);
        memset(impl->packed, 0, sizeof impl->packed);
        backend_fail(&c->cpu->base, UNREEL_ENOMEM, "out of memory: weights [%lld, %lld]",
                     (long long)w->co, (long long)w->ci);
    } else {
        tensor_drop_pages(&w->desc.weight);
    }
    return packed;
}

/* ---- a band ------------------------------------------------------------------------------- */

struct band {
    int64_t frame, row, rows, block, blocks; /* rows of the output; blocks in each of them */
    int phase;
};

static const char *input_row(const struct convolution *c, int64_t frame, int64_t t, int64_t row)
{
    int64_t at = (frame * c->w->desc.stride_t + t) * c->x->stride[0];
    return cpu_row_of(c->x, at + row * c->in_width * c->w->ci).data;
}

/* First input row, or column, of an output row, or column. */
static int64_t input_of(const struct convolution *c, int64_t output, int parity)
{
    return output * c->stride - c->pad + parity;
}

/* Pixels of a block, and how many of them tiles load. */
static int64_t block_pixels(const struct convolution *c, int64_t block)
{
    int64_t left = c->width - block * AMX_ROWS;
    return left < AMX_ROWS ? left : AMX_ROWS;
}

/* Whether a column of blocks sees only pixels that are there. */
static bool is_inside(const struct convolution *c, int64_t block, int parity)
{
    int64_t loaded = block_pixels(c, block) > AMX_ROWS / 2 ? AMX_ROWS : AMX_ROWS / 2;
    int64_t first = input_of(c, block * AMX_ROWS, parity);
    return first >= 0 && first + (loaded - 1) * c->stride + c->reach <= c->in_width;
}

static int64_t edge_columns(const struct convolution *c)
{
    return (AMX_ROWS - 1) * c->stride + c->reach;
}

static int64_t edge_rows(const struct convolution *c)
{
    return (c->rows - 1) * c->stride + c->kh;
}

/* The input of a column of blocks of a band, [kt, edge_rows, edge_columns, Ci]. */
static void copy_edge(const struct convolution *c, const struct band *band, int64_t block, char *to)
{
    int64_t row = input_of(c, band->row, band->phase / 2), columns = edge_columns(c);
    int64_t column = input_of(c, block * AMX_ROWS, band->phase % 2);
    size_t pixel = (size_t)c->w->ci * 2;
    for (int64_t t = 0; t < c->w->kt; t++) {
        for (int64_t i = row; i < row + edge_rows(c); i++, to += (size_t)columns * pixel) {
            if (i < 0 || i >= c->in_h)
                memset(to, 0, (size_t)columns * pixel);
            else
                conv_fill_row(to, input_row(c, band->frame, t, i), c->in_width, column, columns,
                              pixel);
        }
    }
}

static int make_blocks(const struct convolution *c, const struct band *band, char *scratch,
                       struct amx_block *blocks)
{
    int64_t size = 2, step = c->phases > 1 ? 2 : 1, edges = 0;
    int64_t first = input_of(c, band->row, band->phase / 2);
    bool border = first < 0 || first + (band->rows - 1) * c->stride + c->kh > c->in_h;
    int count = 0;
    for (int64_t i = band->block; i < band->block + band->blocks; i++) {
        bool edge = border || !is_inside(c, i, band->phase % 2);
        char *copy = scratch + c->edge_at + (size_t)edges * c->edge_bytes;
        if (edge) {
            copy_edge(c, band, i, copy);
            edges++;
        }
        for (int64_t r = 0; r < band->rows; r++) {
            int64_t y_row = (band->row + r) * step + (step > 1 ? band->phase / 2 : 0);
            int64_t y_column = i * AMX_ROWS * step + (step > 1 ? band->phase % 2 : 0);
            int64_t x_column = input_of(c, i * AMX_ROWS, band->phase % 2);
            blocks[count++] = (struct amx_block){
                .a = edge ? copy + r * c->stride * edge_columns(c) * c->w->ci * size
                          : input_row(c, band->frame, 0, first + r * c->stride) +
                                x_column * c->w->ci * size,
                .run = edge ? c->edge : c->direct,
                .y = cpu_row_of(c->y, band->frame * c->y->stride[0] +
                                          (y_row * c->y->shape[2] + y_column) * c->w->co)
                         .data,
                .rows = (int)block_pixels(c, i),
            };
        }
    }
    return count;
}

/* The input rows that the band below needs and this one has not. */
static int fetch_below(const struct convolution *c, const struct band *band,
                       struct amx_fetch *fetch)
{
    int64_t pixel = c->w->ci * 2;
    int64_t row = input_of(c, band->row + band->rows, band->phase / 2) + c->kh - c->stride;
    int64_t column = input_of(c, band->block * AMX_ROWS, band->phase % 2);
    int64_t columns = band->blocks * AMX_ROWS * c->stride;
    int count = 0;
    column = column < 0 ? 0 : column;
    columns = column + columns < c->in_width ? columns : c->in_width - column;
    for (int64_t t = 0; t < c->w->kt; t++)
        for (int64_t i = 0; i < band->rows * c->stride && count < FETCHES; i++)
            if (row + i >= 0 && row + i < c->in_h)
                fetch[count++] = (struct amx_fetch){
                    input_row(c, band->frame, t, row + i) + column * pixel, columns * pixel};
    return count;
}

static void run_band(const struct convolution *c, const struct band *band, char *scratch)
{
    const struct amx_conv *impl = c->w->impl;
    struct amx_block blocks[BLOCKS];
    struct amx_fetch fetch[FETCHES];
    int64_t steps = c->w->kt * c->kh * c->row_steps, panels = cpu_up(c->w->co, AMX_COLUMNS);
    int64_t pixel = c->w->ci * c->stride * 2;
    struct amx_product product = {
        .block = blocks, .blocks = make_blocks(c, band, scratch, blocks),
        .runs = (int)(c->w->kt * c->kh * c->row_runs),
        .a_stride = pixel, .a_half = AMX_ROWS / 2 * pixel, .a_step = 2 * AMX_STEP,
        .y_stride = c->w->co * (c->phases > 1 ? 2 : 1) * 2,
        .weights = impl->packed[band->phase], .steps = steps, .panels = panels,
        .columns = c->w->co, .bias = impl->bias, .y_type = c->y->type, .act = c->act,
        .accumulate = c->accumulate, .large = tensor_bytes(c->y) >= AMX_LARGE,
        .fetch = fetch, .fetches = fetch_below(c, band, fetch),
        .resident = (size_t)(steps * panels) * AMX_STEP_BYTES <= RESIDENT,
        .sums = (float *)scratch,
    };
    amx_product(&product);
    for (int i = 0; i < product.blocks && c->act_after != ACT_NONE; i++) {
        for (int64_t r = 0; r < blocks[i].rows; r++) {
            struct cpu_row y = {blocks[i].y + r * product.y_stride, c->y->type};
            c->cpu->kernels->activate(y, y, c->w->co, c->act_after);
        }
    }
}

static void run_pieces(void *arg, int64_t begin, int64_t end, int thread)
{
    struct convolution *c = arg;
    char *scratch = cpu_scratch_of(c->cpu, thread);
    int64_t pieces = cpu_up(c->bands, c->piece_bands), i;
    amx_begin();
    while ((i = atomic_fetch_add(&c->next, 1)) < c->pieces) {
        int64_t first = i % pieces * c->piece_bands, last = first + c->piece_bands;
        struct band band = {.phase = (int)(i / pieces % c->phases)};
        band.block = i / pieces / c->phases % c->segments * c->segment;
        band.blocks = c->columns - band.block < c->segment ? c->columns - band.block : c->segment;
        band.frame = i / pieces / c->phases / c->segments;
        for (int64_t j = first; j < last && j < c->bands; j++) {
            band.row = j * c->rows;
            band.rows = c->h - band.row < c->rows ? c->h - band.row : c->rows;
            run_band(c, &band, scratch);
        }
    }
    amx_end();
}

/* ---- the operation ------------------------------------------------------------------------ */

/* Segments and bands: as many blocks as the input's share of the cache allows. */
static void cut(struct convolution *c)
{
    int64_t pixel = c->w->ci * 2, best = 0;
    c->columns = cpu_up(c->width, AMX_ROWS);
    c->segment = c->rows = 1;
    for (int64_t rows = 1; rows <= BAND_ROWS && rows <= c->h; rows++) {
        int64_t row_bytes = c->w->kt * ((rows - 1) * c->stride + c->kh) * pixel;
        int64_t pixels = BAND_BYTES / row_bytes / c->stride;
        int64_t blocks = pixels / AMX_ROWS < c->columns ? pixels / AMX_ROWS : c->columns;
        blocks = blocks < BLOCKS / rows ? blocks : BLOCKS / rows;
        if (blocks > 0)
            blocks = cpu_up(c->columns, cpu_up(c->columns, blocks)); /* segments of one size */
        if (blocks * rows > best) {
            best = blocks * rows;
            c->segment = blocks;
            c->rows = rows;
        }
    }
    c->segments = cpu_up(c->columns, c->segment);
    c->bands = cpu_up(c->h, c->rows);
    c->piece_bands = PIECE_BANDS;
    int64_t others = c->y->shape[0] * c->segments * c->phases;
    while (c->piece_bands > 1 && others * cpu_up(c->bands, c->piece_bands) < 8 * c->cpu->base.threads)
        c->piece_bands /= 2;
    c->pieces = others * cpu_up(c->bands, c->piece_bands);
}

static void make_runs(struct convolution *c)
{
    int64_t frame = c->x->stride[0] * 2, row = c->in_width * c->w->ci * 2;
    int64_t edge_row = edge_columns(c) * c->w->ci * 2, edge_frame = edge_rows(c) * edge_row;
    struct amx_run *direct = c->direct, *edge = c->edge;
    for (int64_t t = 0; t < c->w->kt; t++) {
        for (int64_t i = 0; i < c->kh; i++) {
            int64_t done = 0;
            for (int64_t j = 0; j < c->row_runs; j++, direct++, edge++) {
                int64_t steps = (c->row_steps - done) / (c->row_runs - j);
                *direct = (struct amx_run){t * frame + i * row + done * 64, steps};
                *edge = (struct amx_run){t * edge_frame + i * edge_row + done * 64, steps};
                done += steps;
            }
        }
    }
}

/* Sums, copies at the edges and the tables of runs, which every thread reads from the first's. */
static bool reserve(struct convolution *c)
{
    size_t runs = (size_t)(c->w->kt * c->kh * c->row_runs) * sizeof(struct amx_run);
    size_t table_at;
    c->edge_bytes = cpu_aligned((size_t)(c->w->kt * edge_rows(c) * edge_columns(c) * c->w->ci) * 2 +
                                64);
    c->edge_at = (size_t)(c->segment * c->rows) * AMX_SUM_BYTES;
    table_at = c->edge_at + (size_t)c->segment * c->edge_bytes;
    if (!cpu_scratch_reserve(c->cpu, table_at + 2 * runs))
        return false;
    c->direct = (struct amx_run *)((char *)cpu_scratch_of(c->cpu, 0) + table_at);
    c->edge = c->direct + runs / sizeof *c->direct;
    make_runs(c);
    return true;
}

static void run_plain(struct backend *b, const struct tensor *y, const struct tensor *x,
                      struct conv *w, enum activation act, bool accumulate)
{
    struct amx_conv *impl = w->impl;
    if (!impl->plain.impl) {
        impl->plain = *w;
        if (cpu_plain.conv_init(b, &impl->plain) < 0) {
            impl->plain.impl = NULL;
            backend_fail(b, UNREEL_ENOMEM, "out of memory");
            return;
        }
    }
    cpu_plain.conv(b, y, x, &impl->plain, act, accumulate);
}

void amx_conv(struct backend *b, const struct tensor *y, const struct tensor *x, struct conv *w,
              enum activation act, bool accumulate)
{
    struct amx_conv *impl = w->impl;
    bool fused = act == ACT_SILU || act == ACT_GELU_TANH || act == ACT_RELU, folds = conv_folds(w);
    if (w->desc.upsample && !folds) {
        run_plain(b, y, x, w, act, accumulate);
        return;
    }
    struct convolution c = {
        .cpu = cpu_of(b), .w = w, .y = y, .x = x, .act = fused ? act : ACT_NONE,
        .act_after = fused ? ACT_NONE : act, .accumulate = accumulate,
        .phases = folds ? CONV_PHASES : 1, .kh = folds ? 2 : w->kh, .kw = folds ? 2 : w->kw,
        .stride = folds ? 1 : w->desc.stride, .pad = w->desc.pad_before,
        .h = folds ? x->shape[1] : y->shape[1], .width = folds ? x->shape[2] : y->shape[2],
        .in_h = x->shape[1], .in_width = x->shape[2],
    };
    if (c.kh == 1 && c.kw == 1 && c.stride == 1 && c.h == c.in_h && c.width == c.in_width) {
        c.width = c.in_width = c.h * c.width; /* one long row: no edges, no ragged ends */
        c.h = c.in_h = 1;
    }
    c.row_steps = amx_steps(c.kw * w->ci);
    c.row_runs = cpu_up(c.row_steps, AMX_RUN_STEPS);
    c.reach = cpu_up(c.row_steps * AMX_STEP, w->ci);
    cut(&c);
    if (!impl->bias)
        impl->bias = cpu_load_conv_bias(b, w);
    if (!impl->bias || (!impl->packed[c.phases - 1] && !pack_weight(&c)) || !reserve(&c))
        return;
    thread_pool_run(c.cpu->pool, b->threads, 1, run_pieces, &c);
}
