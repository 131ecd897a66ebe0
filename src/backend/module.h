/* What a backend folder exports: one symbol. */
#pragma once

#include "backend/backend.h"

#define BACKEND_ABI 1

struct backend_module {
    int abi; /* BACKEND_ABI */
    const char *name;
    /* Opens the device; UNREEL_EUNSUPPORTED, with one line logged, where it cannot be used here. */
    int (*open)(struct backend **backend, const struct backend_config *config,
                const unreel_log *log);
};

extern const struct backend_module backend_cpu;
