/* Inner loops, compiled once for each instruction set from the same source (kernels/), chosen at
 * run time. They work on rows in one thread, know no tensors and cannot fail. */
#pragma once

#include <stddef.h>

#include "backend/backend.h"

/* n contiguous elements of either type (f32, bf16). */
struct cpu_row {
    void *data;
    enum tensor_type type;
};

/* Floats that cpu_kernels.gemm multiplies a row of weights by at once are never more than this. */
#define CPU_GEMM_WIDTH_MAX 32
#define CPU_SOFTMAX_COLUMNS 96
#define CPU_WINOGRAD_A 0.625f /* points of Winograd's transforms: 0, A, -A, B, -B, infinity */
#define CPU_WINOGRAD_B 1.5f

/* A product whose inputs come in pieces: rows [0, m) of each piece of x [pieces, .., k], which are
 * `apart` elements from one another, by w [pieces, k, width]; rows of the result are ldy apart. */
struct cpu_pieces {
    const float *x, *w;
    int64_t m, k, pieces, apart;
    int64_t ldy;
    bool add; /* to what y holds */
};

struct cpu_kernels {
    /* Unless said otherwise y may be x: the same memory, type and place. */

    void (*convert)(struct cpu_row y, struct cpu_row x, int64_t n);
    void (*activate)(struct cpu_row y, struct cpu_row x, int64_t n, enum activation act);
    void (*mul)(struct cpu_row y, struct cpu_row a, struct cpu_row b, int64_t n);
    /* x += y * gate; gate NULL: 1 */
    void (*add_gated)(struct cpu_row x, struct cpu_row y, const float *gate, int64_t n);
    void (*combine)(float *y, int terms, const float *factor, const float *const *x, int64_t n);

    void (*rms_norm)(struct cpu_row y, struct cpu_row x, const float *gain, float eps, int64_t n,
                     enum activation act);
    /* The same for `rows` rows that follow one another without gaps. */
    void (*rms_norm_rows)(struct cpu_row y, struct cpu_row x, const float *gain, float eps,
                          int64_t rows, int64_t n, enum activation act);
    void (*layer_norm)(struct cpu_row y, struct cpu_row x, const float *scale, const float *shift,
                       float eps, float scale_offset, int64_t n);
    /* heads rows of `width` (even): element i becomes x[i] * turn[i] + x[i ^ 1] * turn[width + i].
     * With gain [heads * width] the whole is RMS-normed first, else gain is NULL. */
    void (*rope)(struct cpu_row y, struct cpu_row x, const float *turn, int64_t heads,
                 int64_t width, const float *gain, float eps);

    /* Softmax in pieces, down n columns (at most CPU_SOFTMAX_COLUMNS) of x [rows, n], rows ldx
     * apart. Scores are s = (x * scale + bias[row - column]) * log2 e, bias NULL: 0. A column's
     * `most` grows to its highest score, x becomes 2^(s - most) and sum becomes sum * fade + sum of
     * x, where fade = 2^(most before - most), 1 if there was nothing to fade. */
    void (*softmax)(float *x, int64_t ldx, int64_t rows, int64_t n, float scale, const float *bias,
                    float *most, float *sum, float *fade);

    /* y [m, gemm_width] += x [m, k] w [k, gemm_width]: rows ldy, ldx, ldw elements apart. w is f32
     * or bf16; nothing overlaps. */
    int gemm_width;
    int gemm_rows; /* m is best a multiple of this */
    void (*gemm)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m, int64_t k,
                 struct cpu_row w, int64_t ldw);
    /* The same with x [k, m], rows ldx apart. */
    void (*gemm_columns)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m, int64_t k,
                         const float *w, int64_t ldw);
    /* y [m, width] = or += the product of pieces; width is gemm_width, narrow: half of it. Nothing
     * overlaps. */
    void (*gemm_pieces)(float *y, const struct cpu_pieces *pieces, bool narrow);

    /* Winograd's F(4x4, 3x3), see winograd.h, n channels side by side, a multiple of gemm_width / 2:
     * the 36 values, `step` elements apart, that a patch x of 6x6 pixels becomes, whose rows and pixels
     * are `row` and `pixel` elements apart; and the 4x4 pixels y that 36 sums become, plus bias.
     * Nothing overlaps. */
    void (*winograd_input)(float *y, int64_t step, struct cpu_row x, int64_t row, int64_t pixel,
                           int64_t n);
    void (*winograd_output)(float *y, int64_t row, int64_t pixel, const float *x, int64_t step,
                            const float *bias, int64_t n);

    /* y [panels, n, gemm_width] = x [n, k] cut into panels of columns, filled up with zeros. */
    void (*panels)(float *y, struct cpu_row x, int64_t ldx, int64_t n, int64_t k);
    /* y [k, width of n] = x [n, k] transposed: rows ldy, ldx elements apart. */
    void (*transpose)(float *y, int64_t ldy, struct cpu_row x, int64_t ldx, int64_t n, int64_t k);

    /* One row of n pixels, x [n, 3] to 8 bits: x * scale + offset in [0, 1]. */
    void (*picture_packed)(uint8_t *y, bool bgrx, struct cpu_row x, int64_t n, float scale,
                           float offset);
    /* Two rows of n (even) pixels. Chroma samples are `step` bytes apart. */
    void (*picture_yuv)(uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v, int step,
                        struct cpu_row x0, struct cpu_row x1, int64_t n, float scale, float offset);
};

extern const struct cpu_kernels cpu_kernels_baseline, cpu_kernels_avx2, cpu_kernels_avx512;

/* The row that begins `elements` further. */
static inline struct cpu_row cpu_row_at(struct cpu_row x, int64_t elements)
{
    return (struct cpu_row){(char *)x.data + elements * (x.type == TENSOR_F32 ? 4 : 2), x.type};
}
