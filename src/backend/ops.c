/* The checked wrappers of the operations: every shape and type is verified here, once, so that a
 * backend's functions need not. */
#include "backend/ops_check.h"

const char *op_kind_name(enum op_kind kind)
{
    static const char *const names[] = {"linear", "conv", "attention", "rms_norm", "layer_norm",
                                        "rope",   "add",  "copy",      "other"};
    return names[kind];
}

/* Contiguous apart from the outermost dimension. */
static bool dense_frames(const struct tensor *t)
{
    struct tensor frame = tensor_slice(*t, 0, 0, 1);
    return tensor_is_contiguous(&frame);
}

void op_copy(struct backend *b, struct tensor y, struct tensor x)
{
    if (!backend_ready(b))
        return;
    REQUIRE("copy", y, x, computable(&y) && computable(&x));
    REQUIRE("copy", y, x, tensor_same_shape(&y, &x));
    double begun = op_begin(b);
    b->ops->copy(b, &y, &x);
    op_end(b, OP_COPY, begun, 0);
}

void op_activate(struct backend *b, struct tensor y, struct tensor x, enum activation act)
{
    if (!backend_ready(b))
        return;
    REQUIRE("activate", y, x, computable(&y) && computable(&x));
    REQUIRE("activate", y, x, tensor_same_shape(&y, &x));
    REQUIRE("activate", y, x, tensor_is_contiguous(&y) && tensor_is_contiguous(&x));
    double begun = op_begin(b);
    b->ops->activate(b, &y, &x, act);
    op_end(b, OP_OTHER, begun, 0);
}

void op_linear(struct backend *b, struct tensor y, struct tensor x, struct linear *w,
               enum activation act)
{
    if (!backend_ready(b))
        return;
    bool fp8 = w->type == TENSOR_E4M3;
    REQUIRE("linear", y, x, computable(&y) ? !fp8 || y.type == b->compute : fp8 && quantised(&y));
    REQUIRE("linear", y, x, (fp8 ? quantised(&x) : computable(&x)) && w->impl);
    REQUIRE("linear", y, x, y.dims == 2 && x.dims == 2 && y.shape[0] == x.shape[0]);
    REQUIRE("linear", y, x, x.shape[1] == w->k && y.shape[1] == w->n);
    REQUIRE("linear", y, x, x.type == w->type && dense_rows(&x) && dense_rows(&y));
    double begun = op_begin(b);
    b->ops->linear(b, &y, &x, w, act);
    op_end(b, OP_LINEAR, begun, 2.0 * (double)y.shape[0] * (double)w->n * (double)w->k);
}

static int64_t conv_length(int64_t in, int pad, int64_t kernel, int stride)
{
    return in + pad < kernel ? 0 : (in + pad - kernel) / stride + 1;
}

/* Blowing up by nearest neighbour leaves (k + 1) / 2 distinct taps of k in each direction. */
static double conv_flops(const struct tensor *y, const struct conv *w)
{
    double kh = (double)w->kh, kw = (double)w->kw;
    if (w->desc.upsample) {
        kh = (double)((w->kh + 1) / 2);
        kw = (double)((w->kw + 1) / 2);
    }
    return 2 * (double)tensor_count(y) * (double)(w->ci * w->kt) * kh * kw;
}

static bool is_conv(const struct backend *b, const struct tensor *y, const struct tensor *x,
                    const struct conv *w)
{
    int pad = w->desc.pad_before + w->desc.pad_after, up = w->desc.upsample ? 2 : 1;
    return computable(y) && computable(x) && w->impl && y->dims == 4 && x->dims == 4 &&
           x->shape[3] == w->ci && y->shape[3] == w->co &&
           y->shape[0] == conv_length(x->shape[0], 0, w->kt, w->desc.stride_t) &&
           y->shape[1] == conv_length(up * x->shape[1], pad, w->kh, w->desc.stride) &&
           y->shape[2] == conv_length(up * x->shape[2], pad, w->kw, w->desc.stride) &&
           x->type == b->compute && y->type == b->compute && dense_frames(x) && dense_frames(y);
}

void op_conv(struct backend *b, struct tensor y, struct tensor x, struct conv *w,
             enum activation act, bool accumulate)
{
    if (!backend_ready(b))
        return;
    REQUIRE("conv", y, x, is_conv(b, &y, &x, w));
    REQUIRE("conv", y, x, !accumulate || act == ACT_NONE);
    double begun = op_begin(b);
    b->ops->conv(b, &y, &x, w, act, accumulate);
    op_end(b, OP_CONV, begun, conv_flops(&y, w));
}

static void add_beside(struct backend *b, struct tensor y, struct tensor z, struct tensor x,
                       struct conv *w, enum activation act)
{
    if (!backend_ready(b))
        return;
    REQUIRE("conv_add", y, x, is_conv(b, &y, &x, w));
    REQUIRE("conv_add", y, z, is_conv(b, &z, &x, w) && y.data != z.data);
    REQUIRE("conv_add", y, z, tensor_is_contiguous(&y) && tensor_is_contiguous(&z));
    REQUIRE("conv_add", y, x, act == ACT_NONE || act == ACT_RELU);
    double begun = op_begin(b);
    b->ops->conv_add(b, &y, &z, &x, w, act);
    op_end(b, OP_CONV, begun, conv_flops(&y, w));
}

struct tensor op_conv_add(struct backend *b, struct tensor y, struct tensor z, struct tensor x,
                          struct conv *w, enum activation act)
{
    if (b->ops->conv_add) {
        add_beside(b, y, z, x, w, act);
        return y;
    }
    op_conv(b, z, x, w, ACT_NONE, true);
    if (act != ACT_NONE)
        op_activate(b, z, z, act);
    return z;
}

void op_attention(struct backend *b, struct tensor y, struct tensor q, struct tensor k,
                  struct tensor v, float scale, struct tensor relative_bias)
{
    if (!backend_ready(b))
        return;
    REQUIRE("attention", y, q, is_attention(&y, &q, &k, &v));
    REQUIRE("attention", q, k,
            !relative_bias.data ||
                is_f32_matrix(&relative_bias, q.shape[0] + k.shape[0] - 1));
    REQUIRE("attention", q, relative_bias,
            !relative_bias.data || relative_bias.shape[0] == q.shape[1]);
    double begun = op_begin(b);
    b->ops->attention(b, &y, &q, &k, &v, scale, relative_bias.data ? &relative_bias : NULL);
    op_end(b, OP_ATTENTION, begun, 4.0 * (double)tensor_count(&q) * (double)k.shape[0]);
}

void op_rms_norm(struct backend *b, struct tensor y, struct tensor x, struct tensor gain, float eps,
                 enum activation act)
{
    if (!backend_ready(b))
        return;
    REQUIRE("rms_norm", y, x, computable(&y) && computable(&x));
    REQUIRE("rms_norm", y, x, y.dims == 2 && tensor_same_shape(&y, &x));
    REQUIRE("rms_norm", y, x, dense_rows(&y) && dense_rows(&x));
    REQUIRE("rms_norm", y, gain, is_f32_vector(&gain, x.shape[1]));
    double begun = op_begin(b);
    b->ops->rms_norm(b, &y, &x, &gain, eps, act);
    op_end(b, OP_RMS_NORM, begun, 0);
}

void op_quantise(struct backend *b, struct tensor y, struct tensor x)
{
    if (!backend_ready(b))
        return;
    REQUIRE("quantise", y, x, b->fp8 && quantised(&y) && computable(&x));
    REQUIRE("quantise", y, x, tensor_same_shape(&y, &x) && dense_rows(&y) && dense_rows(&x));
    double begun = op_begin(b);
    b->ops->quantise(b, &y, &x);
    op_end(b, OP_COPY, begun, 0);
}

void op_layer_norm(struct backend *b, struct tensor y, struct tensor x, struct tensor scale,
                   struct tensor shift, float eps, float scale_offset)
{
    if (!backend_ready(b))
        return;
    REQUIRE("layer_norm", y, x, is_layer_norm(&y, &x, &scale, &shift));
    double begun = op_begin(b);
    b->ops->layer_norm(b, &y, &x, &scale, &shift, eps, scale_offset);
    op_end(b, OP_LAYER_NORM, begun, 0);
}

void op_rope(struct backend *b, struct tensor y, struct tensor x, const struct rope_tables *tables)
{
    if (!backend_ready(b))
        return;
    REQUIRE("rope", y, x, is_rope(&y, &x, tables));
    double begun = op_begin(b);
    b->ops->rope(b, &y, &x, tables);
    op_end(b, OP_ROPE, begun, 0);
}

void op_rms_norm_rope(struct backend *b, struct tensor y, struct tensor x, struct tensor gain,
                      float eps, const struct rope_tables *tables)
{
    if (!backend_ready(b))
        return;
    REQUIRE("rms_norm_rope", y, x, is_rope(&y, &x, tables));
    REQUIRE("rms_norm_rope", y, gain, is_f32_vector(&gain, x.shape[3] * x.shape[4]));
    if (b->ops->rms_norm_rope) {
        double begun = op_begin(b);
        b->ops->rms_norm_rope(b, &y, &x, &gain, eps, tables);
        op_end(b, OP_ROPE, begun, 0);
        return;
    }
    for (int64_t f = 0; f < x.shape[0]; f++) {
        for (int64_t h = 0; h < x.shape[1]; h++) {
            struct tensor from = tensor_slice(tensor_slice(x, 0, f, 1), 1, h, 1);
            struct tensor to = tensor_slice(tensor_slice(y, 0, f, 1), 1, h, 1);
            int64_t width = x.shape[3] * x.shape[4];
            op_rms_norm(b, tensor_reshape(to, SHAPE(x.shape[2], width)),
                        tensor_reshape(from, SHAPE(x.shape[2], width)), gain, eps, ACT_NONE);
        }
    }
    op_rope(b, y, y, tables);
}

void op_add_gated(struct backend *b, struct tensor x, struct tensor y, struct tensor gate)
{
    if (!backend_ready(b))
        return;
    REQUIRE("add_gated", x, y, is_add_gated(&x, &y, &gate));
    double begun = op_begin(b);
    b->ops->add_gated(b, &x, &y, gate.data ? &gate : NULL);
    op_end(b, OP_ADD, begun, 0);
}

void op_mul(struct backend *b, struct tensor y, struct tensor a, struct tensor c)
{
    if (!backend_ready(b))
        return;
    REQUIRE("mul", y, a, computable(&y) && computable(&a) && computable(&c));
    REQUIRE("mul", y, a, tensor_same_shape(&y, &a) && tensor_same_shape(&y, &c));
    REQUIRE("mul", y, a,
            tensor_is_contiguous(&y) && tensor_is_contiguous(&a) && tensor_is_contiguous(&c));
    double begun = op_begin(b);
    b->ops->mul(b, &y, &a, &c);
    op_end(b, OP_OTHER, begun, 0);
}

void op_combine(struct backend *b, struct tensor y, int terms, const float *factor,
                const struct tensor *x)
{
    if (!backend_ready(b))
        return;
    REQUIRE("combine", y, x[0], terms >= 1 && terms <= COMBINE_TERMS);
    REQUIRE("combine", y, x[0], y.data && y.type == TENSOR_F32 && tensor_is_contiguous(&y));
    for (int i = 0; i < terms; i++) {
        REQUIRE("combine", y, x[i], x[i].data && x[i].type == TENSOR_F32);
        REQUIRE("combine", y, x[i], tensor_same_shape(&y, &x[i]) && tensor_is_contiguous(&x[i]));
    }
    double begun = op_begin(b);
    b->ops->combine(b, &y, terms, factor, x);
    op_end(b, OP_OTHER, begun, 0);
}

void op_picture(struct backend *b, const struct picture_target *target, struct tensor x, float scale,
                float offset)
{
    if (!backend_ready(b))
        return;
    REQUIRE("picture", x, x, computable(&x) && x.dims == 3 && x.shape[2] == 3);
    REQUIRE("picture", x, x, tensor_is_contiguous(&x));
    REQUIRE("picture", x, x, x.shape[0] % 2 == 0 && x.shape[1] % 2 == 0);
    double begun = op_begin(b);
    b->ops->picture(b, target, &x, scale, offset);
    op_end(b, OP_OTHER, begun, 0);
}

void op_pictures(struct backend *b, int count, const struct picture_target *target, struct tensor x,
                 float scale, float offset)
{
    if (!backend_ready(b))
        return;
    REQUIRE("pictures", x, x, computable(&x) && x.dims == 4 && x.shape[0] == count);
    REQUIRE("pictures", x, x, x.shape[1] % 2 == 0 && x.shape[2] % 2 == 0 && x.shape[3] == 3);
    REQUIRE("pictures", x, x, tensor_is_contiguous(&x));
    for (int i = 1; i < count; i++)
        REQUIRE("pictures", x, x, target[i].format == target[0].format);
    if (!b->ops->pictures) {
        for (int i = 0; i < count; i++)
            op_picture(b, &target[i],
                       tensor_reshape(tensor_slice(x, 0, i, 1), SHAPE(x.shape[1], x.shape[2], 3)),
                       scale, offset);
        return;
    }
    double begun = op_begin(b);
    backend_range_begin(b, "pictures");
    b->ops->pictures(b, count, target, &x, scale, offset);
    backend_range_end(b);
    op_end(b, OP_OTHER, begun, 0);
}
