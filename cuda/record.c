/* Operations recorded as a CUDA graph: everything that is queued on the stream between begin and end
 * becomes a node, with the pointers and numbers of then. */
#include <stdlib.h>

#include "cuda.h"

struct recording {
    cudaGraphExec_t exec;
    uint64_t moved; /* cuda_backend's when it was recorded */
};

bool cuda_recording_allows(struct cuda_backend *c, const char *what)
{
    if (c->recording)
        backend_fail(&c->base, UNREEL_EDEVICE, "operations cannot be recorded: %s", what);
    return !c->recording;
}

static void cannot(struct cuda_backend *c, cudaError_t error)
{
    cudaGetLastError(); /* is reported here */
    log_warning(&c->base.log, "cuda: recording failed (%s): operations are launched one by one",
                error ? cudaGetErrorString(error) : "see above");
}

bool cuda_record_begin(struct backend *b)
{
    struct cuda_backend *c = cuda_of(b);
    cudaError_t error = cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeThreadLocal);
    c->recording = !error;
    if (error)
        cannot(c, error);
    return c->recording;
}

void *cuda_record_end(struct backend *b)
{
    struct cuda_backend *c = cuda_of(b);
    struct recording *recording = calloc(1, sizeof *recording);
    cudaGraph_t graph = NULL;
    cudaError_t error = cudaStreamEndCapture(c->stream, &graph);
    c->recording = false;
    if (!error && !b->status && recording)
        error = cudaGraphInstantiate(&recording->exec, graph, 0);
    if (graph)
        cudaGraphDestroy(graph);
    if (!error && !b->status && recording) {
        recording->moved = c->moved;
        return recording;
    }
    free(recording);
    if (b->status != UNREEL_ECANCELED)
        cannot(c, error);
    return NULL;
}

bool cuda_record_run(struct backend *b, void *recording)
{
    struct cuda_backend *c = cuda_of(b);
    struct recording *r = recording;
    if (r->moved != c->moved)
        return false;
    cuda_check(c, cudaGraphLaunch(r->exec, c->stream), "recorded operations");
    return true;
}

void cuda_record_free(struct backend *b, void *recording)
{
    struct recording *r = recording;
    cudaStreamSynchronize(cuda_of(b)->stream); /* it may be running */
    cudaGraphExecDestroy(r->exec);
    cudaGetLastError(); /* where the device failed before, that has been said */
    free(r);
}
