/* The functions of cpu_amx. Weights are bf16. */
#pragma once

#include "cpu/cpu.h"

int amx_linear_init(struct backend *, struct linear *);
void amx_linear_finish(struct backend *, struct linear *);
void amx_linear(struct backend *, const struct tensor *y, const struct tensor *x,
                struct linear *w, enum activation act);
int amx_conv_init(struct backend *, struct conv *);
void amx_conv_finish(struct backend *, struct conv *);
void amx_conv(struct backend *, const struct tensor *y, const struct tensor *x, struct conv *w,
              enum activation act, bool accumulate);
