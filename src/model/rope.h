/* The three-axis rotary embedding (spec section 4). */
#pragma once

/* Of the D / 2 pairs of a head: first the frame's, then the row's, then the column's. */
struct rope_split {
    int frame, row, column;
};

struct rope_split rope_split(int head_dim);
