/* The graphs of attention. */
#include "dnn_build.h"

/* [tokens, heads, width] as cuDNN counts dimensions: [1, heads, tokens, width]. */
static void *heads(struct dnn_graph *g, int64_t uid, const struct dnn_attention_shape *s, int which,
                   int64_t tokens)
{
    const struct dnn_tensor d = {
        .uid = uid,
        .type = DNN_DATA_BFLOAT16,
        .dims = 4,
        .alignment = 16,
        .shape = {1, s->heads, tokens, s->width},
        .stride = {tokens * s->stride[which], s->head_stride[which], s->stride[which], 1},
    };
    return dnn_tensor(g, &d);
}

/* One number: in device memory, or by value. */
static void *number(struct dnn_graph *g, int64_t uid, int type, bool by_value)
{
    const struct dnn_tensor d = {
        .uid = uid,
        .type = type,
        .dims = 4,
        .alignment = by_value ? 4 : 16,
        .shape = {1, 1, 1, 1},
        .stride = {1, 1, 1, 1},
        .by_value = by_value,
    };
    return dnn_tensor(g, &d);
}

static void *factor(struct dnn_graph *g)
{
    return number(g, DNN_UID_SCALE, DNN_DATA_FLOAT, true);
}

/* ---- as one operation ------------------------------------------------------------------------- */

static void build_whole(struct dnn_graph *g, void *handle, const struct dnn_attention_shape *s)
{
    void *operation = dnn_create(g, DNN_OPERATION_SDPA);
    dnn_set_descriptor(g, operation, DNN_SDPA_Q, heads(g, DNN_UID_Q, s, 0, s->queries));
    dnn_set_descriptor(g, operation, DNN_SDPA_K, heads(g, DNN_UID_K, s, 1, s->keys));
    dnn_set_descriptor(g, operation, DNN_SDPA_V, heads(g, DNN_UID_V, s, 2, s->keys));
    dnn_set_descriptor(g, operation, DNN_SDPA_O, heads(g, DNN_UID_O, s, 3, s->queries));
    dnn_set_descriptor(g, operation, DNN_SDPA_SCALE, factor(g));
    if (s->held) { /* the library wants both or none */
        dnn_set_descriptor(g, operation, DNN_SDPA_SEQ_LEN_Q, number(g, DNN_UID_QUERIES, DNN_DATA_INT32, false));
        dnn_set_descriptor(g, operation, DNN_SDPA_SEQ_LEN_KV, number(g, DNN_UID_KEYS, DNN_DATA_INT32, false));
    }
    dnn_finalise(g, operation);
    dnn_build(g, handle, 1, &operation);
}

/* ---- as the operations that it is made of: engines know the pattern and do it at once ---------- */

/* c = a b: [1, heads, m, k] by [1, heads, k, n]. */
static void *product(struct dnn_graph *g, void *a, void *b, void *c)
{
    void *matmul = dnn_create(g, DNN_MATMUL);
    dnn_set_enum(g, matmul, DNN_MATMUL_COMP_TYPE, DNN_TYPE_DATA_TYPE, DNN_DATA_FLOAT);
    dnn_finalise(g, matmul);
    void *operation = dnn_create(g, DNN_OPERATION_MATMUL);
    dnn_set_descriptor(g, operation, DNN_OPERATION_MATMUL_DESC, matmul);
    dnn_set_descriptor(g, operation, DNN_OPERATION_MATMUL_A, a);
    dnn_set_descriptor(g, operation, DNN_OPERATION_MATMUL_B, b);
    dnn_set_descriptor(g, operation, DNN_OPERATION_MATMUL_C, c);
    dnn_finalise(g, operation);
    return operation;
}

/* Of the keys of a query: y [1, heads, queries, 1]. */
static void *reduce(struct dnn_graph *g, int how, void *x, void *y)
{
    void *reduction = dnn_create(g, DNN_REDUCTION);
    dnn_set_enum(g, reduction, DNN_REDUCTION_OPERATOR, DNN_TYPE_REDUCTION_OPERATOR, how);
    dnn_set_enum(g, reduction, DNN_REDUCTION_COMP_TYPE, DNN_TYPE_DATA_TYPE, DNN_DATA_FLOAT);
    dnn_finalise(g, reduction);
    void *operation = dnn_create(g, DNN_OPERATION_REDUCTION);
    dnn_set_descriptor(g, operation, DNN_OPERATION_REDUCTION_DESC, reduction);
    dnn_set_descriptor(g, operation, DNN_OPERATION_REDUCTION_X, x);
    dnn_set_descriptor(g, operation, DNN_OPERATION_REDUCTION_Y, y);
    dnn_finalise(g, operation);
    return operation;
}

/* K [keys, heads, width] as [1, heads, width, keys]. */
static void *turned_keys(struct dnn_graph *g, const struct dnn_attention_shape *s)
{
    const struct dnn_tensor d = {
        .uid = DNN_UID_K,
        .type = DNN_DATA_BFLOAT16,
        .dims = 4,
        .alignment = 16,
        .shape = {1, s->heads, s->width, s->keys},
        .stride = {s->keys * s->stride[1], s->head_stride[1], 1, s->stride[1]},
    };
    return dnn_tensor(g, &d);
}

/* f32 [1, heads, queries, columns] that only operations of the graph see. */
static struct dnn_tensor between_products(const struct dnn_attention_shape *s, int64_t uid, int64_t columns)
{
    const int64_t m = s->queries;
    return (struct dnn_tensor){
        .uid = uid,
        .type = DNN_DATA_FLOAT,
        .dims = 4,
        .alignment = 16,
        .shape = {1, s->heads, m, columns},
        .stride = {s->heads * m * columns, m * columns, columns, 1},
        .is_virtual = true,
    };
}

static void build_composed(struct dnn_graph *g, void *handle, const struct dnn_attention_shape *s)
{
    const int64_t m = s->queries, n = s->keys;
    struct dnn_tensor score = between_products(s, 100, n), row = between_products(s, 200, 1);
    void *dots = dnn_between(g, &score), *scaled = dnn_between(g, &score), *moved = dnn_between(g, &score),
         *power = dnn_between(g, &score);
    score.type = DNN_DATA_BFLOAT16;
    void *weight = dnn_between(g, &score);
    void *most = dnn_between(g, &row), *sum = dnn_between(g, &row), *log_sum = dnn_between(g, &row),
         *stats = dnn_between(g, &row);
    void *operation[10];
    int count = 0;
    operation[count++] = product(g, heads(g, DNN_UID_Q, s, 0, m), turned_keys(g, s), dots);
    operation[count++] = dnn_pointwise(g, DNN_MODE_MUL, dots, factor(g), scaled);
    operation[count++] = reduce(g, DNN_REDUCE_MAX, scaled, most);
    operation[count++] = dnn_pointwise(g, DNN_MODE_SUB, scaled, most, moved);
    operation[count++] = dnn_pointwise(g, DNN_MODE_EXP, moved, NULL, power);
    operation[count++] = reduce(g, DNN_REDUCE_ADD, power, sum);
    /* What a gradient would need: nobody reads it, but engines know the pattern with it only. */
    operation[count++] = dnn_pointwise(g, DNN_MODE_LOG, sum, NULL, log_sum);
    operation[count++] = dnn_pointwise(g, DNN_MODE_ADD, most, log_sum, stats);
    operation[count++] = dnn_pointwise(g, DNN_MODE_DIV, power, sum, weight);
    operation[count++] = product(g, weight, heads(g, DNN_UID_V, s, 2, n), heads(g, DNN_UID_O, s, 3, m));
    dnn_build(g, handle, count, operation);
}

void dnn_build_attention(struct dnn_graph *graph, const struct dnn_api *api, void *handle,
                         const struct dnn_attention_shape *s)
{
    *graph = (struct dnn_graph){.api = api};
    if (s->composed)
        build_composed(graph, handle, s);
    else
        build_whole(graph, handle, s);
}
