/* conv: kernels, strides, padding, blowing up, adding. */
#include "ops.h"

struct example {
    int64_t t, h, w, ci, co, kt, kh, kw;
    int stride_t, stride, before, after;
    bool upsample, biased, accumulate, beside; /* beside: op_conv_add, with accumulate */
    enum activation act;
};

static double activation(double x, enum activation act)
{
    switch (act) {
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_RELU:
        return fmax(x, 0);
    case ACT_CLAMP:
        return fmin(fmax(x, -1), 1);
    default:
        return x;
    }
}

struct operands {
    const struct example *e;
    const double *x, *weight, *bias; /* [T, H, W, Ci], [Co, Ci, kt, kh, kw], [Co] */
};

/* One output; size: sum of the sizes of its parts. */
static double convolve(const struct operands *o, int64_t t, int64_t h, int64_t w, int64_t co,
                       double *size)
{
    const struct example *e = o->e;
    int64_t up = e->upsample ? 2 : 1;
    double sum = e->biased ? o->bias[co] : 0;
    *size = fabs(sum);
    for (int64_t a = 0; a < e->kt; a++) {
        for (int64_t b = 0; b < e->kh; b++) {
            for (int64_t c = 0; c < e->kw; c++) {
                int64_t it = t * e->stride_t + a, ih = h * e->stride + b - e->before;
                int64_t iw = w * e->stride + c - e->before;
                if (ih < 0 || iw < 0 || ih >= up * e->h || iw >= up * e->w)
                    continue;
                const double *x = o->x + ((it * e->h + ih / up) * e->w + iw / up) * e->ci;
                int64_t taps = e->kt * e->kh * e->kw, tap = (a * e->kh + b) * e->kw + c;
                sum += ops_dot(x, 1, o->weight + co * e->ci * taps + tap, taps, e->ci, size);
            }
        }
    }
    return sum;
}

/* Folding taps of a blown-up picture into one sums weights before it multiplies: in bf16 that
 * rounds the sum of two or four weights once more. */
static double sum_unit(struct ops *ops, const struct example *e)
{
    double unit = (8 + sqrt((double)(e->kt * e->kh * e->kw * e->ci))) * 0x1p-24;
    if (e->upsample && ops->b->compute == TENSOR_BF16)
        unit += ops_unit(TENSOR_BF16);
    return unit;
}

/* Large pictures may be computed by Winograd's F(4x4, 3x3), where each of 4x4 outputs has errors of the
 * size that their largest inputs would have. */
static bool has_tiles(const struct example *e)
{
    return e->kh == 3 && e->kw == 3 && e->stride == 1 && e->stride_t == 1 && !e->upsample &&
           e->before == 1 && e->after == 1 && e->ci % 16 == 0 && e->h * e->w >= 512;
}

/* The largest size of every channel among what 4x4 outputs see, [T, tiles down, tiles across, Ci]. */
static double *largest_inputs(struct ops *ops, const struct operands *o)
{
    const struct example *e = o->e;
    int64_t down = (e->h + 3) / 4, across = (e->w + 3) / 4;
    double *most = ops_doubles(ops, e->t * down * across * e->ci);
    for (int64_t i = 0; i < e->t * e->h * e->w * e->ci; i++) {
        int64_t t = i / (e->h * e->w * e->ci), h = i / (e->w * e->ci) % e->h, w = i / e->ci % e->w;
        for (int64_t r = (h > 0 ? h - 1 : 0) / 4; r <= (h + 1) / 4 && r < down; r++)
            for (int64_t c = (w > 0 ? w - 1 : 0) / 4; c <= (w + 1) / 4 && c < across; c++) {
                double *to = &most[((t * down + r) * across + c) * e->ci + i % e->ci];
                *to = fmax(*to, fabs(o->x[i]));
            }
    }
    return most;
}

/* Sums of the sizes of every 3x3 kernel, [Co, kt, Ci]. */
static double *kernel_sizes(struct ops *ops, const struct operands *o)
{
    const struct example *e = o->e;
    double *size = ops_doubles(ops, e->co * e->kt * e->ci);
    for (int64_t i = 0; i < e->co * e->ci * e->kt * 9; i++) {
        int64_t co = i / (e->ci * e->kt * 9), ci = i / (e->kt * 9) % e->ci, t = i / 9 % e->kt;
        size[(co * e->kt + t) * e->ci + ci] += fabs(o->weight[i]);
    }
    return size;
}

static void size_tiles(struct ops *ops, const struct operands *o, const int64_t *n, double *sizes)
{
    const struct example *e = o->e;
    const double *most = largest_inputs(ops, o), *kernel = kernel_sizes(ops, o);
    int64_t down = (e->h + 3) / 4, across = (e->w + 3) / 4;
    for (int64_t i = 0; i < n[0] * n[1] * n[2] * n[3]; i++) {
        int64_t co = i % n[3], column = i / n[3] % n[2] / 4, row = i / (n[3] * n[2]) % n[1] / 4;
        double size = 0;
        for (int64_t t = 0; t < e->kt; t++) {
            int64_t frame = i / (n[3] * n[2] * n[1]) + t;
            ops_dot(most + ((frame * down + row) * across + column) * e->ci, 1,
                    kernel + (co * e->kt + t) * e->ci, 1, e->ci, &size);
        }
        sizes[i] = fmax(sizes[i], size);
    }
}

static void refer(struct ops *ops, const struct operands *o, const struct ops_tensor *y,
                  double *want, double *tolerance)
{
    const struct example *e = o->e;
    const int64_t *n = y->t.shape;
    double *sizes = ops_doubles(ops, y->count);
    for (int64_t i = 0; i < y->count; i++) {
        double size, sum = convolve(o, i / (n[1] * n[2] * n[3]), i / (n[2] * n[3]) % n[1],
                                    i / n[3] % n[2], i % n[3], &size);
        if (e->accumulate) {
            /* rounded sums may be added */
            tolerance[i] = ops_unit(y->t.type) * fabs(sum);
            sum += y->value[i];
            size += fabs(y->value[i]);
        }
        want[i] = activation(sum, e->act);
        tolerance[i] += ops_unit(y->t.type) * 1.01 * fabs(want[i]) + 1e-6 * fabs(want[i]);
        sizes[i] = size;
    }
    if (has_tiles(e))
        size_tiles(ops, o, n, sizes);
    for (int64_t i = 0; i < y->count; i++)
        tolerance[i] += sum_unit(ops, e) * sizes[i] * 1.2;
}

static int64_t length(int64_t in, int pad, int64_t kernel, int stride)
{
    return (in + pad - kernel) / stride + 1;
}

static bool is_cpu(const struct ops *ops)
{
    return !strcmp(ops->b->ops->name, "cpu");
}

/* On the CPU results do not depend on how many frames come in a call. */
static void check_frames(struct ops *ops, struct conv *conv, const struct ops_tensor *x,
                         const struct ops_tensor *y, enum activation act)
{
    struct ops_tensor alone = ops_output(ops, y->t.type, LAYOUT_DENSE, 4, y->t.shape);
    for (int64_t i = 0; i < y->t.shape[0]; i++)
        op_conv(ops->b, tensor_slice(alone.t, 0, i, 1),
                tensor_slice(x->t, 0, i * conv->desc.stride_t, conv->kt), conv, act, false);
    ops_compare_exact(ops, "conv, one frame at a time", &alone, ops_read(ops, y));
}

static void check(struct ops *ops, struct example e, enum fill fill, enum tensor_type file,
                  enum layout layout)
{
    e.stride_t = e.stride_t ? e.stride_t : 1;
    e.stride = e.stride ? e.stride : 1;
    int64_t up = e.upsample ? 2 : 1, taps = e.kt * e.kh * e.kw, count = e.co * e.ci * taps;
    int64_t shape[] = {length(e.t, 0, e.kt, e.stride_t),
                       length(up * e.h, e.before + e.after, e.kh, e.stride),
                       length(up * e.w, e.before + e.after, e.kw, e.stride), e.co};
    enum tensor_type compute = ops->b->compute;
    bool rounds = compute == TENSOR_BF16 || ops->b->round_bf16;
    layout = e.beside ? LAYOUT_DENSE : layout;
    struct ops_tensor x = ops_make(ops, compute, layout, fill, 1e10, SHAPE(e.t, e.h, e.w, e.ci));
    struct ops_tensor y = ops_output(ops, compute, layout, 4, shape);
    double *weight = ops_doubles(ops, count), *bias = ops_doubles(ops, e.co);
    float *weight32 = ops_memory(ops, (size_t)count * 4),
          *bias32 = ops_memory(ops, (size_t)e.co * 4);
    uint16_t *weight16 = ops_memory(ops, (size_t)count * 2);
    for (int64_t i = 0; i < count; i++) {
        weight32[i] = (float)ops_round(ops_value(FILL_NORMAL, 1), file);
        union {
            float f;
            uint32_t u;
        } v = {.f = weight32[i]};
        weight16[i] = (uint16_t)(v.u >> 16);
        weight[i] = rounds ? ops_round((double)weight32[i], TENSOR_BF16) : (double)weight32[i];
    }
    for (int64_t i = 0; i < e.co; i++) {
        bias32[i] = (float)ops_value(FILL_NORMAL, 1);
        bias[i] = ops_round((double)bias32[i], ops->b->round_bias ? TENSOR_BF16 : TENSOR_F32);
    }
    struct conv_desc desc = {.weight = tensor_make(file == TENSOR_F32 ? (void *)weight32 : weight16,
                                                   file, SHAPE(e.co, e.ci, e.kt, e.kh, e.kw)),
                             .stride_t = e.stride_t,
                             .stride = e.stride,
                             .pad_before = e.before,
                             .pad_after = e.after,
                             .upsample = e.upsample};
    if (e.biased)
        desc.bias = tensor_make(bias32, TENSOR_F32, SHAPE(e.co));
    struct conv conv;
    backend_conv_init(ops->b, &conv, &desc);
    double *want = ops_doubles(ops, y.count), *tolerance = ops_doubles(ops, y.count);
    refer(ops, &(struct operands){&e, x.value, weight, bias}, &y, want, tolerance);
    char what[160];
    snprintf(what, sizeof what,
             "conv [%d, %d, %d, %d] -> %d, kernel %d %d %d, stride %d %d%s%s, %s", (int)e.t,
             (int)e.h, (int)e.w, (int)e.ci, (int)e.co, (int)e.kt, (int)e.kh, (int)e.kw, e.stride_t,
             e.stride, e.upsample ? ", upsample" : "", e.beside ? ", beside" : e.accumulate ? ", accumulate" : "",
             fill_name(fill));
    struct ops_tensor spare = ops_output(ops, compute, layout, 4, shape);
    for (int times = 0; times < 2; times++) {
        struct tensor sum = y.t;
        if (e.beside)
            sum = op_conv_add(ops->b, spare.t, y.t, x.t, &conv, e.act);
        else
            op_conv(ops->b, y.t, x.t, &conv, e.act, e.accumulate);
        ops_compare(ops, what, sum.data == y.t.data ? &y : &spare, want, tolerance);
        if (sum.data != y.t.data) /* what was added is as it was */
            ops_compare_exact(ops, what, &y, y.value);
        ops_set(ops, &y, y.value);
    }
    if (!e.accumulate && shape[0] > 1 && is_cpu(ops)) {
        op_conv(ops->b, y.t, x.t, &conv, e.act, false);
        check_frames(ops, &conv, &x, &y, e.act);
    }
    backend_conv_finish(ops->b, &conv);
    ops_free(ops);
}

static void run_size(struct ops *ops, struct conv *conv, int64_t size, struct ops_tensor *x, struct ops_tensor *y)
{
    if (!x->count) {
        *x = ops_make(ops, ops->b->compute, LAYOUT_DENSE, FILL_NORMAL, 1e10, SHAPE(1, size, size, conv->ci));
        *y = ops_output(ops, ops->b->compute, LAYOUT_DENSE,
                        SHAPE(1, size, size, conv->co));
    }
    op_conv(ops->b, y->t, x->t, conv, ACT_NONE, false);
}

/* Two sizes may want weights in two forms, each of which is made when it is first needed, from weights that
 * still have to be there then. */
static void test_two_sizes(struct ops *ops)
{
    enum { CHANNELS = 64, SIZES = 2 };
    static const int64_t sizes[SIZES] = {12, 24};
    struct ops_tensor x[SIZES] = {{.count = 0}}, y[SIZES] = {{.count = 0}};
    const double *want[SIZES];
    float *weight = ops_memory(ops, CHANNELS * CHANNELS * 9 * sizeof *weight);
    for (int i = 0; i < CHANNELS * CHANNELS * 9; i++)
        weight[i] = (float)ops_value(FILL_NORMAL, 1);
    struct conv_desc desc = {.pad_before = 1, .pad_after = 1};
    desc.weight = tensor_make(weight, TENSOR_F32, SHAPE(CHANNELS, CHANNELS, 1, 3, 3));
    for (int i = 0; i < 4; i++) { /* each alone, then both, either first */
        struct conv conv;
        backend_conv_init(ops->b, &conv, &desc);
        if (i < SIZES) {
            run_size(ops, &conv, sizes[i], &x[i], &y[i]);
            want[i] = ops_read(ops, &y[i]);
        }
        for (int k = 0; i >= SIZES && k < SIZES; k++) {
            int size = (i + k) % SIZES;
            run_size(ops, &conv, sizes[size], &x[size], &y[size]);
            ops_compare_exact(ops, "conv, at two sizes", &y[size], want[size]);
        }
        backend_conv_finish(ops->b, &conv);
    }
    ops_free(ops);
}

static void test_all(struct ops *ops)
{
    static const struct example examples[] = {
        /* t h w ci co kt kh kw, strides, padding */
        {3, 5, 7, 4, 6, 3, 3, 3, 1, 1, 1, 1, .biased = true},
        {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
        {3, 1, 1, 3, 5, 3, 3, 3, 1, 1, 1, 1, .biased = true, .act = ACT_SILU},
        {4, 6, 5, 16, 17, 3, 3, 3, 1, 1, 1, 1, .biased = true, .act = ACT_RELU},
        {4, 9, 11, 33, 32, 3, 3, 3, 1, 1, 1, 1, .accumulate = true},
        {3, 4, 6, 8, 3, 3, 3, 3, 1, 1, 1, 1, .biased = true, .act = ACT_CLAMP},
        {2, 3, 5, 17, 9, 1, 1, 1, 1, 1, 0, 0, .biased = true},
        {5, 4, 3, 6, 12, 3, 1, 1, 1, 1, 0, 0, .biased = true},
        {5, 4, 3, 6, 12, 3, 1, 1, 2, 1, 0, 0, .biased = true},
        {2, 6, 8, 5, 7, 1, 3, 3, 1, 2, 0, 1, .biased = true},
        {2, 7, 9, 16, 16, 1, 3, 3, 1, 2, 1, 1},
        {2, 4, 5, 6, 3, 1, 3, 3, 1, 1, 1, 1, .upsample = true, .biased = true},
        {1, 3, 7, 32, 16, 1, 3, 3, 1, 1, 1, 1, .upsample = true, .biased = true, .act = ACT_SILU},
        {1, 1, 1, 16, 16, 1, 3, 3, 1, 1, 1, 1, .upsample = true, .biased = true},
        {1, 5, 6, 3, 64, 1, 3, 3, 1, 1, 1, 1, .biased = true},
        {3, 12, 20, 20, 40, 3, 3, 3, 1, 1, 1, 1, .biased = true},
        {1, 16, 16, 64, 64, 1, 3, 3, 1, 1, 1, 1, .biased = true, .accumulate = true},
        {4, 9, 11, 32, 16, 3, 3, 3, 1, 1, 1, 1, .accumulate = true, .beside = true},
        {2, 7, 6, 24, 24, 1, 3, 3, 1, 1, 1, 1, .biased = true, .accumulate = true, .beside = true,
         .act = ACT_RELU},
        {1, 4, 5, 8, 6, 1, 3, 3, 1, 1, 1, 1, .upsample = true, .biased = true, .accumulate = true,
         .beside = true},
        {3, 22, 25, 16, 16, 3, 3, 3, 1, 1, 1, 1, .biased = true},
        {7, 23, 23, 16, 3, 3, 3, 3, 1, 1, 1, 1, .biased = true, .act = ACT_CLAMP},
        {1, 16, 32, 32, 20, 1, 3, 3, 1, 1, 1, 1, .biased = true, .act = ACT_SILU},
        {3, 9, 59, 80, 17, 2, 3, 3, 1, 1, 1, 1, .accumulate = true},
        {1, 8, 64, 80, 66, 1, 3, 3, 1, 1, 1, 1, .biased = true, .accumulate = true, .beside = true},
    };
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        if (has_tiles(&examples[i]) && !is_cpu(ops)) /* they are large for that reason only */
            continue;
        check(ops, examples[i], FILL_NORMAL, TENSOR_F32, LAYOUT_FRAMES);
        check(ops, examples[i], (enum fill)(i % FILLS), i & 1 ? TENSOR_F32 : TENSOR_BF16, LAYOUT_DENSE);
    }
    if (is_cpu(ops))
        test_two_sizes(ops);
}

int main(int argc, char **argv)
{
    ops_options(argc, argv);
    ops_run("conv", true, test_all);
    return test_end();
}
