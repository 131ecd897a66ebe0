/* The driver's library (libcuda.so.1) as far as cuDNN needs it to compile an engine: kernels are loaded
 * and looked up, nothing else is there. What is asked of a device fails, and so nothing can run. */
#include <stddef.h>

#define EXPORT __attribute__((visibility("default")))

enum { SUCCESS = 0, INVALID_VALUE = 1, NO_DEVICE = 100 };

static int something; /* what handles point at */

EXPORT int cuDriverGetVersion(int *version)
{
    *version = 13000;
    return SUCCESS;
}

EXPORT int cuGetErrorName(int error, const char **name)
{
    *name = error ? "an error of the stand-in" : "success";
    return SUCCESS;
}

EXPORT int cuGetErrorString(int error, const char **text)
{
    return cuGetErrorName(error, text);
}

EXPORT int cuLibraryLoadData(void **library, const void *code, void *a, void *b, unsigned c, void *d, void *e,
                             unsigned f)
{
    *library = &something;
    return code ? SUCCESS : INVALID_VALUE;
}

EXPORT int cuLibraryUnload(void *library)
{
    return library == &something ? SUCCESS : INVALID_VALUE;
}

EXPORT int cuLibraryGetKernel(void **kernel, void *library, const char *name)
{
    *kernel = &something;
    return library == &something && name && *name ? SUCCESS : INVALID_VALUE;
}

EXPORT int cuKernelSetAttribute(int attribute, int value, void *kernel, int device)
{
    return kernel == &something ? SUCCESS : INVALID_VALUE;
}

EXPORT int cuKernelGetFunction(void **function, void *kernel)
{
    *function = kernel;
    return kernel == &something ? SUCCESS : INVALID_VALUE;
}

/* What asks for a device is told that there is none. */
#define ABSENT(name)                                                                               \
    EXPORT int name(void)                                                                          \
    {                                                                                              \
        return NO_DEVICE;                                                                          \
    }
ABSENT(cuInit)
ABSENT(cuDeviceGet)
ABSENT(cuDeviceGetCount)
ABSENT(cuCtxGetCurrent)
ABSENT(cuCtxPushCurrent)
ABSENT(cuCtxPopCurrent)
ABSENT(cuCtxGetLimit)
ABSENT(cuStreamGetCtx)
ABSENT(cuKernelGetAttribute)
ABSENT(cuLibraryLoadFromFile)
ABSENT(cuLinkCreate)
ABSENT(cuLinkAddData)
ABSENT(cuLinkComplete)
ABSENT(cuLinkDestroy)
ABSENT(cuLaunchKernel)
ABSENT(cuLaunchKernelEx)
ABSENT(cuLaunchCooperativeKernel)
ABSENT(cuOccupancyMaxPotentialClusterSize)
