/* Products of E4M3: weights with a scale for each output channel, inputs with one for each token.
 *
 * Norms write their results as E4M3 themselves. What attention leaves and what follows GELU is
 * quantised by a kernel of its own: cuDNN's attention of bf16 has bf16 results, and cuBLASLt has no
 * E4M3 ones beside scales of rows, which are not known before a row is complete. */
#include "matmul.h"

void cuda_quantise(struct backend *b, const struct tensor *y, const struct tensor *x)
{
    struct cuda_backend *c = cuda_of(b);
    struct kernel_rows to = cuda_rows(y), from = cuda_rows(x);
    cuda_check(c,
               kernel_epilogue(&to, &from, x->shape[0], x->shape[1], NULL, NULL, NULL,
                               KERNEL_ACT_NONE, c->stream),
               "quantise");
}

/* By the library; y bf16. Not `whole`: of the elements as they are, without scales and bias. */
static bool multiply(struct cuda_backend *c, const struct tensor *y, const struct tensor *x,
                     const struct linear *w, bool whole, enum activation act)
{
    const struct cuda_weights *weights = w->impl;
    struct matmul_call call = matmul_of(y, x, w, weights->data);
    call.act = act;
    if (whole) {
        call.bias = weights->bias_bf16;
        call.x_scale = x->scale;
        call.w_scale = weights->scale;
    }
    return matmul_run(c, &call);
}

static void multiply_plainly(struct cuda_backend *c, const struct tensor *y, const struct tensor *x,
                             const struct linear *w, enum activation act)
{
    const struct cuda_weights *weights = w->impl;
    struct kernel_rows to = cuda_rows(y), from = cuda_rows(x);
    struct kernel_rows matrix = {weights->data, KERNEL_E4M3, w->k, weights->scale, false};
    cuda_check(c,
               kernel_linear(&to, &from, &matrix, weights->bias, y->shape[0], w->n, w->k,
                             (enum kernel_act)act, c->stream),
               "linear");
}

/* y = act(x * scales + bias), x being what multiply() leaves; y may be x. */
static void finish(struct cuda_backend *c, const struct tensor *y, const struct tensor *x,
                   const float *scale, const struct linear *w, enum activation act)
{
    const struct cuda_weights *weights = w->impl;
    struct kernel_rows to = cuda_rows(y), from = cuda_rows(x);
    cuda_check(c,
               kernel_epilogue(&to, &from, y->shape[0], w->n, scale, weights->scale, weights->bias,
                               (enum kernel_act)act, c->stream),
               "linear");
}

/* Scales, bias and activation are part of the library's product where it has that, of a kernel
 * after it where it multiplies without (scales of rows are Hopper's, from cuBLASLt 12.9), of the
 * plain kernel where it does not multiply (sizes that 16 does not divide). */
void cuda_linear_fp8(struct cuda_backend *c, const struct tensor *y, const struct tensor *x,
                     const struct linear *w, enum activation act)
{
    struct tensor product = *y;
    if (!y->shape[0])
        return;
    if (y->type == TENSOR_E4M3) {
        size_t bytes = (size_t)tensor_count(y) * tensor_type_size(c->base.compute);
        product =
            tensor_make(cuda_scratch(c, SCRATCH_PRODUCT, bytes), c->base.compute, 2, y->shape);
        if (!product.data)
            return;
    }
    bool fits = act == ACT_NONE || matmul_activates(act);
    bool whole = fits && multiply(c, &product, x, w, true, act);
    if (!whole && multiply(c, &product, x, w, false, ACT_NONE)) {
        if (!c->base.status)
            finish(c, y, &product, x->scale, w, act);
        return;
    }
    if (!whole)
        multiply_plainly(c, &product, x, w, act);
    if (y->type == TENSOR_E4M3 && !c->base.status)
        cuda_quantise(&c->base, y, &product);
}
