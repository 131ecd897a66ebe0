/* Wrappers of what a forward needs besides the plain operations: what changes from one forward to the
 * next and lies in backend memory, and fused operations with what they stand for. */
#include "backend/ops_check.h"

static bool is_ints(const struct tensor *t, int64_t count)
{
    return t->data && t->type == TENSOR_I32 && tensor_count(t) == count && tensor_is_contiguous(t);
}

void op_rope_table(struct backend *b, struct tensor table, struct tensor start)
{
    if (!backend_ready(b))
        return;
    REQUIRE("rope_table", table, start, table.data && table.type == TENSOR_F32 && table.dims == 3);
    REQUIRE("rope_table", table, start, table.shape[2] == 2 && tensor_is_contiguous(&table));
    REQUIRE("rope_table", table, start, is_ints(&start, 1));
    double begun = op_begin(b);
    b->ops->rope_table(b, &table, &start);
    op_end(b, OP_OTHER, begun, 0);
}

void op_sinusoid(struct backend *b, struct tensor y, struct tensor timestep)
{
    if (!backend_ready(b))
        return;
    REQUIRE("sinusoid", y, timestep, y.data && y.type == TENSOR_F32 && y.dims == 2);
    REQUIRE("sinusoid", y, timestep, y.shape[1] % 2 == 0 && tensor_is_contiguous(&y));
    REQUIRE("sinusoid", y, timestep, is_f32_vector(&timestep, y.shape[0]));
    double begun = op_begin(b);
    b->ops->sinusoid(b, &y, &timestep);
    op_end(b, OP_OTHER, begun, 0);
}

void op_noise(struct backend *b, struct tensor x, const struct noise_key *key, uint64_t frame,
              uint32_t step)
{
    if (!backend_ready(b))
        return;
    REQUIRE("noise", x, x, x.data && x.type == TENSOR_F32 && tensor_is_contiguous(&x));
    double begun = op_begin(b);
    b->ops->noise(b, &x, key, frame, step);
    op_end(b, OP_OTHER, begun, 0);
}

void op_attention_held(struct backend *b, struct tensor y, struct tensor q, struct tensor k,
                       struct tensor v, float scale, struct tensor held, int64_t count)
{
    if (!backend_ready(b))
        return;
    REQUIRE("attention_held", k, held, is_ints(&held, 1) && k.data && k.dims == 3);
    REQUIRE("attention_held", k, v, v.data && tensor_same_shape(&k, &v));
    REQUIRE("attention_held", k, held, count > 0 && count <= k.shape[0]);
    if (!b->ops->attention_held) {
        op_attention(b, y, q, tensor_slice(k, 0, 0, count), tensor_slice(v, 0, 0, count), scale,
                     (struct tensor){0});
        return;
    }
    REQUIRE("attention_held", y, q, is_attention(&y, &q, &k, &v));
    double begun = op_begin(b);
    b->ops->attention_held(b, &y, &q, &k, &v, scale, &held, count);
    op_end(b, OP_ATTENTION, begun, 4.0 * (double)tensor_count(&q) * (double)count);
}

void op_add_gated_layer_norm(struct backend *b, struct tensor y, struct tensor x, struct tensor a,
                             struct tensor gate, struct tensor scale, struct tensor shift,
                             float eps, float scale_offset)
{
    if (!backend_ready(b))
        return;
    if (!b->ops->add_gated_layer_norm) {
        op_add_gated(b, x, a, gate);
        op_layer_norm(b, y, x, scale, shift, eps, scale_offset);
        return;
    }
    REQUIRE("add_gated_layer_norm", x, a, is_add_gated(&x, &a, &gate));
    REQUIRE("add_gated_layer_norm", y, x, is_layer_norm(&y, &x, &scale, &shift));
    REQUIRE("add_gated_layer_norm", y, x, y.data != x.data && y.data != a.data);
    double begun = op_begin(b);
    b->ops->add_gated_layer_norm(b, &y, &x, &a, gate.data ? &gate : NULL, &scale, &shift, eps,
                                 scale_offset);
    op_end(b, OP_LAYER_NORM, begun, 0);
}

/* ---- queries, keys and values ---------------------------------------------------------------- */

static bool is_store(const struct store_qkv *s)
{
    struct tensor slots = s->k;
    const struct tensor *to[] = {&s->k, &s->v, &s->q}, *from[] = {&s->x_k, &s->x_v, &s->x_q};
    int parts = s->q.data ? 3 : 2;
    if (s->x_k.dims != 5 || s->k.dims != 5 || s->v.dims != 5 ||
        !is_ints(&s->slot, s->x_k.shape[0]) || !tensor_same_shape(&s->k, &s->v) ||
        !tensor_same_shape(&s->x_k, &s->x_v))
        return false;
    slots.shape[0] = s->x_k.shape[0]; /* of a slot: what frames are of */
    for (int64_t i = 0; i < s->x_k.shape[0]; i++)
        if (s->slots[i] < 0 || s->slots[i] >= s->k.shape[0])
            return false;
    for (int i = 0; i < parts; i++) {
        struct tensor y = *to[i];
        y.shape[0] = from[i]->shape[0];
        if (!is_rope(&y, from[i], &s->rope) || to[i]->type != s->k.type ||
            from[i]->type != s->x_k.type)
            return false;
    }
    return tensor_same_shape(&slots, &s->x_k) && (!s->q.data || tensor_same_shape(&s->q, &s->x_q)) &&
           is_f32_vector(&s->gain_k, s->k.shape[3] * s->k.shape[4]) &&
           (!s->q.data || is_f32_vector(&s->gain_q, s->k.shape[3] * s->k.shape[4]));
}

/* Frame by frame, but neighbours that stay neighbours together. */
static void store_composed(struct backend *b, const struct store_qkv *s)
{
    int64_t frames = s->x_k.shape[0], run;
    for (int64_t i = 0; i < frames; i += run) {
        struct rope_tables rope = s->rope;
        for (run = 1; i + run < frames && s->slots[i + run] == s->slots[i] + run;)
            run++;
        rope.frame = tensor_slice(rope.frame, 0, i, run);
        op_rms_norm_rope(b, tensor_slice(s->k, 0, s->slots[i], run), tensor_slice(s->x_k, 0, i, run),
                         s->gain_k, s->eps, &rope);
        op_copy(b, tensor_slice(s->v, 0, s->slots[i], run), tensor_slice(s->x_v, 0, i, run));
    }
    if (s->q.data)
        op_rms_norm_rope(b, s->q, s->x_q, s->gain_q, s->eps, &s->rope);
}

void op_store_qkv(struct backend *b, const struct store_qkv *store)
{
    if (!backend_ready(b))
        return;
    REQUIRE("store_qkv", store->k, store->x_k, is_store(store));
    if (!b->ops->store_qkv) {
        store_composed(b, store);
        return;
    }
    double begun = op_begin(b);
    b->ops->store_qkv(b, store);
    op_end(b, OP_ROPE, begun, 0);
}
