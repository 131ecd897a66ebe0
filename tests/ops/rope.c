/* rope and rms_norm_rope, fused and composed. */
#include "ops.h"

static const enum tensor_type types[] = {TENSOR_F32, TENSOR_BF16};

struct angles {
    struct ops_tensor axis[3];
    struct rope_tables tables;
};

static struct angles make_angles(struct ops *ops, const int64_t *shape)
{
    struct angles a;
    int64_t half = shape[4] / 2, part = half / 3, pairs[3] = {half - 2 * part, part, part};
    for (int i = 0; i < 3; i++) {
        a.axis[i] =
            ops_output(ops, TENSOR_F32, LAYOUT_DENSE, SHAPE(shape[i], pairs[i], (int64_t)2));
        double *value = ops_doubles(ops, a.axis[i].count);
        for (int64_t j = 0; j < a.axis[i].count; j += 2) {
            double angle = ops_uniform(-100, 100);
            value[j] = cos(angle);
            value[j + 1] = sin(angle);
        }
        ops_set(ops, &a.axis[i], value);
    }
    a.tables = (struct rope_tables){a.axis[0].t, a.axis[1].t, a.axis[2].t};
    return a;
}

/* x [F, H, W, heads, D] -> y */
static void turn(const struct angles *a, const int64_t *shape, const double *x, double *y,
                 double *size)
{
    int64_t at = 0;
    for (int64_t token = 0; token < shape[0] * shape[1] * shape[2]; token++) {
        int64_t position[3] = {token / (shape[1] * shape[2]), token / shape[2] % shape[1],
                               token % shape[2]};
        for (int64_t head = 0; head < shape[3]; head++) {
            for (int i = 0; i < 3; i++) {
                int64_t pairs = a->axis[i].t.shape[1];
                const double *angle = a->axis[i].value + position[i] * pairs * 2;
                for (int64_t p = 0; p < pairs; p++, at += 2) {
                    double c = angle[2 * p], s = angle[2 * p + 1];
                    y[at] = x[at] * c - x[at + 1] * s;
                    y[at + 1] = x[at] * s + x[at + 1] * c;
                    size[at] = size[at + 1] = fabs(x[at]) + fabs(x[at + 1]);
                }
            }
        }
    }
}

static void check(struct ops *ops, const int64_t *shape, int variant, bool norm, bool composed)
{
    enum layout layout = variant & 4 ? LAYOUT_FRAMES : LAYOUT_DENSE;
    struct ops_tensor x =
        ops_make(ops, types[variant & 1], layout, (enum fill)(variant % FILLS), 1e10, 5, shape);
    struct ops_tensor y = ops_output(ops, types[variant >> 1 & 1], layout, 5, shape);
    int64_t width = shape[3] * shape[4];
    struct ops_tensor gain = ops_make(ops, TENSOR_F32, LAYOUT_DENSE, FILL_NORMAL, 1, SHAPE(width));
    struct angles a = make_angles(ops, shape);
    double *normed = ops_doubles(ops, x.count), *want = ops_doubles(ops, x.count);
    double *tolerance = ops_doubles(ops, x.count);
    for (int64_t r = 0; r < x.count / width; r++) {
        double squares = 0;
        for (int64_t i = 0; i < width; i++)
            squares += x.value[r * width + i] * x.value[r * width + i];
        double rms = norm ? sqrt(squares / (double)width + (double)1e-6f) : 1;
        for (int64_t i = 0; i < width; i++)
            normed[r * width + i] = x.value[r * width + i] / rms * (norm ? gain.value[i] : 1);
    }
    turn(&a, shape, normed, want, tolerance);
    for (int64_t i = 0; i < x.count; i++) /* composed: rounded twice */
        tolerance[i] = (ops_unit(y.t.type) * 1.01 * (composed ? 2 : 1) + 1e-6) * tolerance[i];
    struct backend_ops copy = *ops->b->ops;
    const struct backend_ops *saved = ops->b->ops;
    copy.rms_norm_rope = NULL;
    if (composed)
        ops->b->ops = &copy;
    bool in_place = x.t.type == y.t.type && (variant & 8);
    if (norm)
        op_rms_norm_rope(ops->b, in_place ? x.t : y.t, x.t, gain.t, 1e-6f, &a.tables);
    else
        op_rope(ops->b, in_place ? x.t : y.t, x.t, &a.tables);
    ops->b->ops = saved;
    char what[96];
    snprintf(what, sizeof what, "%s%s [%lld, %lld, %lld, %lld, %lld], variant %d",
             composed ? "composed " : "", norm ? "rms_norm_rope" : "rope", (long long)shape[0],
             (long long)shape[1], (long long)shape[2], (long long)shape[3], (long long)shape[4],
             variant);
    ops_compare(ops, what, in_place ? &x : &y, want, tolerance);
    ops_free(ops);
}

static void test_all(struct ops *ops)
{
    static const int64_t shapes[][5] = {{1, 1, 1, 1, 6},   {3, 2, 5, 2, 12},   {2, 3, 3, 3, 64},
                                        {1, 4, 7, 4, 128}, {1, 2, 1, 1, 1040}, {1, 5, 9, 5, 96},
                                        {1, 1, 3, 5, 22}};
    for (int s = 0; s < 7; s++) {
        for (int variant = 0; variant < 16; variant++) {
            check(ops, shapes[s], variant, false, false);
            check(ops, shapes[s], variant, true, false);
            if (variant % 4 == 0 || variant % 4 == 3)
                check(ops, shapes[s], variant, true, true);
        }
    }
}

int main(int argc, char **argv)
{
    ops_options(argc, argv);
    ops_run("rope", false, test_all);
    return test_end();
}
