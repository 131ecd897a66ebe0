/* Noise levels of flow matching (spec section 4). */
#pragma once

#define SCHEDULE_LEVELS 1000

struct schedule {
    float sigma[SCHEDULE_LEVELS];    /* falling from 1, shifted */
    float timestep[SCHEDULE_LEVELS]; /* 1000 * sigma */
};

/* sigma_i = linspace(1, 0, 1001)[i], warped by `shift`: shift * s / (1 + (shift - 1) * s). */
void schedule_init(struct schedule *schedule, float shift);

/* The sigma of the table entry whose timestep is nearest. */
float schedule_sigma(const struct schedule *schedule, float timestep);

/* warp_denoising_step: step n in 0..1000 stands for timestep[1000 - n]; 0 for 0. */
float schedule_warp(const struct schedule *schedule, int step);
