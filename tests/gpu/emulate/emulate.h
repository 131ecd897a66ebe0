/* Runs CUDA kernels as host code, for tests: blocks one after another, the threads of a block as
 * coroutines that change over at barriers and shuffles only. Slow and strict:
 *
 *  - blocks run, and threads are resumed, in changing orders, so that what a missing barrier or
 * blocks that depend on one another give differs from run to run;
 *  - shared memory begins as NaN;
 *  - all threads of a block must reach the same barriers and all 32 lanes of a warp the same
 * shuffles, and none may end before: else the program aborts with a line that says so;
 *  - what load() and store() of cuda/common.cuh access at once must be aligned.
 *
 * One host thread at a time. */
#pragma once

#include <stddef.h>

#include "cuda_runtime_api.h"

#define UNREEL_EMULATE 1

/* under the address sanitizer */
#if defined(__SANITIZE_ADDRESS__)
#define EMULATE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATE_SANITIZED 1
#endif
#endif

struct dim3;

void emulate_barrier();
float emulate_shuffle_xor(unsigned mask, float x, int other);

/* Fills memory with NaN when a block first asks for it. */
void emulate_shared(void *memory, size_t bytes);

/* Aborts where a device would fail: at accesses that are not aligned to their size. */
void emulate_access(const void *data, size_t alignment);

/* Calls body(opaque) as every thread. cudaErrorInvalidConfiguration for sizes that no device takes.
 */
cudaError_t emulate_launch(const dim3 &grid, const dim3 &block, void (*body)(void *), void *opaque);
