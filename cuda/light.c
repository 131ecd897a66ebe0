/* The operations that are one own kernel each. */
#include "cuda.h"

static enum kernel_type type_of(const struct tensor *t)
{
    return (enum kernel_type)t->type;
}

static struct kernel_vectors vectors_of(const struct tensor *t)
{
    if (!t)
        return (struct kernel_vectors){0};
    return (struct kernel_vectors){t->data, t->stride[0], t->shape[0]};
}

void cuda_copy(struct backend *b, const struct tensor *y, const struct tensor *x)
{
    struct cuda_backend *c = cuda_of(b);
    if (y->type == x->type && tensor_is_contiguous(y) && tensor_is_contiguous(x))
        cuda_check(
            c,
            cudaMemcpyAsync(y->data, x->data, tensor_bytes(y), cudaMemcpyDeviceToDevice, c->stream),
            "copy");
    else
        cuda_check(c,
                   kernel_copy(y->data, type_of(y), y->stride, x->data, type_of(x), x->stride,
                               y->dims, y->shape, c->stream),
                   "copy");
}

void cuda_activate(struct backend *b, const struct tensor *y, const struct tensor *x,
                   enum activation act)
{
    struct cuda_backend *c = cuda_of(b);
    cuda_check(c,
               kernel_activate(y->data, type_of(y), x->data, type_of(x), tensor_count(y),
                               (enum kernel_act)act, c->stream),
               "activate");
}

void cuda_rms_norm(struct backend *b, const struct tensor *y, const struct tensor *x,
                   const struct tensor *gain, float eps, enum activation act)
{
    struct cuda_backend *c = cuda_of(b);
    struct kernel_rows to = cuda_rows(y), from = cuda_rows(x);
    cuda_check(c,
               kernel_rms_norm(&to, &from, x->shape[0], x->shape[1], gain->data, eps,
                               (enum kernel_act)act, c->stream),
               "rms_norm");
}

void cuda_layer_norm(struct backend *b, const struct tensor *y, const struct tensor *x,
                     const struct tensor *scale, const struct tensor *shift, float eps,
                     float scale_offset)
{
    struct cuda_backend *c = cuda_of(b);
    struct kernel_rows to = cuda_rows(y), from = cuda_rows(x);
    struct kernel_vectors scales = vectors_of(scale), shifts = vectors_of(shift);
    cuda_check(c,
               kernel_layer_norm(&to, &from, x->shape[0], x->shape[1], &scales, &shifts, eps,
                                 scale_offset, c->stream),
               "layer_norm");
}

static struct kernel_rope rope_of(const struct rope_tables *tables, const struct tensor *x)
{
    return (struct kernel_rope){
        .frame = tables->frame.data,
        .row = tables->row.data,
        .column = tables->column.data,
        .pairs = {tables->frame.shape[1], tables->row.shape[1], tables->column.shape[1]},
        .tokens = {x->shape[0], x->shape[1], x->shape[2]},
        .heads = x->shape[3],
        .width = x->shape[4],
    };
}

static void turn(struct backend *b, const struct tensor *y, const struct tensor *x,
                 const float *gain, float eps, const struct rope_tables *tables, const char *name)
{
    struct cuda_backend *c = cuda_of(b);
    struct kernel_video to = cuda_video(y), from = cuda_video(x);
    const struct kernel_rope rope = rope_of(tables, x);
    cuda_check(c, kernel_rms_norm_rope(&to, &from, &rope, gain, eps, NULL, c->stream), name);
}

void cuda_rope(struct backend *b, const struct tensor *y, const struct tensor *x,
               const struct rope_tables *tables)
{
    turn(b, y, x, NULL, 0, tables, "rope");
}

void cuda_rms_norm_rope(struct backend *b, const struct tensor *y, const struct tensor *x,
                        const struct tensor *gain, float eps, const struct rope_tables *tables)
{
    turn(b, y, x, gain->data, eps, tables, "rms_norm_rope");
}

void cuda_add_gated(struct backend *b, const struct tensor *x, const struct tensor *y,
                    const struct tensor *gate)
{
    struct cuda_backend *c = cuda_of(b);
    struct kernel_rows to = cuda_rows(x), from = cuda_rows(y);
    struct kernel_vectors gates = vectors_of(gate);
    cuda_check(c, kernel_add_gated(&to, &from, x->shape[0], x->shape[1], &gates, c->stream),
               "add_gated");
}

void cuda_mul(struct backend *b, const struct tensor *y, const struct tensor *a,
              const struct tensor *other)
{
    struct cuda_backend *c = cuda_of(b);
    cuda_check(c,
               kernel_mul(y->data, type_of(y), a->data, type_of(a), other->data, type_of(other),
                          tensor_count(y), c->stream),
               "mul");
}

void cuda_combine(struct backend *b, const struct tensor *y, int terms, const float *factor,
                  const struct tensor *x)
{
    struct cuda_backend *c = cuda_of(b);
    const float *list[COMBINE_TERMS] = {0};
    for (int i = 0; i < terms; i++)
        list[i] = x[i].data;
    cuda_check(c, kernel_combine(y->data, terms, factor, NULL, list, tensor_count(y), c->stream),
               "combine");
}

/* ---- what changes from one forward to the next ------------------------------------------------ */

void cuda_rope_table(struct backend *b, const struct tensor *table, const struct tensor *start)
{
    struct cuda_backend *c = cuda_of(b);
    cuda_check(
        c,
        kernel_rope_table(table->data, start->data, table->shape[0], table->shape[1], c->stream),
        "rope_table");
}

void cuda_sinusoid(struct backend *b, const struct tensor *y, const struct tensor *timestep)
{
    struct cuda_backend *c = cuda_of(b);
    cuda_check(c, kernel_sinusoid(y->data, timestep->data, y->shape[0], y->shape[1] / 2, c->stream),
               "sinusoid");
}

void cuda_noise(struct backend *b, const struct tensor *x, const struct noise_key *key,
                uint64_t frame, uint32_t step)
{
    struct cuda_backend *c = cuda_of(b);
    const struct kernel_noise_key name = {
        .seed = key->seed,
        .prompt = key->prompt,
        .sample = key->sample,
        .frame = frame,
        .step = step,
    };
    int64_t frames = x->shape[0];
    cuda_check(c, kernel_noise(x->data, frames, tensor_count(x) / frames, &name, c->stream),
               "noise");
}

/* ---- fused ------------------------------------------------------------------------------------ */

void cuda_add_gated_layer_norm(struct backend *b, const struct tensor *y, const struct tensor *x,
                               const struct tensor *a, const struct tensor *gate,
                               const struct tensor *scale, const struct tensor *shift, float eps,
                               float scale_offset)
{
    struct cuda_backend *c = cuda_of(b);
    struct kernel_rows to = cuda_rows(y), sum = cuda_rows(x), from = cuda_rows(a);
    struct kernel_vectors gates = vectors_of(gate), scales = vectors_of(scale),
                          shifts = vectors_of(shift);
    cuda_check(c,
               kernel_add_gated_layer_norm(&to, &sum, &from, x->shape[0], x->shape[1], &gates,
                                           &scales, &shifts, eps, scale_offset, c->stream),
               "add_gated_layer_norm");
}

void cuda_store_qkv(struct backend *b, const struct store_qkv *store)
{
    struct cuda_backend *c = cuda_of(b);
    const struct store_qkv *s = store;
    struct kernel_video k = cuda_video(&s->k), v = cuda_video(&s->v), q = k;
    struct kernel_video x_q = cuda_video(&s->x_q), x_k = cuda_video(&s->x_k),
                        x_v = cuda_video(&s->x_v);
    const struct kernel_rope rope = rope_of(&s->rope, &s->x_k);
    if (s->q.data)
        q = cuda_video(&s->q);
    else
        q.data = NULL;
    cuda_check(c,
               kernel_store_qkv(&q, &k, &v, &x_q, &x_k, &x_v, &rope, s->gain_q.data, s->gain_k.data,
                                s->eps, s->slot.data, c->stream),
               "store_qkv");
}
