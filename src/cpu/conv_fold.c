#include "cpu/conv_fold.h"

bool conv_folds(const struct conv *w)
{
    return w->desc.upsample && w->kh == 3 && w->kw == 3 && w->desc.stride == 1 &&
           w->desc.stride_t == 1 && w->desc.pad_before == 1 && w->desc.pad_after == 1;
}

/* Which of the two taps of a phase tap k of three goes to. */
static int folded(int k, int phase)
{
    return phase ? k / 2 : (k + 1) / 2;
}

void conv_fold(float *y, const float *x, const struct conv *w, int phase)
{
    for (int64_t i = 0; i < w->co * w->ci * w->kt; i++, x += 9, y += 4) {
        y[0] = y[1] = y[2] = y[3] = 0;
        for (int k = 0; k < 9; k++)
            y[2 * folded(k / 3, phase / 2) + folded(k % 3, phase % 2)] += x[k];
    }
}
