/* What a stream captures instead of running it: by kernels (cuda_runtime.h), copies (host/runtime.c)
 * and the libraries' stand-ins. One capture at a time in a thread, for the one stream of a backend. */
#pragma once

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

struct emulated_calls;

void emulate_capture_begin(void);
bool emulate_capturing(void);

/* Keeps a call; `drop` frees what it needs. */
void emulate_capture(void (*run)(void *opaque), void (*drop)(void *opaque), void *opaque);
struct emulated_calls *emulate_capture_end(void);

void emulate_calls_run(struct emulated_calls *calls);
void emulate_calls_ref(struct emulated_calls *calls);
void emulate_calls_unref(struct emulated_calls *calls);

/* Whether a stand-in is to refuse something that others have: UNREEL_EMULATE_REFUSE. */
static inline bool emulate_refuses(const char *what)
{
    const char *refused = getenv("UNREEL_EMULATE_REFUSE");
    return refused && !strcmp(refused, what);
}

/* UNREEL_EMULATE_DRY: nothing is computed or copied, and memory is never touched: what a whole model
 * asks for, at its real size. */
static inline bool emulate_dry(void)
{
    return getenv("UNREEL_EMULATE_DRY") != NULL;
}

/* Compute capability of the device: 10 major + minor, UNREEL_EMULATE_ARCH. */
static inline int emulate_arch(void)
{
    const char *arch = getenv("UNREEL_EMULATE_ARCH");
    return arch ? atoi(arch) : 90;
}

#ifdef __cplusplus
}
#endif
