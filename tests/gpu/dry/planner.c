/* cuDNN itself, for a device that is only described: every graph, engine and plan is the library's own,
 * compiled for that device, and only running one is left out. The backend sees no difference, except in
 * time. UNREEL_EMULATE_PLANS=FILE: a line for each plan is appended to it. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "capture.h"
#include "described.h"
#include "library.h"

enum {
    INTERNAL_ERROR = 4000,
    ATTRIBUTE_ENGINECFG_ENGINE = 300,
    ATTRIBUTE_ENGINE_GLOBAL_INDEX = 1301,
};

bool dry_load_cudnn(struct dnn_api *api, const unreel_log *log); /* dnn_load() of cuda/library.c */

static struct dnn_api library;
static void *properties; /* of the device, for as long as the program */

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "planner: %s\n", what);
    abort();
}

/* ---- in place of a handle ---------------------------------------------------------------------- */

static int create_handle(void **handle)
{
    *handle = &library;
    return 0;
}

static int destroy_handle(void *handle)
{
    return 0;
}

static int set_stream(void *handle, void *stream)
{
    return handle && stream ? 0 : INTERNAL_ERROR;
}

static int set(void *descriptor, int attribute, int type, int64_t count, const void *values)
{
    if (attribute == DNN_OPERATIONGRAPH_HANDLE)
        return 0;
    if (attribute == DNN_PLAN_HANDLE)
        return library.cudnnBackendSetAttribute(descriptor, DNN_PLAN_DEVICEPROP, DNN_TYPE_DESCRIPTOR, 1,
                                                &properties);
    int status = library.cudnnBackendSetAttribute(descriptor, attribute, type, count, values);
    if (!status && attribute == DNN_ENGINEHEUR_OPERATION_GRAPH)
        status = library.cudnnBackendSetAttribute(descriptor, DNN_ENGINEHEUR_DEVICEPROP, DNN_TYPE_DESCRIPTOR,
                                                  1, &properties);
    return status;
}

/* ---- plans ------------------------------------------------------------------------------------- */

static int64_t workspace_of(void *plan)
{
    int64_t count = 0, bytes = -1;
    return library.cudnnBackendGetAttribute(plan, DNN_PLAN_WORKSPACE_SIZE, DNN_TYPE_INT64, 1, &count, &bytes)
               ? -1
               : bytes;
}

/* The engine's number, or -1. */
static int64_t engine_of(void *plan)
{
    void *config = NULL, *engine = NULL;
    int64_t count = 0, number = -1;
    if (!library.cudnnBackendCreateDescriptor(DNN_ENGINECFG, &config) &&
        !library.cudnnBackendCreateDescriptor(DNN_ENGINE, &engine) &&
        !library.cudnnBackendGetAttribute(plan, DNN_PLAN_ENGINE_CONFIG, DNN_TYPE_DESCRIPTOR, 1, &count, &config) &&
        !library.cudnnBackendGetAttribute(config, ATTRIBUTE_ENGINECFG_ENGINE, DNN_TYPE_DESCRIPTOR, 1, &count,
                                          &engine) &&
        library.cudnnBackendGetAttribute(engine, ATTRIBUTE_ENGINE_GLOBAL_INDEX, DNN_TYPE_INT64, 1, &count, &number))
        number = -1;
    library.cudnnBackendDestroyDescriptor(engine);
    library.cudnnBackendDestroyDescriptor(config);
    return number;
}

/* Whether a descriptor is a plan shows in what it can be asked. */
static int finalise(void *descriptor)
{
    double begin = clock_seconds();
    int status = library.cudnnBackendFinalize(descriptor);
    double seconds = clock_seconds() - begin;
    const char *path = getenv("UNREEL_EMULATE_PLANS");
    int64_t workspace = path && !status ? workspace_of(descriptor) : -1;
    FILE *file = workspace >= 0 ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "engine %" PRId64 ", workspace %" PRId64 ", %.2f s\n", engine_of(descriptor), workspace,
                seconds);
        fclose(file);
    }
    return status;
}

static int execute(void *handle, void *plan, void *pack)
{
    void *workspace = NULL;
    int64_t count = 0;
    if (workspace_of(plan) < 0)
        die("what runs is no plan");
    if (library.cudnnBackendGetAttribute(pack, DNN_VARIANT_PACK_WORKSPACE, DNN_TYPE_VOID_PTR, 1, &count,
                                         &workspace) == 0 &&
        workspace_of(plan) > 0 && !workspace)
        die("a plan has no workspace");
    return handle == &library ? 0 : INTERNAL_ERROR;
}

/* That of UNREEL_EMULATE_ARCH. */
static void *describe(void)
{
    for (size_t i = 0; i < sizeof described_gpus / sizeof *described_gpus; i++)
        if (described_gpus[i].version == 10 * emulate_arch())
            return describe_gpu(&library, &described_gpus[i]);
    return NULL;
}

bool dnn_load(struct dnn_api *api, const unreel_log *log)
{
    if (!library.library && !dry_load_cudnn(&library, log))
        return false;
    if (!properties && !(properties = describe()))
        die("the device cannot be described");
    *api = library;
    api->cudnnCreate = create_handle;
    api->cudnnDestroy = destroy_handle;
    api->cudnnSetStream = set_stream;
    api->cudnnBackendSetAttribute = set;
    api->cudnnBackendFinalize = finalise;
    api->cudnnBackendExecute = execute;
    return true;
}
