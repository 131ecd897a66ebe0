#include "cpu/kernels/simd.h"

static float sum_squares(struct cpu_row x, int64_t n)
{
    float buffer[CHUNK], total = 0;
    FOR_CHUNKS(begin, count, n)
    {
        const float *from = row_load(x, begin, count, buffer);
        float sum = 0;
        _Pragma("omp simd reduction(+ : sum)")
        for (int64_t i = 0; i < count; i++)
            sum += from[i] * from[i];
        total += sum;
    }
    return total;
}

/* 1 / max(sqrt(mean(x^2) + eps), 1e-12 / sqrt(n)) */
static float inverse_rms(struct cpu_row x, float eps, int64_t n)
{
    float rms = sqrtf(sum_squares(x, n) / (float)n + eps), least = 1e-12f / sqrtf((float)n);
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
        SIMD
        for (int64_t i = 0; i < count; i++)
            to[i] = from[i] * inverse * g[i];
        if (act != ACT_NONE)
            activate_f32(to, to, count, act);
        row_store(y, begin, count, to);
    }
}

/* The variance is summed around the mean: E(x^2) - E(x)^2 would cancel. */
static void moments(struct cpu_row x, int64_t n, float *mean, float *variance)
{
    float buffer[CHUNK], sum = 0, squares = 0;
    FOR_CHUNKS(begin, count, n)
    {
        const float *from = row_load(x, begin, count, buffer);
        float part = 0;
        _Pragma("omp simd reduction(+ : part)")
        for (int64_t i = 0; i < count; i++)
            part += from[i];
        sum += part;
    }
    float middle = sum / (float)n;
    FOR_CHUNKS(begin, count, n)
    {
        const float *from = row_load(x, begin, count, buffer);
        float part = 0;
        _Pragma("omp simd reduction(+ : part)")
        for (int64_t i = 0; i < count; i++)
            part += (from[i] - middle) * (from[i] - middle);
        squares += part;
    }
    *mean = middle;
    *variance = squares / (float)n;
}

void KERNEL(layer_norm)(struct cpu_row y, struct cpu_row x, const float *scale, const float *shift,
                        float eps, float scale_offset, int64_t n)
{
    float buffer[CHUNK], mean, variance;
    moments(x, n, &mean, &variance);
    float inverse = 1 / sqrtf(variance + eps);
    FOR_CHUNKS(begin, count, n)
    {
        const float *from = row_load(x, begin, count, buffer);
        const float *a = scale + begin, *b = shift + begin;
        float *to = row_target(y, begin, buffer);
        SIMD
        for (int64_t i = 0; i < count; i++)
            to[i] = (from[i] - mean) * inverse * (scale_offset + a[i]) + b[i];
        row_store(y, begin, count, to);
    }
}

/* Pairs are exchanged by shuffles, which the vectoriser would not find. */
static void turn_pairs(float *y, const float *x, const float *turn, int64_t width, int64_t n)
{
    vector_i32 swapped;
    int64_t i = 0;
    for (int j = 0; j < VECTOR_FLOATS; j++)
        swapped[j] = j ^ 1;
    for (; i + VECTOR_FLOATS <= n; i += VECTOR_FLOATS) {
        vector_f32 u = *(const vector_f32 *)(x + i);
        vector_f32 v = __builtin_shuffle(u, swapped);
        *(vector_f32 *)(y + i) = u * *(const vector_f32 *)(turn + i) +
                                 v * *(const vector_f32 *)(turn + width + i);
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
                SIMD
                for (int64_t i = 0; i < count; i++)
                    to[i] = from[i] * inverse * g[i];
                from = to;
            }
            turn_pairs(to, from, turn + part, width, count);
            row_store(y, begin, count, to);
        }
    }
}

float KERNEL(scale_max)(float *x, float scale, const float *bias, float most, int64_t n)
{
    if (bias) {
        SIMD
        for (int64_t i = 0; i < n; i++)
            x[i] = x[i] * scale + bias[i];
    } else {
        SIMD
        for (int64_t i = 0; i < n; i++)
            x[i] *= scale;
    }
    _Pragma("omp simd reduction(max : most)")
    for (int64_t i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

float KERNEL(exp_sum)(float *x, float most, int64_t n)
{
    float sum = 0;
    _Pragma("omp simd reduction(+ : sum)")
    for (int64_t i = 0; i < n; i++) {
        x[i] = exp_f32(x[i] - most);
        sum += x[i];
    }
    return sum;
}
