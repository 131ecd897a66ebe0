#include "cpu/winograd.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/load.h"

#define PLACES 36                /* of a transformed patch */
#define LANES (CPU_GEMM_WIDTH_MAX / 2) /* channels of a pass are a multiple of these */
#define PIXELS_MIN 512           /* of a frame, for which transforms are worth their time */
#define CHANNELS 64              /* inputs and outputs of a pass, at most */
#define FRAMES 4                 /* of a block: each input frame is transformed once for all of them */
#define BLOCK_BYTES (1792 * 1024) /* best of 448 KiB to 3.5 MiB where the second-level cache is 2 MiB */
#define BLOCK_ROWS 24            /* of a product, at least: weights are read for every block */

struct winograd {
    float *weight; /* [panels, passes, PLACES, kt, channels, width] */
    float *bias;   /* [panels * width] */
    int64_t width, panels;    /* outputs of a panel, as the kernel takes them */
    int64_t channels, passes; /* inputs of a pass */
    int64_t group;            /* panels of a pass */
};

/* One call. A block is tiles of 4x4 outputs, rows * columns of them in each of `frames` frames. */
struct convolution {
    struct cpu_backend *cpu;
    const struct conv *w;
    const struct winograd *weights;
    const struct tensor *y, *x;
    enum activation act;
    bool accumulate;
    int64_t tiles_h, tiles_w;                    /* of a frame */
    int64_t frames, rows, columns;               /* of a block */
    int64_t blocks_t, blocks_h, blocks_w;
};

struct block {
    int64_t frame, frames, row, rows, column, columns; /* in tiles */
};

/* A thread's memory. */
struct workspace {
    float *patch;   /* [6, 6, channels] */
    float *inputs;  /* [PLACES] of [frames + kt - 1, rows, columns, channels], inputs_step apart */
    float *sums;    /* [PLACES] of [frames, rows, columns, group * width], sums_step apart */
    float *outputs; /* [4] of [4 columns, group * width], outputs_row apart */
    int64_t inputs_step, sums_step, outputs_row;
};

bool winograd_takes(const struct cpu_backend *cpu, const struct conv *w, const struct tensor *y)
{
    const struct conv_desc *d = &w->desc;
    return (cpu->base.compute == TENSOR_F32 || cpu->widens) && w->kh == 3 && w->kw == 3 &&
           d->stride == 1 && d->stride_t == 1 && d->pad_before == 1 && d->pad_after == 1 &&
           !d->upsample && w->ci % LANES == 0 &&
           y->shape[1] * y->shape[2] >= PIXELS_MIN;
}

/* ---- weights ------------------------------------------------------------------------------ */

/* y [6, 6] = G x G^T: rows of G are 1, p, p^2 of a point p, divided by the product of its
 * differences to the others. */
static void transform_kernel(double y[PLACES], const float x[9])
{
    const double a = CPU_WINOGRAD_A, b = CPU_WINOGRAD_B;
    const double none = a * a * b * b;
    const double near = 2 * a * a * (a * a - b * b), far = 2 * b * b * (b * b - a * a);
    const double g[6][3] = {
        {1 / none, 0, 0},
        {1 / near, a / near, a * a / near},
        {1 / near, -a / near, a * a / near},
        {1 / far, b / far, b * b / far},
        {1 / far, -b / far, b * b / far},
        {0, 0, 1},
    };
    double half[6][3];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 3; j++)
            half[i][j] = g[i][0] * x[j] + g[i][1] * x[3 + j] + g[i][2] * x[6 + j];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            y[6 * i + j] = half[i][0] * g[j][0] + half[i][1] * g[j][1] + half[i][2] * g[j][2];
}

struct packing {
    struct winograd *weights;
    const struct conv *w;
    const float *from; /* [Co, Ci, kt, 3, 3] */
};

static void pack_panels(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct packing *packing = arg;
    const struct winograd *weights = packing->weights;
    const struct conv *w = packing->w;
    int64_t place = w->kt * weights->channels * weights->width, last = end * weights->width;
    const float *from = packing->from + begin * weights->width * w->ci * w->kt * 9;
    for (int64_t co = begin * weights->width; co < last && co < w->co; co++) {
        for (int64_t ci = 0; ci < w->ci; ci++) {
            int64_t pass = co / weights->width * weights->passes + ci / weights->channels;
            for (int64_t t = 0; t < w->kt; t++, from += 9) {
                double y[PLACES];
                float *to = weights->weight + pass * PLACES * place +
                            (t * weights->channels + ci % weights->channels) * weights->width +
                            co % weights->width;
                transform_kernel(y, from);
                for (int i = 0; i < PLACES; i++)
                    to[i * place] = (float)y[i];
            }
        }
    }
}

void winograd_free(struct winograd *weights)
{
    if (!weights)
        return;
    cpu_free(NULL, weights->weight);
    free(weights->bias);
    free(weights);
}

static struct winograd *make(struct cpu_backend *cpu, const struct conv *w)
{
    struct winograd *weights = calloc(1, sizeof *weights);
    size_t count = (size_t)tensor_count(&w->desc.weight);
    float *from = malloc(count * sizeof *from);
    if (weights && from) {
        int64_t wide = cpu->kernels->gemm_width;
        weights->width = w->co <= wide / 2 ? wide / 2 : wide;
        weights->panels = cpu_up(w->co, weights->width);
        weights->group = CHANNELS / weights->width;
        weights->group = weights->group < weights->panels ? weights->group : weights->panels;
        weights->passes = cpu_up(w->ci, CHANNELS);
        weights->channels = cpu_up(cpu_up(w->ci, weights->passes), LANES) * LANES;
        weights->passes = cpu_up(w->ci, weights->channels);
        weights->weight = cpu_alloc(&cpu->base, (size_t)(weights->panels * weights->passes * PLACES *
                                                         w->kt * weights->channels * weights->width) *
                                                    sizeof *weights->weight);
        weights->bias = cpu_load_conv_bias(&cpu->base, w);
    }
    if (!weights || !from || !weights->weight || !weights->bias) {
        backend_fail(&cpu->base, UNREEL_ENOMEM, "out of memory: weights [%lld, %lld]",
                     (long long)w->co, (long long)w->ci);
        winograd_free(weights);
        weights = NULL;
    } else {
        cpu_load_weights(from, &w->desc.weight, 0, (int64_t)count,
                         cpu_rounds_weights(&cpu->base, false));
        struct packing packing = {weights, w, from};
        thread_pool_run(cpu->pool, weights->panels, 1, pack_panels, &packing);
        tensor_drop_pages(&w->desc.weight);
    }
    free(from);
    return weights;
}

/* ---- a block ------------------------------------------------------------------------------ */

static size_t lay_out(const struct convolution *c, struct workspace *work, float *memory)
{
    const struct winograd *weights = c->weights;
    int64_t tiles = c->rows * c->columns, outputs = weights->group * weights->width;
    /* Places an odd number of cache lines apart do not share their sets. */
    work->inputs_step = (cpu_up((c->frames + c->w->kt - 1) * tiles * weights->channels, 16) | 1) * 16;
    work->sums_step = (cpu_up(c->frames * tiles * outputs, 16) | 1) * 16;
    work->outputs_row = cpu_up(4 * c->columns * outputs, 16) * 16;
    struct {
        float **part;
        int64_t count;
    } parts[] = {
        {&work->patch, 36 * weights->channels},
        {&work->inputs, PLACES * work->inputs_step},
        {&work->sums, PLACES * work->sums_step},
        {&work->outputs, 4 * work->outputs_row},
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        *parts[i].part = memory ? memory + at : NULL;
        at += (size_t)cpu_up(parts[i].count, 16) * 16;
    }
    return at * sizeof(float);
}

/* As `patch` in `frame` whose first pixel is (row, column), channels from `first` on; zeros beyond the
 * frame and Ci. */
static void fill_patch(const struct convolution *c, float *patch, int64_t frame, int64_t row,
                       int64_t column, int64_t first)
{
    int64_t channels = c->weights->channels, ci = c->w->ci;
    int64_t n = ci - first < channels ? ci - first : channels;
    int64_t h = c->x->shape[1], w = c->x->shape[2];
    memset(patch, 0, (size_t)(36 * channels) * sizeof *patch);
    for (int64_t r = row; r < row + 6; r++)
        for (int64_t i = column; i < column + 6; i++, patch += channels)
            if (r >= 0 && r < h && i >= 0 && i < w)
                c->cpu->kernels->convert(
                    (struct cpu_row){patch, TENSOR_F32},
                    cpu_row_of(c->x, frame * c->x->stride[0] + (r * w + i) * ci + first), n);
}

static void transform_inputs(const struct convolution *c, const struct block *b,
                             struct workspace *work, int64_t pass)
{
    int64_t channels = c->weights->channels, ci = c->w->ci, first = pass * channels;
    int64_t h = c->x->shape[1], w = c->x->shape[2];
    float *to = work->inputs;
    for (int64_t f = b->frame; f < b->frame + b->frames + c->w->kt - 1; f++) {
        for (int64_t r = 4 * b->row - 1; r < 4 * (b->row + b->rows) - 1; r += 4) {
            for (int64_t i = 4 * b->column - 1; i < 4 * (b->column + b->columns) - 1; i += 4) {
                struct cpu_row from = {work->patch, TENSOR_F32};
                bool inside = r >= 0 && i >= 0 && r + 6 <= h && i + 6 <= w && first + channels <= ci;
                if (inside)
                    from = cpu_row_of(c->x, f * c->x->stride[0] + (r * w + i) * ci + first);
                else
                    fill_patch(c, work->patch, f, r, i, first);
                c->cpu->kernels->winograd_input(to, work->inputs_step, from,
                                                (inside ? w : 6) * (inside ? ci : channels),
                                                inside ? ci : channels, channels);
                to += channels;
            }
        }
    }
}

/* Of `panels` panels from `panel` on. */
static void multiply(const struct convolution *c, const struct block *b, struct workspace *work,
                     int64_t panel, int64_t panels, int64_t pass)
{
    const struct winograd *weights = c->weights;
    int64_t tiles = b->rows * b->columns, place = c->w->kt * weights->channels * weights->width;
    for (int64_t i = 0; i < PLACES; i++) {
        for (int64_t j = 0; j < panels; j++) {
            struct cpu_pieces pieces = {
                .x = work->inputs + i * work->inputs_step,
                .w = weights->weight +
                     (((panel + j) * weights->passes + pass) * PLACES + i) * place,
                .m = b->frames * tiles, .k = weights->channels,
                .pieces = c->w->kt, .apart = tiles * weights->channels,
                .ldy = panels * weights->width,
                .add = pass > 0,
            };
            c->cpu->kernels->gemm_pieces(work->sums + i * work->sums_step + j * weights->width,
                                         &pieces, weights->width < c->cpu->kernels->gemm_width);
        }
    }
}

/* A row of pixels, `pixel` elements apart, n outputs of each, to element `at` of y and on. */
static void store_row(const struct convolution *c, float *from, int64_t pixel, int64_t at,
                      int64_t columns, int64_t n)
{
    const struct cpu_kernels *kernels = c->cpu->kernels;
    int64_t run = pixel == c->w->co ? columns * n : n;
    for (int64_t i = 0; i < columns * n; i += run, from += pixel, at += c->w->co) {
        struct cpu_row to = cpu_row_of(c->y, at), sums = {from, TENSOR_F32};
        if (c->accumulate)
            kernels->add_gated(to, sums, NULL, run);
        else
            kernels->activate(to, sums, run, c->act);
    }
}

static void transform_sums(const struct convolution *c, const struct block *b, struct workspace *work,
                           int64_t panel, int64_t panels)
{
    const struct winograd *weights = c->weights;
    int64_t all = panels * weights->width, first = panel * weights->width;
    int64_t n = c->w->co - first < all ? c->w->co - first : all;
    int64_t h = c->y->shape[1], w = c->y->shape[2], column = 4 * b->column;
    int64_t columns = w - column < 4 * b->columns ? w - column : 4 * b->columns;
    /* Co of less than a vector: what is written beyond it is overwritten with the next pixel. */
    int64_t pixel = all <= c->cpu->kernels->gemm_width / 2 ? n : all;
    const float *from = work->sums;
    for (int64_t f = b->frame; f < b->frame + b->frames; f++) {
        for (int64_t r = b->row; r < b->row + b->rows; r++) {
            for (int64_t i = 0; i < b->columns; i++, from += all)
                c->cpu->kernels->winograd_output(work->outputs + 4 * i * pixel, work->outputs_row,
                                                 pixel, from, work->sums_step, weights->bias + first,
                                                 all);
            for (int64_t i = 0; i < 4 && 4 * r + i < h; i++)
                store_row(c, work->outputs + i * work->outputs_row, pixel,
                          f * c->y->stride[0] + ((4 * r + i) * w + column) * c->w->co + first, columns,
                          n);
        }
    }
}

static struct block block_at(const struct convolution *c, int64_t index)
{
    struct block b = {
        .column = index % c->blocks_w * c->columns,
        .row = index / c->blocks_w % c->blocks_h * c->rows,
        .frame = index / (c->blocks_w * c->blocks_h) * c->frames,
    };
    int64_t frames = c->y->shape[0] - b.frame;
    b.frames = frames < c->frames ? frames : c->frames;
    b.rows = c->tiles_h - b.row < c->rows ? c->tiles_h - b.row : c->rows;
    b.columns = c->tiles_w - b.column < c->columns ? c->tiles_w - b.column : c->columns;
    return b;
}

static void run_blocks(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct convolution *c = arg;
    const struct winograd *weights = c->weights;
    struct workspace work;
    lay_out(c, &work, cpu_scratch_of(c->cpu, thread));
    for (int64_t index = begin; index < end; index++) {
        struct block b = block_at(c, index);
        for (int64_t panel = 0; panel < weights->panels; panel += weights->group) {
            int64_t left = weights->panels - panel;
            int64_t panels = left < weights->group ? left : weights->group;
            for (int64_t pass = 0; pass < weights->passes; pass++) {
                if (panel == 0 || weights->passes > 1)
                    transform_inputs(c, &b, &work, pass);
                multiply(c, &b, &work, panel, panels, pass);
            }
            transform_sums(c, &b, &work, panel, panels);
        }
    }
}

/* ---- the operation ------------------------------------------------------------------------ */

/* Blocks that fit the cache, but enough of them for all threads. */
static void choose_blocks(struct convolution *c)
{
    const struct winograd *weights = c->weights;
    c->tiles_h = cpu_up(c->y->shape[1], 4);
    c->tiles_w = cpu_up(c->y->shape[2], 4);
    c->blocks_t = cpu_up(c->y->shape[0], FRAMES);
    c->frames = cpu_up(c->y->shape[0], c->blocks_t);
    int64_t bytes = PLACES * (int64_t)sizeof(float) *
                    ((c->frames + c->w->kt - 1) * weights->channels +
                     c->frames * weights->group * weights->width);
    int64_t tiles = BLOCK_BYTES / bytes, all = c->tiles_h * c->tiles_w;
    int64_t share = cpu_up(all * c->blocks_t, 2 * c->cpu->base.threads);
    int64_t least = cpu_up(BLOCK_ROWS, c->frames);
    share = share > least ? share : least;
    if (c->cpu->base.threads > 1 && share < tiles)
        tiles = share;
    tiles = tiles < 1 ? 1 : tiles;
    c->blocks_w = cpu_up(c->tiles_w, tiles);
    c->columns = cpu_up(c->tiles_w, c->blocks_w);
    c->blocks_w = cpu_up(c->tiles_w, c->columns);
    c->rows = tiles / c->columns;
    c->blocks_h = cpu_up(c->tiles_h, c->rows);
    c->rows = cpu_up(c->tiles_h, c->blocks_h);
    c->blocks_h = cpu_up(c->tiles_h, c->rows);
}

void winograd_conv(struct cpu_backend *cpu, const struct tensor *y, const struct tensor *x,
                   const struct conv *w, struct winograd **weights, enum activation act,
                   bool accumulate)
{
    struct convolution c = {
        .cpu = cpu, .w = w, .y = y, .x = x, .act = act, .accumulate = accumulate,
    };
    struct workspace sizes;
    if (!*weights)
        *weights = make(cpu, w);
    if (!*weights)
        return;
    c.weights = *weights;
    choose_blocks(&c);
    if (cpu_scratch_reserve(cpu, lay_out(&c, &sizes, NULL)))
        thread_pool_run(cpu->pool, c.blocks_t * c.blocks_h * c.blocks_w, 1, run_blocks, &c);
}
