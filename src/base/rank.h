/* Percentiles by nearest rank: always one of the values, the largest for 99 of fewer than 100. */
#pragma once

/* Index among `count` values in order. */
static inline int nearest_rank(int count, int percent)
{
    return (count * percent + 99) / 100 - 1;
}
