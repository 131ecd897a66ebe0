#include <float.h>

#include "cpu/kernels/simd.h"

#define LOG2_E 1.44269504f

/* By halves: a chain of additions would take as long as all the rest of a short row. */
static ALWAYS_INLINE float sum_lanes(vector_f32 x)
{
    float lane[VECTOR_FLOATS];
    *(vector_f32 *)lane = x;
#pragma GCC unroll 4
    for (int half = VECTOR_FLOATS / 2; half; half /= 2)
#pragma omp simd
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

/* Sum of x - middle or of its squares. Four vectors of sums: enough to hide the latency of
 * additions, and the rounding errors of long rows stay small whatever the compiler makes of it. */
static ALWAYS_INLINE float sum_f32(const float *x, int64_t n, float middle, const bool squared)
{
    vector_f32 sum[4] = {{0}};
    float rest = 0;
    int64_t i = 0;
    for (; i + 4 * VECTOR_FLOATS <= n; i += 4 * VECTOR_FLOATS) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            vector_f32 d = *(const vector_f32 *)(x + i + j * VECTOR_FLOATS) - middle;
            if (squared)
                d *= d;
            sum[j] += d;
        }
    }
    for (; i + VECTOR_FLOATS <= n; i += VECTOR_FLOATS) {
        vector_f32 d = *(const vector_f32 *)(x + i) - middle;
        if (squared)
            d *= d;
        sum[0] += d;
    }
    for (; i < n; i++) {
        float d = x[i] - middle;
        rest += squared ? d * d : d;
    }
    return rest + sum_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

static float sum_row(struct cpu_row x, int64_t n, float middle, const bool squared)
{
    float buffer[CHUNK], total = 0;
    FOR_CHUNKS(begin, count, n)
    {
        const float *from = row_load(x, begin, count, buffer);
        total += squared ? sum_f32(from, count, middle, true) : sum_f32(from, count, 0, false);
    }
    return total;
}

/* 1 / max(sqrt(mean(x^2) + eps), 1e-12 / sqrt(n)) */
static float inverse_rms(struct cpu_row x, float eps, int64_t n)
{
    float rms = sqrtf(sum_row(x, n, 0, true) / (float)n + eps), least = 1e-12f / sqrtf((float)n);
    return 1 / (rms < least ? least : rms);
}

void KERNEL(rms_norm)(struct cpu_row y, struct cpu_row x, const float *gain, float eps, int64_t n,
                      enum activation act)
{
    float buffer[CHUNK], inverse = inverse_rms(x, eps, n);
    FOR_CHUNKS(begin, count, n)
    {
        const float *from = row_load(x, begin, count, buffer), *g = gain + begin;
        float *to = row_target(y, begin, buffer);
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            to[i] = from[i] * inverse * g[i];
        if (act != ACT_NONE)
            activate_f32(to, to, count, act);
        row_store(y, begin, count, to);
    }
}

/* Short rows (the channels of a pixel) are taken several at a time, so that loading, roots,
 * activation and storing run over whole vectors whatever the row's length. */
void KERNEL(rms_norm_rows)(struct cpu_row y, struct cpu_row x, const float *gain, float eps,
                           int64_t rows, int64_t n, enum activation act)
{
    float in[CHUNK], out[CHUNK], inverse[CHUNK], least = 1e-12f / sqrtf((float)n);
    int64_t group = CHUNK / n;
    if (group < 2) {
        for (int64_t r = 0; r < rows; r++)
            KERNEL(rms_norm)(cpu_row_at(y, r * n), cpu_row_at(x, r * n), gain, eps, n, act);
        return;
    }
    for (int64_t r = 0; r < rows; r += group) {
        int64_t count = rows - r < group ? rows - r : group;
        const float *from = row_load(x, r * n, count * n, in);
        for (int64_t k = 0; k < count; k++)
            inverse[k] = sum_f32(from + k * n, n, 0, true);
#pragma omp simd
        for (int64_t k = 0; k < count; k++) { /* as inverse_rms() */
            float rms = sqrtf(inverse[k] / (float)n + eps);
            inverse[k] = 1 / (rms < least ? least : rms);
        }
        for (int64_t k = 0; k < count; k++) {
            const float *row = from + k * n;
            float *to = out + k * n;
#pragma omp simd
            for (int64_t i = 0; i < n; i++)
                to[i] = row[i] * inverse[k] * gain[i];
        }
        float *to = row_target(y, r * n, out);
        activate_f32(to, out, count * n, act);
        row_store(y, r * n, count * n, to);
    }
}

void KERNEL(layer_norm)(struct cpu_row y, struct cpu_row x, const float *scale, const float *shift,
                        float eps, float scale_offset, int64_t n)
{
    float buffer[CHUNK], mean = sum_row(x, n, 0, false) / (float)n;
    /* The variance is summed around the mean: E(x^2) - E(x)^2 would cancel. */
    float inverse = 1 / sqrtf(sum_row(x, n, mean, true) / (float)n + eps);
    FOR_CHUNKS(begin, count, n)
    {
        const float *from = row_load(x, begin, count, buffer);
        const float *a = scale + begin, *b = shift + begin;
        float *to = row_target(y, begin, buffer);
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            to[i] = (from[i] - mean) * inverse * (scale_offset + a[i]) + b[i];
        row_store(y, begin, count, to);
    }
}

/* Pairs are exchanged as the halves of 64 bits, which the vectoriser would not find. */
static void turn_pairs(float *y, const float *x, const float *turn, int64_t width, int64_t n)
{
    int64_t i = 0;
    for (; i + VECTOR_FLOATS <= n; i += VECTOR_FLOATS) {
        vector_f32 u = *(const vector_f32 *)(x + i);
        vector_u64 pairs = (vector_u64)u;
        vector_f32 v = (vector_f32)(pairs << 32 | pairs >> 32);
        *(vector_f32 *)(y + i) =
            u * *(const vector_f32 *)(turn + i) + v * *(const vector_f32 *)(turn + width + i);
    }
    for (; i < n; i += 2) {
        float u = x[i], v = x[i + 1];
        y[i] = u * turn[i] + v * turn[width + i];
        y[i + 1] = v * turn[i + 1] + u * turn[width + i + 1];
    }
}

void KERNEL(rope)(struct cpu_row y, struct cpu_row x, const float *turn, int64_t heads,
                  int64_t width, const float *gain, float eps)
{
    float buffer[CHUNK], inverse = gain ? inverse_rms(x, eps, heads * width) : 1;
    for (int64_t head = 0; head < heads; head++) {
        FOR_CHUNKS(part, count, width)
        {
            int64_t begin = head * width + part;
            const float *from = row_load(x, begin, count, buffer);
            float *to = row_target(y, begin, buffer);
            if (gain) {
                const float *g = gain + begin;
#pragma omp simd
                for (int64_t i = 0; i < count; i++)
                    to[i] = from[i] * inverse * g[i];
                from = to;
            }
            turn_pairs(to, from, turn + part, width, count);
            row_store(y, begin, count, to);
        }
    }
}

/* ---- softmax ------------------------------------------------------------------------------ */

/* x * scale + bias, to base 2. */
static ALWAYS_INLINE void add_bias(float *x, int64_t ldx, int64_t rows, int64_t n, float scale,
                                   const float *bias)
{
    for (int64_t r = 0; r < rows; r++, x += ldx) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            x[i] = x[i] * scale + (bias ? bias[r - i] * LOG2_E : 0);
    }
}

/* Rows four at a time, so that maxima are loaded and stored less often. */
static ALWAYS_INLINE void column_maxima(float *most, const float *x, int64_t ldx, int64_t rows,
                                        int64_t n)
{
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4, x += 4 * ldx) {
        const float *x1 = x + ldx, *x2 = x1 + ldx, *x3 = x2 + ldx;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float a = x[i] > x1[i] ? x[i] : x1[i], b = x2[i] > x3[i] ? x2[i] : x3[i];
            a = a > b ? a : b;
            most[i] = a > most[i] ? a : most[i];
        }
    }
    for (; r < rows; r++, x += ldx) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            most[i] = x[i] > most[i] ? x[i] : most[i];
    }
}

void KERNEL(softmax)(float *x, int64_t ldx, int64_t rows, int64_t n, float scale, const float *bias,
                     float *most, float *sum, float *fade)
{
    float highest[CPU_SOFTMAX_COLUMNS];
    scale *= LOG2_E;
    if (bias || scale < 0) {
        add_bias(x, ldx, rows, n, scale, bias);
        scale = 1;
    }
    for (int64_t i = 0; i < n; i++)
        highest[i] = -FLT_MAX;
    column_maxima(highest, x, ldx, rows, n);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float now = highest[i] * scale > most[i] ? highest[i] * scale : most[i];
        fade[i] = sum[i] > 0 ? exp2_f32(most[i] - now) : 1;
        sum[i] *= fade[i];
        most[i] = now;
    }
    for (int64_t r = 0; r < rows; r++, x += ldx) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            x[i] = exp2_f32(x[i] * scale - most[i]);
            sum[i] += x[i];
        }
    }
}
