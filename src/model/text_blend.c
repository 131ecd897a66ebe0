#include "model/text_blend.h"

void text_blend_init(struct text_blend *blend, struct arena *arena, int64_t text_len,
                     int64_t text_dim)
{
    const int64_t shape[] = {text_len, text_dim};
    *blend = (struct text_blend){.backend = arena->backend};
    blend->now = arena_tensor(arena, TENSOR_F32, 2, shape);
    blend->from = arena_tensor(arena, TENSOR_F32, 2, shape);
    blend->to = arena_tensor(arena, TENSOR_F32, 2, shape);
}

void text_blend_begin(struct text_blend *blend, int steps)
{
    op_copy(blend->backend, blend->from, blend->now);
    blend->step = 0;
    blend->steps = steps;
}

bool text_blend_is_due(const struct text_blend *blend)
{
    return blend->step < blend->steps;
}

bool text_blend_step(struct text_blend *blend)
{
    if (!text_blend_is_due(blend))
        return false;
    blend->step++;
    if (blend->step == blend->steps) {
        op_copy(blend->backend, blend->now, blend->to);
        return true;
    }
    float part = (float)blend->step / (float)blend->steps;
    op_combine(blend->backend, blend->now, 2, (const float[]){1 - part, part},
               (const struct tensor[]){blend->from, blend->to});
    return true;
}

void text_blend_hurry(struct text_blend *blend)
{
    if (blend->step < blend->steps)
        blend->steps = blend->step + 1;
}
