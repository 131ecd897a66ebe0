/* The text embedding in effect, and its way to another one. */
#pragma once

#include "backend/backend.h"

struct text_blend {
    struct backend *backend;
    struct tensor now, from, to; /* f32 [text_len, text_dim] */
    int step, steps;             /* of the way; equal: at its end, where now is exactly `to` */
};

/* Three embeddings of zeros from the arena, whose status is to be checked. */
void text_blend_init(struct text_blend *blend, struct arena *arena, int64_t text_len,
                     int64_t text_dim);

/* After `to` was written: the way there from what is in effect, in `steps` >= 1 equal steps. */
void text_blend_begin(struct text_blend *blend, int steps);

/* Whether `now` is still on its way. */
bool text_blend_is_due(const struct text_blend *blend);

/* One step; false: `now` was at the end already and stays. */
bool text_blend_step(struct text_blend *blend);

/* The next step is the last. */
void text_blend_hurry(struct text_blend *blend);
