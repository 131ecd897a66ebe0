/* Copies between any strides and types.
 *
 * Thread: 1 or 8 neighbours along the dimension that lies closest in y. 16-byte accesses where the
 * innermost dimension is contiguous in both and all is aligned; else single elements. Bound:
 * memory; a transposing copy reads whole sectors for single elements and is for loading weights. */
#include "common.cuh"

/* Dimensions from the outermost in. Fewer than 2^32 elements: 64-bit divisions would cost more than
 * the copy. */
struct copy_plan {
    int dims;
    int64_t shape[KERNEL_DIMS], y[KERNEL_DIMS], x[KERNEL_DIMS];
    int64_t count;
};

template <typename Y, typename X, int N>
static __global__ void copy(Y *y, const X *x, copy_plan plan)
{
    int64_t first = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N, iy = 0, ix = 0;
    uint32_t rest = (uint32_t)first;
    if (first >= plan.count)
        return;
    for (int d = plan.dims - 1; d >= 0; d--) {
        uint32_t length = (uint32_t)plan.shape[d], at = rest % length;
        rest /= length;
        iy += at * plan.y[d];
        ix += at * plan.x[d];
    }
    float v[N];
    load<N>(v, x + ix);
    store<N>(y + iy, v);
}

static void swap(int64_t *a, int64_t *b)
{
    int64_t c = *a;
    *a = *b;
    *b = c;
}

/* Dimensions in the order in which they lie in y, those of length 1 dropped, those that are one run
 * in both merged. */
static copy_plan make_plan(const int64_t *y, const int64_t *x, int dims, const int64_t *shape)
{
    copy_plan all = {}, plan = {};
    all.count = plan.count = 1;
    for (int d = 0; d < dims; d++) {
        plan.count *= shape[d];
        if (shape[d] == 1)
            continue;
        int at = all.dims++;
        all.shape[at] = shape[d];
        all.y[at] = y[d];
        all.x[at] = x[d];
        for (; at && all.y[at - 1] < all.y[at]; at--) {
            swap(&all.shape[at - 1], &all.shape[at]);
            swap(&all.y[at - 1], &all.y[at]);
            swap(&all.x[at - 1], &all.x[at]);
        }
    }
    for (int d = 0; d < all.dims; d++) {
        int at = plan.dims - 1;
        bool joins = at >= 0 && plan.y[at] == all.shape[d] * all.y[d] &&
                     plan.x[at] == all.shape[d] * all.x[d];
        if (!joins)
            plan.shape[at = plan.dims++] = 1;
        plan.shape[at] *= all.shape[d];
        plan.y[at] = all.y[d];
        plan.x[at] = all.x[d];
    }
    return plan;
}

static bool is_wide_plan(const copy_plan &plan, const void *y, const void *x)
{
    int last = plan.dims - 1;
    if (!plan.dims || plan.y[last] != 1 || plan.x[last] != 1 || plan.shape[last] % WIDE)
        return false;
    for (int d = 0; d < last; d++) {
        if (!is_wide(y, plan.y[d]) || !is_wide(x, plan.x[d]))
            return false;
    }
    return is_wide(y, 0) && is_wide(x, 0);
}

template <typename F> static cudaError_t with_source(enum kernel_type type, F f)
{
    return type == KERNEL_F16   ? f(__half())
           : type == KERNEL_I32 ? f(int32_t())
                                : with_type(type, f);
}

cudaError_t kernel_copy(void *y, enum kernel_type y_type, const int64_t *y_stride, const void *x,
                        enum kernel_type x_type, const int64_t *x_stride, int dims,
                        const int64_t *shape, cudaStream_t stream)
{
    copy_plan plan = make_plan(y_stride, x_stride, dims, shape);
    if (plan.count > UINT32_MAX)
        return cudaErrorInvalidValue;
    return with_type(y_type, [&](auto ty) {
        return with_source(x_type, [&](auto tx) {
            return with_width(is_wide_plan(plan, y, x), [&](auto width) {
                using Y = decltype(ty);
                using X = decltype(tx);
                constexpr int n = decltype(width)::n;
                return launch(copy<Y, X, n>, blocks_of(plan.count, BLOCK_MAX * n), BLOCK_MAX,
                              stream, static_cast<Y *>(y), static_cast<const X *>(x), plan);
            });
        });
    });
}
