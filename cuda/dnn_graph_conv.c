/* The graph of a convolution with bias, and what else cuDNN does behind one. */
#include "dnn_build.h"

/* Video [T, H, W, C] as cuDNN counts dimensions: [1, C, T, H, W]. */
static struct dnn_tensor video(int64_t uid, const int64_t *shape, const int64_t *stride,
                                int alignment)
{
    return (struct dnn_tensor){
        .uid = uid,
        .type = DNN_DATA_BFLOAT16,
        .dims = 5,
        .alignment = alignment,
        .shape = {1, shape[3], shape[0], shape[1], shape[2]},
        .stride = {shape[0] * stride[0], 1, stride[0], stride[1], stride[2]},
    };
}

static void *convolution(struct dnn_graph *g, const struct dnn_conv_shape *s, void *x, void *w,
                         void *y)
{
    static const int64_t ones[] = {1, 1, 1}, dims = 3;
    const double one = 1, zero = 0;
    void *conv = dnn_create(g, DNN_CONVOLUTION);
    dnn_set_enum(g, conv, DNN_CONVOLUTION_COMP_TYPE, DNN_TYPE_DATA_TYPE, DNN_DATA_FLOAT);
    dnn_set_enum(g, conv, DNN_CONVOLUTION_CONV_MODE, DNN_TYPE_CONVOLUTION_MODE, DNN_CROSS_CORRELATION);
    dnn_set_ints(g, conv, DNN_CONVOLUTION_SPATIAL_DIMS, 1, &dims);
    dnn_set_ints(g, conv, DNN_CONVOLUTION_DILATIONS, 3, ones);
    dnn_set_ints(g, conv, DNN_CONVOLUTION_FILTER_STRIDES, 3, s->stride);
    dnn_set_ints(g, conv, DNN_CONVOLUTION_PRE_PADDINGS, 3, s->pad_before);
    dnn_set_ints(g, conv, DNN_CONVOLUTION_POST_PADDINGS, 3, s->pad_after);
    dnn_finalise(g, conv);
    void *operation = dnn_create(g, DNN_OPERATION_CONVOLUTION);
    dnn_set_descriptor(g, operation, DNN_CONV_CONV_DESC, conv);
    dnn_set_descriptor(g, operation, DNN_CONV_X, x);
    dnn_set_descriptor(g, operation, DNN_CONV_W, w);
    dnn_set_descriptor(g, operation, DNN_CONV_Y, y);
    dnn_set(g, operation, DNN_CONV_ALPHA, DNN_TYPE_DOUBLE, 1, &one);
    dnn_set(g, operation, DNN_CONV_BETA, DNN_TYPE_DOUBLE, 1, &zero);
    dnn_finalise(g, operation);
    return operation;
}

void dnn_build_conv(struct dnn_graph *graph, const struct dnn_api *api, void *handle,
                    const struct dnn_conv_shape *s)
{
    struct dnn_graph *g = graph;
    *g = (struct dnn_graph){.api = api};
    const int64_t *k = s->kernel, ci = s->x[3], co = s->y[3];
    const struct dnn_tensor filter = {
        .uid = DNN_UID_W,
        .type = DNN_DATA_BFLOAT16,
        .dims = 5,
        .alignment = s->alignment[1],
        .shape = {co, ci, k[0], k[1], k[2]},
        .stride = {k[0] * k[1] * k[2] * ci, 1, k[1] * k[2] * ci, k[2] * ci, ci},
    };
    const struct dnn_tensor bias = {.uid = DNN_UID_BIAS,
                                     .type = DNN_DATA_BFLOAT16,
                                     .dims = 5,
                                     .alignment = 16,
                                     .shape = {1, co, 1, 1, 1},
                                     .stride = {co, 1, co, co, co}};
    struct dnn_tensor x = video(DNN_UID_X, s->x, s->x_stride, s->alignment[0]);
    struct dnn_tensor y = video(DNN_UID_Y, s->y, s->y_stride, s->alignment[2]);
    struct dnn_tensor z = video(DNN_UID_Z, s->y, s->z_stride, s->alignment[3]), sum = y;
    void *operation[4];
    int count = 0;
    sum.type = DNN_DATA_FLOAT;
    sum.is_virtual = true;
    sum.uid = 100;
    void *sums = dnn_between(g, &sum), *out = dnn_tensor(g, &y);
    operation[count++] = convolution(g, s, dnn_tensor(g, &x), dnn_tensor(g, &filter), sums);
    void *biased = s->add || s->relu ? dnn_between(g, &sum) : out;
    operation[count++] = dnn_pointwise(g, DNN_MODE_ADD, sums, dnn_tensor(g, &bias), biased);
    void *added = !s->add ? biased : s->relu ? dnn_between(g, &sum) : out;
    if (s->add) /* not in place: engines may write an output more than once */
        operation[count++] = dnn_pointwise(g, DNN_MODE_ADD, biased, dnn_tensor(g, &z), added);
    if (s->relu)
        operation[count++] = dnn_pointwise(g, DNN_MODE_RELU, added, NULL, out);
    dnn_build(g, handle, count, operation);
}
