/* Attention, plain. */
#include "cpu/cpu.h"

#include <math.h>
#include <stddef.h>

/* One query of one head: p [Lk] are its probabilities. */
static void attend(const struct tensor *y, const struct tensor *q, const struct tensor *k,
                   const struct tensor *v, float scale, const float *bias, float *p, int64_t i,
                   int64_t head)
{
    int64_t lk = k->shape[0], width = q->shape[2];
    int64_t iq = i * q->stride[0] + head * q->stride[1];
    float most = -INFINITY, sum = 0;
    for (int64_t j = 0; j < lk; j++) {
        int64_t ik = j * k->stride[0] + head * k->stride[1];
        float dot = 0;
        for (int64_t d = 0; d < width; d++)
            dot += cpu_get(q, iq + d) * cpu_get(k, ik + d);
        p[j] = dot * scale + (bias ? bias[j] : 0);
        most = fmaxf(most, p[j]);
    }
    for (int64_t j = 0; j < lk; j++) {
        p[j] = expf(p[j] - most);
        sum += p[j];
    }
    for (int64_t d = 0; d < width; d++) {
        float out = 0;
        for (int64_t j = 0; j < lk; j++)
            out += p[j] * cpu_get(v, j * v->stride[0] + head * v->stride[1] + d);
        cpu_set(y, i * y->stride[0] + head * y->stride[1] + d, out / sum);
    }
}

void cpu_attention(struct backend *b, const struct tensor *y, const struct tensor *q,
                   const struct tensor *k, const struct tensor *v, float scale,
                   const struct tensor *relative_bias)
{
    if (!cpu_scratch_reserve(cpu_of(b), (size_t)k->shape[0] * sizeof(float)))
        return;
    for (int64_t head = 0; head < q->shape[1]; head++) {
        for (int64_t i = 0; i < q->shape[0]; i++) {
            const float *bias = NULL;
            if (relative_bias) /* entry j - i + Lq - 1 */
                bias = (const float *)relative_bias->data + head * relative_bias->stride[0] +
                       q->shape[0] - 1 - i;
            attend(y, q, k, v, scale, bias, cpu_scratch_of(cpu_of(b), 0), i, head);
        }
    }
}
