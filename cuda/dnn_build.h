/* What graphs of cuDNN are built of: descriptors that live as long as their graph. The first refusal is kept in
 * it, and then nothing more is done: what is built is looked at once, at the end. */
#pragma once

#include "dnn_graph.h"

struct dnn_tensor {
    int64_t uid;
    int type, dims, alignment;
    int64_t shape[5], stride[5];
    bool is_virtual, by_value;
};

void *dnn_create(struct dnn_graph *g, enum dnn_descriptor type);
void dnn_set(struct dnn_graph *g, void *descriptor, enum dnn_attribute attribute, enum dnn_type type,
             int64_t count, const void *values);
void dnn_set_descriptor(struct dnn_graph *g, void *descriptor, enum dnn_attribute attribute, void *value);
void dnn_set_ints(struct dnn_graph *g, void *descriptor, enum dnn_attribute attribute, int count,
                  const int64_t *values);
void dnn_set_enum(struct dnn_graph *g, void *descriptor, enum dnn_attribute attribute, enum dnn_type type,
                  int32_t value);
void dnn_finalise(struct dnn_graph *g, void *descriptor);

void *dnn_tensor(struct dnn_graph *g, const struct dnn_tensor *d);

/* One more tensor like it that only operations of the graph see: of the next number. */
void *dnn_between(struct dnn_graph *g, struct dnn_tensor *d);

/* y = x, or x and b, through one of DNN_MODE_*; in f32. */
void *dnn_pointwise(struct dnn_graph *g, int mode, void *x, void *b, void *y);

/* Of all operations: the graph is done. handle NULL: for a device that is only described. */
void dnn_build(struct dnn_graph *g, void *handle, int count, void *const *operation);
