/* The operations that the networks are written in, and the table that a backend fills in.
 *
 * Model code calls the checked wrappers below (op_*); they verify shapes and types once, here, and
 * hand on to the backend's function. Operations return nothing: the first failure is logged and kept
 * in backend.status, later operations do nothing, and the caller reads backend_status() once a step.
 * On a device the operations are queued; backend_sync() waits for them.
 *
 * Types: weights and activations have the backend's compute type (f32 or bf16) unless said
 * otherwise; sums are always f32. The residual stream, conditioning and latents are f32. "either"
 * below means f32 or bf16, independently for each tensor. Where a backend has FP8, large products
 * are of quantised matrices (E4M3), which the operations that say so write.
 *
 * A backend belongs to one thread at a time. */
#pragma once

#include <stdatomic.h>

#include "backend/tensor.h"
#include "base/log.h"
#include "base/noise.h"

enum activation {
    ACT_NONE,
    ACT_SILU,
    ACT_GELU_TANH, /* 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) */
    ACT_RELU,
    ACT_TANH3,   /* 3 tanh(x / 3) */
    ACT_CLAMP,   /* to [-1, 1] */
    ACT_CLAMP01, /* to [0, 1] */
};

/* ---- weights ------------------------------------------------------------------------------ */

#define LINEAR_PARTS 4

/* y = x W^T + b. Parts are stacked along the outputs, so that q, k and v are one product. Weights
 * and biases are host tensors as files hold them; they must stay there as long as the weight lives.
 * The backend converts and reorders at the first use (or not at all, or again for another shape), and lets go
 * of the pages of files after it. */
struct linear_desc {
    int parts;
    struct tensor weight[LINEAR_PARTS]; /* [N_i, K], host, f32, f16 or bf16, contiguous */
    struct tensor bias[LINEAR_PARTS];   /* [N_i], host; data NULL: none */
    bool precise;   /* keep f32: inputs, weights and sums, whatever the compute type */
    bool quantise;  /* E4M3, inputs and weights, where the backend has FP8; excludes both others */
    bool transient; /* used once a prompt: keep no converted copy */
};

struct linear {
    struct linear_desc desc;
    int64_t n, k;
    enum tensor_type type; /* of x: compute type, f32 if precise, E4M3 if quantised */
    void *impl;            /* the backend's */
};

/* A convolution over [T, H, W, C]. Time is never padded: the input holds its history in front, so
 * T_out = (T_in - kt) / stride_t + 1. Space is padded with zeros. */
struct conv_desc {
    struct tensor weight; /* [Co, Ci, kt, kh, kw], host, contiguous, as PyTorch stores it */
    struct tensor bias;   /* [Co], host; data NULL: none */
    int stride_t, stride; /* 0 reads as 1 */
    int pad_before, pad_after; /* rows above and columns left; rows below and columns right */
    bool upsample; /* input is first blown up to twice its height and width (nearest neighbour) */
};

struct conv {
    struct conv_desc desc;
    int64_t co, ci, kt, kh, kw;
    void *impl;
};

/* ---- parameters --------------------------------------------------------------------------- */

/* Rotary angles, separable over (frame, row, column): pair i of a head turns by frame[f][i] for
 * i < nf, by row[h][i - nf] for the next nh, by column[w][i - nf - nh] for the last nw. Each table
 * holds (cos, sin) pairs, f32, in backend memory. */
struct rope_tables {
    struct tensor frame;  /* [F, nf, 2] */
    struct tensor row;    /* [H, nh, 2] */
    struct tensor column; /* [W, nw, 2] */
};

/* What lies between the product for q, k and v and attention: RMSNorm and rotation of queries and
 * keys, keys and values into their slots of a ring. F frames; S slots of one frame each. */
struct store_qkv {
    struct tensor q;             /* [F, H, W, heads, D]; data NULL: queries are not wanted */
    struct tensor k, v;          /* [S, H, W, heads, D], of q's type */
    struct tensor x_q, x_k, x_v; /* [F, H, W, heads, D], of one type */
    struct tensor gain_q, gain_k; /* f32 [heads * D] */
    float eps;
    struct rope_tables rope;
    struct tensor slot;   /* i32 [F], backend memory: where each frame goes */
    const int32_t *slots; /* the same, host memory: no recording may depend on it */
};

/* Where a finished picture goes: host memory. */
struct picture_target {
    enum unreel_format format;
    uint8_t *data[3];
    size_t stride[3]; /* bytes a row */
};

#define COMBINE_TERMS 6

struct backend;

/* A device's own memory, in bytes. */
struct backend_memory {
    const char *device;   /* it, in words; lives as long as the backend */
    uint64_t total, free; /* of the whole device, whoever uses it */
    uint64_t weights;     /* taken by weights in the form that operations read */
    uint64_t scratch;     /* taken by the backend between operations */
};

/* ---- the table ---------------------------------------------------------------------------- */

struct backend_ops {
    const char *name; /* "cpu", "cuda" */
    void (*close)(struct backend *);

    void *(*alloc)(struct backend *, size_t bytes); /* zeroed, 64-byte aligned; NULL: none left */
    void (*free)(struct backend *, void *data);
    void (*upload)(struct backend *, const struct tensor *y, const struct tensor *x);
    void (*download)(struct backend *, const struct tensor *y, const struct tensor *x);
    void (*sync)(struct backend *);

    int (*linear_init)(struct backend *, struct linear *);
    void (*linear_finish)(struct backend *, struct linear *);
    int (*conv_init)(struct backend *, struct conv *);
    void (*conv_finish)(struct backend *, struct conv *);

    void (*copy)(struct backend *, const struct tensor *y, const struct tensor *x);
    void (*activate)(struct backend *, const struct tensor *y, const struct tensor *x,
                     enum activation act);
    void (*linear)(struct backend *, const struct tensor *y, const struct tensor *x,
                   struct linear *w, enum activation act);
    void (*conv)(struct backend *, const struct tensor *y, const struct tensor *x, struct conv *w,
                 enum activation act, bool accumulate);
    void (*attention)(struct backend *, const struct tensor *y, const struct tensor *q,
                      const struct tensor *k, const struct tensor *v, float scale,
                      const struct tensor *relative_bias);
    void (*rms_norm)(struct backend *, const struct tensor *y, const struct tensor *x,
                     const struct tensor *gain, float eps, enum activation act);
    void (*layer_norm)(struct backend *, const struct tensor *y, const struct tensor *x,
                       const struct tensor *scale, const struct tensor *shift, float eps,
                       float scale_offset);
    void (*rope)(struct backend *, const struct tensor *y, const struct tensor *x,
                 const struct rope_tables *tables);
    void (*add_gated)(struct backend *, const struct tensor *x, const struct tensor *y,
                      const struct tensor *gate);
    void (*mul)(struct backend *, const struct tensor *y, const struct tensor *a,
                const struct tensor *b);
    void (*combine)(struct backend *, const struct tensor *y, int terms, const float *factor,
                    const struct tensor *x);
    void (*picture)(struct backend *, const struct picture_target *target, const struct tensor *x,
                    float scale, float offset);

    void (*rope_table)(struct backend *, const struct tensor *table, const struct tensor *start);
    void (*sinusoid)(struct backend *, const struct tensor *y, const struct tensor *timestep);
    void (*noise)(struct backend *, const struct tensor *x, const struct noise_key *key,
                  uint64_t frame, uint32_t step);

    /* Of backends that can have FP8. */
    void (*quantise)(struct backend *, const struct tensor *y, const struct tensor *x);

    /* Optional; NULL: composed from the above. conv_add: y = act(z + conv(x)), y not being z. */
    void (*conv_add)(struct backend *, const struct tensor *y, const struct tensor *z,
                     const struct tensor *x, struct conv *w, enum activation act);
    void (*rms_norm_rope)(struct backend *, const struct tensor *y, const struct tensor *x,
                          const struct tensor *gain, float eps, const struct rope_tables *tables);
    void (*attention_held)(struct backend *, const struct tensor *y, const struct tensor *q,
                           const struct tensor *k, const struct tensor *v, float scale,
                           const struct tensor *held, int64_t count);
    void (*add_gated_layer_norm)(struct backend *, const struct tensor *y, const struct tensor *x,
                                 const struct tensor *a, const struct tensor *gate,
                                 const struct tensor *scale, const struct tensor *shift, float eps,
                                 float scale_offset);
    void (*store_qkv)(struct backend *, const struct store_qkv *store);
    void (*pictures)(struct backend *, int count, const struct picture_target *target,
                     const struct tensor *x, float scale, float offset);

    /* Optional, all or none; see recorder.h. Operations between record_begin() and record_end() are
     * kept instead of run. */
    bool (*record_begin)(struct backend *);           /* false: cannot be, which has been logged */
    void *(*record_end)(struct backend *);            /* NULL: likewise, and nothing has run */
    bool (*record_run)(struct backend *, void *recording); /* false: memory that it names has moved */
    void (*record_free)(struct backend *, void *recording);

    /* Optional, both or none: around what a thread asks of the backend, which then is no other's. */
    void (*enter)(struct backend *);
    void (*leave)(struct backend *);

    /* Optional: names what follows in a profiler's timeline, until range_end(). They nest. */
    void (*range_begin)(struct backend *, const char *name);
    void (*range_end)(struct backend *);

    /* FLOP/s that the best instruction for a type reaches on all threads, measured now; its name. */
    double (*peak)(struct backend *, enum tensor_type, const char **instruction);

    /* NULL: memory is the host's. */
    void (*memory)(struct backend *, struct backend_memory *);
};

/* ---- profile ------------------------------------------------------------------------------ */

enum op_kind {
    OP_LINEAR,
    OP_CONV,
    OP_ATTENTION,
    OP_RMS_NORM,
    OP_LAYER_NORM,
    OP_ROPE, /* with the norm before it where that is fused */
    OP_ADD,
    OP_COPY,
    OP_OTHER,
    OP_KINDS,
};

/* Where the time goes, while backend.profile points here. FLOPs are those a good implementation
 * performs: a convolution over a blown-up picture counts as the four 2x2 phases it folds into. */
struct op_profile {
    double seconds[OP_KINDS], flops[OP_KINDS];
    int64_t calls[OP_KINDS];
};

const char *op_kind_name(enum op_kind kind);

/* The first member of every backend's own struct. */
struct backend {
    const struct backend_ops *ops;
    unreel_log log;
    int status;                /* first failure, sticky; 0: none */
    const atomic_bool *cancel; /* of the session at work: becomes status UNREEL_ECANCELED; or NULL */
    enum tensor_type compute;  /* of weights and activations */
    bool fp8;                  /* linears with `quantise` are E4M3 */
    bool round_bf16;           /* compute is f32, but weights are first rounded to bf16 */
    bool round_bias;           /* compute is bf16, and biases are rounded to it like weights */
    int threads;               /* of the host, that operations use */
    int decode_frames; /* latent frames that a decoder best takes at once, from 1 */
    bool decode_apart; /* there is memory for an input of each of its convolutions: video_stream.h */
    struct op_profile *profile; /* operations are timed one by one (and waited for); NULL: not */
    bool beside; /* another one of this device may work beside it, in a thread of its own */
    uint64_t bytes, bytes_peak; /* allocated through alloc() */
    uint64_t arenas;            /* that there were */
};

struct backend_config {
    const char *device; /* "auto", "cpu", "cuda" */
    const char *dtype;  /* "auto", "f32", "bf16", "fp8" */
    int threads;        /* 0: as many as there are cores */
    const char *cache;  /* folder that keeps which algorithms measured fastest; NULL: none */
    const char *module; /* path of the CUDA backend; NULL: searched for */
    const char *without; /* parts that it does without, see cuda/cuda.h; NULL: none */
    bool beside;         /* it is to work beside an open one of the same device, and to come first */
};

/* Opens a device. "auto" takes CUDA where it works and else the CPU, with one line that says so. */
int backend_open(struct backend **backend, const struct backend_config *config,
                 const unreel_log *log);
void backend_close(struct backend *backend); /* NULL is fine */

/* Whether an operation may run: nothing failed and the session at work was not cancelled. */
bool backend_ready(struct backend *backend);

/* Type of what a linear with `quantise` takes. */
static inline enum tensor_type backend_quantised(const struct backend *b)
{
    return b->fp8 ? TENSOR_E4M3 : b->compute;
}

/* The sticky status; waits for nothing. */
int backend_status(const struct backend *backend);
void backend_clear(struct backend *backend); /* after a session failed, for the next one */

/* Logs (the first time only) and keeps `code`. For backends and for the wrappers. */
void backend_fail(struct backend *backend, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void backend_sync(struct backend *backend);

/* Around what a thread asks of a backend that is also used by others, in other threads or elsewhere in
 * the program. */
static inline void backend_enter(struct backend *b)
{
    if (b->ops->enter)
        b->ops->enter(b);
}

static inline void backend_leave(struct backend *b)
{
    if (b->ops->leave)
        b->ops->leave(b);
}

/* A stage's name in a profiler's timeline, where the backend can do that. */
static inline void backend_range_begin(struct backend *b, const char *name)
{
    if (b->ops->range_begin)
        b->ops->range_begin(b, name);
}

static inline void backend_range_end(struct backend *b)
{
    if (b->ops->range_end)
        b->ops->range_end(b);
}

/* ---- memory ------------------------------------------------------------------------------- */

/* Allocations that go together. A failed one sets the backend's status and gives a tensor without
 * data; so a run of them is checked once, by backend_status(). */
struct arena {
    struct backend *backend;
    uint64_t serial; /* no other arena of the backend has or will have it */
    void **blocks;
    size_t *sizes;
    size_t count, capacity;
    uint64_t bytes;
};

void arena_init(struct arena *arena, struct backend *backend);
struct tensor arena_tensor(struct arena *arena, enum tensor_type type, int dims,
                           const int64_t *shape); /* zeroed; E4M3 with its scales */
/* A host vector or matrix (any type of a file) as f32 in backend memory: gains, biases, tables. */
struct tensor arena_upload_f32(struct arena *arena, const struct tensor *host);
void arena_finish(struct arena *arena);

/* Host to backend memory and back, contiguous or strided, converting between types; i32 only as it
 * is. Both are done when the call returns: the host memory is free again. */
void backend_upload(struct backend *b, struct tensor y, struct tensor x);
void backend_download(struct backend *b, struct tensor y, struct tensor x);

/* Weights. `desc` is copied; its tensors are not. Checked by backend_status(). */
void backend_linear_init(struct backend *b, struct linear *w, const struct linear_desc *desc);
void backend_linear_finish(struct backend *b, struct linear *w);
void backend_conv_init(struct backend *b, struct conv *w, const struct conv_desc *desc);
void backend_conv_finish(struct backend *b, struct conv *w);

/* ---- operations --------------------------------------------------------------------------- */

/* y = x, any strides (also of the last dimension), same shape, either types. */
void op_copy(struct backend *b, struct tensor y, struct tensor x);

/* y = act(x), same shape, contiguous, either types; y may be x. */
void op_activate(struct backend *b, struct tensor y, struct tensor x, enum activation act);

/* y [M, N] = act(x [M, K] W^T + b). x of the weight's type; y either, but of compute type or E4M3
 * where x is E4M3; rows may be strided. */
void op_linear(struct backend *b, struct tensor y, struct tensor x, struct linear *w,
               enum activation act);

/* y [To, Ho, Wo, Co] = act(conv(x [Ti, H, W, Ci])), or y + conv(x) with `accumulate` (then act is
 * ACT_NONE). Both of compute type; frames may be strided, each frame is contiguous. */
void op_conv(struct backend *b, struct tensor y, struct tensor x, struct conv *w,
             enum activation act, bool accumulate);

/* act(z + conv(x)), act ACT_NONE or ACT_RELU: into z, or into y where the backend writes a sum beside
 * what it adds to. Which of them. Shapes as op_conv; y and z apart, contiguous. */
struct tensor op_conv_add(struct backend *b, struct tensor y, struct tensor z, struct tensor x,
                          struct conv *w, enum activation act);

/* y [Lq, H, D] = softmax(q k^T * scale + bias) v for each head; k, v [Lk, H, D]. All of one type,
 * either; token and head strides free. relative_bias: f32 [H, Lq + Lk - 1], entry j - i + Lq - 1 for
 * query i and key j; data NULL: none. */
void op_attention(struct backend *b, struct tensor y, struct tensor q, struct tensor k,
                  struct tensor v, float scale, struct tensor relative_bias);

/* y = act(x / max(sqrt(mean(x^2) + eps), 1e-12 / sqrt(C)) * gain [C]) over the last dimension; gain
 * f32; rows [R, C] may be strided; x and y either type; y may be x. */
void op_rms_norm(struct backend *b, struct tensor y, struct tensor x, struct tensor gain, float eps,
                 enum activation act);

/* y [R, C] E4M3 = x, either type: element / scale to the nearest, ties to even, a row's scale being
 * its largest size / 448, so that all fit; zeros stay zero, NaN stays NaN. Rows may be strided. */
void op_quantise(struct backend *b, struct tensor y, struct tensor x);

/* y [R, C] = LN(x) * (scale_offset + scale [F, C]) + shift [F, C], R / F rows for each f; scale and
 * shift f32, rows may be strided; x either type, y either or E4M3. Affine: F 1, scale_offset 0.
 * Modulation: scale_offset 1. */
void op_layer_norm(struct backend *b, struct tensor y, struct tensor x, struct tensor scale,
                   struct tensor shift, float eps, float scale_offset);

/* y [F, H, W, heads, D] = x, adjacent pairs turned (see rope_tables); either types; y may be x.
 * Heads contiguous ([heads, D] is one row), other strides free. */
void op_rope(struct backend *b, struct tensor y, struct tensor x, const struct rope_tables *tables);

/* op_rms_norm over heads * D, then op_rope. Shapes as op_rope, gain f32 [heads * D]. */
void op_rms_norm_rope(struct backend *b, struct tensor y, struct tensor x, struct tensor gain,
                      float eps, const struct rope_tables *tables);

/* x [R, C] += y [R, C] * gate [F, C], R / F rows for each f; gate data NULL: 1. x either, y either. */
void op_add_gated(struct backend *b, struct tensor x, struct tensor y, struct tensor gate);

/* y = a * b, contiguous, same shape, either types; y may be a or b. */
void op_mul(struct backend *b, struct tensor y, struct tensor a, struct tensor c);

/* y = sum of factor[i] * x[i], up to COMBINE_TERMS, f32, contiguous, same shape; y may be any x. */
void op_combine(struct backend *b, struct tensor y, int terms, const float *factor,
                const struct tensor *x);

/* One picture x [H, W, 3] (contiguous, either type) into host memory: 8-bit of x * scale + offset,
 * clamped to [0, 1]. I420 and NV12: BT.709 limited range, chroma the mean of 2x2. Done when the call
 * returns. */
void op_picture(struct backend *b, const struct picture_target *target, struct tensor x, float scale,
                float offset);

/* op_picture for each of the pictures x [count, H, W, 3]; all are done when the call returns. */
void op_pictures(struct backend *b, int count, const struct picture_target *target, struct tensor x,
                 float scale, float offset);

/* table [P, pairs, 2] = (cos, sin) of position * 10000^(-i / pairs) for P positions from start, i32 [1]
 * in backend memory. Computed in f64. */
void op_rope_table(struct backend *b, struct tensor table, struct tensor start);

/* y f32 [N, 2 half] = cos, then sin, of timestep * 10000^(-j / half); timestep f32 [N]. In f64. */
void op_sinusoid(struct backend *b, struct tensor y, struct tensor timestep);

/* x f32 [F, ...], contiguous: noise_frame() of frames frame, frame + 1, ... A device's logarithms and
 * cosines may differ in the last place. */
void op_noise(struct backend *b, struct tensor x, const struct noise_key *key, uint64_t frame,
              uint32_t step);

/* op_attention without bias over the first `count` keys and values of a ring, k and v being as long as
 * they can become. `held`, i32 [1] in backend memory, holds the same number. */
void op_attention_held(struct backend *b, struct tensor y, struct tensor q, struct tensor k,
                       struct tensor v, float scale, struct tensor held, int64_t count);

/* op_add_gated of a onto x, then op_layer_norm of x into y, which is neither. */
void op_add_gated_layer_norm(struct backend *b, struct tensor y, struct tensor x, struct tensor a,
                             struct tensor gate, struct tensor scale, struct tensor shift,
                             float eps, float scale_offset);

void op_store_qkv(struct backend *b, const struct store_qkv *store);
