#include "cpu/kernels/simd.h"

void KERNEL(convert)(struct cpu_row y, struct cpu_row x, int64_t n)
{
    if (y.type == x.type) {
        __builtin_memmove(y.data, x.data, (size_t)n * tensor_type_size(x.type));
    } else if (y.type == TENSOR_F32) {
        row_load(x, 0, n, y.data);
    } else {
        row_store(y, 0, n, x.data);
    }
}

void KERNEL(activate)(struct cpu_row y, struct cpu_row x, int64_t n, enum activation act)
{
    float buffer[CHUNK];
    FOR_CHUNKS(begin, count, n)
    {
        const float *from = row_load(x, begin, count, buffer);
        float *to = row_target(y, begin, buffer);
        activate_f32(to, from, count, act);
        row_store(y, begin, count, to);
    }
}

void KERNEL(mul)(struct cpu_row y, struct cpu_row a, struct cpu_row b, int64_t n)
{
    float buffer_a[CHUNK], buffer_b[CHUNK];
    FOR_CHUNKS(begin, count, n)
    {
        const float *u = row_load(a, begin, count, buffer_a);
        const float *v = row_load(b, begin, count, buffer_b);
        float *to = row_target(y, begin, buffer_a);
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            to[i] = u[i] * v[i];
        row_store(y, begin, count, to);
    }
}

void KERNEL(add_gated)(struct cpu_row x, struct cpu_row y, const float *gate, int64_t n)
{
    float buffer_x[CHUNK], buffer_y[CHUNK];
    FOR_CHUNKS(begin, count, n)
    {
        const float *u = row_load(x, begin, count, buffer_x);
        const float *v = row_load(y, begin, count, buffer_y);
        float *to = row_target(x, begin, buffer_x);
        if (gate) {
            const float *g = gate + begin;
#pragma omp simd
            for (int64_t i = 0; i < count; i++)
                to[i] = u[i] + v[i] * g[i];
        } else {
#pragma omp simd
            for (int64_t i = 0; i < count; i++)
                to[i] = u[i] + v[i];
        }
        row_store(x, begin, count, to);
    }
}

void KERNEL(combine)(float *y, int terms, const float *factor, const float *const *x, int64_t n)
{
    /* y may be any x, so a chunk is summed apart. */
    float sum[CHUNK];
    FOR_CHUNKS(begin, count, n)
    {
        const float *first = x[0] + begin;
        float f = factor[0];
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            sum[i] = f * first[i];
        for (int t = 1; t < terms; t++) {
            const float *next = x[t] + begin;
            f = factor[t];
#pragma omp simd
            for (int64_t i = 0; i < count; i++)
                sum[i] += f * next[i];
        }
        __builtin_memcpy(y + begin, sum, (size_t)count * sizeof(float));
    }
}
