/* What the wrappers of operations share: checks, and the profile around a call. */
#pragma once

#include "backend/backend.h"
#include "base/clock.h"

static inline double op_begin(const struct backend *b)
{
    return b->profile ? clock_seconds() : 0;
}

static inline void op_end(struct backend *b, enum op_kind kind, double begun, double flops)
{
    if (!b->profile)
        return;
    backend_sync(b);
    b->profile->seconds[kind] += clock_seconds() - begun;
    b->profile->flops[kind] += flops;
    b->profile->calls[kind]++;
}

/* Logs which check of which operation failed, with the shapes at hand. */
static inline void op_refuse(struct backend *b, const char *op, const char *check,
                             const struct tensor *y, const struct tensor *x)
{
    char shape_y[128], shape_x[128];
    backend_fail(b, UNREEL_EINVAL, "%s %s <- %s: not %s", op,
                 tensor_shape_text(y->dims, y->shape, shape_y),
                 tensor_shape_text(x->dims, x->shape, shape_x), check);
}

#define REQUIRE(op, y, x, condition)                                                               \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            op_refuse(b, op, #condition, &(y), &(x));                                              \
            return;                                                                                \
        }                                                                                          \
    } while (0)

static inline bool computable(const struct tensor *t)
{
    return t->data && (t->type == TENSOR_F32 || t->type == TENSOR_BF16);
}

static inline bool quantised(const struct tensor *t)
{
    return t->data && t->type == TENSOR_E4M3 && t->dims == 2 && t->scale;
}

/* Last dimension contiguous. */
static inline bool dense_rows(const struct tensor *t)
{
    return t->shape[t->dims - 1] == 1 || t->stride[t->dims - 1] == 1;
}

static inline bool is_f32_matrix(const struct tensor *t, int64_t columns)
{
    return t->data && t->type == TENSOR_F32 && t->dims == 2 && t->shape[1] == columns &&
           dense_rows(t);
}

static inline bool is_f32_vector(const struct tensor *t, int64_t count)
{
    return t->data && t->type == TENSOR_F32 && tensor_count(t) == count && tensor_is_contiguous(t);
}

static inline bool is_rope(const struct tensor *y, const struct tensor *x, const struct rope_tables *t)
{
    const struct tensor *axis[3] = {&t->frame, &t->row, &t->column};
    int64_t pairs = 0;
    if (!computable(y) || !computable(x) || x->dims != 5 || !tensor_same_shape(y, x))
        return false;
    for (int i = 0; i < 3; i++) {
        if (!axis[i]->data || axis[i]->type != TENSOR_F32 || axis[i]->dims != 3 ||
            axis[i]->shape[0] != x->shape[i] || axis[i]->shape[2] != 2 ||
            !tensor_is_contiguous(axis[i]))
            return false;
        pairs += axis[i]->shape[1];
    }
    return 2 * pairs == x->shape[4] && x->stride[4] == 1 && y->stride[4] == 1 &&
           x->stride[3] == x->shape[4] && y->stride[3] == y->shape[4];
}

static inline bool is_attention(const struct tensor *y, const struct tensor *q, const struct tensor *k,
                                const struct tensor *v)
{
    return computable(y) && computable(q) && computable(k) && computable(v) && y->type == q->type &&
           k->type == q->type && v->type == q->type && y->dims == 3 && tensor_same_shape(y, q) &&
           k->dims == 3 && tensor_same_shape(k, v) && q->shape[1] == k->shape[1] &&
           q->shape[2] == k->shape[2] && dense_rows(y) && dense_rows(q) && dense_rows(k) &&
           dense_rows(v);
}

static inline bool is_layer_norm(const struct tensor *y, const struct tensor *x,
                                 const struct tensor *scale, const struct tensor *shift)
{
    return (computable(y) || quantised(y)) && computable(x) && y->dims == 2 &&
           tensor_same_shape(y, x) && dense_rows(y) && dense_rows(x) &&
           is_f32_matrix(scale, x->shape[1]) && is_f32_matrix(shift, x->shape[1]) &&
           scale->shape[0] == shift->shape[0] && x->shape[0] % scale->shape[0] == 0;
}

static inline bool is_add_gated(const struct tensor *x, const struct tensor *y,
                                const struct tensor *gate)
{
    return computable(x) && computable(y) && x->dims == 2 && tensor_same_shape(x, y) &&
           dense_rows(x) && dense_rows(y) &&
           (!gate->data ||
            (is_f32_matrix(gate, x->shape[1]) && x->shape[0] % gate->shape[0] == 0));
}
