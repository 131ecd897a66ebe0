/* Which entry of the table of relative positions a distance falls into, as T5 defines it: both
 * directions, half of the buckets each; distances below 8 exactly, further ones logarithmically
 * up to 128, from where all share the last. */
#pragma once

#include <stdint.h>

#define RELATIVE_BUCKETS 32

/* distance = key position - query position. */
static inline int relative_bucket(int64_t distance)
{
    enum { HALF = RELATIVE_BUCKETS / 2, EXACT = HALF / 2, FURTHEST = 128 };
    int side = distance > 0 ? HALF : 0, bucket = EXACT;
    int64_t n = distance < 0 ? -distance : distance;
    if (n < EXACT)
        return side + (int)n;
    if (n >= FURTHEST)
        return side + HALF - 1;
    /* EXACT + floor(EXACT log(n / 8) / log(128 / 8)): two buckets an octave. */
    while (n * n >= (int64_t)EXACT * EXACT << (bucket - EXACT + 1))
        bucket++;
    return side + bucket;
}
