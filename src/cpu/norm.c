/* Normalisations over the last dimension and rotary embedding. */
#include "cpu/cpu.h"

struct norm {
    struct cpu_backend *cpu;
    const struct tensor *y, *x;
    const struct tensor *scale, *shift; /* of a layer norm; scale: gain of an RMS norm, or NULL */
    float eps, scale_offset;
    enum activation act;
    const struct rope_tables *tables;
};

static void rms_norm_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct norm *norm = arg;
    const struct tensor *y = norm->y, *x = norm->x;
    int64_t n = x->shape[1];
    if (x->stride[0] == n && y->stride[0] == n) {
        norm->cpu->kernels->rms_norm_rows(cpu_row_of(y, begin * n), cpu_row_of(x, begin * n),
                                          norm->scale->data, norm->eps, end - begin, n, norm->act);
        return;
    }
    for (int64_t r = begin; r < end; r++)
        norm->cpu->kernels->rms_norm(cpu_row_of(y, r * y->stride[0]),
                                     cpu_row_of(x, r * x->stride[0]), norm->scale->data, norm->eps,
                                     x->shape[1], norm->act);
}

void cpu_rms_norm(struct backend *b, const struct tensor *y, const struct tensor *x,
                  const struct tensor *gain, float eps, enum activation act)
{
    struct norm norm = {cpu_of(b), y, x, .scale = gain, .eps = eps, .act = act};
    thread_pool_run(cpu_of(b)->pool, x->shape[0], cpu_grain(x->shape[1]), rms_norm_rows, &norm);
}

static void layer_norm_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct norm *norm = arg;
    const struct tensor *y = norm->y, *x = norm->x, *scale = norm->scale, *shift = norm->shift;
    int64_t group = x->shape[0] / scale->shape[0];
    for (int64_t r = begin; r < end; r++) {
        const float *a = (const float *)scale->data + r / group * scale->stride[0];
        const float *c = (const float *)shift->data + r / group * shift->stride[0];
        norm->cpu->kernels->layer_norm(cpu_row_of(y, r * y->stride[0]),
                                       cpu_row_of(x, r * x->stride[0]), a, c, norm->eps,
                                       norm->scale_offset, x->shape[1]);
    }
}

void cpu_layer_norm(struct backend *b, const struct tensor *y, const struct tensor *x,
                    const struct tensor *scale, const struct tensor *shift, float eps,
                    float scale_offset)
{
    struct norm norm = {cpu_of(b), y, x, scale, shift, eps, scale_offset};
    thread_pool_run(cpu_of(b)->pool, x->shape[0], cpu_grain(x->shape[1]), layer_norm_rows, &norm);
}

/* turn [2, D] for one token, as cpu_kernels.rope wants it: (c, c) and (-s, s) for each pair. */
static void spread_angles(float *turn, int64_t width, const struct rope_tables *tables,
                          const int64_t *at)
{
    const struct tensor *axis[3] = {&tables->frame, &tables->row, &tables->column};
    for (int i = 0; i < 3; i++) {
        int64_t pairs = axis[i]->shape[1];
        const float *angle = (const float *)axis[i]->data + at[i] * pairs * 2;
        for (int64_t p = 0; p < pairs; p++, angle += 2, turn += 2) {
            turn[0] = turn[1] = angle[0];
            turn[width] = -angle[1];
            turn[width + 1] = angle[1];
        }
    }
}

static void rope_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct norm *norm = arg;
    const struct tensor *y = norm->y, *x = norm->x;
    const int64_t *n = x->shape;
    float *turn = cpu_scratch_of(norm->cpu, thread);
    for (int64_t token = begin; token < end; token++) {
        int64_t at[3] = {token / (n[1] * n[2]), token / n[2] % n[1], token % n[2]};
        int64_t ix = at[0] * x->stride[0] + at[1] * x->stride[1] + at[2] * x->stride[2];
        int64_t iy = at[0] * y->stride[0] + at[1] * y->stride[1] + at[2] * y->stride[2];
        spread_angles(turn, n[4], norm->tables, at);
        norm->cpu->kernels->rope(cpu_row_of(y, iy), cpu_row_of(x, ix), turn, n[3], n[4],
                                 norm->scale ? norm->scale->data : NULL, norm->eps);
    }
}

static void run_rope(struct norm *norm)
{
    const int64_t *n = norm->x->shape;
    if (!cpu_scratch_reserve(norm->cpu, 2 * (size_t)n[4] * sizeof(float)))
        return;
    thread_pool_run(norm->cpu->pool, n[0] * n[1] * n[2], cpu_grain(n[3] * n[4]), rope_rows, norm);
}

void cpu_rope(struct backend *b, const struct tensor *y, const struct tensor *x,
              const struct rope_tables *tables)
{
    struct norm norm = {cpu_of(b), y, x, .tables = tables};
    run_rope(&norm);
}

void cpu_rms_norm_rope(struct backend *b, const struct tensor *y, const struct tensor *x,
                       const struct tensor *gain, float eps, const struct rope_tables *tables)
{
    struct norm norm = {cpu_of(b), y, x, .scale = gain, .eps = eps, .tables = tables};
    run_rope(&norm);
}
