/* Attention and convolutions by cuDNN, in bf16. For each shape the engines that the library
 * proposes are compiled and measured once; the best plan is kept, also on disk, compiled. */
#pragma once

#include "cuda.h"

/* Loads the library. Without it c->dnn stays NULL and one line of information is logged. */
void dnn_open(struct cuda_backend *c);
void dnn_close(struct cuda_backend *c, struct dnn *dnn); /* NULL is fine */

/* A convolution as kernel_conv() takes it, with a bf16 bias (never NULL). False: the library does
 * not do it, and nothing has happened. After failures the backend's status is set. */
bool dnn_conv(struct cuda_backend *c, const struct kernel_video *y, const struct kernel_video *x,
              const void *w, const uint16_t *bias, const struct kernel_conv *conv);

/* Attention of bf16 tensors without a bias, the same. */
bool dnn_attention(struct cuda_backend *c, const struct tensor *y, const struct tensor *q,
                   const struct tensor *k, const struct tensor *v, float scale);

/* The same, but only the first *held keys and values count; held: i32 [1] in device memory, aligned to
 * 16 bytes. Needs cuDNN 9.15. */
bool dnn_attention_held(struct cuda_backend *c, const struct tensor *y, const struct tensor *q,
                        const struct tensor *k, const struct tensor *v, float scale,
                        const int32_t *held);
