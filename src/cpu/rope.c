/* Rotary embedding. */
#include "cpu/cpu.h"

void cpu_rope(struct backend *b, const struct tensor *y, const struct tensor *x,
              const struct rope_tables *tables)
{
    const struct tensor *axis[3] = {&tables->frame, &tables->row, &tables->column};
    const int64_t *n = x->shape;
    for (int64_t token = 0; token < n[0] * n[1] * n[2]; token++) {
        int64_t at[3] = {token / (n[1] * n[2]), token / n[2] % n[1], token % n[2]};
        int64_t ix = 0, iy = 0;
        for (int i = 0; i < 3; i++) {
            ix += at[i] * x->stride[i];
            iy += at[i] * y->stride[i];
        }
        for (int64_t head = 0; head < n[3]; head++) {
            for (int i = 0; i < 3; i++) {
                int64_t pairs = axis[i]->shape[1];
                const float *turn = (const float *)axis[i]->data + at[i] * pairs * 2;
                for (int64_t p = 0; p < pairs; p++, ix += 2, iy += 2) {
                    float c = turn[2 * p], s = turn[2 * p + 1];
                    float u = cpu_get(x, ix), v = cpu_get(x, ix + 1);
                    cpu_set(y, iy, u * c - v * s);
                    cpu_set(y, iy + 1, u * s + v * c);
                }
            }
        }
    }
}
