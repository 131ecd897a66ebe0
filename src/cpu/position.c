/* What changes from one forward to the next: positions, timesteps, noise. */
#include <string.h>

#include "base/angles.h"
#include "cpu/cpu.h"

void cpu_transfer(struct backend *b, const struct tensor *y, const struct tensor *x)
{
    if (y->type == TENSOR_I32)
        memcpy(y->data, x->data, tensor_bytes(y));
    else
        cpu_copy(b, y, x);
}

void cpu_rope_table(struct backend *b, const struct tensor *table, const struct tensor *start)
{
    angles_of_positions(table->data, *(const int32_t *)start->data, table->shape[0],
                        table->shape[1]);
}

void cpu_sinusoid(struct backend *b, const struct tensor *y, const struct tensor *timestep)
{
    angles_of_timesteps(y->data, timestep->data, y->shape[0], y->shape[1] / 2);
}

struct noise_loop {
    float *x;
    int64_t count;
    const struct noise_key *key;
    uint64_t frame;
    uint32_t step;
};

static void noise_frames(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct noise_loop *l = arg;
    for (int64_t i = begin; i < end; i++)
        noise_frame(l->x + i * l->count, l->count, l->key, l->frame + (uint64_t)i, l->step);
}

void cpu_noise(struct backend *b, const struct tensor *x, const struct noise_key *key, uint64_t frame,
               uint32_t step)
{
    struct noise_loop loop = {x->data, tensor_count(x) / x->shape[0], key, frame, step};
    thread_pool_run(cpu_of(b)->pool, x->shape[0], 1, noise_frames, &loop);
}
