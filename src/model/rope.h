/* Angles of the three-axis rotary embedding (spec section 4). */
#pragma once

#include "backend/backend.h"

/* Of the D / 2 pairs of a head: first the frame's, then the row's, then the column's. */
struct rope_split {
    int frame, row, column;
};

struct rope_split rope_split(int head_dim);

/* (cos, sin) of position * 10000^(-i / pairs) for positions start .. start + count - 1 and pairs i;
 * host memory [count, pairs, 2]. Positions are exact far beyond any table: computed in f64. */
void rope_fill(float *table, int64_t start, int count, int pairs);
