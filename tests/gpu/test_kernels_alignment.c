/* Data that begin anywhere give what aligned ones do. */
#include "test_kernels.h"

#define ROWS 6

/* [ROWS, width] from element `offset` of rows `stride` long. */
struct view {
    struct ops_tensor base;
    int64_t width, offset;
};

static struct view make_view(struct ops *ops, enum tensor_type type, int64_t width, int64_t offset,
                             int64_t stride, const double *value)
{
    struct view v = {ops_output(ops, type, LAYOUT_DENSE, SHAPE(ROWS + 1, stride)), width, offset};
    for (int64_t i = 0; i < ROWS * width; i++)
        v.base.value[i / width * stride + offset + i % width] = value[i];
    ops_set(ops, &v.base, v.base.value);
    return v;
}

static void *view_data(const struct view *v)
{
    return (char *)v->base.t.data + (size_t)v->offset * tensor_type_size(v->base.t.type);
}

static struct kernel_rows view_rows(const struct view *v)
{
    return (struct kernel_rows){view_data(v), (enum kernel_type)v->base.t.type, v->base.t.stride[0],
                                NULL, false};
}

static struct kernel_vectors view_vectors(const struct view *v)
{
    return (struct kernel_vectors){view_data(v), v->base.t.stride[0], ROWS};
}

/* As [1, 2, 3] tokens. */
static struct kernel_video view_video(const struct view *v)
{
    int64_t stride = v->base.t.stride[0];
    return (struct kernel_video){
        view_data(v), (enum kernel_type)v->base.t.type, {ROWS * stride, 3 * stride, stride}};
}

/* The view holds `want`, the rest of its memory what it did. */
static void expect_view(struct ops *ops, const char *what, const struct view *v,
                        const struct ops_tensor *want)
{
    const double *value = ops_read(ops, want);
    double *all = ops_doubles(ops, v->base.count);
    memcpy(all, v->base.value, (size_t)v->base.count * sizeof *all);
    for (int64_t i = 0; i < ROWS * v->width; i++)
        all[i / v->width * v->base.t.stride[0] + v->offset + i % v->width] = value[i];
    expect_near(ops, what, &v->base, all);
}

enum { NORM, ADD, ADD_NORM, RMS, VIDEO, EPILOGUE, ROPE, COPY, VIEW_TESTS };

struct view_call {
    struct kernel_rows y, x, a;
    struct kernel_video video_y, video_x;
    struct kernel_vectors v[3];
    struct kernel_rope rope;
    int64_t width;
};

static cudaError_t call(const struct view_call *c, int which)
{
    int64_t w = c->width, shape[] = {1, 2, 3, w}, stride_y[] = {c->y.stride, 1};
    int64_t stride_x[] = {c->x.stride, 1}, matrix[] = {ROWS, w};
    const struct kernel_vectors *v = c->v;
    switch (which) {
    case NORM:
        return kernel_layer_norm(&c->y, &c->x, ROWS, w, &v[0], &v[1], 1e-6f, 1, NULL);
    case ADD:
        return kernel_add_gated(&c->y, &c->x, ROWS, w, &v[0], NULL);
    case ADD_NORM:
        return kernel_add_gated_layer_norm(&c->y, &c->x, &c->a, ROWS, w, &v[0], &v[1], &v[2], 1e-6f,
                                           1, NULL);
    case RMS:
        return kernel_rms_norm(&c->y, &c->x, ROWS, w, v[0].data, 0, KERNEL_ACT_SILU, NULL);
    case VIDEO:
        return kernel_rms_norm_video(&c->video_y, &c->video_x, shape, v[0].data, 0, KERNEL_ACT_NONE,
                                     NULL);
    case EPILOGUE:
        return kernel_epilogue(&c->y, &c->x, ROWS, w, NULL, v[0].data, v[1].data, KERNEL_ACT_RELU,
                               NULL);
    case ROPE:
        return kernel_rms_norm_rope(&c->video_y, &c->video_x, &c->rope, v[0].data, 1e-6f, NULL,
                                    NULL);
    default:
        return kernel_copy(c->y.data, c->y.type, stride_y, c->x.data, c->x.type, stride_x, 2,
                           matrix, NULL);
    }
}

/* The digits of `how` to base 9 give each tensor an alignment; what comes out must be as with all
 * dense. */
static void check_view(struct ops *ops, int which, int64_t width, int how, enum tensor_type type_y,
                       enum tensor_type type_x)
{
    static const char *const names[] = {
        "layer_norm", "add_gated", "add_gated_layer_norm", "rms_norm", "rms_norm_video", "epilogue",
        "rope",       "copy"};
    static const int64_t offsets[] = {0, 1, 8}, gaps[] = {8, 16, 13};
    enum tensor_type type[6] = {type_y, type_x, type_x, TENSOR_F32, TENSOR_F32, TENSOR_F32};
    struct ops_tensor dense[6];
    struct view view[6];
    for (int i = 0; i < 6; i++) {
        int64_t offset = offsets[how % 3], stride = width % 8 + width + gaps[how / 3 % 3];
        how /= 9;
        dense[i] = ops_output(ops, type[i], LAYOUT_DENSE, SHAPE(ROWS, width));
        view[i] = make_view(ops, type[i], width, offset, stride, dense[i].value);
    }
    struct block b = make_block(ops, (const int64_t[]){1, 2, 3, 1, width});
    struct view_call plain = {rows_of(&dense[0]), rows_of(&dense[1]), rows_of(&dense[2]),
                              .rope = b.rope, .width = width};
    struct view_call strided = {view_rows(&view[0]),  view_rows(&view[1]),  view_rows(&view[2]),
                                view_video(&view[0]), view_video(&view[1]), .rope = b.rope,
                                .width = width};
    int64_t row = width;
    plain.video_y =
        (struct kernel_video){dense[0].t.data, plain.y.type, {ROWS * row, 3 * row, row}};
    plain.video_x =
        (struct kernel_video){dense[1].t.data, plain.x.type, {ROWS * row, 3 * row, row}};
    for (int i = 0; i < 3; i++) {
        plain.v[i] = vectors_of(&dense[3 + i]);
        strided.v[i] = view_vectors(&view[3 + i]);
    }
    launched(ops, call(&plain, which), names[which]);
    launched(ops, call(&strided, which), names[which]);
    for (int i = 0; i < 3; i++)
        expect_view(ops, names[which], &view[i], &dense[i]);
    ops_free(ops);
}

void test_alignment(struct ops *ops)
{
    for (int which = 0; which < VIEW_TESTS; which++) {
        for (int how = 0; how < 81; how++) /* all pairs of y and x, then some of the others */
            check_view(ops, which, how % 4 ? 16 : 12, how + 81 * (int)ops_between(0, 6560),
                       types[how & 1], types[how >> 1 & 1]);
        for (int i = 0; i < 9; i++) /* all is well but one */
            for (int t = 0; t < 6; t++)
                check_view(ops, which, 16, i * (int[]){1, 9, 81, 729, 6561, 59049}[t], types[i & 1],
                           types[t & 1]);
    }
}

/* Contiguous data that begin anywhere, and long rows with gains that do. */
void test_offsets(struct ops *ops)
{
    int64_t n = 1064;
    for (int how = 0; how < 64; how++) {
        struct ops_tensor in[4], moved[4], y[4], z[4];
        enum tensor_type type = types[how >> 5];
        struct ops_tensor gain = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(n));
        for (int i = 0; i < 4; i++) {
            enum layout layout = how >> i & 1 ? LAYOUT_ROWS : LAYOUT_DENSE;
            enum tensor_type out = i == 2 ? TENSOR_F32 : type;
            in[i] = i == 3 ? gain : ops_output(ops, out, LAYOUT_DENSE, SHAPE(1, n));
            moved[i] = ops_output(ops, i == 3 ? TENSOR_F32 : out, layout, SHAPE(1, n));
            ops_set(ops, &moved[i], in[i].value);
            y[i] = ops_output(ops, out, LAYOUT_DENSE, SHAPE(1, n));
            z[i] = ops_output(ops, out, how >> 4 & 1 ? LAYOUT_ROWS : LAYOUT_DENSE, SHAPE(1, n));
        }
        for (int k = 0; k < 2; k++) {
            struct ops_tensor *x = k ? moved : in, *to = k ? z : y;
            enum kernel_type kind = (enum kernel_type)type;
            const float *terms[] = {x[2].t.data}, two = 2;
            struct kernel_rows from = rows_of(&x[0]), row = rows_of(&to[3]);
            launched(
                ops,
                kernel_activate(to[0].t.data, kind, x[0].t.data, kind, n, KERNEL_ACT_SILU, NULL),
                "activate");
            launched(ops,
                     kernel_mul(to[1].t.data, kind, x[0].t.data, kind, x[1].t.data, kind, n, NULL),
                     "mul");
            launched(ops, kernel_combine(to[2].t.data, 1, &two, NULL, terms, n, NULL), "combine");
            launched(ops, kernel_rms_norm(&row, &from, 1, n, x[3].t.data, 0, KERNEL_ACT_NONE, NULL),
                     "rms_norm");
        }
        for (int i = 0; i < 3; i++)
            expect_same(ops, "contiguous from anywhere", &z[i], &y[i]);
        expect_near(ops, "rms_norm from anywhere", &z[3], ops_read(ops, &y[3]));
        ops_free(ops);
    }
}

/* Into the input of a convolution: behind two frames of history and within a border of zeros. */
static void check_video(struct ops *ops, int64_t c, int variant)
{
    int64_t t = 2, h = 3, w = 5, pixels = t * h * w;
    struct ops_tensor x =
        ops_make(ops, types[variant & 1], LAYOUT_DENSE, FILL_NORMAL, 1, SHAPE(t, h, w, c));
    struct ops_tensor whole = ops_make(ops, types[variant >> 1 & 1], LAYOUT_DENSE, FILL_ZERO, 1,
                                       SHAPE(t + 2, h + 2, w + 2, c));
    struct ops_tensor dense =
        ops_output(ops, types[variant >> 1 & 1], LAYOUT_DENSE, SHAPE(pixels, c));
    struct ops_tensor gain = ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(c));
    struct kernel_video from = video_of(&x), to = video_of(&whole);
    struct kernel_rows rows = rows_of(&dense), flat = {x.t.data, from.type, c, NULL, false};
    int64_t start = 2 * to.stride[0] + to.stride[1] + to.stride[2];
    to.data = (char *)to.data + (size_t)start * tensor_type_size(whole.t.type);
    launched(ops,
             kernel_rms_norm_video(&to, &from, x.t.shape, gain.t.data, 0, KERNEL_ACT_SILU, NULL),
             "rms_norm_video");
    launched(ops, kernel_rms_norm(&rows, &flat, pixels, c, gain.t.data, 0, KERNEL_ACT_SILU, NULL),
             "rms_norm");
    const double *row = ops_read(ops, &dense);
    double *want = ops_doubles(ops, whole.count);
    for (int64_t i = 0; i < dense.count; i++) {
        int64_t pixel = i / c, at = (pixel / (h * w) + 2) * (h + 2) + pixel / w % h + 1;
        want[(at * (w + 2) + pixel % w + 1) * c + i % c] = row[i];
    }
    expect_near(ops, "rms_norm_video", &whole, want);
    ops_free(ops);
}

void test_video(struct ops *ops)
{
    static const int64_t channels[] = {1, 3, 8, 16, 96, 100, 384, 1032};
    for (int i = 0; i < 8; i++)
        for (int variant = 0; variant < 4; variant++)
            check_video(ops, channels[i], variant);
}
