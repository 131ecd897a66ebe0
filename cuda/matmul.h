/* Matrix products by cuBLASLt. For each shape the algorithms that the library proposes are measured
 * once and the best is kept, also on disk. */
#pragma once

#include "cuda.h"
#include "library.h"

/* y [m, n] = act(x [m, k] w [n, k]^T + bias [n]). Types: all f32, all bf16, bf16 with y f32, or
 * E4M3 with y bf16; the bias is of y's type. Scales of E4M3 are looked at only if they are given.
 */
struct matmul_call {
    void *y;
    const void *x, *w, *bias; /* bias NULL: none */
    const float *x_scale, *w_scale; /* [m], [n], both or NULL: 1 */
    enum tensor_type y_type, x_type;
    int64_t m, n, k;
    int64_t y_stride, x_stride; /* elements of a row; w has none */
    enum activation act;        /* ACT_NONE; with bf16 y what matmul_activates() has, too */
};

/* Whether the library's epilogue can hold `act`. */
static inline bool matmul_activates(enum activation act)
{
    return act == ACT_RELU || act == ACT_GELU_TANH;
}

/* y = x w^T, `data` being w's on the device; what else there is to it is the caller's. */
static inline struct matmul_call matmul_of(const struct tensor *y, const struct tensor *x,
                                           const struct linear *w, const void *data)
{
    return (struct matmul_call){
        .y = y->data,
        .x = x->data,
        .w = data,
        .y_type = y->type,
        .x_type = x->type,
        .m = y->shape[0],
        .n = w->n,
        .k = w->k,
        .y_stride = y->shape[0] == 1 ? w->n : y->stride[0],
        .x_stride = x->shape[0] == 1 ? w->k : x->stride[0],
    };
}

/* Loads the library. Without it c->matmul stays NULL and one line of information is logged. */
void matmul_open(struct cuda_backend *c);
void matmul_close(struct matmul *matmul); /* NULL is fine */

/* False: the library does not do it, and nothing has happened. After failures the backend's status
 * is set. */
bool matmul_run(struct cuda_backend *c, const struct matmul_call *call);

/* For tests: an own table of functions in place of the library's. */
void matmul_open_with(struct cuda_backend *c, const struct lt_api *api);
