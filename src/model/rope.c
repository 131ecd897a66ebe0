#include "model/rope.h"

#include <math.h>

struct rope_split rope_split(int head_dim)
{
    int pairs = head_dim / 2, third = pairs / 3;
    return (struct rope_split){.frame = pairs - 2 * third, .row = third, .column = third};
}

void rope_fill(float *table, int64_t start, int count, int pairs)
{
    for (int p = 0; p < count; p++) {
        for (int i = 0; i < pairs; i++) {
            double angle = (double)(start + p) * pow(10000, -(double)i / pairs);
            *table++ = (float)cos(angle);
            *table++ = (float)sin(angle);
        }
    }
}
