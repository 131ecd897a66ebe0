/* The transforms of Winograd's F(4x4, 3x3) (Lavin and Gray, Fast Algorithms for Convolutional Neural
 * Networks, 2015) at the points 0, A, -A, B, -B and infinity. These A and B are exact, as is all that is
 * made of them here, and have less than half the error of 1 and 2. A vector holds neighbouring channels
 * of one place. */
#include "cpu/kernels/simd.h"

#define A CPU_WINOGRAD_A
#define B CPU_WINOGRAD_B

/* y = B^T x */
static ALWAYS_INLINE void transform_input(vector_f32 *y, const int step, const vector_f32 x[6])
{
    vector_f32 even_a = x[4] - B * B * x[2], odd_a = x[3] - B * B * x[1];
    vector_f32 even_b = x[4] - A * A * x[2], odd_b = x[3] - A * A * x[1];
    y[0] = A * A * B * B * x[0] - (A * A + B * B) * x[2] + x[4];
    y[step] = even_a + A * odd_a;
    y[2 * step] = even_a - A * odd_a;
    y[3 * step] = even_b + B * odd_b;
    y[4 * step] = even_b - B * odd_b;
    y[5 * step] = A * A * B * B * x[1] - (A * A + B * B) * x[3] + x[5];
}

static ALWAYS_INLINE void input(float *y, int64_t step, struct cpu_row x, int64_t row,
                                int64_t pixel, int64_t n, const bool bf16)
{
    for (int64_t i = 0; i < n; i += VECTOR_FLOATS) {
        vector_f32 half[36], line[6];
        for (int c = 0; c < 6; c++) {
#pragma GCC unroll 6
            for (int r = 0; r < 6; r++) {
                int64_t at = r * row + c * pixel + i;
                line[r] = bf16 ? load_bf16((const uint16_t *)x.data + at)
                               : load_f32((const float *)x.data + at);
            }
            transform_input(half + c, 6, line);
        }
        for (int r = 0; r < 6; r++) {
            transform_input(line, 1, half + 6 * r);
#pragma GCC unroll 6
            for (int c = 0; c < 6; c++)
                *(vector_f32 *)(y + (6 * r + c) * step + i) = line[c];
        }
    }
}

void KERNEL(winograd_input)(float *y, int64_t step, struct cpu_row x, int64_t row, int64_t pixel,
                            int64_t n)
{
    if (x.type == TENSOR_F32)
        input(y, step, x, row, pixel, n, false);
    else
        input(y, step, x, row, pixel, n, true);
}

/* y = A^T x */
static ALWAYS_INLINE void transform_output(vector_f32 *y, const int step, const vector_f32 x[6])
{
    vector_f32 sum_a = x[1] + x[2], difference_a = x[1] - x[2];
    vector_f32 sum_b = x[3] + x[4], difference_b = x[3] - x[4];
    y[0] = x[0] + sum_a + sum_b;
    y[step] = A * difference_a + B * difference_b;
    y[2 * step] = A * A * sum_a + B * B * sum_b;
    y[3 * step] = A * A * A * difference_a + B * B * B * difference_b + x[5];
}

void KERNEL(winograd_output)(float *y, int64_t row, int64_t pixel, const float *x, int64_t step,
                             const float *bias, int64_t n)
{
    for (int64_t i = 0; i < n; i += VECTOR_FLOATS) {
        vector_f32 half[24], line[6];
        for (int c = 0; c < 6; c++) {
#pragma GCC unroll 6
            for (int r = 0; r < 6; r++)
                line[r] = load_f32(x + (6 * r + c) * step + i);
            transform_output(half + c, 6, line);
        }
        for (int r = 0; r < 4; r++) {
            transform_output(line, 1, half + 6 * r);
#pragma GCC unroll 4
            for (int c = 0; c < 4; c++)
                *(vector_f32 *)(y + r * row + c * pixel + i) = line[c] + load_f32(bias + i);
        }
    }
}
