#include "dnn_build.h"

#include <string.h>

#define NO_ROOM 4003 /* the library's own: no host memory */

/* ---- descriptors ---------------------------------------------------------------------------- */

void *dnn_create(struct dnn_graph *g, enum dnn_descriptor type)
{
    void *descriptor = NULL;
    if (!g->status && g->count == DNN_GRAPH_DESCRIPTORS)
        g->status = NO_ROOM;
    if (g->status)
        return NULL;
    g->status = g->api->cudnnBackendCreateDescriptor(type, &descriptor);
    if (!g->status)
        g->descriptor[g->count++] = descriptor;
    return descriptor;
}

void dnn_set(struct dnn_graph *g, void *descriptor, enum dnn_attribute attribute,
             enum dnn_type type, int64_t count, const void *values)
{
    if (!g->status)
        g->status = g->api->cudnnBackendSetAttribute(descriptor, attribute, type, count, values);
}

void dnn_set_descriptor(struct dnn_graph *g, void *descriptor, enum dnn_attribute attribute,
                        void *value)
{
    dnn_set(g, descriptor, attribute, DNN_TYPE_DESCRIPTOR, 1, &value);
}

void dnn_set_ints(struct dnn_graph *g, void *descriptor, enum dnn_attribute attribute, int count,
                  const int64_t *values)
{
    dnn_set(g, descriptor, attribute, DNN_TYPE_INT64, count, values);
}

void dnn_set_enum(struct dnn_graph *g, void *descriptor, enum dnn_attribute attribute,
                  enum dnn_type type, int32_t value)
{
    dnn_set(g, descriptor, attribute, type, 1, &value);
}

void dnn_finalise(struct dnn_graph *g, void *descriptor)
{
    if (!g->status)
        g->status = g->api->cudnnBackendFinalize(descriptor);
}

/* ---- tensors and operations ----------------------------------------------------------------- */

void *dnn_tensor(struct dnn_graph *g, const struct dnn_tensor *d)
{
    int64_t alignment = d->alignment;
    bool yes = true;
    void *t = dnn_create(g, DNN_TENSOR);
    dnn_set_ints(g, t, DNN_TENSOR_UNIQUE_ID, 1, &d->uid);
    dnn_set_enum(g, t, DNN_TENSOR_DATA_TYPE, DNN_TYPE_DATA_TYPE, d->type);
    dnn_set_ints(g, t, DNN_TENSOR_BYTE_ALIGNMENT, 1, &alignment);
    dnn_set_ints(g, t, DNN_TENSOR_DIMENSIONS, d->dims, d->shape);
    dnn_set_ints(g, t, DNN_TENSOR_STRIDES, d->dims, d->stride);
    if (d->is_virtual)
        dnn_set(g, t, DNN_TENSOR_IS_VIRTUAL, DNN_TYPE_BOOLEAN, 1, &yes);
    if (d->by_value)
        dnn_set(g, t, DNN_TENSOR_IS_BY_VALUE, DNN_TYPE_BOOLEAN, 1, &yes);
    dnn_finalise(g, t);
    return t;
}

void dnn_build(struct dnn_graph *g, void *handle, int count, void *const *operation)
{
    void *graph = dnn_create(g, DNN_OPERATIONGRAPH);
    dnn_set(g, graph, DNN_OPERATIONGRAPH_OPS, DNN_TYPE_DESCRIPTOR, count, operation);
    if (handle)
        dnn_set(g, graph, DNN_OPERATIONGRAPH_HANDLE, DNN_TYPE_HANDLE, 1, &handle);
    dnn_finalise(g, graph);
    g->graph = g->status ? NULL : graph;
}

void *dnn_pointwise(struct dnn_graph *g, int mode, void *x, void *b, void *y)
{
    void *p = dnn_create(g, DNN_POINTWISE);
    dnn_set_enum(g, p, DNN_POINTWISE_MODE, DNN_TYPE_POINTWISE_MODE, mode);
    dnn_set_enum(g, p, DNN_POINTWISE_MATH_PREC, DNN_TYPE_DATA_TYPE, DNN_DATA_FLOAT);
    dnn_finalise(g, p);
    void *operation = dnn_create(g, DNN_OPERATION_POINTWISE);
    dnn_set_descriptor(g, operation, DNN_POINTWISE_PW, p);
    dnn_set_descriptor(g, operation, DNN_POINTWISE_X, x);
    if (b)
        dnn_set_descriptor(g, operation, DNN_POINTWISE_B, b);
    dnn_set_descriptor(g, operation, DNN_POINTWISE_Y, y);
    dnn_finalise(g, operation);
    return operation;
}

void *dnn_between(struct dnn_graph *g, struct dnn_tensor *d)
{
    d->uid++;
    return dnn_tensor(g, d);
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
