/* UniPC multistep solver for flow matching: order 2, B(h) = expm1(h) ("bh2"), data prediction, with
 * the corrector, lower order at both ends. Zhao et al., "UniPC: A Unified Predictor-Corrector
 * Framework for Fast Sampling of Diffusion Models", 2023; coefficients as in the Wan2.1 programs. */
#pragma once

#include "backend/backend.h"

struct unipc {
    int steps;
    double *sigma;   /* [steps + 1], the last is 0 */
    float *timestep; /* [steps], whole numbers */

    /* State of one block of latents, all f32 of one shape in backend memory. */
    struct tensor x0[2]; /* predictions: newest, the one before */
    struct tensor last;  /* sample before the newest predictor step */
    int step;            /* next step */
    int order;           /* of the newest predictor step */
};

/* Sigmas linspace(0.999, 0, steps + 1) without the 0, shifted; timesteps are 1000 sigma cut to whole
 * numbers. UNREEL_ENOMEM on failure. `arena` holds the state, shaped like one block of latents. */
int unipc_init(struct unipc *solver, int steps, float shift, struct arena *arena, int dims,
               const int64_t *shape);
void unipc_finish(struct unipc *solver); /* the arena's owner frees the state */

void unipc_reset(struct unipc *solver); /* before each block */

/* One step: sample (f32, in place) goes from noise level `step` to the next, given the flow the model
 * predicted for it. All may have fewer frames than the state was made for. */
void unipc_step(struct unipc *solver, struct backend *b, struct tensor sample, struct tensor flow);
