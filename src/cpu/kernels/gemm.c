/* Matrix products of packed weights. A tile of GEMM_ROWS x GEMM_WIDTH sums lives in registers: two
 * vectors of weights are loaded and each is multiplied by one value of every row, so that loads are
 * few beside the multiply-adds, which are the bound. */
#include "cpu/kernels/simd.h"

/* sum += x w. `step` is from one row of x to the next, `next` from one input to the next: one of them
 * is 1. */
static ALWAYS_INLINE void multiply(vector_f32 sum[][GEMM_VECTORS], const float *x, int64_t step,
                                   int64_t next, int64_t k, struct cpu_row w, int64_t ldw,
                                   const int rows, const int vectors, const bool bf16)
{
    const float *w32 = w.data;
    const uint16_t *w16 = w.data;
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
}

static ALWAYS_INLINE void load_sums(vector_f32 sum[][GEMM_VECTORS], const float *y, int64_t ldy,
                                    const int rows, const int vectors)
{
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            sum[r][j] = load_f32(y + r * ldy + j * VECTOR_FLOATS);
}

static ALWAYS_INLINE void store_sums(float *y, int64_t ldy, vector_f32 sum[][GEMM_VECTORS],
                                     const int rows, const int vectors)
{
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            *(vector_f32 *)(y + r * ldy + j * VECTOR_FLOATS) = sum[r][j];
}

static ALWAYS_INLINE void tile(float *y, int64_t ldy, const float *x, int64_t step, int64_t next,
                               int64_t k, struct cpu_row w, int64_t ldw, const int rows,
                               const bool bf16)
{
    vector_f32 sum[GEMM_ROWS][GEMM_VECTORS];
    load_sums(sum, y, ldy, rows, GEMM_VECTORS);
    multiply(sum, x, step, next, k, w, ldw, rows, GEMM_VECTORS, bf16);
    store_sums(y, ldy, sum, rows, GEMM_VECTORS);
}

static ALWAYS_INLINE void tiles(float *y, int64_t ldy, const float *x, const int64_t step,
                                const int64_t next, int64_t m, int64_t k, struct cpu_row w,
                                int64_t ldw, const bool bf16)
{
    for (; m >= GEMM_ROWS; m -= GEMM_ROWS, x += GEMM_ROWS * step, y += GEMM_ROWS * ldy)
        tile(y, ldy, x, step, next, k, w, ldw, GEMM_ROWS, bf16);
    for (; m >= 6; m -= 6, x += 6 * step, y += 6 * ldy)
        tile(y, ldy, x, step, next, k, w, ldw, 6, bf16);
    for (; m >= 3; m -= 3, x += 3 * step, y += 3 * ldy)
        tile(y, ldy, x, step, next, k, w, ldw, 3, bf16);
    for (; m; m--, x += step, y += ldy)
        tile(y, ldy, x, step, next, k, w, ldw, 1, bf16);
}

void KERNEL(gemm)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m, int64_t k,
                  struct cpu_row w, int64_t ldw)
{
    if (w.type == TENSOR_F32)
        tiles(y, ldy, x, ldx, 1, m, k, w, ldw, false);
    else
        tiles(y, ldy, x, ldx, 1, m, k, w, ldw, true);
}

void KERNEL(gemm_columns)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m, int64_t k,
                          const float *w, int64_t ldw)
{
    tiles(y, ldy, x, 1, ldx, m, k, (struct cpu_row){(void *)w, TENSOR_F32}, ldw, false);
}

static ALWAYS_INLINE void tile_of_pieces(float *y, const struct cpu_pieces *p, int64_t row,
                                         const int rows, const int vectors)
{
    const int width = vectors * VECTOR_FLOATS;
    const float *x = p->x + row * p->k;
    struct cpu_row w = {(void *)p->w, TENSOR_F32};
    vector_f32 sum[GEMM_ROWS][GEMM_VECTORS] = {0};
    y += row * p->ldy;
    if (p->add)
        load_sums(sum, y, p->ldy, rows, vectors);
    for (int64_t i = 0; i < p->pieces; i++, x += p->apart, w = cpu_row_at(w, p->k * width))
        multiply(sum, x, p->k, 1, p->k, w, width, rows, vectors, false);
    store_sums(y, p->ldy, sum, rows, vectors);
}

static ALWAYS_INLINE void tiles_of_pieces(float *y, const struct cpu_pieces *p, const int vectors)
{
    int64_t row = 0;
    for (; p->m - row >= GEMM_ROWS; row += GEMM_ROWS)
        tile_of_pieces(y, p, row, GEMM_ROWS, vectors);
    for (; p->m - row >= 6; row += 6)
        tile_of_pieces(y, p, row, 6, vectors);
    for (; p->m - row >= 3; row += 3)
        tile_of_pieces(y, p, row, 3, vectors);
    for (; row < p->m; row++)
        tile_of_pieces(y, p, row, 1, vectors);
}

void KERNEL(gemm_pieces)(float *y, const struct cpu_pieces *p, bool narrow)
{
    if (narrow)
        tiles_of_pieces(y, p, 1);
    else
        tiles_of_pieces(y, p, GEMM_VECTORS);
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
