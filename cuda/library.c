/* Loading cuBLASLt and cuDNN. They stay loaded: neither survives being unloaded in all versions. */
#include "library.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* A function of a library and where its address goes. */
struct symbol {
    const char *name;
    size_t offset; /* in the table of functions */
};

static void *open_first(const char *const *names, int count)
{
    void *library = NULL;
    for (int i = 0; !library && i < count; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    return library;
}

/* All symbols into the table at `api`; the name of the one that is missing, or NULL. */
static const char *resolve(void *api, void *library, const struct symbol *symbol, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void *address = dlsym(library, symbol[i].name);
        if (!address)
            return symbol[i].name;
        memcpy((char *)api + symbol[i].offset, &address, sizeof address);
    }
    return NULL;
}

static bool load(void *api, void **library, const char *const *names, int count,
                 const struct symbol *symbol, size_t symbols, const char *without,
                 const unreel_log *log)
{
    *library = open_first(names, count);
    if (!*library) {
        log_info(log, "cuda: %s cannot be loaded (%s): %s", names[0], dlerror(), without);
        return false;
    }
    const char *missing = resolve(api, *library, symbol, symbols);
    if (missing)
        log_info(log, "cuda: %s has no %s: %s", names[0], missing, without);
    return !missing;
}

#define SYMBOL(table, name)                                                                        \
    {                                                                                              \
#name, offsetof(struct table, name)                                                        \
    }

bool lt_load(struct lt_api *api, const unreel_log *log)
{
    /* That of the run-time library this was built with comes first. */
    static const char *const names[] = {
#if CUDART_VERSION >= 13000
        "libcublasLt.so.13",
#else
        "libcublasLt.so.12",
#endif
        "libcublasLt.so"
    };
    static const struct symbol symbols[] = {
        SYMBOL(lt_api, cublasLtGetVersion),
        SYMBOL(lt_api, cublasLtCreate),
        SYMBOL(lt_api, cublasLtDestroy),
        SYMBOL(lt_api, cublasLtMatmulDescCreate),
        SYMBOL(lt_api, cublasLtMatmulDescDestroy),
        SYMBOL(lt_api, cublasLtMatmulDescSetAttribute),
        SYMBOL(lt_api, cublasLtMatrixLayoutCreate),
        SYMBOL(lt_api, cublasLtMatrixLayoutDestroy),
        SYMBOL(lt_api, cublasLtMatmulPreferenceCreate),
        SYMBOL(lt_api, cublasLtMatmulPreferenceDestroy),
        SYMBOL(lt_api, cublasLtMatmulPreferenceSetAttribute),
        SYMBOL(lt_api, cublasLtMatmulAlgoGetHeuristic),
        SYMBOL(lt_api, cublasLtMatmulAlgoCheck),
        SYMBOL(lt_api, cublasLtMatmul),
    };
    return load(api, &api->library, names, sizeof names / sizeof *names, symbols,
                sizeof symbols / sizeof *symbols, "matrix products by the plain kernel, slow", log);
}

bool dnn_load(struct dnn_api *api, const unreel_log *log)
{
    static const char *const names[] = {"libcudnn.so.9", "libcudnn.so"};
    static const struct symbol symbols[] = {
        SYMBOL(dnn_api, cudnnGetVersion),
        SYMBOL(dnn_api, cudnnGetErrorString),
        SYMBOL(dnn_api, cudnnGetLastErrorString),
        SYMBOL(dnn_api, cudnnCreate),
        SYMBOL(dnn_api, cudnnDestroy),
        SYMBOL(dnn_api, cudnnSetStream),
        SYMBOL(dnn_api, cudnnBackendCreateDescriptor),
        SYMBOL(dnn_api, cudnnBackendDestroyDescriptor),
        SYMBOL(dnn_api, cudnnBackendFinalize),
        SYMBOL(dnn_api, cudnnBackendSetAttribute),
        SYMBOL(dnn_api, cudnnBackendGetAttribute),
        SYMBOL(dnn_api, cudnnBackendExecute),
    };
    return load(api, &api->library, names, sizeof names / sizeof *names, symbols,
                sizeof symbols / sizeof *symbols,
                "attention and convolutions by the plain kernels, slow", log);
}
