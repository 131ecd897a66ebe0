/* Copies, activations, products and sums, element by element. */
#include "cpu/cpu.h"

/* ---- copy --------------------------------------------------------------------------------- */

/* Dimensions of a copy, innermost last, without those of length 1, and neighbours that are one run
 * in both tensors merged. */
struct copy {
    struct cpu_backend *cpu;
    const struct tensor *y, *x;
    int dims;
    int64_t shape[TENSOR_DIMS], stride_y[TENSOR_DIMS], stride_x[TENSOR_DIMS];
};

static void plan_copy(struct copy *copy)
{
    const struct tensor *y = copy->y, *x = copy->x;
    int n = 0;
    for (int i = 0; i < y->dims; i++) {
        if (y->shape[i] == 1)
            continue;
        if (n && copy->stride_y[n - 1] == y->shape[i] * y->stride[i] &&
            copy->stride_x[n - 1] == y->shape[i] * x->stride[i]) {
            copy->shape[n - 1] *= y->shape[i];
        } else {
            copy->shape[n++] = y->shape[i];
        }
        copy->stride_y[n - 1] = y->stride[i];
        copy->stride_x[n - 1] = x->stride[i];
    }
    if (!n) {
        copy->shape[n] = copy->stride_y[n] = copy->stride_x[n] = 1;
        n = 1;
    }
    copy->dims = n;
}

#define STRIDED(type_y, type_x, value)                                                             \
    do {                                                                                           \
        type_y *to = (type_y *)copy->y->data + iy;                                                 \
        const type_x *from = (const type_x *)copy->x->data + ix;                                   \
        for (int64_t i = 0; i < n; i++, to += sy, from += sx)                                      \
            *to = value;                                                                           \
    } while (0)

/* n elements of the innermost dimension. */
static void copy_row(const struct copy *copy, int64_t iy, int64_t ix, int64_t n)
{
    int64_t sy = copy->stride_y[copy->dims - 1], sx = copy->stride_x[copy->dims - 1];
    bool y32 = copy->y->type == TENSOR_F32, x32 = copy->x->type == TENSOR_F32;
    bool files = !x32 && copy->x->type != TENSOR_BF16;
    if (files && y32)
        for (int64_t i = 0; i < n; i++)
            ((float *)copy->y->data)[iy + i * sy] =
                tensor_element(copy->x->data, copy->x->type, ix + i * sx);
    else if (files)
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)copy->y->data)[iy + i * sy] =
                bf16_from_f32(tensor_element(copy->x->data, copy->x->type, ix + i * sx));
    else if (sy == 1 && sx == 1)
        copy->cpu->kernels->convert(cpu_row_of(copy->y, iy), cpu_row_of(copy->x, ix), n);
    else if (y32 && x32)
        STRIDED(float, float, *from);
    else if (y32)
        STRIDED(float, uint16_t, bf16_to_f32(*from));
    else if (x32)
        STRIDED(uint16_t, float, bf16_from_f32(*from));
    else
        STRIDED(uint16_t, uint16_t, *from);
}

static void copy_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct copy *copy = arg;
    for (int64_t r = begin; r < end; r++) {
        int64_t iy = 0, ix = 0, rest = r;
        for (int d = copy->dims - 2; d >= 0; rest /= copy->shape[d--]) {
            int64_t at = rest % copy->shape[d];
            iy += at * copy->stride_y[d];
            ix += at * copy->stride_x[d];
        }
        copy_row(copy, iy, ix, copy->shape[copy->dims - 1]);
    }
}

static void copy_run(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct copy *copy = arg;
    copy_row(copy, begin * copy->stride_y[0], begin * copy->stride_x[0], end - begin);
}

/* Also of the types of files, for uploads. */
void cpu_copy(struct backend *b, const struct tensor *y, const struct tensor *x)
{
    struct copy copy = {cpu_of(b), y, x};
    int64_t count = tensor_count(y);
    if (!count)
        return;
    plan_copy(&copy);
    int64_t width = copy.shape[copy.dims - 1];
    if (copy.dims == 1)
        thread_pool_run(cpu_of(b)->pool, width, cpu_grain(1), copy_run, &copy);
    else
        thread_pool_run(cpu_of(b)->pool, count / width, cpu_grain(width), copy_rows, &copy);
}

/* ---- contiguous: the whole is one row ------------------------------------------------------- */

struct map {
    struct cpu_backend *cpu;
    const struct tensor *y, *a, *b;
    enum activation act;
    int terms;
    const float *factor;
};

static void activate_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct map *map = arg;
    map->cpu->kernels->activate(cpu_row_of(map->y, begin), cpu_row_of(map->a, begin), end - begin,
                                map->act);
}

void cpu_activate(struct backend *b, const struct tensor *y, const struct tensor *x,
                  enum activation act)
{
    struct map map = {cpu_of(b), .y = y, .a = x, .act = act};
    thread_pool_run(cpu_of(b)->pool, tensor_count(y), cpu_grain(1), activate_range, &map);
}

static void mul_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct map *map = arg;
    map->cpu->kernels->mul(cpu_row_of(map->y, begin), cpu_row_of(map->a, begin),
                           cpu_row_of(map->b, begin), end - begin);
}

void cpu_mul(struct backend *b, const struct tensor *y, const struct tensor *a,
             const struct tensor *c)
{
    struct map map = {cpu_of(b), .y = y, .a = a, .b = c};
    thread_pool_run(cpu_of(b)->pool, tensor_count(y), cpu_grain(1), mul_range, &map);
}

static void combine_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct map *map = arg;
    const float *x[COMBINE_TERMS];
    for (int t = 0; t < map->terms; t++)
        x[t] = (const float *)map->a[t].data + begin;
    map->cpu->kernels->combine((float *)map->y->data + begin, map->terms, map->factor, x,
                               end - begin);
}

void cpu_combine(struct backend *b, const struct tensor *y, int terms, const float *factor,
                 const struct tensor *x)
{
    struct map map = {cpu_of(b), .y = y, .a = x, .terms = terms, .factor = factor};
    thread_pool_run(cpu_of(b)->pool, tensor_count(y), cpu_grain(1), combine_range, &map);
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void add_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct map *map = arg; /* y += a * b */
    int64_t group = map->b ? map->y->shape[0] / map->b->shape[0] : 1;
    for (int64_t r = begin; r < end; r++) {
        const float *gate =
            map->b ? (const float *)map->b->data + r / group * map->b->stride[0] : NULL;
        map->cpu->kernels->add_gated(cpu_row_of(map->y, r * map->y->stride[0]),
                                     cpu_row_of(map->a, r * map->a->stride[0]), gate,
                                     map->y->shape[1]);
    }
}

void cpu_add_gated(struct backend *b, const struct tensor *x, const struct tensor *y,
                   const struct tensor *gate)
{
    struct map map = {cpu_of(b), .y = x, .a = y, .b = gate};
    thread_pool_run(cpu_of(b)->pool, x->shape[0], cpu_grain(x->shape[1]), add_rows, &map);
}
