/* Finished pictures, row by row. */
#include "cpu/cpu.h"

struct picture {
    struct cpu_backend *cpu;
    const struct picture_target *target;
    const struct tensor *x; /* [H, W, 3] */
    float scale, offset;
};

static struct cpu_row picture_row(const struct picture *p, int64_t h)
{
    return cpu_row_of(p->x, h * p->x->shape[1] * 3);
}

static uint8_t *target_row(const struct picture *p, int plane, int64_t h)
{
    return p->target->data[plane] + (size_t)h * p->target->stride[plane];
}

static void packed_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct picture *p = arg;
    for (int64_t h = begin; h < end; h++)
        p->cpu->kernels->picture_packed(target_row(p, 0, h),
                                        p->target->format == UNREEL_FORMAT_BGRX, picture_row(p, h),
                                        p->x->shape[1], p->scale, p->offset);
}

static void yuv_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct picture *p = arg;
    bool nv12 = p->target->format == UNREEL_FORMAT_NV12;
    for (int64_t h = begin; h < end; h++) {
        uint8_t *u = target_row(p, 1, h), *v = nv12 ? u + 1 : target_row(p, 2, h);
        p->cpu->kernels->picture_yuv(target_row(p, 0, 2 * h), target_row(p, 0, 2 * h + 1), u, v,
                                     nv12 ? 2 : 1, picture_row(p, 2 * h), picture_row(p, 2 * h + 1),
                                     p->x->shape[1], p->scale, p->offset);
    }
}

void cpu_picture(struct backend *b, const struct picture_target *target, const struct tensor *x,
                 float scale, float offset)
{
    struct picture p = {cpu_of(b), target, x, scale, offset};
    int64_t height = x->shape[0], width = 3 * x->shape[1];
    if (target->format == UNREEL_FORMAT_I420 || target->format == UNREEL_FORMAT_NV12)
        thread_pool_run(p.cpu->pool, height / 2, cpu_grain(2 * width), yuv_rows, &p);
    else
        thread_pool_run(p.cpu->pool, height, cpu_grain(width), packed_rows, &p);
}
