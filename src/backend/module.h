/* What a backend folder exports: one symbol. */
#pragma once

#include "backend/backend.h"

/* A module is built from the same sources as the library that loads it: structs that differ show in
 * their sizes. */
#define BACKEND_ABI ((int)(2 << 20 | sizeof(struct backend_ops) << 10 | sizeof(struct backend)))

struct backend_module {
    int abi; /* BACKEND_ABI */
    const char *name;
    /* Opens the device; UNREEL_EUNSUPPORTED, with one line logged, where it cannot be used here: an
     * error, or for the device "auto" an information. */
    int (*open)(struct backend **backend, const struct backend_config *config,
                const unreel_log *log);
};

extern const struct backend_module backend_cpu;

/* The CUDA backend, a file that is loaded when first asked for and then stays: unreel_cuda.so beside
 * this library or program or in unreel/ there, or config->module. NULL where there is none or it is
 * another version's: logged as an error if CUDA was asked for, as a warning if the file is unusable. */
const struct backend_module *backend_load_cuda(const struct backend_config *config,
                                               const unreel_log *log);
