/* The CPU backend: what its files share.
 *
 * cpu.c opens it, chooses instruction set and implementation, and holds memory; the light
 * operations (elementwise.c, norm.c, picture.c) split rows over threads and call the kernels of
 * kernels.h. The heavy ones, matrix products, convolutions and attention, come as an
 * implementation, struct cpu_heavy: the plain one (plain.c over linear.c, conv.c, attention.c,
 * product.c) works everywhere; a faster one (oneDNN) goes in front of it in cpu_heavies[]. One
 * implementation serves a backend for its whole life, so `impl` of a weight is always its own.
 *
 * A backend is used by one thread at a time, so what converts weights at their first use, lazily,
 * needs no lock, also when several sessions share an engine.
 *
 * Loops run through thread_pool_run(cpu->pool, ...) in C functions that get a range of rows. Inside
 * a loop nothing may fail: memory is taken before (cpu_scratch). */
#pragma once

#include "backend/backend.h"
#include "base/thread_pool.h"
#include "cpu/kernels.h"

/* Instruction sets that the same source is compiled for. */
enum cpu_isa {
    CPU_BASELINE, /* x86-64, or whatever else the machine is */
    CPU_AVX2,     /* with FMA */
    CPU_AVX512,   /* F, BW, DQ, VL */
    CPU_ISAS,
};

struct cpu_backend {
    struct backend base; /* first */
    enum cpu_isa isa;
    const struct cpu_kernels *kernels; /* of isa */
    const struct cpu_heavy *heavy;
    bool widens; /* compute is bf16, but only kept so: products are of f32, see cpu_widens() */
    struct thread_pool *pool;    /* base.threads threads */
    struct cpu_scratch *scratch; /* one a thread */
    struct onednn *onednn;       /* NULL: not in use */
};

static inline struct cpu_backend *cpu_of(struct backend *b)
{
    return (struct cpu_backend *)b;
}

/* The operations that decide the speed. Functions as in struct backend_ops; all are there. */
struct cpu_heavy {
    const char *name;                              /* "plain", "onednn" */
    bool (*usable)(const struct cpu_backend *cpu); /* NULL: always. isa, compute are set */
    int (*open)(struct cpu_backend *cpu);          /* NULL: nothing to open */
    void (*close)(struct cpu_backend *cpu);        /* also after a failed open */
    int (*linear_init)(struct backend *, struct linear *);
    void (*linear_finish)(struct backend *, struct linear *);
    void (*linear)(struct backend *, const struct tensor *y, const struct tensor *x,
                   struct linear *w, enum activation act);
    int (*conv_init)(struct backend *, struct conv *);
    void (*conv_finish)(struct backend *, struct conv *);
    void (*conv)(struct backend *, const struct tensor *y, const struct tensor *x, struct conv *w,
                 enum activation act, bool accumulate);
    void (*attention)(struct backend *, const struct tensor *y, const struct tensor *q,
                      const struct tensor *k, const struct tensor *v, float scale,
                      const struct tensor *relative_bias);
};

/* Best first, NULL at the end; the first usable one is taken. */
extern const struct cpu_heavy *const cpu_heavies[];

extern const struct cpu_heavy cpu_amx;    /* with UNREEL_AMX */
extern const struct cpu_heavy cpu_onednn; /* with UNREEL_ONEDNN */

/* The plain implementation, function by function, so that others may borrow. */
extern const struct cpu_heavy cpu_plain;
int cpu_linear_init(struct backend *, struct linear *);
void cpu_linear_finish(struct backend *, struct linear *);
void cpu_linear(struct backend *, const struct tensor *y, const struct tensor *x, struct linear *w,
                enum activation act);
int cpu_conv_init(struct backend *, struct conv *);
void cpu_conv_finish(struct backend *, struct conv *);
void cpu_conv(struct backend *, const struct tensor *y, const struct tensor *x, struct conv *w,
              enum activation act, bool accumulate);
void cpu_attention(struct backend *, const struct tensor *y, const struct tensor *q,
                   const struct tensor *k, const struct tensor *v, float scale,
                   const struct tensor *relative_bias);

/* What tests force; zeros and NULL choose as ever. */
struct cpu_choice {
    bool force_isa;
    enum cpu_isa isa;
    const char *heavy; /* name of the implementation */
    int bf16;          /* 1: bf16 is at hand, -1: it is not, whatever cpu_prefers_bf16() says */
    int widens;        /* 1, -1: whatever cpu_widens() says */
};

/* UNREEL_EUNSUPPORTED, silently, if this machine or build has not what was forced. */
int cpu_open_as(struct backend **backend, const struct backend_config *config,
                const unreel_log *log, const struct cpu_choice *choice);

/* NULL: not on this machine. */
const struct cpu_kernels *cpu_isa_kernels(enum cpu_isa isa);
const char *cpu_isa_name(enum cpu_isa isa);

/* Whether bf16 is faster than f32 here: the processor multiplies it and this build can make it do
 * so. Then dtype "auto" is bf16, and dtype "bf16" is more than rounded weights. */
bool cpu_prefers_bf16(void);

/* Whether bf16 is multiplied faster as f32, after a shift, than by the instruction for bf16.
 * Measured, in half a millisecond: vdpbf16ps has half the rate of f32 multiply-adds on Intel's
 * processors and twice that rate on AMD's. */
bool cpu_widens(void);

/* ---- memory ------------------------------------------------------------------------------- */

void *cpu_alloc(struct backend *b, size_t bytes); /* zeroed, 64-byte aligned; NULL: none left */
void cpu_free(struct backend *b, void *data);

/* Makes sure that every thread of the pool has `bytes` of scratch memory, 64-byte aligned, contents
 * undefined; kept for the next operation. False: the backend has failed. Call it outside of loops.
 */
bool cpu_scratch_reserve(struct cpu_backend *cpu, size_t bytes);
void *cpu_scratch_of(struct cpu_backend *cpu, int thread); /* inside of loops */

/* Whether values of this weight are rounded to bf16: both where they are kept as bf16 and where
 * bf16 is only imitated. */
static inline bool cpu_rounds_weights(const struct backend *b, bool precise)
{
    return !precise && (b->round_bf16 || b->compute == TENSOR_BF16);
}

/* ---- light operations --------------------------------------------------------------------- */

void cpu_copy(struct backend *, const struct tensor *y, const struct tensor *x);
void cpu_activate(struct backend *, const struct tensor *y, const struct tensor *x,
                  enum activation act);
void cpu_rms_norm(struct backend *, const struct tensor *y, const struct tensor *x,
                  const struct tensor *gain, float eps, enum activation act);
void cpu_layer_norm(struct backend *, const struct tensor *y, const struct tensor *x,
                    const struct tensor *scale, const struct tensor *shift, float eps,
                    float scale_offset);
void cpu_rope(struct backend *, const struct tensor *y, const struct tensor *x,
              const struct rope_tables *tables);
void cpu_rms_norm_rope(struct backend *, const struct tensor *y, const struct tensor *x,
                       const struct tensor *gain, float eps, const struct rope_tables *tables);
void cpu_add_gated(struct backend *, const struct tensor *x, const struct tensor *y,
                   const struct tensor *gate);
void cpu_mul(struct backend *, const struct tensor *y, const struct tensor *a,
             const struct tensor *b);
void cpu_combine(struct backend *, const struct tensor *y, int terms, const float *factor,
                 const struct tensor *x);
void cpu_picture(struct backend *, const struct picture_target *target, const struct tensor *x,
                 float scale, float offset);

void cpu_transfer(struct backend *, const struct tensor *y, const struct tensor *x);
void cpu_rope_table(struct backend *, const struct tensor *table, const struct tensor *start);
void cpu_sinusoid(struct backend *, const struct tensor *y, const struct tensor *timestep);
void cpu_noise(struct backend *, const struct tensor *x, const struct noise_key *key, uint64_t frame,
               uint32_t step);

/* a / b, upwards. */
static inline int64_t cpu_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* ---- elements ----------------------------------------------------------------------------- */

static inline float cpu_get(const struct tensor *t, int64_t i)
{
    return t->type == TENSOR_F32 ? ((const float *)t->data)[i]
                                 : bf16_to_f32(((const uint16_t *)t->data)[i]);
}

static inline void cpu_set(const struct tensor *t, int64_t i, float x)
{
    if (t->type == TENSOR_F32)
        ((float *)t->data)[i] = x;
    else
        ((uint16_t *)t->data)[i] = bf16_from_f32(x);
}

/* Element i (of its strides: t->data[i]) and what follows it, for kernels. */
static inline struct cpu_row cpu_row_of(const struct tensor *t, int64_t i)
{
    return cpu_row_at((struct cpu_row){t->data, t->type}, i);
}

/* How many rows of `width` elements are a piece of work worth waking a thread for: some 6 us. */
static inline int64_t cpu_grain(int64_t width)
{
    const int64_t enough = 32768;
    return width < 1 ? enough : width < enough ? enough / width : 1;
}
