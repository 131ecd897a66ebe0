/* What the convolutions of oneDNN and AMX share. */
#pragma once

#include "backend/backend.h"

/* Nearest-neighbour upsampling followed by a 3x3 convolution is four 2x2 convolutions of the small
 * picture, one for each parity (a, b) of output row and column, with 4/9 of the multiplications:
 * of the three taps in a direction, two meet the same small pixel and are summed beforehand. Output
 * row 2i + a reads input rows i - 1 + a and i + a. */
#define CONV_PHASES 4 /* number 2a + b */

/* Whether `w` upsamples and can be folded. */
bool conv_folds(const struct conv *w);

/* Kernel of a phase, y [Co, Ci, kt, 2, 2] <- x [Co, Ci, kt, 3, 3]. */
void conv_fold(float *y, const float *x, const struct conv *w, int phase);

/* Pixels [column, column + columns) of a row of `width` pixels, zeros outside of it. */
void conv_fill_row(char *to, const char *row, int64_t width, int64_t column, int64_t columns,
                   size_t pixel_bytes);
