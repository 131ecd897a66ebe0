/* What the kernels share. Rows are worked on in pieces of CHUNK floats that stay in the first-level
 * cache: bf16 is expanded into a buffer, f32 is used where it lies. Loops are written for the
 * compiler's vectoriser; only where it does not see the pattern are vector types used. */
#pragma once

#include <math.h>

#include "cpu/kernels.h"

/* CPU_ISA is set by the build: baseline, avx2 or avx512. */
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define KERNEL(name) JOIN(JOIN(cpu_##name, _), CPU_ISA)

#define ALWAYS_INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define VECTOR_FLOATS (VECTOR_BYTES / 4)

/* Any alignment, may alias. */
typedef float vector_f32 __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef uint32_t vector_u32 __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef uint64_t vector_u64 __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef uint16_t vector_u16 __attribute__((vector_size(VECTOR_BYTES / 2), aligned(2), may_alias));

static ALWAYS_INLINE vector_f32 load_f32(const float *from)
{
    return *(const vector_f32 *)from;
}

static ALWAYS_INLINE vector_f32 load_bf16(const uint16_t *from)
{
    vector_u16 halves = *(const vector_u16 *)from;
    return (vector_f32)(__builtin_convertvector(halves, vector_u32) << 16);
}

#define CHUNK 512

/* The tile of gemm.c: its sums, one row of weights and one value must fit the registers, 32 of
 * AVX-512 and AArch64, 16 elsewhere. */
#define GEMM_VECTORS 2
#define GEMM_WIDTH (GEMM_VECTORS * VECTOR_FLOATS)
#if defined(__AVX512F__) || defined(__aarch64__)
#define GEMM_ROWS 12
#else
#define GEMM_ROWS 6
#endif

static ALWAYS_INLINE int64_t chunk_length(int64_t begin, int64_t n)
{
    return n - begin < CHUNK ? n - begin : CHUNK;
}

/* for (begin, count) over [0, n) in chunks */
#define FOR_CHUNKS(begin, count, n)                                                                \
    for (int64_t begin = 0, count; count = chunk_length(begin, n), begin < (n); begin += CHUNK)

union float_bits {
    float f;
    uint32_t u;
    int32_t i;
};

static ALWAYS_INLINE float bits_float(uint32_t u)
{
    return (union float_bits){.u = u}.f;
}

static ALWAYS_INLINE uint32_t float_bits(float f)
{
    return (union float_bits){.f = f}.u;
}

/* Round to nearest even, NaN stays NaN: as bf16_from_f32(), without a branch. */
static ALWAYS_INLINE uint16_t round_bf16(float f)
{
    uint32_t u = float_bits(f);
    uint32_t nan = (u >> 16) | 0x40, rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    return (uint16_t)((int32_t)(u & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}

/* Elements [begin, begin + count) as floats: in place or in `buffer`. */
static ALWAYS_INLINE const float *row_load(struct cpu_row x, int64_t begin, int64_t count,
                                           float *buffer)
{
    if (x.type == TENSOR_F32)
        return (const float *)x.data + begin;
    const uint16_t *from = (const uint16_t *)x.data + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        buffer[i] = bits_float((uint32_t)from[i] << 16);
    return buffer;
}

/* Where to put floats that row_store() then brings to their place: there, or `buffer`. */
static ALWAYS_INLINE float *row_target(struct cpu_row y, int64_t begin, float *buffer)
{
    return y.type == TENSOR_F32 ? (float *)y.data + begin : buffer;
}

static ALWAYS_INLINE void row_store(struct cpu_row y, int64_t begin, int64_t count,
                                    const float *from)
{
    if (y.type == TENSOR_F32)
        return;
    uint16_t *to = (uint16_t *)y.data + begin;
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        to[i] = round_bf16(from[i]);
}

/* e^x to 2 units in the last place, overflowing and underflowing as exp does; NaN stays.
 * Cody-Waite reduction x = n ln 2 + r and the polynomial of Cephes' expf. 2^n comes in two factors
 * so that infinity and denormals are reached. */
static ALWAYS_INLINE float exp_f32(float x)
{
    const float round = 12582912; /* 1.5 * 2^23: its last bit counts ones */
    x = x < -105 ? -105 : x;
    x = x > 89 ? 89 : x;
    float shifted = x * 1.44269504f + round;
    float n = shifted - round;
    float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1;
    int32_t whole = (int32_t)(float_bits(shifted) - 0x4b400000u);
    int32_t half = whole >> 1;
    return p * bits_float((uint32_t)(half + 127) << 23) *
           bits_float((uint32_t)(whole - half + 127) << 23);
}

#define EXPONENT_ROUND (12582912.0f + 127) /* 1.5 * 2^23 and the bias of exponents */

/* 2^(n + r) to 2e-7 of its size, r within 1/2 (minimax). `shifted` is n + EXPONENT_ROUND: an
 * addition has found the whole number n and brought it to where exponents are. n in [-126, 127], 0
 * for -127. */
static ALWAYS_INLINE float exp2_parts(float shifted, float r)
{
    float p = 0.00132764725f;
    p = p * r + 0.00967554096f;
    p = p * r + 0.0555071309f;
    p = p * r + 0.240221202f;
    p = p * r + 0.693146944f;
    p = p * r + 1.00000012f;
    return p * bits_float(float_bits(shifted) << 23);
}

/* 2^x, x at most 127; 2^-126 for all that is below, NaN stays. */
static ALWAYS_INLINE float exp2_f32(float x)
{
    x = x < -126 ? -126 : x;
    float shifted = x + EXPONENT_ROUND;
    return exp2_parts(shifted, x - (shifted - EXPONENT_ROUND));
}

/* 1 / (1 + e^-x) to 4e-7 of its size, NaN stays. The exponential is of -|x|, so that the divisor is
 * in [1, 2], where a parabola and two steps of Newton's take less time than a division; what is
 * below 2^-126 is 0. */
static ALWAYS_INLINE float sigmoid_f32(float x)
{
    float size = fabsf(x);
    size = size > 88 ? 88 : size;
    float shifted = EXPONENT_ROUND - size * 1.44269504f, n = shifted - EXPONENT_ROUND;
    float r = -size - n * 0.693359375f; /* as in exp_f32() */
    r = r + n * 2.12194440e-4f;
    float e = exp2_parts(shifted, r * 1.44269504f), d = 1 + e;
    float y = (0.323232323f * d - 1.45454545f) * d + 2.12121212f;
    y = y * (2 - d * y);
    y = y * (2 - d * y);
    return x < 0 ? e * y : y;
}

/* tanh x to 2e-7 of its size: Cephes' polynomial near 0, (1 - e) / (1 + e) with e = exp(-2 |x|)
 * elsewhere. */
static ALWAYS_INLINE float tanh_f32(float x)
{
    float size = fabsf(x), square = x * x;
    float p = -5.70498872745e-3f;
    p = p * square + 2.06390887954e-2f;
    p = p * square - 5.37397155531e-2f;
    p = p * square + 1.33314422036e-1f;
    p = p * square - 3.33332819422e-1f;
    p = p * (square * x) + x;
    float e = exp_f32(-2 * size);
    float far = copysignf((1 - e) / (1 + e), x);
    return size < 0.625f ? p : far;
}

/* y = act(x), up to CHUNK or a whole row of f32. */
static inline void activate_f32(float *y, const float *x, int64_t n, enum activation act)
{
    switch (act) {
    case ACT_NONE:
        if (y != x)
            __builtin_memmove(y, x, (size_t)n * sizeof(float));
        break;
    case ACT_SILU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] * sigmoid_f32(x[i]);
        break;
    case ACT_GELU_TANH: /* (1 + tanh u) / 2 is the sigmoid of 2 u */
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] * sigmoid_f32(1.5957691216f * (x[i] + 0.044715f * x[i] * x[i] * x[i]));
        break;
    case ACT_RELU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] < 0 ? 0 : x[i];
        break;
    case ACT_TANH3:
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = 3 * tanh_f32(x[i] * (1.0f / 3));
        break;
    case ACT_CLAMP:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float low = x[i] < -1 ? -1 : x[i];
            y[i] = low > 1 ? 1 : low;
        }
        break;
    case ACT_CLAMP01:
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float low = x[i] < 0 ? 0 : x[i];
            y[i] = low > 1 ? 1 : low;
        }
        break;
    }
}

/* Declarations of all kernels of this instruction set; table.c collects them. */
void KERNEL(convert)(struct cpu_row y, struct cpu_row x, int64_t n);
void KERNEL(activate)(struct cpu_row y, struct cpu_row x, int64_t n, enum activation act);
void KERNEL(mul)(struct cpu_row y, struct cpu_row a, struct cpu_row b, int64_t n);
void KERNEL(add_gated)(struct cpu_row x, struct cpu_row y, const float *gate, int64_t n);
void KERNEL(combine)(float *y, int terms, const float *factor, const float *const *x, int64_t n);
void KERNEL(rms_norm)(struct cpu_row y, struct cpu_row x, const float *gain, float eps, int64_t n,
                      enum activation act);
void KERNEL(rms_norm_rows)(struct cpu_row y, struct cpu_row x, const float *gain, float eps,
                           int64_t rows, int64_t n, enum activation act);
void KERNEL(layer_norm)(struct cpu_row y, struct cpu_row x, const float *scale, const float *shift,
                        float eps, float scale_offset, int64_t n);
void KERNEL(rope)(struct cpu_row y, struct cpu_row x, const float *turn, int64_t heads,
                  int64_t width, const float *gain, float eps);
void KERNEL(softmax)(float *x, int64_t ldx, int64_t rows, int64_t n, float scale, const float *bias,
                     float *most, float *sum, float *fade);
void KERNEL(gemm)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m, int64_t k,
                  struct cpu_row w, int64_t ldw);
void KERNEL(gemm_columns)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m, int64_t k,
                          const float *w, int64_t ldw);
void KERNEL(gemm_pieces)(float *y, const struct cpu_pieces *p, bool narrow);
void KERNEL(winograd_input)(float *y, int64_t step, struct cpu_row x, int64_t row, int64_t pixel,
                            int64_t n);
void KERNEL(winograd_output)(float *y, int64_t row, int64_t pixel, const float *x, int64_t step,
                             const float *bias, int64_t n);
void KERNEL(panels)(float *y, struct cpu_row x, int64_t ldx, int64_t n, int64_t k);
void KERNEL(transpose)(float *y, int64_t ldy, struct cpu_row x, int64_t ldx, int64_t n, int64_t k);
void KERNEL(picture_packed)(uint8_t *y, bool bgrx, struct cpu_row x, int64_t n, float scale,
                            float offset);
void KERNEL(picture_yuv)(uint8_t *y0, uint8_t *y1, uint8_t *u, uint8_t *v, int step,
                         struct cpu_row x0, struct cpu_row x1, int64_t n, float scale,
                         float offset);
