#include "model/unipc.h"

#include <math.h>
#include <stdlib.h>

int unipc_init(struct unipc *solver, int steps, float shift, struct arena *arena, int dims,
               const int64_t *shape)
{
    *solver = (struct unipc){.steps = steps};
    solver->sigma = malloc(sizeof *solver->sigma * (size_t)(steps + 1));
    solver->timestep = malloc(sizeof *solver->timestep * (size_t)steps);
    if (!solver->sigma || !solver->timestep) {
        unipc_finish(solver);
        return log_error(&arena->backend->log, UNREEL_ENOMEM, "solver: out of memory");
    }
    for (int i = 0; i < steps; i++) {
        double sigma = 0.999 * (1 - (double)i / steps); /* 0.999: 1 - 1 / 1000 training steps */
        sigma = shift * sigma / (1 + (shift - 1) * sigma);
        solver->sigma[i] = (float)sigma;
        solver->timestep[i] = (float)floor(1000 * sigma);
    }
    solver->sigma[steps] = 0;
    for (int i = 0; i < 2; i++)
        solver->x0[i] = arena_tensor(arena, TENSOR_F32, dims, shape);
    solver->last = arena_tensor(arena, TENSOR_F32, dims, shape);
    return backend_status(arena->backend);
}

void unipc_finish(struct unipc *solver)
{
    free(solver->sigma);
    free(solver->timestep);
    *solver = (struct unipc){0};
}

void unipc_reset(struct unipc *solver)
{
    solver->step = 0;
    solver->order = 0;
}

static double lambda(double sigma)
{
    return log1p(-sigma) - log(sigma);
}

/* A move from level `from` to level `to`, in terms of hh = -(lambda_to - lambda_from). */
struct move {
    double keep;    /* factor of the sample */
    double alpha;   /* 1 - sigma_to */
    double phi;     /* expm1(hh), which is also B(h) */
    double b1, b2;  /* right-hand sides of the order conditions, divided by B(h) */
    double ratio;   /* (lambda_before - lambda_from) / h, for order 2 */
};

static struct move move_between(const struct unipc *solver, int from, int to, int order)
{
    double sigma_from = solver->sigma[from], sigma_to = solver->sigma[to];
    double h = lambda(sigma_to) - lambda(sigma_from), hh = -h;
    struct move m = {.keep = sigma_to / sigma_from, .alpha = 1 - sigma_to, .phi = expm1(hh)};
    double phi_k = m.phi / hh - 1;
    m.b1 = phi_k / m.phi;
    phi_k = phi_k / hh - 0.5;
    m.b2 = 2 * phi_k / m.phi;
    if (order == 2)
        m.ratio = (lambda(solver->sigma[from - 1]) - lambda(sigma_from)) / h;
    return m;
}

/* Corrects `sample`, which the last predictor step made, now that x0 of its own level is known. */
static void correct(struct unipc *solver, struct backend *b, struct tensor sample,
                    struct tensor x0_now, struct tensor x0_last, struct tensor x0_before,
                    struct tensor last)
{
    struct move m = move_between(solver, solver->step - 1, solver->step, solver->order);
    double rho_now = 0.5, rho_before = 0;
    if (solver->order == 2) { /* [1 1; ratio 1] rho = [b1 b2] */
        rho_before = (m.b1 - m.b2) / (1 - m.ratio);
        rho_now = m.b1 - rho_before;
        rho_before /= m.ratio;
    }
    double scale = -m.alpha * m.phi;
    const float factor[] = {(float)m.keep, (float)(scale * (1 - rho_now - rho_before)),
                            (float)(scale * rho_now), (float)(scale * rho_before)};
    const struct tensor x[] = {last, x0_last, x0_now, x0_before};
    op_combine(b, sample, solver->order == 2 ? 4 : 3, factor, x);
}

static void predict(struct unipc *solver, struct backend *b, struct tensor sample,
                    struct tensor x0_now, struct tensor x0_before)
{
    if (solver->step + 1 == solver->steps) { /* sigma 0: the prediction itself */
        op_copy(b, sample, x0_now);
        return;
    }
    struct move m = move_between(solver, solver->step, solver->step + 1, solver->order);
    double rho = solver->order == 2 ? 0.5 / m.ratio : 0;
    double scale = -m.alpha * m.phi;
    const float factor[] = {(float)m.keep, (float)(scale * (1 - rho)), (float)(scale * rho)};
    const struct tensor x[] = {sample, x0_now, x0_before};
    op_combine(b, sample, solver->order == 2 ? 3 : 2, factor, x);
}

void unipc_step(struct unipc *solver, struct backend *b, struct tensor sample, struct tensor flow)
{
    int64_t frames = sample.shape[0];
    struct tensor now = tensor_slice(solver->x0[1], 0, 0, frames); /* the oldest is overwritten */
    struct tensor before = tensor_slice(solver->x0[0], 0, 0, frames);
    struct tensor last = tensor_slice(solver->last, 0, 0, frames);
    const float factor[] = {1, (float)-solver->sigma[solver->step]};
    const struct tensor x[] = {sample, flow};
    if (solver->step > 0) {
        /* The corrector still needs the oldest prediction: correct in terms of it, and put the new
         * prediction into `flow`, whose content is used up. */
        op_combine(b, flow, 2, factor, x);
        correct(solver, b, sample, flow, before, now, last);
        op_copy(b, now, flow);
    } else {
        op_combine(b, now, 2, factor, x);
    }
    int order = solver->step + 1 < solver->steps ? 2 : 1;
    solver->order = order < solver->step + 1 ? order : solver->step + 1;
    op_copy(b, last, sample);
    predict(solver, b, sample, now, before);
    struct tensor swap = solver->x0[0];
    solver->x0[0] = solver->x0[1];
    solver->x0[1] = swap;
    solver->step++;
}
