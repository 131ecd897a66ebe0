/* The CUDA backend: what its files share.
 *
 * cuda.c opens the device and holds the table; memory.c allocates, transfer.c moves data between
 * host and device; light.c queues the own kernels (kernels.h); weights.c brings weights to the
 * device; heavy.c decides for matrix products, convolutions and attention between a library
 * (matmul.c over cuBLASLt, dnn.c over cuDNN) and the plain kernel, fp8.c for products of E4M3. Both
 * libraries are optional and loaded at run time; choices.c keeps on disk what measured fastest;
 * record.c makes graphs; stopwatch.c measures.
 *
 * Everything is queued on one stream; a second backend has a second one, and shares nothing with the
 * first but the device (backend_config.beside). Device 0 is used; CUDA_VISIBLE_DEVICES chooses which that is.
 * After the first chunk of a session nothing is allocated: scratch memory only grows. */
#pragma once

#include "backend/backend.h"
#include "kernels.h"

struct choices;
struct matmul;
struct dnn;

enum cuda_scratch {
    SCRATCH_TRANSFER,  /* host data on its way to another type or layout */
    SCRATCH_RESULT,    /* of a convolution on its way to what it is added to */
    SCRATCH_PRODUCT,   /* of E4M3 on its way to what follows it */
    SCRATCH_WEIGHT,    /* transient weights */
    SCRATCH_WORKSPACE, /* of a library */
    SCRATCHES,
};

struct cuda_block {
    void *data;
    size_t bytes;
};

/* Pinned host memory that uploads go through, in turn. */
#define STAGES 4 /* the host may be two forwards ahead, each of which uploads twice */
#define STAGE_BYTES ((size_t)8 << 20)

#define PICTURES 16 /* on their way to the host at a time */

#define MEASURED_RUNS 3 /* of what is to be chosen from */

struct cuda_stage {
    void *data;
    cudaEvent_t used; /* recorded after the last copy out of it */
};

struct cuda_backend {
    struct backend base;    /* first */
    struct backend_ops ops; /* of base: what was asked to be left out is */
    char device[320];    /* "NVIDIA H100 80GB HBM3, sm_90, driver 12080, runtime 13000" */
    int arch;            /* 90: compute capability 9.0 */
    cudaStream_t stream;
    cudaMemPool_t pool; /* NULL: the device has none; cudaMalloc() then */
    struct cuda_block scratch[SCRATCHES];
    struct cuda_stage stage[STAGES];
    int next_stage;
    struct cuda_block pinned; /* for pictures on their way to the host */
    cudaEvent_t picture[PICTURES]; /* recorded behind each of them */
    cudaEvent_t watch[MEASURED_RUNS + 1]; /* stopwatch.c */
    int outer;                /* the device that was current before cuda_enter() */
    uint64_t weight_bytes;    /* on the device */
    uint64_t moved;           /* times that scratch memory was taken anew */
    bool recording;           /* what is queued becomes part of a graph: record.c */
    struct choices *choices;  /* NULL: not kept */
    struct matmul *matmul;    /* NULL: no cuBLASLt */
    struct dnn *dnn;          /* NULL: no cuDNN */
};

/* What a backend may be opened without (backend_config.without), each a name in a list with commas. */
enum cuda_part {
    PART_GRAPHS,  /* "graphs": operations are launched one by one */
    PART_FUSED,   /* "fused": fused operations are composed of others */
    PART_BESIDE,  /* "beside": decoding waits for denoising and the other way round */
    PART_LENGTHS, /* "lengths": a plan of attention for each number of keys */
    PART_DNN,     /* "cudnn": plain kernels */
    PART_LT,      /* "cublaslt": plain kernels */
    PARTS,
};

static inline struct cuda_backend *cuda_of(struct backend *b)
{
    return (struct cuda_backend *)b;
}

/* Whether a call of CUDA went well; else the backend has failed. */
bool cuda_check(struct cuda_backend *c, cudaError_t error, const char *what);

/* Makes the device current in this thread, and then again what was: what is queued on a stream of a
 * device that is not current fails, and a program that uses several has its own idea of it. */
void cuda_enter(struct backend *b);
void cuda_leave(struct backend *b);

/* ---- memory.c ------------------------------------------------------------------------------- */

int cuda_memory_open(struct cuda_backend *c);
void cuda_memory_close(struct cuda_backend *c); /* also after a failed open */

/* Device memory, aligned to 256 bytes, contents undefined. NULL: none left, which is not logged, or
 * the device failed before, which is.
 * Freed memory is used again by what is queued later, so neither call waits. */
void *cuda_take(struct cuda_backend *c, size_t bytes);
void cuda_give(struct cuda_backend *c, void *data);

void *cuda_alloc(struct backend *b, size_t bytes); /* zeroed */
void cuda_free(struct backend *b, void *data);

/* Memory for what is queued next, contents undefined; valid until the same scratch is asked for
 * again. NULL: the backend has failed. */
void *cuda_scratch(struct cuda_backend *c, enum cuda_scratch which, size_t bytes);
void *cuda_scratch_try(struct cuda_backend *c, enum cuda_scratch which,
                       size_t bytes); /* may fail */

/* Pinned host memory, grown as needed; waits for the stream if it must grow. NULL: failed. */
void *cuda_pinned(struct cuda_backend *c, size_t bytes);

/* For bench: what is in use on the device, by whomever, and what is free. */
void cuda_memory_info(struct backend *b, struct backend_memory *memory);

/* ---- stopwatch.c ---------------------------------------------------------------------------- */

int cuda_stopwatch_open(struct cuda_backend *c);
void cuda_stopwatch_close(struct cuda_backend *c);

/* Milliseconds of the fastest of MEASURED_RUNS runs after a first one; negative: one failed, as `run` says by
 * anything but 0. The fastest, since what other streams do meanwhile only makes a run slower. */
float cuda_measure(struct cuda_backend *c, int (*run)(struct cuda_backend *c, void *opaque),
                   void *opaque);

/* ---- range.c -------------------------------------------------------------------------------- */

void cuda_range_begin(struct backend *, const char *name);
void cuda_range_end(struct backend *);

/* ---- record.c ------------------------------------------------------------------------------- */

bool cuda_record_begin(struct backend *b);
void *cuda_record_end(struct backend *b);
bool cuda_record_run(struct backend *b, void *recording);
void cuda_record_free(struct backend *b, void *recording);

/* For what a graph cannot hold, as waiting or taking memory: false while one is recorded, and the
 * backend has failed. */
bool cuda_recording_allows(struct cuda_backend *c, const char *what);

/* ---- transfer.c ----------------------------------------------------------------------------- */

void cuda_upload(struct backend *b, const struct tensor *y, const struct tensor *x);
void cuda_download(struct backend *b, const struct tensor *y, const struct tensor *x);
void cuda_pictures(struct backend *b, int count, const struct picture_target *target,
                   const struct tensor *x, float scale, float offset);
void cuda_picture(struct backend *b, const struct picture_target *target, const struct tensor *x,
                  float scale, float offset);

/* ---- light.c -------------------------------------------------------------------------------- */

void cuda_copy(struct backend *, const struct tensor *y, const struct tensor *x);
void cuda_activate(struct backend *, const struct tensor *y, const struct tensor *x,
                   enum activation act);
void cuda_rms_norm(struct backend *, const struct tensor *y, const struct tensor *x,
                   const struct tensor *gain, float eps, enum activation act);
void cuda_layer_norm(struct backend *, const struct tensor *y, const struct tensor *x,
                     const struct tensor *scale, const struct tensor *shift, float eps,
                     float scale_offset);
void cuda_rope(struct backend *, const struct tensor *y, const struct tensor *x,
               const struct rope_tables *tables);
void cuda_rms_norm_rope(struct backend *, const struct tensor *y, const struct tensor *x,
                        const struct tensor *gain, float eps, const struct rope_tables *tables);
void cuda_add_gated(struct backend *, const struct tensor *x, const struct tensor *y,
                    const struct tensor *gate);
void cuda_mul(struct backend *, const struct tensor *y, const struct tensor *a,
              const struct tensor *b);
void cuda_combine(struct backend *, const struct tensor *y, int terms, const float *factor,
                  const struct tensor *x);

void cuda_rope_table(struct backend *, const struct tensor *table, const struct tensor *start);
void cuda_sinusoid(struct backend *, const struct tensor *y, const struct tensor *timestep);
void cuda_noise(struct backend *, const struct tensor *x, const struct noise_key *key,
                uint64_t frame, uint32_t step);
void cuda_add_gated_layer_norm(struct backend *, const struct tensor *y, const struct tensor *x,
                               const struct tensor *a, const struct tensor *gate,
                               const struct tensor *scale, const struct tensor *shift, float eps,
                               float scale_offset);
void cuda_store_qkv(struct backend *, const struct store_qkv *store);

/* ---- weights.c ------------------------------------------------------------------------------ */

/* impl of struct linear and struct conv. Biases of weights that are not f32 are rounded to bf16 in
 * both forms: cuBLASLt takes no other beside bf16 results. */
struct cuda_weights {
    void *data;            /* [N, K] or [Co, kt, kh, kw, Ci]; NULL: transient, or folded */
    float *scale;          /* E4M3: [N]; else NULL */
    void *folded;          /* conv: [4, Co, kt, 2, 2, Ci], see kernel_conv_fold(); or NULL */
    float *bias;           /* [N] or [Co]; NULL: none */
    uint16_t *bias_bf16;   /* the same; NULL: none, or the weights are f32 */
    enum tensor_type type; /* of data */
    size_t bytes;          /* of all of these */
};

int cuda_linear_init(struct backend *, struct linear *);
void cuda_linear_finish(struct backend *, struct linear *);
int cuda_conv_init(struct backend *, struct conv *);
void cuda_conv_finish(struct backend *, struct conv *);

/* [N, K] on the device; those of a transient weight until the next call. NULL: failed. */
const void *cuda_linear_data(struct cuda_backend *c, struct linear *w);

/* ---- fp8.c ---------------------------------------------------------------------------------- */

void cuda_quantise(struct backend *, const struct tensor *y, const struct tensor *x);

/* cuda_linear() of E4M3 weights. */
void cuda_linear_fp8(struct cuda_backend *c, const struct tensor *y, const struct tensor *x,
                     const struct linear *w, enum activation act);

/* ---- heavy.c -------------------------------------------------------------------------------- */

void cuda_linear(struct backend *, const struct tensor *y, const struct tensor *x, struct linear *w,
                 enum activation act);
void cuda_conv(struct backend *, const struct tensor *y, const struct tensor *x, struct conv *w,
               enum activation act, bool accumulate);
void cuda_conv_add(struct backend *, const struct tensor *y, const struct tensor *z,
                   const struct tensor *x, struct conv *w, enum activation act);
void cuda_attention(struct backend *, const struct tensor *y, const struct tensor *q,
                    const struct tensor *k, const struct tensor *v, float scale,
                    const struct tensor *relative_bias);
void cuda_attention_held(struct backend *, const struct tensor *y, const struct tensor *q,
                         const struct tensor *k, const struct tensor *v, float scale,
                         const struct tensor *held, int64_t count);
double cuda_peak(struct backend *, enum tensor_type type, const char **instruction);

/* ---- tensors as kernels take them ------------------------------------------------------------ */

static inline struct kernel_rows cuda_rows(const struct tensor *t)
{
    return (struct kernel_rows){.data = t->data,
                                .type = (enum kernel_type)t->type,
                                .stride = t->stride[0],
                                .scale = t->scale};
}

static inline struct kernel_video cuda_video(const struct tensor *t)
{
    return (struct kernel_video){
        t->data, (enum kernel_type)t->type, {t->stride[0], t->stride[1], t->stride[2]}};
}
