#include "base/angles.h"

#include <math.h>

void angles_of_positions(float *table, int64_t start, int64_t count, int64_t pairs)
{
    for (int64_t p = 0; p < count; p++) {
        for (int64_t i = 0; i < pairs; i++) {
            double angle = (double)(start + p) * pow(10000, -(double)i / (double)pairs);
            *table++ = (float)cos(angle);
            *table++ = (float)sin(angle);
        }
    }
}

void angles_of_timesteps(float *y, const float *timestep, int64_t count, int64_t half)
{
    for (int64_t i = 0; i < count; i++, y += 2 * half) {
        for (int64_t j = 0; j < half; j++) {
            double angle = (double)timestep[i] * pow(10000, -(double)j / (double)half);
            y[j] = (float)cos(angle);
            y[half + j] = (float)sin(angle);
        }
    }
}
