/* softmax(q k^T) v of one head, everything transposed: scores are [keys, queries], so that a vector
 * holds 16 queries and neither maximum nor sum ever goes across one.
 *
 * Queries are taken in blocks of QUERIES, keys in pieces of PIECE and groups of GROUP pieces. A piece's
 * scores are 2 x 2 tiles; while the unit multiplies the next piece, the vector units turn this one into
 * probabilities, already in the order of the second product's factor. After a group, out [D, queries]
 * += v^T p. Blocks of keys that fit the second-level cache are reordered once and meet all queries; the
 * queries' unfinished sums wait in memory.
 *
 * Probabilities are 2^(score - reference), the reference of a query being a whole number that is not
 * its maximum, only near: bf16 has the exponents of f32, so nothing is lost as long as nothing
 * overflows, and hardly ever must sums be scaled. Whether they must is seen from the sums.
 *
 * Bound: the AMX unit. About 55 % of its peak at D = 128; most of the rest are the starts and ends of
 * blocks of tiles (tile.h). */
#include "cpu/amx/attention.h"

#include <stdbool.h>

#include "cpu/amx/tile.h"

#define QUERIES 32
#define PIECE 32 /* keys */
#define GROUP 8  /* pieces */
#define BLOCK_BYTES (384 * 1024) /* of keys; as many of values */
#define FAR 0x1p64f /* sums beyond ask for another reference */

#define KEY_TILES (2 * TILE_BYTES)   /* of PIECE keys and 32 of D */
#define QUERY_TILES (2 * TILE_BYTES) /* of QUERIES queries and 32 of D */

struct work {
    const struct amx_attention *a;
    int steps;            /* D in units of 32, rounded up */
    int64_t blocks;       /* of queries */
    int64_t block_keys;   /* of a block of keys; a multiple of GROUP * PIECE */
    char *queries;        /* [blocks][steps] QUERY_TILES */
    float *out;           /* [blocks][steps][32][QUERIES], not yet divided by the sums */
    float *reference, *sum; /* [blocks][QUERIES], log2 */
    char *keys;           /* [pieces][steps] KEY_TILES */
    char *values;         /* [groups][steps][pieces] 2 tiles: 32 of D times PIECE keys */
    float *scores;        /* [PIECE][QUERIES] */
    uint16_t *probabilities; /* [GROUP][2 tiles] */
};

/* ---- memory ------------------------------------------------------------------------------- */

static size_t lay_out(struct work *w, char *memory)
{
    const struct amx_attention *a = w->a;
    w->steps = (a->width + 31) / 32;
    w->blocks = (a->queries + QUERIES - 1) / QUERIES;
    int64_t group_bytes = (int64_t)GROUP * w->steps * KEY_TILES;
    int64_t groups = (a->keys + GROUP * PIECE - 1) / (GROUP * PIECE);
    int64_t most = BLOCK_BYTES / group_bytes > 1 ? BLOCK_BYTES / group_bytes : 1;
    int64_t per_block = groups < most ? groups : most;
    w->block_keys = per_block * GROUP * PIECE;

    char *at = memory;
    size_t blocks = (size_t)w->blocks, steps = (size_t)w->steps;
    w->scores = (float *)at;
    at += PIECE * QUERIES * sizeof(float);
    w->probabilities = (uint16_t *)at;
    at += GROUP * QUERY_TILES;
    w->queries = at;
    at += blocks * steps * QUERY_TILES;
    w->out = (float *)at;
    at += blocks * steps * 32 * QUERIES * sizeof(float);
    w->reference = (float *)at;
    at += blocks * QUERIES * sizeof(float);
    w->sum = (float *)at;
    at += blocks * QUERIES * sizeof(float);
    w->keys = at;
    at += per_block * group_bytes;
    w->values = at;
    at += per_block * group_bytes;
    return (size_t)(at - memory);
}

size_t amx_attention_memory(int64_t queries, int64_t keys, int width)
{
    struct amx_attention a = {.queries = queries, .keys = keys, .width = width};
    struct work w = {.a = &a};
    return lay_out(&w, NULL);
}

/* ---- reordering --------------------------------------------------------------------------- */

/* Which of 32 elements from `first` are below `count`. */
static __mmask32 below(int64_t first, int64_t count)
{
    int64_t left = count - first;
    return left >= 32 ? 0xffffffff : left <= 0 ? 0 : ((uint32_t)1 << left) - 1;
}

/* Rows [0, 16) from `row` on of 32 elements each, zeros beyond `rows`. */
static ALWAYS_INLINE void load_rows(__m512i r[16], const uint16_t *from, int64_t stride,
                                    int64_t row, int64_t rows, __mmask32 columns)
{
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        r[i] = row + i < rows ? _mm512_maskz_loadu_epi16(columns, from + (row + i) * stride)
                              : _mm512_setzero_si512();
}

/* A head's part of a key or value lies far from the next: the processor does not foresee it. */
static ALWAYS_INLINE void fetch_key(const struct amx_attention *a, int64_t key)
{
    if (key >= a->keys)
        return;
    for (int d = 0; d < a->width; d += 32) {
        _mm_prefetch(a->k + key * a->k_stride + d, _MM_HINT_T1);
        _mm_prefetch(a->v + key * a->v_stride + d, _MM_HINT_T1);
    }
}

/* Factor b of the scores: row i of a tile holds the pairs (2i, 2i + 1) of D of 16 queries. */
static void pack_queries(const struct work *w)
{
    const struct amx_attention *a = w->a;
    char *to = w->queries;
    for (int64_t block = 0; block < w->blocks; block++) {
        for (int step = 0; step < w->steps; step++) {
            for (int half = 0; half < 2; half++, to += TILE_BYTES) {
                __m512i r[16];
                load_rows(r, a->q + 32 * step, a->q_stride, block * QUERIES + 16 * half,
                          a->queries, below(32 * step, a->width));
                transpose_16x16(r);
                for (int i = 0; i < 16; i++)
                    _mm512_store_si512(to + 64 * i, r[i]);
            }
        }
    }
}

/* Factor a of the scores: rows are keys. */
static void pack_keys(const struct work *w, int64_t first, int64_t pieces)
{
    const struct amx_attention *a = w->a;
    char *to = w->keys;
    for (int64_t piece = 0; piece < pieces; piece++) {
        for (int step = 0; step < w->steps; step++) {
            for (int half = 0; half < 2; half++, to += TILE_BYTES) {
                __m512i r[16];
                load_rows(r, a->k + 32 * step, a->k_stride, first + piece * PIECE + 16 * half,
                          a->keys, below(32 * step, a->width));
                for (int i = 0; i < 16; i++)
                    _mm512_store_si512(to + 64 * i, r[i]);
            }
        }
    }
}

/* [16 of D, PIECE keys] from [PIECE keys, 16 of D]. */
static ALWAYS_INLINE void pack_value_tile(char *to, const uint16_t *from, int64_t stride,
                                          int64_t rows, __mmask16 columns)
{
    __m512i r[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        __m256i even = _mm256_setzero_si256(), odd = even;
        if (2 * i < rows)
            even = _mm256_maskz_loadu_epi16(columns, from + 2 * i * stride);
        if (2 * i + 1 < rows)
            odd = _mm256_maskz_loadu_epi16(columns, from + (2 * i + 1) * stride);
        r[i] = _mm512_or_si512(_mm512_cvtepu16_epi32(even),
                               _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
    }
    transpose_16x16(r);
    for (int i = 0; i < 16; i++)
        _mm512_store_si512(to + 64 * i, r[i]);
}

/* Factor a of the output: rows are elements of D. */
static void pack_values(const struct work *w, int64_t first, int64_t pieces)
{
    const struct amx_attention *a = w->a;
    for (int64_t piece = 0; piece < pieces; piece++) {
        int64_t group = piece / GROUP * GROUP, key = first + piece * PIECE;
        int64_t count = pieces - group < GROUP ? pieces - group : GROUP;
        char *to = w->values + (group * w->steps + piece - group) * 2 * TILE_BYTES;
        for (int step = 0; step < w->steps; step++, to += count * 2 * TILE_BYTES) {
            for (int half = 0; half < 2; half++) {
                int64_t d = 32 * step + 16 * half;
                pack_value_tile(to + half * TILE_BYTES, a->v + key * a->v_stride + d, a->v_stride,
                                a->keys - key, (__mmask16)below(d, a->width));
            }
        }
    }
}

/* ---- softmax ------------------------------------------------------------------------------ */

/* Scalars, no arrays: they stay in registers only so. */
struct softmax {
    __m512 factor;                 /* scale, to base 2 */
    __m512 reference_a, reference_b; /* of the first 16 queries, of the others */
    __m512 sum_a, sum_b;
};

/* 2^x to 0.2 %, which is less than bf16 rounds by: the fraction by a parabola (minimax on [0, 1)), the
 * exponent by the instruction for it. Half a unit of bf16 is added to the fraction, so that cutting
 * off rounds. Sums of such values are too large by SURPLUS, within 0.1 %. */
#define HALF_UNIT 0x1p-8f
#define SURPLUS 1.0028f /* mean of 1 + 2^-8 / x, x being uniform in its logarithm on [1, 2) */

static ALWAYS_INLINE __m512 exp2_coarse(__m512 x)
{
    __m512 fraction = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.33718944f), fraction, _mm512_set1_ps(0.65763628f));
    p = _mm512_fmadd_ps(p, fraction, _mm512_set1_ps(1.0017247f + HALF_UNIT));
    return _mm512_scalef_ps(p, x);
}

/* Pairs of bf16, cut off: a the low half, b the high. */
static ALWAYS_INLINE __m512i pair_bf16(__m512 a, __m512 b)
{
    return _mm512_ternarylogic_epi32(_mm512_set1_epi32((int)0xffff0000), _mm512_castps_si512(b),
                                     _mm512_srli_epi32(_mm512_castps_si512(a), 16),
                                     0xea); /* high & b | low */
}

/* Scores of two keys to a row of probabilities. */
static ALWAYS_INLINE void make_probabilities(struct softmax *s, const float *scores,
                                             uint16_t *to, int pair)
{
    const float *from = scores + 2 * pair * QUERIES;
    asm volatile("" : : : "memory"); /* stay between the tile instructions around */
    __m512 a0 = _mm512_fmsub_ps(_mm512_load_ps(from), s->factor, s->reference_a);
    __m512 b0 = _mm512_fmsub_ps(_mm512_load_ps(from + 16), s->factor, s->reference_b);
    __m512 a1 = _mm512_fmsub_ps(_mm512_load_ps(from + 32), s->factor, s->reference_a);
    __m512 b1 = _mm512_fmsub_ps(_mm512_load_ps(from + 48), s->factor, s->reference_b);
    a0 = exp2_coarse(a0);
    a1 = exp2_coarse(a1);
    b0 = exp2_coarse(b0);
    b1 = exp2_coarse(b1);
    s->sum_a = _mm512_add_ps(s->sum_a, _mm512_add_ps(a0, a1));
    s->sum_b = _mm512_add_ps(s->sum_b, _mm512_add_ps(b0, b1));
    _mm512_store_si512(to + 32 * pair, pair_bf16(a0, a1));
    _mm512_store_si512(to + TILE_BYTES / 2 + 32 * pair, pair_bf16(b0, b1));
    asm volatile("" : "+v"(s->sum_a), "+v"(s->sum_b) : : "memory");
}

/* ---- products ----------------------------------------------------------------------------- */

/* Probabilities to make while tiles are multiplied: those of the piece before. */
struct overlap {
    struct softmax *softmax; /* NULL: nothing to do */
    const float *scores;
    uint16_t *to;
};

/* Product number `done` of `all` has begun: its share of PIECE / 2 pairs of keys. */
static ALWAYS_INLINE void overlap(const struct overlap *o, int done, int all)
{
    if (!o->softmax)
        return;
#pragma GCC unroll 16
    for (int pair = done * 16 / all; pair < (done + 1) * 16 / all; pair++)
        make_probabilities(o->softmax, o->scores, o->to, pair);
}

/* scores [PIECE, QUERIES] = keys * queries. */
static ALWAYS_INLINE void multiply_scores(float *scores, const char *keys, const char *queries,
                                          int steps, const struct overlap *o)
{
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
#pragma GCC unroll 12
    for (int i = 0; i < steps; i++, keys += KEY_TILES, queries += QUERY_TILES) {
        TILE_STREAM(4, keys, 64);
        TILE_LOAD(6, queries, 64);
        TILE_STREAM(5, keys + TILE_BYTES, 64);
        TILE_LOAD(7, queries + TILE_BYTES, 64);
        TILE_MULTIPLY(0, 4, 6);
        overlap(o, 4 * i, 4 * steps);
        TILE_MULTIPLY(1, 4, 7);
        overlap(o, 4 * i + 1, 4 * steps);
        TILE_MULTIPLY(2, 5, 6);
        overlap(o, 4 * i + 2, 4 * steps);
        TILE_MULTIPLY(3, 5, 7);
        overlap(o, 4 * i + 3, 4 * steps);
    }
    TILE_STORE(0, scores, 4 * QUERIES);
    TILE_STORE(1, scores + 16, 4 * QUERIES);
    TILE_STORE(2, scores + 16 * QUERIES, 4 * QUERIES);
    TILE_STORE(3, scores + 16 * QUERIES + 16, 4 * QUERIES);
}

/* out [D, QUERIES] += values * probabilities of `pieces` pieces; `first`: out = */
static ALWAYS_INLINE void multiply_values(float *out, const char *values,
                                          const uint16_t *probabilities, int steps, int pieces,
                                          bool first)
{
    for (int i = 0; i < steps; i++, out += 32 * QUERIES) {
        const char *p = (const char *)probabilities;
        if (first) {
            TILE_ZERO(0);
            TILE_ZERO(1);
            TILE_ZERO(2);
            TILE_ZERO(3);
        } else {
            TILE_LOAD(0, out, 4 * QUERIES);
            TILE_LOAD(1, out + 16, 4 * QUERIES);
            TILE_LOAD(2, out + 16 * QUERIES, 4 * QUERIES);
            TILE_LOAD(3, out + 16 * QUERIES + 16, 4 * QUERIES);
        }
#pragma GCC unroll 8
        for (int j = 0; j < pieces; j++, values += 2 * TILE_BYTES, p += 2 * TILE_BYTES) {
            TILE_STREAM(4, values, 64);
            TILE_LOAD(6, p, 64);
            TILE_STREAM(5, values + TILE_BYTES, 64);
            TILE_LOAD(7, p + TILE_BYTES, 64);
            TILE_MULTIPLY(0, 4, 6);
            TILE_MULTIPLY(1, 4, 7);
            TILE_MULTIPLY(2, 5, 6);
            TILE_MULTIPLY(3, 5, 7);
        }
        TILE_STORE(0, out, 4 * QUERIES);
        TILE_STORE(1, out + 16, 4 * QUERIES);
        TILE_STORE(2, out + 16 * QUERIES, 4 * QUERIES);
        TILE_STORE(3, out + 16 * QUERIES + 16, 4 * QUERIES);
    }
}

/* ---- a block of queries and a block of keys ----------------------------------------------- */

struct meeting {
    const struct work *w;
    int64_t block;  /* of queries */
    int64_t pieces; /* of keys */
    int64_t keys;   /* that are there; the last piece may be filled up */
    bool first;     /* keys these queries meet */
    int64_t next;   /* key of the next block to bring into the cache meanwhile; past all: none */
};

/* Scores of a piece; those of keys that are not there become -FLT_MAX / 2. */
static ALWAYS_INLINE void score_piece(const struct meeting *m, int64_t piece, int steps,
                                      const struct overlap *o)
{
    const struct work *w = m->w;
    multiply_scores(w->scores, w->keys + piece * steps * KEY_TILES,
                    w->queries + m->block * steps * QUERY_TILES, steps, o);
    for (int64_t i = m->keys - piece * PIECE; i < PIECE; i++) {
        _mm512_store_ps(w->scores + i * QUERIES, _mm512_set1_ps(-0x1p126f));
        _mm512_store_ps(w->scores + i * QUERIES + 16, _mm512_set1_ps(-0x1p126f));
    }
}

/* The largest scores of a piece, beside what they are already. */
static ALWAYS_INLINE void find_most(const float *scores, __m512 factor, __m512 *a, __m512 *b)
{
    for (int i = 0; i < PIECE; i++, scores += QUERIES) {
        *a = _mm512_max_ps(*a, _mm512_mul_ps(_mm512_load_ps(scores), factor));
        *b = _mm512_max_ps(*b, _mm512_mul_ps(_mm512_load_ps(scores + 16), factor));
    }
}

static ALWAYS_INLINE __m512 whole_above(__m512 x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_POS_INF);
}

static ALWAYS_INLINE bool is_far(__m512 sum_a, __m512 sum_b)
{
    __m512 limit = _mm512_set1_ps(FAR);
    return _mm512_cmp_ps_mask(sum_a, limit, _CMP_NLT_UQ) |
           _mm512_cmp_ps_mask(sum_b, limit, _CMP_NLT_UQ);
}

/* Brings what was summed up to a group to another reference, a power of two away. */
static void move_reference(const struct meeting *m, struct softmax *s, __m512 a, __m512 b,
                           bool has_out)
{
    __m512 shift_a = _mm512_sub_ps(s->reference_a, a), shift_b = _mm512_sub_ps(s->reference_b, b);
    float *out = m->w->out + m->block * m->w->steps * 32 * QUERIES;
    for (int d = 0; has_out && d < 32 * m->w->steps; d++, out += QUERIES) {
        _mm512_store_ps(out, _mm512_scalef_ps(_mm512_load_ps(out), shift_a));
        _mm512_store_ps(out + 16, _mm512_scalef_ps(_mm512_load_ps(out + 16), shift_b));
    }
    s->sum_a = _mm512_scalef_ps(s->sum_a, shift_a);
    s->sum_b = _mm512_scalef_ps(s->sum_b, shift_b);
    s->reference_a = a;
    s->reference_b = b;
}

/* Makes a group's probabilities again, with a better reference: `s` is as it was before the group. */
static __attribute__((noinline)) void redo_group(const struct meeting *m, struct softmax *s,
                                                 int64_t group, int64_t count)
{
    const struct work *w = m->w;
    const struct overlap none = {NULL};
    __m512 most_a = s->reference_a, most_b = s->reference_b;
    for (int64_t i = 0; i < count; i++) {
        score_piece(m, group + i, w->steps, &none);
        find_most(w->scores, s->factor, &most_a, &most_b);
    }
    move_reference(m, s, whole_above(most_a), whole_above(most_b), !m->first || group);
    for (int64_t i = 0; i < count; i++) {
        score_piece(m, group + i, w->steps, &none);
        for (int pair = 0; pair < PIECE / 2; pair++)
            make_probabilities(s, w->scores, w->probabilities + i * TILE_BYTES, pair);
    }
    if (group + count < m->pieces)
        score_piece(m, group + count, w->steps, &none);
}

/* The softmax of queries whose first piece has been scored. */
static ALWAYS_INLINE struct softmax begin_softmax(const struct meeting *m)
{
    const float *sum = m->w->sum + m->block * QUERIES;
    const float *reference = m->w->reference + m->block * QUERIES;
    struct softmax s = {.factor = _mm512_set1_ps(m->w->a->scale * 1.44269504f)};
    if (m->first) {
        __m512 most_a = _mm512_set1_ps(-0x1p100f), most_b = most_a;
        find_most(m->w->scores, s.factor, &most_a, &most_b);
        s.reference_a = whole_above(most_a);
        s.reference_b = whole_above(most_b);
        s.sum_a = s.sum_b = _mm512_setzero_ps();
    } else {
        s.reference_a = _mm512_load_ps(reference);
        s.reference_b = _mm512_load_ps(reference + 16);
        s.sum_a = _mm512_load_ps(sum);
        s.sum_b = _mm512_load_ps(sum + 16);
    }
    return s;
}

static ALWAYS_INLINE void keep_softmax(const struct meeting *m, struct softmax s)
{
    float *sum = m->w->sum + m->block * QUERIES;
    float *reference = m->w->reference + m->block * QUERIES;
    _mm512_store_ps(sum, s.sum_a);
    _mm512_store_ps(sum + 16, s.sum_b);
    _mm512_store_ps(reference, s.reference_a);
    _mm512_store_ps(reference + 16, s.reference_b);
}

static ALWAYS_INLINE void meet(const struct meeting *m, int steps)
{
    const struct work *w = m->w;
    const struct overlap none = {NULL};
    const char *values = w->values;
    float *out = w->out + m->block * steps * 32 * QUERIES;
    score_piece(m, 0, steps, &none);
    struct softmax s = begin_softmax(m);
    for (int64_t group = 0; group < m->pieces; group += GROUP) {
        int count = m->pieces - group < GROUP ? (int)(m->pieces - group) : GROUP;
        __m512 sum_a = s.sum_a, sum_b = s.sum_b;
        for (int i = 0; i < count; i++) {
            const struct overlap o = {&s, w->scores, w->probabilities + i * TILE_BYTES};
            fetch_key(w->a, m->next + group + i);
            if (group + i + 1 < m->pieces)
                score_piece(m, group + i + 1, steps, &o);
            else
                overlap(&o, 0, 1);
        }
        if (__builtin_expect(is_far(s.sum_a, s.sum_b), 0)) {
            struct softmax again = s; /* the address of s goes nowhere: it stays in registers */
            again.sum_a = sum_a;
            again.sum_b = sum_b;
            redo_group(m, &again, group, count);
            s = again;
        }
        if (count == GROUP)
            multiply_values(out, values, w->probabilities, steps, GROUP, m->first && !group);
        else
            multiply_values(out, values, w->probabilities, steps, count, m->first && !group);
        values += (int64_t)count * steps * 2 * TILE_BYTES;
    }
    keep_softmax(m, s);
}

static void meet_any(const struct meeting *m)
{
    switch (m->w->steps) {
    case 1:
        meet(m, 1);
        break;
    case 2:
        meet(m, 2);
        break;
    case 4:
        meet(m, 4);
        break;
    case 12:
        meet(m, 12);
        break;
    default:
        meet(m, m->w->steps);
    }
}

/* ---- output ------------------------------------------------------------------------------- */

static void store_queries(const struct work *w, int64_t block)
{
    const struct amx_attention *a = w->a;
    const float *out = w->out + block * w->steps * 32 * QUERIES;
    for (int d = 0; d < a->width; d += 16) {
        __mmask16 columns = (__mmask16)below(d, a->width);
        for (int half = 0; half < 2; half++) {
            int64_t query = block * QUERIES + 16 * half;
            __m512 inverse = _mm512_div_ps(
                _mm512_set1_ps(SURPLUS), _mm512_load_ps(w->sum + block * QUERIES + 16 * half));
            __m512i r[16];
            for (int i = 0; i < 16; i++)
                r[i] = _mm512_castps_si512(_mm512_mul_ps(
                    _mm512_load_ps(out + (d + i) * QUERIES + 16 * half), inverse));
            transpose_16x16(r);
            for (int i = 0; i < 16 && query + i < a->queries; i++)
                _mm256_mask_storeu_epi16(a->y + (query + i) * a->y_stride + d, columns,
                                         bf16_of(_mm512_castsi512_ps(r[i])));
        }
    }
}

void amx_attention(const struct amx_attention *attention, void *memory)
{
    struct work w = {.a = attention};
    lay_out(&w, memory);
    tiles_begin();
    pack_queries(&w);
    for (int64_t first = 0; first < attention->keys; first += w.block_keys) {
        int64_t keys = attention->keys - first;
        keys = keys < w.block_keys ? keys : w.block_keys;
        struct meeting m = {&w, 0, (keys + PIECE - 1) / PIECE, keys, first == 0, 0};
        pack_keys(&w, first, m.pieces);
        pack_values(&w, first, m.pieces);
        for (; m.block < w.blocks; m.block++) {
            /* the last PIECE blocks of queries fetch, a key for each piece they meet */
            int64_t late = m.block - (w.blocks - PIECE);
            m.next = late < 0 ? attention->keys : first + w.block_keys + late * m.pieces;
            meet_any(&m);
            if (first + keys == attention->keys)
                store_queries(&w, m.block);
        }
    }
    tiles_end();
}
