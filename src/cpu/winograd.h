/* Convolutions of 3x3 kernels by Winograd's F(4x4, 3x3): of 4x4 outputs and their 6x6 inputs, each
 * transformed, 36 products take the place of 144. In f32. An error is of the size that the largest of the
 * 6x6 inputs would have, typically 1e-6 of it, and a NaN or an infinity spreads over its 4x4 outputs.
 * Transformed weights take 36 floats for 9. Results do not depend on how many frames come in a call:
 * tiles begin with the frame and every sum has one order. */
#pragma once

#include "cpu/cpu.h"

struct winograd; /* a convolution's transformed weights */

/* Whether a convolution with output y is one of those that become faster, and may be computed in f32. */
bool winograd_takes(const struct cpu_backend *cpu, const struct conv *w, const struct tensor *y);

/* As op_conv. *weights: NULL at first, made at the first use; freed by winograd_free. */
void winograd_conv(struct cpu_backend *cpu, const struct tensor *y, const struct tensor *x,
                   const struct conv *w, struct winograd **weights, enum activation act,
                   bool accumulate);

void winograd_free(struct winograd *weights); /* NULL is fine */
