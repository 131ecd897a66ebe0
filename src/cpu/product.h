/* Products of rows with packed weights: what the plain linear and convolution share.
 *
 * Weights [N, K] are cut into panels of kernels->gemm_width outputs, each stored [K, width], so
 * that the inner loop reads them in order; columns that the last one has too many count for
 * nothing. They stay bf16 where that loses nothing. */
#pragma once

#include "cpu/cpu.h"

/* Weights of output n for inputs [k, k + count), as f32. */
typedef void (*cpu_weight_fn)(const void *arg, int64_t n, int64_t k, int64_t count, float *to);
/* Inputs [k, k + count) of row m, as f32. */
typedef void (*cpu_input_fn)(const void *arg, int64_t m, int64_t k, int64_t count, float *to);
/* Where outputs of row m begin. */
typedef struct cpu_row (*cpu_output_fn)(const void *arg, int64_t m);

struct cpu_packed {
    int64_t n, k;
    enum tensor_type type; /* f32 or bf16 */
    bool rounded;          /* values are rounded to bf16, whatever the type */
    int width;             /* outputs a panel */
    void *data;            /* [panels, K, width]; NULL: not packed */
    float *bias;           /* [panels * width] */
};

/* What a product computes: y [M, N] = act(x [M, K] W^T + b), or y + x W^T + b. */
struct cpu_product {
    const struct cpu_packed *weights;
    int64_t m;
    cpu_input_fn input;
    cpu_output_fn output;
    const void *arg; /* of both */
    enum activation act;
    bool accumulate;
    cpu_weight_fn source; /* weights->data is NULL: panels are packed when they are needed */
    const void *source_arg;
};

/* Reserves `packed->bias`, filled with zeros. False: out of memory, nothing is kept. */
bool cpu_packed_init(struct cpu_packed *packed, const struct cpu_kernels *kernels, int64_t n,
                     int64_t k, enum tensor_type type, bool rounded);
void cpu_packed_finish(struct cpu_packed *packed);

/* Reorders all of it. False: out of memory, the backend has failed. */
bool cpu_pack(struct cpu_backend *cpu, struct cpu_packed *packed, cpu_weight_fn source,
              const void *arg);

void cpu_product_run(struct cpu_backend *cpu, const struct cpu_product *product);

/* Elements [start, start + count) of a file's tensor as f32. */
void cpu_load_file(float *y, const struct tensor *x, int64_t start, int64_t count);
