/* splitmix64 (Steele, Lea, Flood 2014): a stream of numbers from a seed. */
#pragma once

#include <stdint.h>

static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline float random_unit(uint64_t *state) /* [0, 1) */
{
    return (float)(random_next(state) >> 40) * 0x1p-24f;
}

static inline float random_between(uint64_t *state, float low, float high)
{
    return low + (high - low) * random_unit(state);
}

static inline int random_below(uint64_t *state, int n)
{
    return (int)(random_unit(state) * (float)n);
}
