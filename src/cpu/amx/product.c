/* Bound: the AMX unit; about 80 % of its peak from the caches. Every product needs 1 KiB of operands,
 * half of them from the first-level cache, half of them, the rows, from the second (tile.h). */
#include "cpu/amx/product.h"

#include "cpu/amx/tile.h"

#define HALF 16 /* rows of a tile */

void amx_begin(void)
{
    tiles_begin();
}

void amx_end(void)
{
    _mm_sfence(); /* stores past the caches are seen by all threads from here on */
    tiles_end();
}

/* ---- what follows a sum ------------------------------------------------------------------- */

/* 2^x, x in [-126, 126]; relative error 2e-7, or coarse 1e-4. */
static ALWAYS_INLINE __m512 exp2_of(__m512 x, const bool coarse)
{
    __m512 f = _mm512_reduce_ps(x, 0), p; /* [-0.5, 0.5] */
    if (coarse) {
        p = _mm512_fmadd_ps(_mm512_set1_ps(0.05550411f), f, _mm512_set1_ps(0.24022651f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.69314718f));
    } else {
        p = _mm512_fmadd_ps(_mm512_set1_ps(1.5403530e-4f), f, _mm512_set1_ps(1.3333558e-3f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.6181291e-3f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.5504109e-2f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.4022651e-1f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.9314718e-1f));
    }
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, _mm512_sub_ps(x, f));
}

/* x / (1 + 2^-z) */
static ALWAYS_INLINE __m512 times_sigmoid(__m512 x, __m512 z, const bool coarse)
{
    __m512 limit = _mm512_set1_ps(126);
    z = _mm512_min_ps(_mm512_max_ps(z, _mm512_sub_ps(_mm512_setzero_ps(), limit)), limit);
    __m512 d = _mm512_add_ps(_mm512_set1_ps(1),
                             exp2_of(_mm512_sub_ps(_mm512_setzero_ps(), z), coarse));
    __m512 inverse = _mm512_rcp14_ps(d);
    if (!coarse)
        inverse = _mm512_mul_ps(inverse, _mm512_fnmadd_ps(d, inverse, _mm512_set1_ps(2)));
    return _mm512_mul_ps(x, inverse);
}

static ALWAYS_INLINE __m512 activate(__m512 x, const enum activation act, const bool coarse)
{
    if (act == ACT_SILU)
        return times_sigmoid(x, _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), coarse);
    if (act == ACT_GELU_TANH) { /* 2 sqrt(2 / pi) (x + 0.044715 x^3), to base 2 */
        __m512 c = _mm512_fmadd_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(0.10294324f),
                                   _mm512_set1_ps(2.3022082f));
        return times_sigmoid(x, _mm512_mul_ps(x, c), coarse);
    }
    return act == ACT_RELU ? _mm512_max_ps(x, _mm512_setzero_ps()) : x;
}

/* What to do with the finished sums of a block; the kind is constant in every copy of the code. */
struct finish {
    const float *sums;
    const float *bias;
    char *y;
    int64_t y_stride;
    int rows;
    __mmask32 mask;   /* columns there are */
    bool past_caches; /* whole lines straight to memory */
};

struct kind {
    enum activation act;
    enum tensor_type type;
    bool accumulate;
};

/* Half a row: 16 outputs, at `to` in y. */
static ALWAYS_INLINE __m512 finish_half(const struct finish *f, const struct kind kind, int row,
                                        const int half, const char *to)
{
    /* sums are four tiles: rows 0 to 15 by columns 0 to 15 and 16 to 31, then rows 16 to 31 */
    const float *from = f->sums + (row / HALF * 2 + half) * 256 + row % HALF * 16;
    __mmask16 mask = (__mmask16)(f->mask >> 16 * half);
    __m512 x = _mm512_add_ps(_mm512_load_ps(from), _mm512_loadu_ps(f->bias + 16 * half));
    x = activate(x, kind.act, kind.type == TENSOR_BF16);
    if (kind.accumulate && kind.type == TENSOR_F32)
        x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(mask, to));
    else if (kind.accumulate)
        x = _mm512_add_ps(x, _mm512_castsi512_ps(_mm512_slli_epi32(
                                 _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, to)), 16)));
    return x;
}

static ALWAYS_INLINE void finish_row(const struct finish *f, const struct kind kind, int row)
{
    char *to = f->y + row * f->y_stride;
    if (kind.type == TENSOR_F32) {
        __m512 low = finish_half(f, kind, row, 0, to), high = finish_half(f, kind, row, 1, to + 64);
        if (f->past_caches) {
            _mm512_stream_ps((float *)to, low);
            _mm512_stream_ps((float *)to + 16, high);
        } else {
            _mm512_mask_storeu_ps(to, (__mmask16)f->mask, low);
            _mm512_mask_storeu_ps(to + 64, (__mmask16)(f->mask >> 16), high);
        }
    } else {
        __m512 low = finish_half(f, kind, row, 0, to), high = finish_half(f, kind, row, 1, to + 32);
        __m512i pair =
            _mm512_inserti64x4(_mm512_castsi256_si512(bf16_of(low)), bf16_of(high), 1);
        if (f->past_caches)
            _mm512_stream_si512((__m512i *)to, pair);
        else
            _mm512_mask_storeu_epi16(to, f->mask, pair);
    }
}

/* Share number `done` of `all` of a block's rows. */
static ALWAYS_INLINE void finish_share(const struct finish *f, const struct kind kind,
                                       int64_t done, int64_t all)
{
    asm volatile("" : : : "memory"); /* stay between the tile instructions around */
    for (int64_t row = done * f->rows / all; row < (done + 1) * f->rows / all; row++)
        finish_row(f, kind, (int)row);
    asm volatile("" : : : "memory");
}

/* ---- blocks ------------------------------------------------------------------------------- */

/* What to bring into the second-level cache meanwhile: weights, `lines` each step, and a line each step
 * of other memory. */
struct ahead {
    const char *from;
    int64_t lines;
    struct amx_fetch other;
};

static ALWAYS_INLINE void fetch_ahead(struct ahead *ahead)
{
    for (int64_t i = 0; i < ahead->lines; i++)
        _mm_prefetch(ahead->from + 64 * i, _MM_HINT_T1);
    ahead->from += 64 * ahead->lines;
    if (ahead->other.bytes > 0)
        _mm_prefetch(ahead->other.from, _MM_HINT_T1);
    ahead->other.from += 64;
    ahead->other.bytes -= 64;
}

/* What part of a 2 x 2 block of tiles there is, and whether it begins. */
struct shape {
    bool two_a, two_b, first;
};

static ALWAYS_INLINE void load_sums(const float *sums, const struct shape shape)
{
    if (shape.first) {
        TILE_ZERO(0);
        if (shape.two_b)
            TILE_ZERO(1);
        if (shape.two_a)
            TILE_ZERO(2);
        if (shape.two_a && shape.two_b)
            TILE_ZERO(3);
    } else {
        TILE_LOAD(0, sums, 64);
        if (shape.two_b)
            TILE_LOAD(1, sums + 256, 64);
        if (shape.two_a)
            TILE_LOAD(2, sums + 512, 64);
        if (shape.two_a && shape.two_b)
            TILE_LOAD(3, sums + 768, 64);
    }
}

static ALWAYS_INLINE void store_sums(float *sums, const struct shape shape)
{
    TILE_STORE(0, sums, 64);
    if (shape.two_b)
        TILE_STORE(1, sums + 256, 64);
    if (shape.two_a)
        TILE_STORE(2, sums + 512, 64);
    if (shape.two_a && shape.two_b)
        TILE_STORE(3, sums + 768, 64);
}

/* sums (+)= a run of rows times a part of a panel; another block is finished meanwhile. */
static ALWAYS_INLINE void multiply(const struct amx_product *p, float *sums, const char *a,
                                   const char *b, int64_t steps, const struct shape shape,
                                   const struct finish *f, const struct kind kind,
                                   struct ahead ahead)
{
    int64_t stride = p->a_stride, step = p->a_step;
    const char *a2 = a + p->a_half;
    load_sums(sums, shape);
    for (int64_t i = 0; i < steps; i++, a += step, a2 += step, b += AMX_STEP_BYTES) {
        TILE_STREAM(4, a, stride);
        TILE_LOAD(6, b, 64);
        if (shape.two_a)
            TILE_STREAM(5, a2, stride);
        if (shape.two_b)
            TILE_LOAD(7, b + TILE_BYTES, 64);
        TILE_MULTIPLY(0, 4, 6);
        if (f)
            finish_share(f, kind, i, steps);
        fetch_ahead(&ahead);
        if (shape.two_b)
            TILE_MULTIPLY(1, 4, 7);
        if (shape.two_a)
            TILE_MULTIPLY(2, 5, 6);
        if (shape.two_a && shape.two_b)
            TILE_MULTIPLY(3, 5, 7);
    }
    store_sums(sums, shape);
}

/* Where a panel's run is: what all blocks share. */
struct place {
    int64_t panel;
    int run;
    const char *b; /* the part of the panel */
};

static ALWAYS_INLINE float *sums_of(const struct amx_product *p, int64_t panel, int block)
{
    return p->sums + (panel - p->first_panel) * p->sums_stride + block * (AMX_SUM_BYTES / 4);
}

static ALWAYS_INLINE void multiply_block(const struct amx_product *p, int block,
                                         const struct place *at, const struct finish *f,
                                         const struct kind kind, struct ahead ahead)
{
    const struct amx_block *rows = &p->block[block];
    const struct amx_run *run = &rows->run[at->run];
    const char *a = rows->a + run->offset;
    float *sums = sums_of(p, at->panel, block);
    bool first = !at->run && !p->continues, wide = p->columns > AMX_NARROW;
    ahead.lines = (ahead.lines + run->steps - 1) / run->steps;
    if (rows->rows > HALF && wide && !first)
        multiply(p, sums, a, at->b, run->steps, (struct shape){true, true, false}, f, kind, ahead);
    else if (rows->rows > HALF && wide)
        multiply(p, sums, a, at->b, run->steps, (struct shape){true, true, true}, f, kind, ahead);
    else if (rows->rows > HALF && !first)
        multiply(p, sums, a, at->b, run->steps, (struct shape){true, false, false}, f, kind, ahead);
    else if (rows->rows > HALF)
        multiply(p, sums, a, at->b, run->steps, (struct shape){true, false, true}, f, kind, ahead);
    else if (!first)
        multiply(p, sums, a, at->b, run->steps, (struct shape){false, true, false}, f, kind, ahead);
    else
        multiply(p, sums, a, at->b, run->steps, (struct shape){false, true, true}, f, kind, ahead);
}

static __attribute__((noinline)) void multiply_only(const struct amx_product *p, int block,
                                                    const struct place *at, struct ahead ahead)
{
    multiply_block(p, block, at, NULL, (struct kind){0}, ahead);
}

static ALWAYS_INLINE struct finish finish_of(const struct amx_product *p, int block, int64_t panel)
{
    int64_t column = panel * AMX_COLUMNS, left = p->columns - column;
    uint32_t mask = left >= AMX_COLUMNS ? 0xffffffff : ((uint32_t)1 << left) - 1;
    uintptr_t unaligned = (uintptr_t)p->block[block].y | (uintptr_t)p->y_stride;
    return (struct finish){
        .sums = sums_of(p, panel, block),
        .bias = p->bias + column,
        .y = p->block[block].y + (size_t)column * (p->y_type == TENSOR_F32 ? 4 : 2),
        .y_stride = p->y_stride,
        .rows = p->block[block].rows,
        .mask = mask,
        .past_caches = p->large && left >= AMX_COLUMNS && !(unaligned & 63),
    };
}

/* Steps that fetch: each block takes its share of the weights, and a line a step of the rest. */
struct fetching {
    struct ahead ahead;
    int next; /* of p->fetch */
};

static struct ahead take_share(const struct amx_product *p, struct fetching *f, int64_t steps)
{
    struct ahead share = f->ahead;
    f->ahead.from += 64 * share.lines;
    f->ahead.other.from += 64 * steps;
    f->ahead.other.bytes -= 64 * steps;
    if (f->ahead.other.bytes <= 0 && f->next < p->fetches)
        f->ahead.other = p->fetch[f->next++];
    return share;
}

/* While a block is multiplied, the one before is finished. */
static ALWAYS_INLINE void run_last(const struct amx_product *p, const struct place *at,
                                   struct fetching *fetching, const struct kind kind)
{
    int64_t steps = p->block[0].run[at->run].steps;
    multiply_only(p, 0, at, take_share(p, fetching, steps));
    for (int i = 1; i < p->blocks; i++) {
        struct finish f = finish_of(p, i - 1, at->panel);
        multiply_block(p, i, at, &f, kind, take_share(p, fetching, steps));
    }
    struct finish f = finish_of(p, p->blocks - 1, at->panel);
    finish_share(&f, kind, 0, 1);
}

static const char *weights_of(const struct amx_product *p, int64_t panel)
{
    return p->weights + (size_t)(panel * p->steps) * AMX_STEP_BYTES;
}

/* The weights that the next run needs. */
static void aim_ahead(const struct amx_product *p, const struct place *at, struct ahead *ahead)
{
    const struct amx_run *run = p->block[0].run;
    int64_t steps = 0;
    ahead->from = at->b + run[at->run].steps * AMX_STEP_BYTES;
    if (p->resident) {
        steps = 0;
    } else if (at->run + 1 < p->runs) {
        steps = run[at->run + 1].steps;
    } else if (at->panel + 1 < p->first_panel + p->panels) {
        ahead->from = weights_of(p, at->panel + 1);
        steps = run[0].steps;
    }
    ahead->lines = (steps * (AMX_STEP_BYTES / 64) + p->blocks - 1) / p->blocks;
}

static ALWAYS_INLINE void run_panels(const struct amx_product *p, const struct kind kind)
{
    struct place at;
    struct fetching fetching = {0};
    for (at.panel = p->first_panel; at.panel < p->first_panel + p->panels; at.panel++) {
        at.b = weights_of(p, at.panel);
        if (p->continues)
            for (int i = 0; i < p->blocks * AMX_SUM_BYTES; i += 64)
                _mm_prefetch((const char *)sums_of(p, at.panel + 1, 0) + i, _MM_HINT_T1);
        for (at.run = 0; at.run < p->runs; at.run++) {
            int64_t steps = p->block[0].run[at.run].steps;
            aim_ahead(p, &at, &fetching.ahead);
            if (at.run + 1 == p->runs && !p->unfinished)
                run_last(p, &at, &fetching, kind);
            else
                for (int i = 0; i < p->blocks; i++)
                    multiply_only(p, i, &at, take_share(p, &fetching, steps));
            at.b += steps * AMX_STEP_BYTES;
        }
    }
}

static ALWAYS_INLINE void run_act(const struct amx_product *p, const enum activation act,
                                  const bool accumulate)
{
    if (p->y_type == TENSOR_F32)
        run_panels(p, (struct kind){act, TENSOR_F32, accumulate});
    else
        run_panels(p, (struct kind){act, TENSOR_BF16, accumulate});
}

void amx_product(const struct amx_product *p)
{
    if (p->accumulate)
        run_act(p, ACT_NONE, true);
    else if (p->act == ACT_SILU)
        run_act(p, ACT_SILU, false);
    else if (p->act == ACT_GELU_TANH)
        run_act(p, ACT_GELU_TANH, false);
    else if (p->act == ACT_RELU)
        run_act(p, ACT_RELU, false);
    else
        run_act(p, ACT_NONE, false);
}

/* ---- packing ------------------------------------------------------------------------------ */

void amx_pack_rows(char *to, const uint16_t *x, int64_t stride, int64_t rows, int64_t k)
{
    int64_t steps = amx_steps(k), whole = k / AMX_STEP;
    __mmask32 rest = ((uint32_t)1 << k % AMX_STEP) - 1;
    for (int64_t row = 0; row < (rows + AMX_ROWS - 1) / AMX_ROWS * AMX_ROWS; row++) {
        char *at = to + row / AMX_ROWS * steps * 2 * TILE_BYTES + row % AMX_ROWS * 64;
        const uint16_t *from = x + row * stride;
        if (row >= rows) {
            for (int64_t i = 0; i < steps; i++, at += 2 * TILE_BYTES)
                _mm512_store_si512(at, _mm512_setzero_si512());
            continue;
        }
        for (int64_t i = 0; i < whole; i++, at += 2 * TILE_BYTES, from += AMX_STEP) {
            _mm_prefetch(from + 2 * stride, _MM_HINT_T0);
            _mm512_store_si512(at, _mm512_loadu_si512(from));
        }
        if (rest)
            _mm512_store_si512(at, _mm512_maskz_loadu_epi16(rest, from));
    }
}

/* A step: two tiles of 16 columns. Rows of tiles are pairs of K, so 16 columns by 16 pairs of bf16 are
 * transposed. */
static ALWAYS_INLINE void pack_tile(char *to, __m512i r[16])
{
    transpose_16x16(r);
    for (int i = 0; i < 16; i++)
        _mm512_store_si512(to + 64 * i, r[i]);
}

void amx_pack_f32(char *panel, const float *weights, int64_t stride, int64_t columns, int64_t k)
{
    for (int64_t first = 0; first < k; first += AMX_STEP) {
        int64_t left = k - first;
        uint32_t mask = left >= AMX_STEP ? 0xffffffff : ((uint32_t)1 << left) - 1;
        for (int half = 0; half < 2; half++, panel += TILE_BYTES) {
            __m512i r[16];
            for (int i = 0; i < 16; i++) {
                const float *from = weights + (16 * half + i) * stride + first;
                r[i] = _mm512_setzero_si512();
                if (16 * half + i >= columns)
                    continue;
                __m512 low = _mm512_maskz_loadu_ps((__mmask16)mask, from);
                __m512 high = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), from + 16);
                r[i] = _mm512_inserti64x4(_mm512_castsi256_si512(bf16_of(low)), bf16_of(high), 1);
            }
            pack_tile(panel, r);
        }
    }
}

void amx_pack_bf16(char *panel, const uint16_t *weights, int64_t stride, int64_t columns,
                   int64_t k)
{
    for (int64_t first = 0; first < k; first += AMX_STEP) {
        int64_t left = k - first;
        uint32_t mask = left >= AMX_STEP ? 0xffffffff : ((uint32_t)1 << left) - 1;
        for (int half = 0; half < 2; half++, panel += TILE_BYTES) {
            __m512i r[16];
            for (int i = 0; i < 16; i++)
                r[i] = 16 * half + i < columns
                           ? _mm512_maskz_loadu_epi16(
                                 mask, weights + (16 * half + i) * stride + first)
                           : _mm512_setzero_si512();
            pack_tile(panel, r);
        }
    }
}
