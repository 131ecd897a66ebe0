/* A thin layer over the C API of oneDNN that hides the differences between its versions 2 and 3.
 *
 * oneDNN compiles a primitive for each shape. The backend keeps the ones in use in a small table,
 * found by their key without allocating; every thread of the pool runs the same primitive with
 * memory descriptors, stream and scratch memory of its own, and oneDNN's own threads are never
 * started: the backend's pool splits the work (OpenMP threads that spin would ruin a busy machine). */
#pragma once

#include <oneapi/dnnl/dnnl.h>

#include "cpu/cpu.h"

enum onednn_kind {
    ONEDNN_LINEAR,      /* y [M, N] = x [M, K] w + bias; all are dense: that is what the */
                        /* fast implementations of oneDNN take */
    ONEDNN_LINEAR_PACK, /* w in the order of ONEDNN_LINEAR <- [N, K] */
    ONEDNN_CONV,        /* y [To, Ho, Wo, Co] = conv(x [Ti, H, W, Ci]) + bias, no padding */
    ONEDNN_CONV_PACK,   /* w in the order of ONEDNN_CONV <- [Co, Ci, kt, kh, kw] */
};

/* What a primitive computes. Unused fields are 0: keys are compared as bytes. */
struct onednn_key {
    int32_t kind;
    int32_t x_type, w_type, y_type; /* enum tensor_type; PACK: x is the plain weight, y the packed */
    int64_t m, n, k;                             /* of a product */
    int64_t t, h, w, co, ci, kt, kh, kw, stride; /* of a convolution; t, h, w: of the output */
};

enum onednn_argument {
    ONEDNN_X,
    ONEDNN_W,
    ONEDNN_BIAS, /* f32 */
    ONEDNN_Y,
    ONEDNN_SCRATCH,
    ONEDNN_ARGUMENTS,
};

struct onednn_primitive {
    struct onednn_key key;
    dnnl_primitive_t primitive; /* NULL: oneDNN has none for this key */
    size_t scratch;             /* bytes a thread */
    size_t packed;              /* PACK: bytes of the packed weight */
    dnnl_memory_t (*memory)[ONEDNN_ARGUMENTS]; /* [threads] */
    uint64_t last_use;          /* 0: an empty entry */
};

struct onednn;

/* NULL: out of memory, or oneDNN does not start. */
struct onednn *onednn_create(int threads, const unreel_log *log);
void onednn_destroy(struct onednn *onednn); /* NULL is fine */

/* Whether oneDNN multiplies bf16 on this machine. */
bool onednn_has_bf16(void);

/* The primitive of a key, compiled at the first use and kept until ONEDNN_PRIMITIVES others were used
 * since. NULL if oneDNN refuses; logged once at debug level. */
const struct onednn_primitive *onednn_get(struct onednn *onednn, const struct onednn_key *key);

/* Runs in the calling thread, number `thread` of the pool. Data is 64-byte aligned at best. */
void onednn_run(struct onednn *onednn, const struct onednn_primitive *primitive, int thread,
                const void *x, const void *w, const float *bias, void *y, void *scratch);

/* Of cpu_onednn. */
int onednn_linear_init(struct backend *, struct linear *);
void onednn_linear_finish(struct backend *, struct linear *);
void onednn_linear(struct backend *, const struct tensor *y, const struct tensor *x,
                   struct linear *w, enum activation act);
int onednn_conv_init(struct backend *, struct conv *);
void onednn_conv_finish(struct backend *, struct conv *);
void onednn_conv(struct backend *, const struct tensor *y, const struct tensor *x, struct conv *w,
                 enum activation act, bool accumulate);
