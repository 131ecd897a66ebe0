/* Convolutions by oneDNN. An output frame is cut into tiles; the input window of a tile is copied
 * into scratch memory with its border of zeros, which makes every tile the same unpadded convolution
 * of a dense array and lets threads share a frame. A frame is computed alone, so that results do not
 * depend on how many come in a call. */
#include <stdlib.h>
#include <string.h>

#include "cpu/conv_common.h"
#include "cpu/load.h"
#include "cpu/onednn.h"
#include "cpu/winograd.h"

#define TILE_PIXELS 512
#define TILE_COLUMNS 112

struct onednn_conv {
    uint8_t *packed[CONV_PHASES]; /* only the first, unless upsampling is folded in */
    float *bias;                  /* [Co] */
    struct conv plain;            /* stands in where oneDNN refuses; impl NULL: not needed */
    struct winograd *winograd;    /* where that is faster */
};

/* One call. */
struct convolution {
    struct cpu_backend *cpu;
    struct conv *w;
    const struct tensor *y, *x;
    enum tensor_type type;  /* that oneDNN computes in: of windows and weights */
    enum activation act;
    bool accumulate;
    int phases;             /* 4: folded upsampling; tiles are of every other row and column */
    int64_t kh, kw, h, w_;  /* kernel; output of a phase */
    int64_t rows, columns;  /* of a full tile */
    int64_t tiles_h, tiles_w;
    const struct onednn_primitive *run[2][2]; /* [rows][columns], 0: full tile, 1: the rest */
    size_t scratch_at, tile_at; /* after the window in scratch memory: oneDNN's, output tile f32 */
};

struct tile {
    int64_t frame, row, column; /* first output of the phase */
    int64_t rows, columns;
    int phase;
};

int onednn_conv_init(struct backend *b, struct conv *w)
{
    w->impl = calloc(1, sizeof(struct onednn_conv));
    return w->impl ? 0 : UNREEL_ENOMEM;
}

void onednn_conv_finish(struct backend *b, struct conv *w)
{
    struct onednn_conv *impl = w->impl;
    if (impl->plain.impl)
        cpu_plain.conv_finish(b, &impl->plain);
    for (int i = 0; i < CONV_PHASES; i++)
        cpu_free(b, impl->packed[i]);
    winograd_free(impl->winograd);
    free(impl->bias);
    free(impl);
    w->impl = NULL;
}

/* ---- weights ------------------------------------------------------------------------------ */

static bool pack(struct convolution *c, const struct onednn_primitive *pack, float *weight,
                 float *folded)
{
    struct backend *b = &c->cpu->base;
    struct conv *w = c->w;
    struct onednn_conv *impl = w->impl;
    if (!cpu_scratch_reserve(c->cpu, pack->scratch))
        return false;
    cpu_load_weights(weight, &w->desc.weight, 0, tensor_count(&w->desc.weight),
                     cpu_rounds_weights(b, false));
    for (int i = 0; i < c->phases; i++) {
        uint8_t *packed = cpu_alloc(b, pack->packed);
        if (!packed) { /* the next call packs all again */
            while (i--)
                cpu_free(b, impl->packed[i]);
            memset(impl->packed, 0, sizeof impl->packed);
            return false;
        }
        if (c->phases > 1)
            conv_fold(folded, weight, w, i);
        onednn_run(c->cpu->onednn, pack, 0, c->phases > 1 ? folded : weight, NULL, NULL, packed,
                   cpu_scratch_of(c->cpu, 0));
        impl->packed[i] = packed;
    }
    return true;
}

static bool pack_weight(struct convolution *c, const struct onednn_primitive *primitive)
{
    struct conv *w = c->w;
    size_t count = (size_t)tensor_count(&w->desc.weight);
    float *weight = malloc(count * sizeof *weight), *folded = malloc(count * sizeof *folded);
    bool packed = weight && folded && pack(c, primitive, weight, folded);
    free(weight);
    free(folded);
    if (!packed)
        backend_fail(&c->cpu->base, UNREEL_ENOMEM, "out of memory: weights [%lld, %lld]",
                     (long long)w->co, (long long)w->ci);
    else
        tensor_drop_pages(&w->desc.weight);
    return packed;
}

/* ---- tiles -------------------------------------------------------------------------------- */

static struct tile tile_at(const struct convolution *c, int64_t item)
{
    struct tile tile = {.phase = (int)(item % c->phases)};
    item /= c->phases;
    tile.column = item % c->tiles_w * c->columns;
    item /= c->tiles_w;
    tile.row = item % c->tiles_h * c->rows;
    tile.frame = item / c->tiles_h;
    tile.rows = c->h - tile.row < c->rows ? c->h - tile.row : c->rows;
    tile.columns = c->w_ - tile.column < c->columns ? c->w_ - tile.column : c->columns;
    return tile;
}

/* As conv_fill_row, from bf16 at element `row` of x to f32. */
static void widen_row(const struct convolution *c, float *to, int64_t row, int64_t column,
                      int64_t columns)
{
    int64_t width = c->x->shape[2], ci = c->w->ci, end = column + columns;
    int64_t first = column < 0 ? 0 : column, last = end < width ? end : width;
    first = first < end ? first : end;
    last = last > first ? last : first;
    memset(to, 0, (size_t)((first - column) * ci) * sizeof *to);
    c->cpu->kernels->convert((struct cpu_row){to + (first - column) * ci, TENSOR_F32},
                             cpu_row_of(c->x, row + first * ci), (last - first) * ci);
    memset(to + (last - column) * ci, 0, (size_t)((end - last) * ci) * sizeof *to);
}

/* The window [kt, rows, columns, Ci] that a tile is computed from. */
static void fill_window(const struct convolution *c, const struct tile *tile, char *window)
{
    const struct conv_desc *desc = &c->w->desc;
    int64_t h = c->x->shape[1], width = c->x->shape[2], stride = c->phases > 1 ? 1 : desc->stride;
    int64_t row = tile->row * stride - desc->pad_before + tile->phase / 2;
    int64_t column = tile->column * stride - desc->pad_before + tile->phase % 2;
    int64_t rows = (tile->rows - 1) * stride + c->kh;
    int64_t columns = (tile->columns - 1) * stride + c->kw;
    size_t pixel = (size_t)c->w->ci * tensor_type_size(c->type);
    for (int64_t t = 0; t < c->w->kt; t++) {
        int64_t frame = (tile->frame * desc->stride_t + t) * c->x->stride[0];
        for (int64_t r = row; r < row + rows; r++, window += (size_t)columns * pixel) {
            if (r < 0 || r >= h)
                memset(window, 0, (size_t)columns * pixel);
            else if (c->x->type == c->type)
                conv_fill_row(window, cpu_row_of(c->x, frame + r * width * c->w->ci).data, width,
                              column, columns, pixel);
            else
                widen_row(c, (float *)window, frame + r * width * c->w->ci, column, columns);
        }
    }
}

/* Output tile [rows, columns, Co] into its place in y. */
static void store_tile(const struct convolution *c, const struct tile *tile, float *from)
{
    int64_t co = c->w->co, step = c->phases > 1 ? 2 : 1;
    int64_t run = step == 1 ? tile->columns * co : co; /* neighbours in y */
    for (int64_t r = 0; r < tile->rows; r++) {
        int64_t row = (tile->row + r) * step + (step > 1 ? tile->phase / 2 : 0);
        int64_t column = tile->column * step + (step > 1 ? tile->phase % 2 : 0);
        int64_t at = tile->frame * c->y->stride[0] + (row * c->y->shape[2] + column) * co;
        for (int64_t i = 0; i < tile->columns * co; i += run, from += run, at += step * co) {
            struct cpu_row to = cpu_row_of(c->y, at);
            struct cpu_row sums = {from, TENSOR_F32};
            if (c->accumulate)
                c->cpu->kernels->add_gated(to, sums, NULL, run);
            else
                c->cpu->kernels->activate(to, sums, run, c->act);
        }
    }
}

static void run_tiles(void *arg, int64_t begin, int64_t end, int thread)
{
    struct convolution *c = arg;
    struct onednn_conv *impl = c->w->impl;
    char *scratch = cpu_scratch_of(c->cpu, thread);
    float *out = (float *)(scratch + c->tile_at);
    for (int64_t i = begin; i < end; i++) {
        struct tile tile = tile_at(c, i);
        const struct onednn_primitive *run =
            c->run[tile.rows < c->rows][tile.columns < c->columns];
        fill_window(c, &tile, scratch);
        onednn_run(c->cpu->onednn, run, thread, scratch, impl->packed[tile.phase], impl->bias, out,
                   scratch + c->scratch_at);
        store_tile(c, &tile, out);
    }
}

/* ---- the operation ------------------------------------------------------------------------ */

static struct onednn_key key_of(const struct convolution *c, int64_t rows, int64_t columns)
{
    return (struct onednn_key){
        .kind = ONEDNN_CONV,
        .x_type = c->type, .w_type = c->type, .y_type = TENSOR_F32,
        .t = 1, .h = rows, .w = columns, .co = c->w->co, .ci = c->w->ci,
        .kt = c->w->kt, .kh = c->kh, .kw = c->kw,
        .stride = c->phases > 1 ? 1 : c->w->desc.stride,
    };
}

/* False: oneDNN refuses one of them. */
static bool get_primitives(struct convolution *c)
{
    int64_t rest_h = c->h % c->rows, rest_w = c->w_ % c->columns;
    for (int i = 0; i < 4; i++) {
        int64_t rows = i / 2 ? rest_h : c->rows, columns = i % 2 ? rest_w : c->columns;
        if (!rows || !columns)
            continue;
        struct onednn_key key = key_of(c, rows, columns);
        c->run[i / 2][i % 2] = onednn_get(c->cpu->onednn, &key);
        if (!c->run[i / 2][i % 2])
            return false;
    }
    return true;
}

static bool reserve(struct convolution *c)
{
    const struct conv *w = c->w;
    int64_t stride = c->phases > 1 ? 1 : w->desc.stride;
    int64_t pixels = ((c->rows - 1) * stride + c->kh) * ((c->columns - 1) * stride + c->kw);
    size_t scratch = 0;
    for (int i = 0; i < 4; i++)
        if (c->run[i / 2][i % 2] && c->run[i / 2][i % 2]->scratch > scratch)
            scratch = c->run[i / 2][i % 2]->scratch;
    c->scratch_at = cpu_aligned((size_t)(w->kt * pixels * w->ci) * tensor_type_size(c->type));
    c->tile_at = c->scratch_at + cpu_aligned(scratch);
    return cpu_scratch_reserve(
        c->cpu, c->tile_at + (size_t)(c->rows * c->columns * w->co) * sizeof(float));
}

static void run_plain(struct backend *b, const struct tensor *y, const struct tensor *x,
                      struct conv *w, enum activation act, bool accumulate)
{
    struct onednn_conv *impl = w->impl;
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

void onednn_conv(struct backend *b, const struct tensor *y, const struct tensor *x, struct conv *w,
                 enum activation act, bool accumulate)
{
    struct onednn_conv *impl = w->impl;
    bool folds = conv_folds(w);
    if (winograd_takes(cpu_of(b), w, y)) {
        winograd_conv(cpu_of(b), y, x, w, &impl->winograd, act, accumulate);
        return;
    }
    struct convolution c = {
        .cpu = cpu_of(b), .w = w, .y = y, .x = x, .act = act, .accumulate = accumulate,
        .type = cpu_of(b)->widens ? TENSOR_F32 : x->type,
        .phases = folds ? CONV_PHASES : 1, .kh = folds ? 2 : w->kh, .kw = folds ? 2 : w->kw,
        .h = folds ? x->shape[1] : y->shape[1], .w_ = folds ? x->shape[2] : y->shape[2],
    };
    c.tiles_w = (c.w_ + TILE_COLUMNS - 1) / TILE_COLUMNS;
    c.columns = (c.w_ + c.tiles_w - 1) / c.tiles_w;
    c.tiles_w = (c.w_ + c.columns - 1) / c.columns;
    c.rows = c.columns < TILE_PIXELS ? TILE_PIXELS / c.columns : 1;
    c.rows = c.rows < c.h ? c.rows : c.h;
    c.tiles_h = (c.h + c.rows - 1) / c.rows;
    struct onednn_key key = key_of(&c, 0, 0);
    key.kind = ONEDNN_CONV_PACK;
    key.x_type = TENSOR_F32;
    key.y_type = c.type;
    const struct onednn_primitive *pack = onednn_get(c.cpu->onednn, &key);
    if (impl->plain.impl || !pack || (w->desc.upsample && !folds) || !get_primitives(&c)) {
        run_plain(b, y, x, w, act, accumulate);
        return;
    }
    if (!impl->bias)
        impl->bias = cpu_load_conv_bias(b, w);
    if (!impl->bias || (!impl->packed[c.phases - 1] && !pack_weight(&c, pack)) || !reserve(&c))
        return;
    thread_pool_run(c.cpu->pool, y->shape[0] * c.tiles_h * c.tiles_w * c.phases, 1, run_tiles, &c);
}
