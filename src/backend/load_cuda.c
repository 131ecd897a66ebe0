/* Finding and loading the CUDA backend's module. */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/module.h"

#define FILE_NAME "unreel_cuda.so"

/* Folder of the library that this code is part of, or of the program: without the last slash. */
static bool own_folder(char *path)
{
    Dl_info info;
    if (!dladdr((void *)(uintptr_t)backend_load_cuda, &info) || !info.dli_fname ||
        !realpath(info.dli_fname, path)) {
        ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
        if (n < 1)
            return false;
        path[n] = 0;
    }
    char *slash = strrchr(path, '/');
    if (!slash)
        return false;
    *slash = 0;
    return true;
}

static bool find_module(char *path, size_t size)
{
    static const char *const places[] = {"", "/unreel"};
    char folder[PATH_MAX];
    if (!own_folder(folder))
        return false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int n = snprintf(path, size, "%s%s/" FILE_NAME, folder, places[i]);
        if (n > 0 && (size_t)n < size && !access(path, R_OK))
            return true;
    }
    return false;
}

const struct backend_module *backend_load_cuda(const struct backend_config *config,
                                               const unreel_log *log)
{
    bool asked = !strcmp(config->device, "cuda");
    char path[PATH_MAX + sizeof FILE_NAME + 16];
    if (config->module) {
        snprintf(path, sizeof path, "%s", config->module);
    } else if (!find_module(path, sizeof path)) {
        if (asked)
            log_error(log, UNREEL_EUNSUPPORTED,
                      "device cuda: not in this build (" FILE_NAME
                      " is missing: it is built where nvcc is found)");
        return NULL;
    }
    /* It stays loaded: CUDA's run-time library does not survive being unloaded. */
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const struct backend_module *module = handle ? dlsym(handle, "backend_cuda") : NULL;
    const char *why = module ? "is of another version of unreel" : dlerror();
    if (module && module->abi == BACKEND_ABI)
        return module;
    if (asked)
        log_error(log, UNREEL_EUNSUPPORTED, "device cuda: %s: %s", path, why);
    else
        log_warning(log, "%s: %s; using the CPU", path, why);
    return NULL;
}
