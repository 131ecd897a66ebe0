#include "dnn_graph.h"

#include <string.h>

/* ---- descriptors: the first refusal is kept, and then nothing more is done ------------------ */

static void *create(struct dnn_graph *g, enum dnn_descriptor type)
{
    void *descriptor = NULL;
    if (g->status || g->count == DNN_GRAPH_DESCRIPTORS)
        return NULL;
    g->status = g->api->cudnnBackendCreateDescriptor(type, &descriptor);
    if (!g->status)
        g->descriptor[g->count++] = descriptor;
    return descriptor;
}

static void set(struct dnn_graph *g, void *descriptor, enum dnn_attribute attribute,
                enum dnn_type type, int64_t count, const void *values)
{
    if (!g->status)
        g->status = g->api->cudnnBackendSetAttribute(descriptor, attribute, type, count, values);
}

static void set_descriptor(struct dnn_graph *g, void *descriptor, enum dnn_attribute attribute,
                           void *value)
{
    set(g, descriptor, attribute, DNN_TYPE_DESCRIPTOR, 1, &value);
}

static void set_ints(struct dnn_graph *g, void *descriptor, enum dnn_attribute attribute, int count,
                     const int64_t *values)
{
    set(g, descriptor, attribute, DNN_TYPE_INT64, count, values);
}

static void set_enum(struct dnn_graph *g, void *descriptor, enum dnn_attribute attribute,
                     enum dnn_type type, int32_t value)
{
    set(g, descriptor, attribute, type, 1, &value);
}

static void finalise(struct dnn_graph *g, void *descriptor)
{
    if (!g->status)
        g->status = g->api->cudnnBackendFinalize(descriptor);
}

/* ---- tensors -------------------------------------------------------------------------------- */

struct description {
    int64_t uid;
    int type, dims, alignment;
    int64_t shape[5], stride[5];
    bool is_virtual, by_value;
};

static void *tensor(struct dnn_graph *g, const struct description *d)
{
    int64_t alignment = d->alignment;
    bool yes = true;
    void *t = create(g, DNN_TENSOR);
    set_ints(g, t, DNN_TENSOR_UNIQUE_ID, 1, &d->uid);
    set_enum(g, t, DNN_TENSOR_DATA_TYPE, DNN_TYPE_DATA_TYPE, d->type);
    set_ints(g, t, DNN_TENSOR_BYTE_ALIGNMENT, 1, &alignment);
    set_ints(g, t, DNN_TENSOR_DIMENSIONS, d->dims, d->shape);
    set_ints(g, t, DNN_TENSOR_STRIDES, d->dims, d->stride);
    if (d->is_virtual)
        set(g, t, DNN_TENSOR_IS_VIRTUAL, DNN_TYPE_BOOLEAN, 1, &yes);
    if (d->by_value)
        set(g, t, DNN_TENSOR_IS_BY_VALUE, DNN_TYPE_BOOLEAN, 1, &yes);
    finalise(g, t);
    return t;
}

static void build(struct dnn_graph *g, void *handle, int count, void *const *operation)
{
    void *graph = create(g, DNN_OPERATIONGRAPH);
    set(g, graph, DNN_OPERATIONGRAPH_OPS, DNN_TYPE_DESCRIPTOR, count, operation);
    if (handle)
        set(g, graph, DNN_OPERATIONGRAPH_HANDLE, DNN_TYPE_HANDLE, 1, &handle);
    finalise(g, graph);
    g->graph = g->status ? NULL : graph;
}

/* ---- convolution ---------------------------------------------------------------------------- */

/* Video [T, H, W, C] as cuDNN counts dimensions: [1, C, T, H, W]. */
static struct description video(int64_t uid, const int64_t *shape, const int64_t *stride,
                                int alignment)
{
    return (struct description){
        .uid = uid,
        .type = DNN_DATA_BFLOAT16,
        .dims = 5,
        .alignment = alignment,
        .shape = {1, shape[3], shape[0], shape[1], shape[2]},
        .stride = {shape[0] * stride[0], 1, stride[0], stride[1], stride[2]},
    };
}

static void *pointwise(struct dnn_graph *g, int mode, void *x, void *b, void *y)
{
    void *p = create(g, DNN_POINTWISE);
    set_enum(g, p, DNN_POINTWISE_MODE, DNN_TYPE_POINTWISE_MODE, mode);
    set_enum(g, p, DNN_POINTWISE_MATH_PREC, DNN_TYPE_DATA_TYPE, DNN_DATA_FLOAT);
    finalise(g, p);
    void *operation = create(g, DNN_OPERATION_POINTWISE);
    set_descriptor(g, operation, DNN_POINTWISE_PW, p);
    set_descriptor(g, operation, DNN_POINTWISE_X, x);
    if (b)
        set_descriptor(g, operation, DNN_POINTWISE_B, b);
    set_descriptor(g, operation, DNN_POINTWISE_Y, y);
    finalise(g, operation);
    return operation;
}

static void *convolution(struct dnn_graph *g, const struct dnn_conv_shape *s, void *x, void *w,
                         void *y)
{
    static const int64_t ones[] = {1, 1, 1}, dims = 3;
    const double one = 1, zero = 0;
    void *conv = create(g, DNN_CONVOLUTION);
    set_enum(g, conv, DNN_CONVOLUTION_COMP_TYPE, DNN_TYPE_DATA_TYPE, DNN_DATA_FLOAT);
    set_enum(g, conv, DNN_CONVOLUTION_CONV_MODE, DNN_TYPE_CONVOLUTION_MODE, DNN_CROSS_CORRELATION);
    set_ints(g, conv, DNN_CONVOLUTION_SPATIAL_DIMS, 1, &dims);
    set_ints(g, conv, DNN_CONVOLUTION_DILATIONS, 3, ones);
    set_ints(g, conv, DNN_CONVOLUTION_FILTER_STRIDES, 3, s->stride);
    set_ints(g, conv, DNN_CONVOLUTION_PRE_PADDINGS, 3, s->pad_before);
    set_ints(g, conv, DNN_CONVOLUTION_POST_PADDINGS, 3, s->pad_after);
    finalise(g, conv);
    void *operation = create(g, DNN_OPERATION_CONVOLUTION);
    set_descriptor(g, operation, DNN_CONV_CONV_DESC, conv);
    set_descriptor(g, operation, DNN_CONV_X, x);
    set_descriptor(g, operation, DNN_CONV_W, w);
    set_descriptor(g, operation, DNN_CONV_Y, y);
    set(g, operation, DNN_CONV_ALPHA, DNN_TYPE_DOUBLE, 1, &one);
    set(g, operation, DNN_CONV_BETA, DNN_TYPE_DOUBLE, 1, &zero);
    finalise(g, operation);
    return operation;
}

/* One more tensor that only operations of the graph see. */
static void *between(struct dnn_graph *g, struct description *d)
{
    d->uid++;
    return tensor(g, d);
}

void dnn_build_conv(struct dnn_graph *graph, const struct dnn_api *api, void *handle,
                    const struct dnn_conv_shape *s)
{
    struct dnn_graph *g = graph;
    *g = (struct dnn_graph){.api = api};
    const int64_t *k = s->kernel, ci = s->x[3], co = s->y[3];
    const struct description filter = {
        .uid = DNN_UID_W,
        .type = DNN_DATA_BFLOAT16,
        .dims = 5,
        .alignment = s->alignment[1],
        .shape = {co, ci, k[0], k[1], k[2]},
        .stride = {k[0] * k[1] * k[2] * ci, 1, k[1] * k[2] * ci, k[2] * ci, ci},
    };
    const struct description bias = {.uid = DNN_UID_BIAS,
                                     .type = DNN_DATA_BFLOAT16,
                                     .dims = 5,
                                     .alignment = 16,
                                     .shape = {1, co, 1, 1, 1},
                                     .stride = {co, 1, co, co, co}};
    struct description x = video(DNN_UID_X, s->x, s->x_stride, s->alignment[0]);
    struct description y = video(DNN_UID_Y, s->y, s->y_stride, s->alignment[2]);
    struct description z = video(DNN_UID_Z, s->y, s->z_stride, s->alignment[3]), sum = y;
    void *operation[4];
    int count = 0;
    sum.type = DNN_DATA_FLOAT;
    sum.is_virtual = true;
    sum.uid = 100;
    void *sums = between(g, &sum), *out = tensor(g, &y);
    operation[count++] = convolution(g, s, tensor(g, &x), tensor(g, &filter), sums);
    void *biased = s->add || s->relu ? between(g, &sum) : out;
    operation[count++] = pointwise(g, DNN_MODE_ADD, sums, tensor(g, &bias), biased);
    void *added = !s->add ? biased : s->relu ? between(g, &sum) : out;
    if (s->add) /* not in place: engines may write an output more than once */
        operation[count++] = pointwise(g, DNN_MODE_ADD, biased, tensor(g, &z), added);
    if (s->relu)
        operation[count++] = pointwise(g, DNN_MODE_RELU, added, NULL, out);
    build(g, handle, count, operation);
}

/* ---- attention ------------------------------------------------------------------------------ */

/* [tokens, heads, width] as cuDNN counts dimensions: [1, heads, tokens, width]. */
static void *heads(struct dnn_graph *g, int64_t uid, const struct dnn_attention_shape *s, int which,
                   int64_t tokens)
{
    const struct description d = {
        .uid = uid,
        .type = DNN_DATA_BFLOAT16,
        .dims = 4,
        .alignment = 16,
        .shape = {1, s->heads, tokens, s->width},
        .stride = {tokens * s->stride[which], s->head_stride[which], s->stride[which], 1},
    };
    return tensor(g, &d);
}

static void *length(struct dnn_graph *g, int64_t uid)
{
    const struct description d = {
        .uid = uid,
        .type = DNN_DATA_INT32,
        .dims = 4,
        .alignment = 16,
        .shape = {1, 1, 1, 1},
        .stride = {1, 1, 1, 1},
    };
    return tensor(g, &d);
}

void dnn_build_attention(struct dnn_graph *graph, const struct dnn_api *api, void *handle,
                         const struct dnn_attention_shape *s)
{
    static const struct description scale = {.uid = DNN_UID_SCALE,
                                             .type = DNN_DATA_FLOAT,
                                             .dims = 4,
                                             .alignment = 4,
                                             .shape = {1, 1, 1, 1},
                                             .stride = {1, 1, 1, 1},
                                             .by_value = true};
    struct dnn_graph *g = graph;
    *g = (struct dnn_graph){.api = api};
    void *operation = create(g, DNN_OPERATION_SDPA);
    set_descriptor(g, operation, DNN_SDPA_Q, heads(g, DNN_UID_Q, s, 0, s->queries));
    set_descriptor(g, operation, DNN_SDPA_K, heads(g, DNN_UID_K, s, 1, s->keys));
    set_descriptor(g, operation, DNN_SDPA_V, heads(g, DNN_UID_V, s, 2, s->keys));
    set_descriptor(g, operation, DNN_SDPA_O, heads(g, DNN_UID_O, s, 3, s->queries));
    set_descriptor(g, operation, DNN_SDPA_SCALE, tensor(g, &scale));
    if (s->held) { /* the library wants both or none */
        set_descriptor(g, operation, DNN_SDPA_SEQ_LEN_Q, length(g, DNN_UID_QUERIES));
        set_descriptor(g, operation, DNN_SDPA_SEQ_LEN_KV, length(g, DNN_UID_KEYS));
    }
    finalise(g, operation);
    build(g, handle, 1, &operation);
}

void dnn_graph_finish(struct dnn_graph *graph)
{
    while (graph->count)
        graph->api->cudnnBackendDestroyDescriptor(graph->descriptor[--graph->count]);
    graph->graph = NULL;
}

/* ---- engines -------------------------------------------------------------------------------- */

static int propose(const struct dnn_graph *g, void *properties, int32_t mode, int most,
                   void **config)
{
    const struct dnn_api *api = g->api;
    void *heuristics = NULL;
    int64_t count = 0;
    int made = 0;
    if (api->cudnnBackendCreateDescriptor(DNN_ENGINEHEUR, &heuristics))
        return 0;
    bool good = !api->cudnnBackendSetAttribute(heuristics, DNN_ENGINEHEUR_OPERATION_GRAPH,
                                               DNN_TYPE_DESCRIPTOR, 1, &g->graph) &&
                !api->cudnnBackendSetAttribute(heuristics, DNN_ENGINEHEUR_MODE, DNN_TYPE_HEUR_MODE,
                                               1, &mode);
    if (good && properties)
        good = !api->cudnnBackendSetAttribute(heuristics, DNN_ENGINEHEUR_DEVICEPROP,
                                              DNN_TYPE_DESCRIPTOR, 1, &properties);
    good = good && !api->cudnnBackendFinalize(heuristics);
    while (good && made < most && !api->cudnnBackendCreateDescriptor(DNN_ENGINECFG, &config[made]))
        made++;
    if (good && api->cudnnBackendGetAttribute(heuristics, DNN_ENGINEHEUR_RESULTS,
                                              DNN_TYPE_DESCRIPTOR, made, &count, config))
        count = 0;
    while (made > count)
        api->cudnnBackendDestroyDescriptor(config[--made]);
    api->cudnnBackendDestroyDescriptor(heuristics);
    return made;
}

/* From lists of `first` and `fallback` one by one: the first of each, the second of each, ... */
static void take_turns(void **config, int first, int fallback)
{
    for (int i = 0; i < fallback && 2 * i + 1 < first + i; i++) {
        int from = first + i, to = 2 * i + 1;
        void *moved = config[from];
        memmove(&config[to + 1], &config[to], (size_t)(from - to) * sizeof *config);
        config[to] = moved;
    }
}

int dnn_graph_engines(const struct dnn_graph *graph, void *properties, int first, int fallback,
                      void **config)
{
    if (!graph->graph)
        return 0;
    int heuristic = propose(graph, properties, DNN_HEUR_A, first, config);
    int always = propose(graph, properties, DNN_HEUR_FALLBACK, fallback, config + heuristic);
    take_turns(config, heuristic, always);
    return heuristic + always;
}
