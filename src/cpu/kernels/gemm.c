/* Matrix products of packed weights. A tile of GEMM_ROWS x GEMM_WIDTH sums lives in registers: two
 * vectors of weights are loaded and each is multiplied by one value of every row, so that loads are
 * few beside the multiply-adds, which are the bound. */
#include "cpu/kernels/simd.h"

/* What tiles are computed from: pieces of x, `apart` elements from one another, of k inputs each; `step`
 * is from one row of x to the next, `next` from one input to the next, and one of them is 1. */
struct factors {
    const float *x;
    int64_t step, next, k, pieces, apart;
    struct cpu_row w;
    int64_t ldw;
};

static ALWAYS_INLINE void tile(float *y, int64_t ldy, const struct factors *f, int64_t row,
                               const int rows, const int vectors, const bool bf16, const bool add)
{
    vector_f32 sum[GEMM_ROWS][GEMM_VECTORS] = {0};
    const float *x = f->x + row * f->step, *w32 = f->w.data;
    const uint16_t *w16 = f->w.data;
    const int64_t k = f->k, step = f->step, next = f->next, ldw = f->ldw;
    y += row * ldy;
#pragma GCC unroll 16
    for (int r = 0; add && r < rows; r++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            sum[r][j] = load_f32(y + r * ldy + j * VECTOR_FLOATS);
    for (int64_t piece = 0; piece < f->pieces; piece++) {
        for (int64_t i = 0; i < k; i++) {
            vector_f32 weight[GEMM_VECTORS];
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++)
                weight[j] = bf16 ? load_bf16(w16 + i * ldw + j * VECTOR_FLOATS)
                                 : load_f32(w32 + i * ldw + j * VECTOR_FLOATS);
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
                for (int j = 0; j < vectors; j++)
                    sum[r][j] += weight[j] * x[r * step + i * next];
        }
        x += f->apart;
        w32 += k * ldw;
        w16 += k * ldw;
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            *(vector_f32 *)(y + r * ldy + j * VECTOR_FLOATS) = sum[r][j];
}

static ALWAYS_INLINE void tiles(float *y, int64_t ldy, const struct factors *f, int64_t m,
                                const int vectors, const bool bf16, const bool add)
{
    int64_t row = 0;
    for (; m - row >= GEMM_ROWS; row += GEMM_ROWS)
        tile(y, ldy, f, row, GEMM_ROWS, vectors, bf16, add);
    for (; m - row >= 6; row += 6)
        tile(y, ldy, f, row, 6, vectors, bf16, add);
    for (; m - row >= 3; row += 3)
        tile(y, ldy, f, row, 3, vectors, bf16, add);
    for (; row < m; row++)
        tile(y, ldy, f, row, 1, vectors, bf16, add);
}

void KERNEL(gemm)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m, int64_t k,
                  struct cpu_row w, int64_t ldw)
{
    struct factors f = {.x = x, .step = ldx, .next = 1, .k = k, .pieces = 1, .w = w, .ldw = ldw};
    if (w.type == TENSOR_F32)
        tiles(y, ldy, &f, m, GEMM_VECTORS, false, true);
    else
        tiles(y, ldy, &f, m, GEMM_VECTORS, true, true);
}

void KERNEL(gemm_columns)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m, int64_t k,
                          const float *w, int64_t ldw)
{
    struct factors f = {.x = x, .step = 1, .next = ldx, .k = k, .pieces = 1, .w.data = (void *)w,
                        .ldw = ldw};
    tiles(y, ldy, &f, m, GEMM_VECTORS, false, true);
}

void KERNEL(gemm_pieces)(float *y, const struct cpu_pieces *p, bool narrow)
{
    struct factors f = {.x = p->x, .step = p->k, .next = 1, .k = p->k, .pieces = p->pieces,
                        .apart = p->apart, .w.data = (void *)p->w,
                        .ldw = narrow ? VECTOR_FLOATS : GEMM_WIDTH};
    if (narrow && p->add)
        tiles(y, p->ldy, &f, p->m, 1, false, true);
    else if (narrow)
        tiles(y, p->ldy, &f, p->m, 1, false, false);
    else if (p->add)
        tiles(y, p->ldy, &f, p->m, GEMM_VECTORS, false, true);
    else
        tiles(y, p->ldy, &f, p->m, GEMM_VECTORS, false, false);
}

/* Squares of 16 go through a buffer in the first-level cache: whole rows in, whole columns out. */
#define SQUARE 16

static ALWAYS_INLINE void transpose_square(float *y, int64_t ldy, struct cpu_row x, int64_t ldx,
                                           const int rows, const int columns)
{
    float square[SQUARE][SQUARE];
    for (int r = 0; r < rows; r++) {
        const float *from32 = (const float *)x.data + r * ldx;
        const uint16_t *from16 = (const uint16_t *)x.data + r * ldx;
#pragma omp simd
        for (int i = 0; i < columns; i++)
            square[r][i] = x.type == TENSOR_F32 ? from32[i] : bits_float((uint32_t)from16[i] << 16);
    }
    for (int i = 0; i < columns; i++) {
#pragma omp simd
        for (int r = 0; r < rows; r++)
            y[i * ldy + r] = square[r][i];
    }
}

void KERNEL(transpose)(float *y, int64_t ldy, struct cpu_row x, int64_t ldx, int64_t n, int64_t k)
{
    for (int64_t r = 0; r < n; r += SQUARE) {
        for (int64_t i = 0; i < k; i += SQUARE) {
            int rows = n - r < SQUARE ? (int)(n - r) : SQUARE;
            int columns = k - i < SQUARE ? (int)(k - i) : SQUARE;
            struct cpu_row from = cpu_row_at(x, r * ldx + i);
            if (rows == SQUARE && columns == SQUARE)
                transpose_square(y + i * ldy + r, ldy, from, ldx, SQUARE, SQUARE);
            else
                transpose_square(y + i * ldy + r, ldy, from, ldx, rows, columns);
        }
    }
}

static ALWAYS_INLINE void panel_row(float *y, struct cpu_row x, const int64_t count)
{
    const float *from32 = x.data;
    const uint16_t *from16 = x.data;
    if (x.type == TENSOR_F32) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            y[i] = from32[i];
    } else {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            y[i] = bits_float((uint32_t)from16[i] << 16);
    }
}

void KERNEL(panels)(float *y, struct cpu_row x, int64_t ldx, int64_t n, int64_t k)
{
    for (int64_t i = 0; i < n; i++, x = cpu_row_at(x, ldx), y += GEMM_WIDTH) {
        int64_t j = 0;
        for (; j + GEMM_WIDTH <= k; j += GEMM_WIDTH)
            panel_row(y + j * n, cpu_row_at(x, j), GEMM_WIDTH);
        if (j == k)
            continue;
        panel_row(y + j * n, cpu_row_at(x, j), k - j);
        for (int64_t rest = k - j; rest < GEMM_WIDTH; rest++)
            y[j * n + rest] = 0;
    }
}
