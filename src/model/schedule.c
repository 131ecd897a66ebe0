#include "model/schedule.h"

#include <math.h>

void schedule_init(struct schedule *schedule, float shift)
{
    for (int i = 0; i < SCHEDULE_LEVELS; i++) {
        double sigma = 1.0 - (double)i / SCHEDULE_LEVELS;
        sigma = shift * sigma / (1 + (shift - 1) * sigma);
        schedule->sigma[i] = (float)sigma;
        schedule->timestep[i] = (float)(1000 * sigma);
    }
}

float schedule_sigma(const struct schedule *schedule, float timestep)
{
    int best = 0;
    for (int i = 1; i < SCHEDULE_LEVELS; i++) {
        if (fabsf(schedule->timestep[i] - timestep) < fabsf(schedule->timestep[best] - timestep))
            best = i;
    }
    return schedule->sigma[best];
}

float schedule_warp(const struct schedule *schedule, int step)
{
    return step == 0 ? 0 : schedule->timestep[SCHEDULE_LEVELS - step];
}
