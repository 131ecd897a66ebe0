/* Weights and biases as files hold them: what oneDNN and AMX share. */
#pragma once

#include "cpu/cpu.h"

/* Elements [start, start + count) of a file's tensor as f32, rounded to bf16 if asked. */
void cpu_load_weights(float *y, const struct tensor *x, int64_t start, int64_t count, bool rounded);

/* Rows [first, first + count) of the stacked parts, y [count, K], rounded as the backend says. */
void cpu_load_rows(const struct backend *b, float *y, const struct linear *w, int64_t first,
                   int64_t count);

/* The bias of all outputs, zeros where there is none: [N] or [Co], filled up with zeros to a multiple
 * of 64. The caller frees it by free(). NULL: out of memory, the backend has failed. */
float *cpu_load_linear_bias(struct backend *b, const struct linear *w);
float *cpu_load_conv_bias(struct backend *b, const struct conv *w);

void cpu_drop_linear_pages(const struct linear *w);

static inline size_t cpu_aligned(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}
