/* Angles of positions and of timesteps, computed in f64 and rounded once: positions are exact far
 * beyond any table. */
#pragma once

#include <stdint.h>

/* (cos, sin) of position * 10000^(-i / pairs) for positions start .. start + count - 1 and pairs i:
 * table [count, pairs, 2]. */
void angles_of_positions(float *table, int64_t start, int64_t count, int64_t pairs);

/* cos, then sin, of timestep * 10000^(-j / half) for each timestep: y [count, 2 half]. */
void angles_of_timesteps(float *y, const float *timestep, int64_t count, int64_t half);
