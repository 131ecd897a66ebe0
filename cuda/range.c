/* Stages in the timelines of NVIDIA's profilers. NVTX is headers only, and does nothing where no
 * profiler is attached. */
#include "cuda.h"

#if defined(__has_include)
#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define HAVE_NVTX 1
#endif
#endif

void cuda_range_begin(struct backend *b, const char *name)
{
#ifdef HAVE_NVTX
    nvtxRangePushA(name);
#endif
}

void cuda_range_end(struct backend *b)
{
#ifdef HAVE_NVTX
    nvtxRangePop();
#endif
}
