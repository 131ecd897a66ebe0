/* What PyTorch on a CPU spends most of its time on in training, as one pass forward and one back.
 * bf16 in memory, f32 in registers. Optional: vae.py and model.py compute the same with PyTorch's own
 * operations.
 *
 * VAE: RMS norm, SiLU and the
 * stacking of a frame with those before it.
 *
 * Shapes: x [B, T, P, C] (P pixels, channels last), y [B, T, P, taps, C], gamma [C].
 *   n = x / sqrt(max(mean_c x^2, 1e-12)),  u = n gamma,  v = u sigmoid(u)
 *   y[t][tap] = v[t - (taps - 1) + tap], or 0 before the first frame. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS_MAX 64
#define PIXELS 256 /* neighbours in a row that one thread takes */

static inline float load(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

static inline uint16_t store(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

#ifdef __AVX512F__
#include <immintrin.h>

typedef __m512 vec;

static inline vec vec_load(const uint16_t *p)
{
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}

static inline void vec_store(uint16_t *p, vec x) /* to nearest even */
{
    __m512i bits = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
}

/* 1 / (1 + exp(-x)): 2^f by a polynomial of degree 5 (relative error 2e-7), f in [-0.5, 0.5]. */
static inline vec vec_sigmoid(vec x)
{
    vec y = _mm512_mul_ps(x, _mm512_set1_ps(-1.44269504f));
    vec whole = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    vec f = _mm512_sub_ps(y, whole), e = _mm512_set1_ps(1.33335581e-3f);
    e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(9.61812911e-3f));
    e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(5.55041087e-2f));
    e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(2.40226507e-1f));
    e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(6.93147182e-1f));
    e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(1));
    e = _mm512_scalef_ps(e, whole);
    return _mm512_div_ps(_mm512_set1_ps(1), _mm512_add_ps(_mm512_set1_ps(1), e));
}

static inline vec vec_inverse(const vec *x, int n) /* of 16 n channels */
{
    vec sum = _mm512_mul_ps(x[0], x[0]);
    for (int m = 1; m < n; m++)
        sum = _mm512_fmadd_ps(x[m], x[m], sum);
    float mean = _mm512_reduce_add_ps(sum) / (float)(16 * n);
    return _mm512_set1_ps(1 / sqrtf(mean > 1e-12f ? mean : 1e-12f));
}

/* One pixel: its activated channels. */
static inline __attribute__((always_inline)) void pixel_forward(const uint16_t *x, const float *gamma,
                                                                uint16_t *r, const int c)
{
    vec v[CHANNELS_MAX / 16];
    for (int m = 0; m < c / 16; m++)
        v[m] = vec_load(x + 16 * m);
    vec inv = vec_inverse(v, c / 16);
    for (int m = 0; m < c / 16; m++) {
        vec u = _mm512_mul_ps(_mm512_mul_ps(v[m], inv), _mm512_loadu_ps(gamma + 16 * m));
        vec_store(r + 16 * m, _mm512_mul_ps(u, vec_sigmoid(u)));
    }
}

/* One pixel: dx, and its part of dgamma; g: sum of what came back for it. */
static inline __attribute__((always_inline)) void pixel_backward(const uint16_t *x, const float *gamma,
                                                                 const vec *g, uint16_t *dx, vec *own,
                                                                 const int c)
{
    vec n[CHANNELS_MAX / 16], d[CHANNELS_MAX / 16], dot = _mm512_setzero_ps();
    const vec one = _mm512_set1_ps(1);
    for (int m = 0; m < c / 16; m++)
        n[m] = vec_load(x + 16 * m);
    vec inv = vec_inverse(n, c / 16);
    for (int m = 0; m < c / 16; m++) {
        vec w = _mm512_loadu_ps(gamma + 16 * m);
        n[m] = _mm512_mul_ps(n[m], inv);
        vec u = _mm512_mul_ps(n[m], w), s = vec_sigmoid(u);
        vec slope = _mm512_mul_ps(s, _mm512_fmadd_ps(u, _mm512_sub_ps(one, s), one));
        vec du = _mm512_mul_ps(g[m], slope);
        own[m] = _mm512_fmadd_ps(du, n[m], own[m]);
        d[m] = _mm512_mul_ps(du, w);
        dot = _mm512_fmadd_ps(d[m], n[m], dot);
    }
    vec mean = _mm512_set1_ps(_mm512_reduce_add_ps(dot) / (float)c);
    for (int m = 0; m < c / 16; m++)
        vec_store(dx + 16 * m, _mm512_mul_ps(inv, _mm512_fnmadd_ps(n[m], mean, d[m])));
}
#endif

static inline __attribute__((always_inline)) float inverse(const float *x, int c)
{
    float sum = 0;
    for (int i = 0; i < c; i++)
        sum += x[i] * x[i];
    sum /= (float)c;
    return 1 / sqrtf(sum > 1e-12f ? sum : 1e-12f);
}

static inline __attribute__((always_inline)) void forward(const uint16_t *x, const float *gamma,
                                                          uint16_t *y, long b, long t, long p, int taps,
                                                          const int c)
{
    long parts = (p + PIXELS - 1) / PIXELS;
#pragma omp parallel for collapse(3) schedule(static)
    for (long i = 0; i < b; i++)
        for (long k = 0; k < t; k++)
            for (long part = 0; part < parts; part++)
            for (long j = part * PIXELS; j < p && j < (part + 1) * PIXELS; j++) {
                float v[CHANNELS_MAX];
                uint16_t r[CHANNELS_MAX];
                const uint16_t *from = x + ((i * t + k) * p + j) * c;
#ifdef __AVX512F__
                if (c % 16 == 0) {
                    pixel_forward(from, gamma, r, c);
                    goto write;
                }
#endif
                for (int m = 0; m < c; m++)
                    v[m] = load(from[m]);
                float inv = inverse(v, c);
                for (int m = 0; m < c; m++) {
                    float u = v[m] * inv * gamma[m];
                    r[m] = store(u / (1 + expf(-u)));
                }
#ifdef __AVX512F__
            write:
#endif
                for (int tap = 0; tap < taps; tap++) {
                    long at = k + taps - 1 - tap;
                    if (at < t)
                        memcpy(y + (((i * t + at) * p + j) * taps + tap) * c, r, (size_t)c * 2);
                    if (k < taps - 1 - tap) /* frames before the first */
                        memset(y + (((i * t + k) * p + j) * taps + tap) * c, 0, (size_t)c * 2);
                }
            }
}

static inline __attribute__((always_inline)) void backward(const uint16_t *x, const float *gamma,
                                                           const uint16_t *dy, uint16_t *dx,
                                                           float *dgamma, long b, long t, long p,
                                                           int taps, const int c)
{
    long parts = (p + PIXELS - 1) / PIXELS;
#pragma omp parallel
    {
        float own[CHANNELS_MAX] = {0};
#ifdef __AVX512F__
        vec sums[CHANNELS_MAX / 16];
        for (int m = 0; m < CHANNELS_MAX / 16; m++)
            sums[m] = _mm512_setzero_ps();
#endif
#pragma omp for collapse(3) schedule(static)
        for (long i = 0; i < b; i++)
            for (long k = 0; k < t; k++)
                for (long part = 0; part < parts; part++)
                for (long j = part * PIXELS; j < p && j < (part + 1) * PIXELS; j++) {
                    float n[CHANNELS_MAX], g[CHANNELS_MAX];
                    long at = ((i * t + k) * p + j) * c;
#ifdef __AVX512F__
                    if (c % 16 == 0) {
                        vec back[CHANNELS_MAX / 16];
                        for (int m = 0; m < c / 16; m++)
                            back[m] = _mm512_setzero_ps();
                        for (int tap = 0; tap < taps; tap++) {
                            long to = k + taps - 1 - tap;
                            const uint16_t *d = dy + (((i * t + to) * p + j) * taps + tap) * c;
                            for (int m = 0; to < t && m < c / 16; m++)
                                back[m] = _mm512_add_ps(back[m], vec_load(d + 16 * m));
                        }
                        pixel_backward(x + at, gamma, back, dx + at, sums, c);
                        continue;
                    }
#endif
                    for (int m = 0; m < c; m++) {
                        n[m] = load(x[at + m]);
                        g[m] = 0;
                    }
                    for (int tap = 0; tap < taps; tap++) {
                        long to = k + taps - 1 - tap;
                        const uint16_t *d = dy + (((i * t + to) * p + j) * taps + tap) * c;
                        if (to < t)
                            for (int m = 0; m < c; m++)
                                g[m] += load(d[m]);
                    }
                    float inv = inverse(n, c), dot = 0;
                    for (int m = 0; m < c; m++) {
                        n[m] *= inv;
                        float u = n[m] * gamma[m], s = 1 / (1 + expf(-u));
                        float du = g[m] * s * (1 + u * (1 - s));
                        own[m] += du * n[m];
                        g[m] = du * gamma[m];
                        dot += g[m] * n[m];
                    }
                    dot /= (float)c;
                    for (int m = 0; m < c; m++)
                        dx[at + m] = store(inv * (g[m] - n[m] * dot));
                }
#ifdef __AVX512F__
        for (int m = 0; m < c / 16 && c % 16 == 0; m++)
            _mm512_storeu_ps(own + 16 * m, sums[m]);
#endif
#pragma omp critical
        for (int m = 0; m < c; m++)
            dgamma[m] += own[m];
    }
}

#define WIDTHS(DO) DO(8) DO(12) DO(16) DO(24) DO(32) DO(48) DO(64)

int fused_forward(const uint16_t *x, const float *gamma, uint16_t *y, long b, long t, long p, int taps,
                  int c)
{
    switch (c) {
#define DO(n) \
    case n: \
        forward(x, gamma, y, b, t, p, taps, n); \
        return 0;
        WIDTHS(DO)
#undef DO
    }
    return -1;
}

int fused_backward(const uint16_t *x, const float *gamma, const uint16_t *dy, uint16_t *dx,
                   float *dgamma, long b, long t, long p, int taps, int c)
{
    switch (c) {
#define DO(n) \
    case n: \
        backward(x, gamma, dy, dx, dgamma, b, t, p, taps, n); \
        return 0;
        WIDTHS(DO)
#undef DO
    }
    return -1;
}

/* Nearest neighbour: y [N, 2 H, 2 W, C] of x [N, H, W, C], and back (sums). */
void fused_blow_up(const uint16_t *x, uint16_t *y, long n, long h, long w, long c)
{
#pragma omp parallel for
    for (long i = 0; i < n * h; i++)
        for (long j = 0; j < w; j++)
            for (int k = 0; k < 4; k++)
                memcpy(y + ((2 * i + (k >> 1)) * 2 * w + 2 * j + (k & 1)) * c, x + (i * w + j) * c,
                       (size_t)c * 2);
}

void fused_blow_up_back(const uint16_t *dy, uint16_t *dx, long n, long h, long w, long c)
{
#pragma omp parallel for
    for (long i = 0; i < n * h; i++)
        for (long j = 0; j < w; j++)
            for (long m = 0; m < c; m++) {
                float sum = 0;
                for (int k = 0; k < 4; k++)
                    sum += load(dy[((2 * i + (k >> 1)) * 2 * w + 2 * j + (k & 1)) * c + m]);
                dx[(i * w + j) * c + m] = store(sum);
            }
}

/* ---- transformer: rows [R, C], groups of rows that share a modulation ------------------------------ */

#define WIDTH_MAX 1024

/* y bf16 = LN(x f32) * (offset + scale [G, C]) + shift [G, C]; R rows in G groups. */
void fused_layer_norm(const float *x, const float *scale, const float *shift, uint16_t *y, long groups,
                      long rows, long c, float offset)
{
#pragma omp parallel for schedule(static)
    for (long r = 0; r < groups * rows; r++) {
        const float *from = x + r * c, *s = scale + r / rows * c, *b = shift + r / rows * c;
        float sum = 0, square = 0;
        for (long i = 0; i < c; i++)
            sum += from[i];
        float mean = sum / (float)c;
        for (long i = 0; i < c; i++)
            square += (from[i] - mean) * (from[i] - mean);
        float inv = 1 / sqrtf(square / (float)c + 1e-6f);
        for (long i = 0; i < c; i++)
            y[r * c + i] = store((from[i] - mean) * inv * (offset + s[i]) + b[i]);
    }
}

void fused_layer_norm_back(const float *x, const float *scale, const uint16_t *dy, float *dx,
                           float *dscale, float *dshift, long groups, long rows, long c, float offset)
{
    enum { PART = 32 };
    long parts = (rows + PART - 1) / PART;
#pragma omp parallel for collapse(2) schedule(static)
    for (long g = 0; g < groups; g++)
        for (long part = 0; part < parts; part++) {
            float ds[WIDTH_MAX] = {0}, db[WIDTH_MAX] = {0}, n[WIDTH_MAX], d[WIDTH_MAX];
            const float *s = scale + g * c;
            long end = (part + 1) * PART < rows ? (part + 1) * PART : rows;
            for (long r = g * rows + part * PART; r < g * rows + end; r++) {
                const float *from = x + r * c;
                float sum = 0, square = 0, a = 0, b = 0;
                for (long i = 0; i < c; i++)
                    sum += from[i];
                float mean = sum / (float)c;
                for (long i = 0; i < c; i++)
                    square += (from[i] - mean) * (from[i] - mean);
                float inv = 1 / sqrtf(square / (float)c + 1e-6f);
                for (long i = 0; i < c; i++) {
                    float v = load(dy[r * c + i]);
                    n[i] = (from[i] - mean) * inv;
                    ds[i] += v * n[i];
                    db[i] += v;
                    d[i] = v * (offset + s[i]);
                    a += d[i];
                    b += d[i] * n[i];
                }
                a /= (float)c;
                b /= (float)c;
                for (long i = 0; i < c; i++)
                    dx[r * c + i] = inv * (d[i] - a - n[i] * b);
            }
#pragma omp critical
            for (long i = 0; i < c; i++) {
                dscale[g * c + i] += ds[i];
                dshift[g * c + i] += db[i];
            }
        }
}

/* y bf16 = rotate(x bf16 / rms(x) * weight [C]); row r turns by cos, sin [length, D / 2] of r % length;
 * cos NULL: not at all. */
void fused_rms_rope(const uint16_t *x, const float *weight, const float *cos, const float *sin,
                    uint16_t *y, long rows, long length, long c, long d)
{
#pragma omp parallel for schedule(static)
    for (long r = 0; r < rows; r++) {
        float v[WIDTH_MAX], sum = 0;
        for (long i = 0; i < c; i++) {
            v[i] = load(x[r * c + i]);
            sum += v[i] * v[i];
        }
        float inv = 1 / sqrtf(sum / (float)c + 1e-6f);
        for (long i = 0; i < c; i++)
            v[i] *= inv * weight[i];
        if (cos)
            for (long h = 0; h < c / d; h++) {
                const float *co = cos + r % length * (d / 2), *si = sin + r % length * (d / 2);
                for (long i = 0; i < d / 2; i++) {
                    float a = v[h * d + 2 * i], b = v[h * d + 2 * i + 1];
                    v[h * d + 2 * i] = a * co[i] - b * si[i];
                    v[h * d + 2 * i + 1] = a * si[i] + b * co[i];
                }
            }
        for (long i = 0; i < c; i++)
            y[r * c + i] = store(v[i]);
    }
}

void fused_rms_rope_back(const uint16_t *x, const float *weight, const float *cos, const float *sin,
                         const uint16_t *dy, uint16_t *dx, float *dweight, long rows, long length,
                         long c, long d)
{
#pragma omp parallel
    {
        float own[WIDTH_MAX] = {0};
#pragma omp for schedule(static)
        for (long r = 0; r < rows; r++) {
            float n[WIDTH_MAX], g[WIDTH_MAX], sum = 0, dot = 0;
            for (long i = 0; i < c; i++) {
                n[i] = load(x[r * c + i]);
                g[i] = load(dy[r * c + i]);
                sum += n[i] * n[i];
            }
            float inv = 1 / sqrtf(sum / (float)c + 1e-6f);
            if (cos)
                for (long h = 0; h < c / d; h++) {
                    const float *co = cos + r % length * (d / 2), *si = sin + r % length * (d / 2);
                    for (long i = 0; i < d / 2; i++) {
                        float a = g[h * d + 2 * i], b = g[h * d + 2 * i + 1];
                        g[h * d + 2 * i] = a * co[i] + b * si[i];
                        g[h * d + 2 * i + 1] = b * co[i] - a * si[i];
                    }
                }
            for (long i = 0; i < c; i++) {
                n[i] *= inv;
                own[i] += g[i] * n[i];
                g[i] *= weight[i];
                dot += g[i] * n[i];
            }
            dot /= (float)c;
            for (long i = 0; i < c; i++)
                dx[r * c + i] = store(inv * (g[i] - n[i] * dot));
        }
#pragma omp critical
        for (long i = 0; i < c; i++)
            dweight[i] += own[i];
    }
}

/* out f32 = x f32 + gate [G, C] * y bf16; gate NULL: 1. */
void fused_gated(const float *x, const uint16_t *y, const float *gate, float *out, long groups,
                 long rows, long c)
{
#pragma omp parallel for schedule(static)
    for (long r = 0; r < groups * rows; r++)
        for (long i = 0; i < c; i++)
            out[r * c + i] = x[r * c + i] + load(y[r * c + i]) * (gate ? gate[r / rows * c + i] : 1);
}

void fused_gated_back(const float *dout, const uint16_t *y, const float *gate, uint16_t *dy,
                      float *dgate, long groups, long rows, long c)
{
#pragma omp parallel for schedule(static)
    for (long g = 0; g < groups; g++) {
        float own[WIDTH_MAX] = {0};
        for (long r = g * rows; r < (g + 1) * rows; r++)
            for (long i = 0; i < c; i++) {
                float v = dout[r * c + i];
                own[i] += v * load(y[r * c + i]);
                dy[r * c + i] = store(gate ? v * gate[g * c + i] : v);
            }
        for (long i = 0; dgate && i < c; i++)
            dgate[g * c + i] = own[i];
    }
}

/* tanh GELU, and its derivative times dy. */
/* 2 sqrt(2 / pi) (v + 0.044715 v^3), no larger than expf can bear with -ffast-math. */
static inline float gelu_inner(float v)
{
    float u = 1.5957691216f * (v + 0.044715f * v * v * v);
    return u > 40 ? 40 : u < -40 ? -40 : u;
}

void fused_gelu(const uint16_t *x, uint16_t *y, long count)
{
#pragma omp parallel for simd schedule(static)
    for (long i = 0; i < count; i++) {
        float v = load(x[i]), u = gelu_inner(v);
        y[i] = store(v / (1 + expf(-u)));
    }
}

void fused_gelu_back(const uint16_t *x, const uint16_t *dy, uint16_t *dx, long count)
{
#pragma omp parallel for simd schedule(static)
    for (long i = 0; i < count; i++) {
        float v = load(x[i]), u = gelu_inner(v);
        float s = 1 / (1 + expf(-u));
        float du = 1.5957691216f * (1 + 3 * 0.044715f * v * v);
        dx[i] = store(load(dy[i]) * (s + v * s * (1 - s) * du));
    }
}

/* p = softmax(scale * s) over rows of `width`; bf16 in and out; p may be s. */
void fused_softmax(const uint16_t *s, uint16_t *p, long rows, long width, float scale)
{
#pragma omp parallel
    {
        float *v = malloc((size_t)width * sizeof *v);
#pragma omp for schedule(static)
        for (long r = 0; r < rows; r++) {
            float top = -INFINITY, sum = 0;
            for (long i = 0; i < width; i++) {
                v[i] = load(s[r * width + i]) * scale;
                top = v[i] > top ? v[i] : top;
            }
            for (long i = 0; i < width; i++) {
                v[i] = expf(v[i] - top);
                sum += v[i];
            }
            for (long i = 0; i < width; i++)
                p[r * width + i] = store(v[i] / sum);
        }
        free(v);
    }
}

void fused_softmax_back(const uint16_t *p, const uint16_t *dp, uint16_t *ds, long rows, long width,
                        float scale)
{
#pragma omp parallel for schedule(static)
    for (long r = 0; r < rows; r++) {
        const uint16_t *a = p + r * width, *b = dp + r * width;
        float dot = 0;
        for (long i = 0; i < width; i++)
            dot += load(a[i]) * load(b[i]);
        for (long i = 0; i < width; i++)
            ds[r * width + i] = store(scale * load(a[i]) * (load(b[i]) - dot));
    }
}
