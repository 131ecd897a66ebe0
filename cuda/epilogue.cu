/* What follows a matrix product: scales of rows and columns, bias, activation, quantisation.
 *
 * Block: a row. Thread: 1 or 8 neighbours, every blockDim times as many. 16-byte accesses where all
 * is aligned. Bound: memory; with E4M3 output the row is read twice, the second time from L1. */
#include "common.cuh"

/* NULL: not there. */
struct factors {
    const float *row, *column, *bias;
};

template <typename Y, typename X, int N>
static __global__ void epilogue(kernel_rows y, kernel_rows x, int64_t width, factors by, int act)
{
    int64_t r = blockIdx.x;
    const X *from = static_cast<const X *>(x.data) + r * x.stride;
    float scale = by.row ? by.row[r] : 1;
    store_row<Y, N>(y, r, width, [&](int64_t i, float(&v)[N]) {
        float column[N], bias[N];
        load<N>(v, from + i);
        if (by.column) {
            load<N>(column, by.column + i);
            for (int j = 0; j < N; j++)
                v[j] *= column[j];
        }
        for (int j = 0; j < N; j++)
            v[j] *= scale;
        if (by.bias) {
            load<N>(bias, by.bias + i);
            for (int j = 0; j < N; j++)
                v[j] += bias[j];
        }
        for (int j = 0; j < N; j++)
            v[j] = activate(v[j], act);
    });
}

cudaError_t kernel_epilogue(const struct kernel_rows *y, const struct kernel_rows *x, int64_t rows,
                            int64_t width, const float *row_scale, const float *column_scale,
                            const float *bias, enum kernel_act act, cudaStream_t stream)
{
    bool aligned =
        is_wide(*y, width) && is_wide(*x, width) && is_wide(column_scale, 0) && is_wide(bias, 0);
    factors by = {row_scale, column_scale, bias};
    return with_output(y->type, [&](auto ty) {
        return with_type(x->type, [&](auto tx) {
            return with_width(aligned, [&](auto step) {
                constexpr int n = decltype(step)::n;
                return launch(epilogue<decltype(ty), decltype(tx), n>, width ? rows : 0,
                              row_threads(width, n), stream, *y, *x, width, by, (int)act);
            });
        });
    });
}
