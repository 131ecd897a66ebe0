/* The CUDA backend's own kernels: one function an operation queues its kernels on a stream.
 *
 * All pointers are device memory unless said otherwise. What changes from one forward to the next
 * (positions, timesteps, ring slots, lengths) is read from device memory, so that a captured graph
 * serves every forward of a shape. Nothing is allocated and nothing waits.
 *
 * Returns: cudaSuccess, the launch's error, or cudaErrorInvalidValue for what a kernel does not do
 * (said at each). Shapes are otherwise trusted: backend/ops.c has checked them. Nothing to do (a
 * size of 0) is success.
 *
 * Alignment: any that the type needs; 16 bytes for pointers and a multiple of 8 elements for rows
 * and strides let a kernel move 16 bytes at a time, which it finds out itself.
 *
 * Sums are f32 in an order that depends on shapes and alignment only: the same input gives the same
 * bits. */
#pragma once

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#else
#include "backend/backend.h"
#endif

/* Those of enum tensor_type. */
enum kernel_type {
    KERNEL_F32,
    KERNEL_BF16,
    KERNEL_F16,  /* kernel_copy() reads them */
    KERNEL_I32,  /* the same */
    KERNEL_E4M3, /* with scales: struct kernel_rows */
};

/* Those of enum activation. */
enum kernel_act {
    KERNEL_ACT_NONE,
    KERNEL_ACT_SILU,
    KERNEL_ACT_GELU_TANH,
    KERNEL_ACT_RELU,
    KERNEL_ACT_TANH3,
    KERNEL_ACT_CLAMP,
    KERNEL_ACT_CLAMP01,
};

/* Those of enum unreel_format. */
enum kernel_format {
    KERNEL_FORMAT_I420,
    KERNEL_FORMAT_NV12,
    KERNEL_FORMAT_RGB,
    KERNEL_FORMAT_BGRX,
};

#define KERNEL_DIMS 6  /* TENSOR_DIMS */
#define KERNEL_TERMS 6 /* COMBINE_TERMS */

#ifndef __cplusplus
_Static_assert((int)KERNEL_F32 == TENSOR_F32 && (int)KERNEL_BF16 == TENSOR_BF16 &&
                   (int)KERNEL_F16 == TENSOR_F16 && (int)KERNEL_I32 == TENSOR_I32 &&
                   (int)KERNEL_E4M3 == TENSOR_E4M3,
               "types");
_Static_assert((int)KERNEL_ACT_NONE == ACT_NONE && (int)KERNEL_ACT_SILU == ACT_SILU &&
                   (int)KERNEL_ACT_GELU_TANH == ACT_GELU_TANH && (int)KERNEL_ACT_RELU == ACT_RELU &&
                   (int)KERNEL_ACT_TANH3 == ACT_TANH3 && (int)KERNEL_ACT_CLAMP == ACT_CLAMP &&
                   (int)KERNEL_ACT_CLAMP01 == ACT_CLAMP01,
               "activations");
_Static_assert((int)KERNEL_FORMAT_I420 == UNREEL_FORMAT_I420 &&
                   (int)KERNEL_FORMAT_NV12 == UNREEL_FORMAT_NV12 &&
                   (int)KERNEL_FORMAT_RGB == UNREEL_FORMAT_RGB &&
                   (int)KERNEL_FORMAT_BGRX == UNREEL_FORMAT_BGRX,
               "formats");
_Static_assert(KERNEL_DIMS == TENSOR_DIMS && KERNEL_TERMS == COMBINE_TERMS, "sizes");
#endif

/* A matrix; each row is contiguous. It may be KERNEL_E4M3 where a function says so: row r holds
 * value / scale[r], 8-bit floats of up to 448. A kernel that writes it writes scale[r] =
 * max(largest magnitude of the row / 448, 2^-100), too. With `fixed_scale` scale[0] is read instead
 * and is that of all rows; what does not fit becomes +-448. NaN stays NaN. */
struct kernel_rows {
    void *data;
    enum kernel_type type;
    int64_t stride; /* elements from a row to the next */
    float *scale;   /* KERNEL_E4M3 only */
    bool fixed_scale;
};

/* f32 vectors: row r / (rows / count) of them belongs to row r. data NULL: none. */
struct kernel_vectors {
    const float *data;
    int64_t stride; /* elements from a vector to the next */
    int64_t count;  /* 1: one for all; a divisor of the rows */
};

/* ---- copy.cu ------------------------------------------------------------------------------ */

/* y = x, any strides, fewer than 2^32 elements. y f32 or bf16; x f32, bf16, f16 or i32. */
cudaError_t kernel_copy(void *y, enum kernel_type y_type, const int64_t *y_stride, const void *x,
                        enum kernel_type x_type, const int64_t *x_stride, int dims,
                        const int64_t *shape, cudaStream_t stream);

/* ---- elementwise.cu: contiguous, f32 or bf16 each; y may be an input of its type ----------- */

cudaError_t kernel_activate(void *y, enum kernel_type y_type, const void *x,
                            enum kernel_type x_type, int64_t count, enum kernel_act act,
                            cudaStream_t stream);
cudaError_t kernel_mul(void *y, enum kernel_type y_type, const void *a, enum kernel_type a_type,
                       const void *b, enum kernel_type b_type, int64_t count, cudaStream_t stream);

/* y = sum of factor[i] * x[i], f32. `factor` and the list `x` are host memory, copied into the
 * launch; with `device_factor` [terms] these are used instead. */
cudaError_t kernel_combine(float *y, int terms, const float *factor, const float *device_factor,
                           const float *const *x, int64_t count, cudaStream_t stream);

/* ---- epilogue.cu -------------------------------------------------------------------------- */

/* y [rows, width] = act(x * row_scale[r] * column_scale[c] + bias[c]); NULL: 1, 1 and 0. y f32,
 * bf16 or E4M3, x f32 or bf16; y may be x if types and strides agree. What a matrix product's own
 * epilogue cannot do, and quantisation of activations (a row is a token) and of weights (an output
 * channel). */
cudaError_t kernel_epilogue(const struct kernel_rows *y, const struct kernel_rows *x, int64_t rows,
                            int64_t width, const float *row_scale, const float *column_scale,
                            const float *bias, enum kernel_act act, cudaStream_t stream);

/* ---- layer_norm.cu ------------------------------------------------------------------------ */

/* y = LN(x) * (scale_offset + scale) + shift. y f32, bf16 or E4M3, x f32 or bf16; y may be x. */
cudaError_t kernel_layer_norm(const struct kernel_rows *y, const struct kernel_rows *x,
                              int64_t rows, int64_t width, const struct kernel_vectors *scale,
                              const struct kernel_vectors *shift, float eps, float scale_offset,
                              cudaStream_t stream);

/* x += a * gate (gate->data NULL: 1). x, a f32 or bf16. */
cudaError_t kernel_add_gated(const struct kernel_rows *x, const struct kernel_rows *a, int64_t rows,
                             int64_t width, const struct kernel_vectors *gate, cudaStream_t stream);

/* kernel_add_gated(), then kernel_layer_norm() of the new x, in one pass over memory. y is not x.
 */
cudaError_t kernel_add_gated_layer_norm(const struct kernel_rows *y, const struct kernel_rows *x,
                                        const struct kernel_rows *a, int64_t rows, int64_t width,
                                        const struct kernel_vectors *gate,
                                        const struct kernel_vectors *scale,
                                        const struct kernel_vectors *shift, float eps,
                                        float scale_offset, cudaStream_t stream);

/* ---- rms_norm.cu -------------------------------------------------------------------------- */

/* y = act(x / max(sqrt(mean(x^2) + eps), 1e-12 / sqrt(width)) * gain). y f32, bf16 or E4M3, x f32
 * or bf16; y may be x. */
cudaError_t kernel_rms_norm(const struct kernel_rows *y, const struct kernel_rows *x, int64_t rows,
                            int64_t width, const float *gain, float eps, enum kernel_act act,
                            cudaStream_t stream);

/* The same over the channels of pixels, for what feeds a convolution: x and y [T, H, W, C] with
 * strides (elements) of frame, row and pixel, so that y may lie behind its history and within a
 * border of zeros. Both f32 or bf16. */
struct kernel_video {
    void *data;
    enum kernel_type type;
    int64_t stride[3];
};

cudaError_t kernel_rms_norm_video(const struct kernel_video *y, const struct kernel_video *x,
                                  const int64_t shape[4], const float *gain, float eps,
                                  enum kernel_act act, cudaStream_t stream);

/* ---- rope.cu ------------------------------------------------------------------------------ */

/* Tokens [F, H, W]; a token is `heads` contiguous rows of `width` (even). Pair i of a head turns by
 * (cos, sin) frame[f][i], row[h][i - pairs[0]] or column[w][i - pairs[0] - pairs[1]]. */
struct kernel_rope {
    const float *frame, *row, *column; /* [F, pairs[0], 2], [H, pairs[1], 2], [W, pairs[2], 2] */
    int64_t pairs[3];                  /* their sum is width / 2 */
    int64_t tokens[3];                 /* F, H, W */
    int64_t heads, width;
};

/* y = turned x, or of RMSNorm(x) over the whole token with `gain` [heads * width]; f32 or bf16
 * each; y may be x without slots. With `slot` [F] frame f of the input is written to frame slot[f]
 * of y. */
cudaError_t kernel_rms_norm_rope(const struct kernel_video *y, const struct kernel_video *x,
                                 const struct kernel_rope *rope, const float *gain, float eps,
                                 const int32_t *slot, cudaStream_t stream);

/* All that happens between the product for q, k and v and attention, in one launch: q = turned
 * RMSNorm of its part; k the same, into its slot of the ring; v copied into its slot. Gains are
 * f32, data f32 or bf16, q, k and v of one type. Without gains nothing is normed. q->data NULL:
 * queries are not wanted. */
cudaError_t kernel_store_qkv(const struct kernel_video *q, const struct kernel_video *k,
                             const struct kernel_video *v, const struct kernel_video *x_q,
                             const struct kernel_video *x_k, const struct kernel_video *x_v,
                             const struct kernel_rope *rope, const float *gain_q,
                             const float *gain_k, float eps, const int32_t *slot,
                             cudaStream_t stream);

/* ---- position.cu -------------------------------------------------------------------------- */

/* table [count, pairs, 2] = (cos, sin) of (*start + p) * 10000^(-i / pairs), computed in f64. */
cudaError_t kernel_rope_table(float *table, const int32_t *start, int64_t count, int64_t pairs,
                              cudaStream_t stream);

/* y [count, 2 half] = cos, then sin, of timestep[i] * 10000^(-j / half), computed in f64. */
cudaError_t kernel_sinusoid(float *y, const float *timestep, int64_t count, int64_t half,
                            cudaStream_t stream);

/* ---- noise.cu ----------------------------------------------------------------------------- */

/* What the noise is for. */
struct kernel_noise_key {
    uint64_t seed;
    uint32_t prompt, sample;
    uint64_t frame; /* of the first */
    uint32_t step;
};

/* x [frames, count] standard normals, as noise_frame() draws them for frame, frame + 1, ... `key` is
 * host memory, copied into the launch. */
cudaError_t kernel_noise(float *x, int64_t frames, int64_t count,
                         const struct kernel_noise_key *key, cudaStream_t stream);

/* ---- picture.cu --------------------------------------------------------------------------- */

/* Pictures x [count, H, W, 3], contiguous, f32 or bf16, to 8 bits of x * scale + offset in [0, 1].
 * H and W even. Plane p of picture i begins at data[p] + i * picture_stride[p]. data: device memory
 * or mapped host memory. */
struct kernel_picture {
    enum kernel_format format;
    uint8_t *data[3];
    int64_t stride[3];         /* bytes from a row to the next */
    int64_t picture_stride[3]; /* bytes */
};

cudaError_t kernel_picture(const struct kernel_picture *y, const void *x, enum kernel_type x_type,
                           int64_t count, int64_t height, int64_t width, float scale, float offset,
                           cudaStream_t stream);

/* ---- linear.cu, conv.cu, attention.cu: plain; where the libraries refuse ------------------- */

/* y [rows, n] = act(x [rows, k] W^T + bias); w [n, k] contiguous rows. f32 or bf16 each, or x and w
 * E4M3 both; bias f32 or NULL. Not in place. */
cudaError_t kernel_linear(const struct kernel_rows *y, const struct kernel_rows *x,
                          const struct kernel_rows *w, const float *bias, int64_t rows, int64_t n,
                          int64_t k, enum kernel_act act, cudaStream_t stream);

/* y [To, Ho, Wo, Co] = act(conv(x) + bias + add). */
struct kernel_conv {
    int64_t in[4];  /* T, H, W, C of x, as it lies */
    int64_t out[4]; /* To, Ho, Wo, Co */
    int64_t kernel[3];
    int64_t stride[3]; /* time, rows, columns */
    int64_t pad[2];    /* rows of zeros above, columns left; what is missing below is zero too */
    bool upsample;     /* x is read as blown up to twice its height and width */
    struct kernel_video add; /* shaped as y and of its type, and may be it; data NULL: nothing */
    enum kernel_act act;
};

/* x, y and w f32 or bf16 each; w [Co, kt, kh, kw, Ci]; bias f32 [Co] or NULL. Pixels are
 * contiguous; strides of y let it be one phase of a blown-up picture. Not in place. */
cudaError_t kernel_conv(const struct kernel_video *y, const struct kernel_video *x, const void *w,
                        enum kernel_type w_type, const float *bias, const struct kernel_conv *conv,
                        cudaStream_t stream);

/* Weights of the four 2x2 convolutions that a 3x3 one over a blown-up picture is, each over the
 * picture as it is: w [4, Co, kt, 2, 2, Ci] from x [Co, kt, 3, 3, Ci] f32. Phase 2 a + b writes
 * rows 2 h + a and columns 2 w + b, with 1 - a rows of padding above and 1 - b columns left. */
cudaError_t kernel_conv_fold(void *w, enum kernel_type w_type, const float *x, int64_t co,
                             int64_t kt, int64_t ci, cudaStream_t stream);

/* y [queries, heads, width] = softmax(q k^T * scale + bias) v. All of one type, f32 or bf16;
 * strides of token and head free. With `keys_held` only the first *keys_held (1 to keys) are looked
 * at. bias f32 [heads, queries + keys - 1], entry j - i + queries - 1, or NULL. width up to 512,
 * else cudaErrorInvalidValue. */
struct kernel_heads {
    void *data;
    int64_t stride, head_stride; /* elements */
};

cudaError_t kernel_attention(const struct kernel_heads *y, const struct kernel_heads *q,
                             const struct kernel_heads *k, const struct kernel_heads *v,
                             enum kernel_type type, int64_t queries, int64_t keys,
                             const int32_t *keys_held, int64_t heads, int64_t width, float scale,
                             const float *bias, int64_t bias_stride, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
