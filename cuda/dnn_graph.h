/* cuDNN operation graphs of the two operations that it does: a convolution with bias, and
 * attention. Building one needs the library, but no device. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "library.h"

/* Names of the tensors of a graph. */
enum dnn_uid {
    DNN_UID_X = 1, /* conv: input [T, H, W, Ci] */
    DNN_UID_W,     /* filter [Co, kt, kh, kw, Ci] */
    DNN_UID_BIAS,  /* bf16 [Co] */
    DNN_UID_Z,     /* what the result is added to, shaped as Y */
    DNN_UID_Y,     /* output */
    DNN_UID_Q,     /* attention */
    DNN_UID_K,
    DNN_UID_V,
    DNN_UID_O,
    DNN_UID_SCALE, /* one f32 in host memory */
    DNN_UID_QUERIES, /* i32 [1] each: how many of them count */
    DNN_UID_KEYS,
};

#define DNN_GRAPH_DESCRIPTORS 48

/* Descriptors refer to one another: all live until the graph is destroyed. */
struct dnn_graph {
    const struct dnn_api *api;
    void *descriptor[DNN_GRAPH_DESCRIPTORS];
    int count;
    void *graph; /* finalised; NULL: the library refused something */
    int status;  /* what it said first */
};

struct dnn_conv_shape {
    int64_t x[4], x_stride[3]; /* [T, H, W, Ci]; elements from frame, row, pixel to the next */
    int64_t y[4], y_stride[3], z_stride[3];
    int64_t kernel[3], stride[3], pad_before[3], pad_after[3];
    int alignment[4]; /* bytes: of x, w, y, z */
    bool relu, add;   /* y = relu(conv(x) + bias + z) */
};

struct dnn_attention_shape {
    int64_t heads, width, queries, keys;
    int64_t stride[4],
        head_stride[4]; /* elements, of q, k, v, o: from a token, a head to the next */
    bool held;     /* how many queries and keys count is read from device memory */
    bool composed; /* of products and a softmax, as before 9.13.1; not with `held` */
};

/* handle NULL: for a device that is only described. */
void dnn_build_conv(struct dnn_graph *graph, const struct dnn_api *api, void *handle,
                    const struct dnn_conv_shape *shape);
void dnn_build_attention(struct dnn_graph *graph, const struct dnn_api *api, void *handle,
                         const struct dnn_attention_shape *shape);
void dnn_graph_finish(struct dnn_graph *graph);

/* Configurations of engines that the library proposes, from its two lists in turn, best first: up
 * to `first` of the heuristics and `fallback` of those that always work. Not everything is tried,
 * and the heuristics' are often one engine in several ways: on Hopper, for a convolution with a sum
 * behind it, one for Ampere, while that for Hopper is in the other list. `properties`: the
 * described device, or NULL. The caller destroys them; how many. */
int dnn_graph_engines(const struct dnn_graph *graph, void *properties, int first, int fallback,
                      void **config);
