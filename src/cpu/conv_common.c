#include "cpu/conv_common.h"

#include <string.h>

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

void conv_fill_row(char *to, const char *row, int64_t width, int64_t column, int64_t columns,
                   size_t pixel)
{
    int64_t before = column < 0 ? -column : 0;
    before = before < columns ? before : columns;
    int64_t inside = width - (column + before);
    inside = inside < 0 ? 0 : inside;
    inside = inside < columns - before ? inside : columns - before;
    memset(to, 0, (size_t)before * pixel);
    memcpy(to + (size_t)before * pixel, row + (size_t)(column + before) * pixel,
           (size_t)inside * pixel);
    memset(to + (size_t)(before + inside) * pixel, 0,
           (size_t)(columns - before - inside) * pixel);
}
