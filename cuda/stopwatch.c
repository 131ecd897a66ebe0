/* How long something takes on the device, to choose between ways of doing it. */
#include "cuda.h"

int cuda_stopwatch_open(struct cuda_backend *c)
{
    for (int i = 0; i <= MEASURED_RUNS; i++)
        if (!cuda_check(c, cudaEventCreateWithFlags(&c->watch[i], cudaEventDefault), "event"))
            return c->base.status;
    return 0;
}

void cuda_stopwatch_close(struct cuda_backend *c)
{
    for (int i = 0; i <= MEASURED_RUNS; i++)
        if (c->watch[i])
            cudaEventDestroy(c->watch[i]);
}

float cuda_measure(struct cuda_backend *c, int (*run)(struct cuda_backend *c, void *opaque),
                   void *opaque)
{
    float best = -1;
    if (run(c, opaque)) /* loads and warms up */
        return -1;
    cudaEventRecord(c->watch[0], c->stream);
    for (int i = 0; i < MEASURED_RUNS; i++) {
        if (run(c, opaque))
            return -1;
        cudaEventRecord(c->watch[i + 1], c->stream);
    }
    bool good = !cudaEventSynchronize(c->watch[MEASURED_RUNS]);
    for (int i = 0; good && i < MEASURED_RUNS; i++) {
        float time = 0;
        good = !cudaEventElapsedTime(&time, c->watch[i], c->watch[i + 1]);
        if (best < 0 || time < best)
            best = time;
    }
    if (good)
        return best;
    cudaGetLastError();
    return -1;
}
