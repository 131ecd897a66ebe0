/* The checked wrappers of the operations: every shape and type is verified here, once, so that a
 * backend's functions need not. */
#include "backend/backend.h"

#include "base/clock.h"

const char *op_kind_name(enum op_kind kind)
{
    static const char *const names[] = {"linear", "conv", "attention", "rms_norm", "layer_norm",
                                        "rope",   "add",  "copy",      "other"};
    return names[kind];
}

static double begin(const struct backend *b)
{
    return b->profile ? clock_seconds() : 0;
}

static void end(struct backend *b, enum op_kind kind, double begun, double flops)
{
    if (!b->profile)
        return;
    backend_sync(b);
    b->profile->seconds[kind] += clock_seconds() - begun;
    b->profile->flops[kind] += flops;
    b->profile->calls[kind]++;
}


/* Logs which check of which operation failed, with the shapes at hand. */
static void refuse(struct backend *b, const char *op, const char *check, const struct tensor *y,
                   const struct tensor *x)
{
    char shape_y[128], shape_x[128];
    backend_fail(b, UNREEL_EINVAL, "%s %s <- %s: not %s", op,
                 tensor_shape_text(y->dims, y->shape, shape_y),
                 tensor_shape_text(x->dims, x->shape, shape_x), check);
}

#define REQUIRE(op, y, x, condition)                                                               \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            refuse(b, op, #condition, &(y), &(x));                                                 \
            return;                                                                                \
        }                                                                                          \
    } while (0)

static bool computable(const struct tensor *t)
{
    return t->data && (t->type == TENSOR_F32 || t->type == TENSOR_BF16);
}

/* Last dimension contiguous. */
static bool dense_rows(const struct tensor *t)
{
    return t->shape[t->dims - 1] == 1 || t->stride[t->dims - 1] == 1;
}

/* Contiguous apart from the outermost dimension. */
static bool dense_frames(const struct tensor *t)
{
    struct tensor frame = tensor_slice(*t, 0, 0, 1);
    return tensor_is_contiguous(&frame);
}

static bool is_f32_matrix(const struct tensor *t, int64_t columns)
{
    return t->data && t->type == TENSOR_F32 && t->dims == 2 && t->shape[1] == columns &&
           dense_rows(t);
}

static bool is_f32_vector(const struct tensor *t, int64_t count)
{
    return t->data && t->type == TENSOR_F32 && tensor_count(t) == count && tensor_is_contiguous(t);
}

void op_copy(struct backend *b, struct tensor y, struct tensor x)
{
    if (!backend_ready(b))
        return;
    REQUIRE("copy", y, x, computable(&y) && computable(&x));
    REQUIRE("copy", y, x, tensor_same_shape(&y, &x));
    double begun = begin(b);
    b->ops->copy(b, &y, &x);
    end(b, OP_COPY, begun, 0);
}

void op_activate(struct backend *b, struct tensor y, struct tensor x, enum activation act)
{
    if (!backend_ready(b))
        return;
    REQUIRE("activate", y, x, computable(&y) && computable(&x));
    REQUIRE("activate", y, x, tensor_same_shape(&y, &x));
    REQUIRE("activate", y, x, tensor_is_contiguous(&y) && tensor_is_contiguous(&x));
    double begun = begin(b);
    b->ops->activate(b, &y, &x, act);
    end(b, OP_OTHER, begun, 0);
}

void op_linear(struct backend *b, struct tensor y, struct tensor x, struct linear *w,
               enum activation act)
{
    if (!backend_ready(b))
        return;
    REQUIRE("linear", y, x, computable(&y) && computable(&x) && w->impl);
    REQUIRE("linear", y, x, y.dims == 2 && x.dims == 2 && y.shape[0] == x.shape[0]);
    REQUIRE("linear", y, x, x.shape[1] == w->k && y.shape[1] == w->n);
    REQUIRE("linear", y, x, x.type == w->type && dense_rows(&x) && dense_rows(&y));
    double begun = begin(b);
    b->ops->linear(b, &y, &x, w, act);
    end(b, OP_LINEAR, begun, 2.0 * (double)y.shape[0] * (double)w->n * (double)w->k);
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

void op_conv(struct backend *b, struct tensor y, struct tensor x, struct conv *w,
             enum activation act, bool accumulate)
{
    if (!backend_ready(b))
        return;
    int pad = w->desc.pad_before + w->desc.pad_after, up = w->desc.upsample ? 2 : 1;
    REQUIRE("conv", y, x, computable(&y) && computable(&x) && w->impl);
    REQUIRE("conv", y, x, y.dims == 4 && x.dims == 4);
    REQUIRE("conv", y, x, x.shape[3] == w->ci && y.shape[3] == w->co);
    REQUIRE("conv", y, x, y.shape[0] == conv_length(x.shape[0], 0, w->kt, w->desc.stride_t));
    REQUIRE("conv", y, x, y.shape[1] == conv_length(up * x.shape[1], pad, w->kh, w->desc.stride));
    REQUIRE("conv", y, x, y.shape[2] == conv_length(up * x.shape[2], pad, w->kw, w->desc.stride));
    REQUIRE("conv", y, x, x.type == b->compute && y.type == b->compute);
    REQUIRE("conv", y, x, dense_frames(&x) && dense_frames(&y));
    REQUIRE("conv", y, x, !accumulate || act == ACT_NONE);
    double begun = begin(b);
    b->ops->conv(b, &y, &x, w, act, accumulate);
    end(b, OP_CONV, begun, conv_flops(&y, w));
}

void op_attention(struct backend *b, struct tensor y, struct tensor q, struct tensor k,
                  struct tensor v, float scale, struct tensor relative_bias)
{
    if (!backend_ready(b))
        return;
    REQUIRE("attention", y, q, computable(&y) && computable(&q) && computable(&k) && computable(&v));
    REQUIRE("attention", y, q, y.type == q.type && k.type == q.type && v.type == q.type);
    REQUIRE("attention", y, q, y.dims == 3 && tensor_same_shape(&y, &q));
    REQUIRE("attention", k, v, k.dims == 3 && tensor_same_shape(&k, &v));
    REQUIRE("attention", q, k, q.shape[1] == k.shape[1] && q.shape[2] == k.shape[2]);
    REQUIRE("attention", q, k, dense_rows(&y) && dense_rows(&q) && dense_rows(&k) && dense_rows(&v));
    REQUIRE("attention", q, k,
            !relative_bias.data ||
                is_f32_matrix(&relative_bias, q.shape[0] + k.shape[0] - 1));
    REQUIRE("attention", q, relative_bias,
            !relative_bias.data || relative_bias.shape[0] == q.shape[1]);
    double begun = begin(b);
    b->ops->attention(b, &y, &q, &k, &v, scale, relative_bias.data ? &relative_bias : NULL);
    end(b, OP_ATTENTION, begun, 4.0 * (double)tensor_count(&q) * (double)k.shape[0]);
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
    double begun = begin(b);
    b->ops->rms_norm(b, &y, &x, &gain, eps, act);
    end(b, OP_RMS_NORM, begun, 0);
}

void op_layer_norm(struct backend *b, struct tensor y, struct tensor x, struct tensor scale,
                   struct tensor shift, float eps, float scale_offset)
{
    if (!backend_ready(b))
        return;
    REQUIRE("layer_norm", y, x, computable(&y) && computable(&x));
    REQUIRE("layer_norm", y, x, y.dims == 2 && tensor_same_shape(&y, &x));
    REQUIRE("layer_norm", y, x, dense_rows(&y) && dense_rows(&x));
    REQUIRE("layer_norm", y, scale, is_f32_matrix(&scale, x.shape[1]));
    REQUIRE("layer_norm", y, shift, is_f32_matrix(&shift, x.shape[1]));
    REQUIRE("layer_norm", y, scale,
            scale.shape[0] == shift.shape[0] && x.shape[0] % scale.shape[0] == 0);
    double begun = begin(b);
    b->ops->layer_norm(b, &y, &x, &scale, &shift, eps, scale_offset);
    end(b, OP_LAYER_NORM, begun, 0);
}

static bool is_rope(const struct tensor *y, const struct tensor *x, const struct rope_tables *t)
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

void op_rope(struct backend *b, struct tensor y, struct tensor x, const struct rope_tables *tables)
{
    if (!backend_ready(b))
        return;
    REQUIRE("rope", y, x, is_rope(&y, &x, tables));
    double begun = begin(b);
    b->ops->rope(b, &y, &x, tables);
    end(b, OP_ROPE, begun, 0);
}

void op_rms_norm_rope(struct backend *b, struct tensor y, struct tensor x, struct tensor gain,
                      float eps, const struct rope_tables *tables)
{
    if (!backend_ready(b))
        return;
    REQUIRE("rms_norm_rope", y, x, is_rope(&y, &x, tables));
    REQUIRE("rms_norm_rope", y, gain, is_f32_vector(&gain, x.shape[3] * x.shape[4]));
    if (b->ops->rms_norm_rope) {
        double begun = begin(b);
        b->ops->rms_norm_rope(b, &y, &x, &gain, eps, tables);
        end(b, OP_ROPE, begun, 0);
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
    REQUIRE("add_gated", x, y, computable(&x) && computable(&y));
    REQUIRE("add_gated", x, y, x.dims == 2 && tensor_same_shape(&x, &y));
    REQUIRE("add_gated", x, y, dense_rows(&x) && dense_rows(&y));
    REQUIRE("add_gated", x, gate,
            !gate.data || (is_f32_matrix(&gate, x.shape[1]) && x.shape[0] % gate.shape[0] == 0));
    double begun = begin(b);
    b->ops->add_gated(b, &x, &y, gate.data ? &gate : NULL);
    end(b, OP_ADD, begun, 0);
}

void op_mul(struct backend *b, struct tensor y, struct tensor a, struct tensor c)
{
    if (!backend_ready(b))
        return;
    REQUIRE("mul", y, a, computable(&y) && computable(&a) && computable(&c));
    REQUIRE("mul", y, a, tensor_same_shape(&y, &a) && tensor_same_shape(&y, &c));
    REQUIRE("mul", y, a,
            tensor_is_contiguous(&y) && tensor_is_contiguous(&a) && tensor_is_contiguous(&c));
    double begun = begin(b);
    b->ops->mul(b, &y, &a, &c);
    end(b, OP_OTHER, begun, 0);
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
    double begun = begin(b);
    b->ops->combine(b, &y, terms, factor, x);
    end(b, OP_OTHER, begun, 0);
}

void op_picture(struct backend *b, const struct picture_target *target, struct tensor x, float scale,
                float offset)
{
    if (!backend_ready(b))
        return;
    REQUIRE("picture", x, x, computable(&x) && x.dims == 3 && x.shape[2] == 3);
    REQUIRE("picture", x, x, tensor_is_contiguous(&x));
    REQUIRE("picture", x, x, x.shape[0] % 2 == 0 && x.shape[1] % 2 == 0);
    double begun = begin(b);
    b->ops->picture(b, target, &x, scale, offset);
    end(b, OP_OTHER, begun, 0);
}
