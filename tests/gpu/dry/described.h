/* GPUs as cuDNN describes devices, for plans without one. */
#pragma once

#include <stdio.h>
#include <string.h>

#include "library.h"

/* In the form that cuDNN describes devices. What described_gpu has is as published; clocks, cache and memory are
 * those of no device in particular. */
static const char properties_format[] =
    "{\"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64], "
    "\"deviceVer\": %d, \"driverVer\": 13000, \"multiProcessorCount\": %d, \"smClockRateKHz\": "
    "1900000, "
    "\"memClockRateKHz\": 2600000, \"l2CacheSize\": 41943040, \"warpSize\": 32, "
    "\"maxSharedMemoryPerBlock\": 49152, \"maxSharedMemoryPerBlockOptin\": %d, "
    "\"reservedSharedMemoryPerBlock\": 1024, \"maxRegistersPerSM\": 65536, \"regsPerBlock\": "
    "65536, "
    "\"maxCtasPerSM\": 32, \"maxThreadsPerBlock\": 1024, \"maxThreadsPerSM\": %d, "
    "\"totalGlobalMem\": "
    "34359738368, \"isTccDriver\": 0, \"supportCoopLaunch\": 1, \"pciDeviceId\": 0, "
    "\"deviceName\": "
    "\"%s\", \"cudaDeviceId\": 0}";

static const struct described_gpu {
    const char *name;
    int version, processors, shared, threads;
} described_gpus[] = {
    {"NVIDIA A100-SXM4-80GB", 800, 108, 166912, 2048},
    {"NVIDIA H200", 900, 132, 232448, 2048},
    {"NVIDIA GeForce RTX 5090", 1200, 170, 101376, 1536},
};

int cuDriverGetVersion(int *version); /* of driver.c */

/* The library's descriptor, which the caller destroys; NULL: it was refused. Asks for the driver's version, so
 * that linkers keep driver.c, which cuDNN finds by its name. */
static inline void *describe_gpu(const struct dnn_api *api, const struct described_gpu *gpu)
{
    char json[2048];
    void *properties = NULL;
    int driver;
    if (cuDriverGetVersion(&driver))
        return NULL;
    snprintf(json, sizeof json, properties_format, gpu->version, gpu->processors, gpu->shared,
             gpu->threads, gpu->name);
    if (api->cudnnBackendCreateDescriptor(DNN_DEVICEPROP, &properties) ||
        api->cudnnBackendSetAttribute(properties, DNN_DEVICEPROP_JSON, DNN_TYPE_CHAR,
                                      (int64_t)strlen(json), json) ||
        api->cudnnBackendFinalize(properties))
        return NULL;
    return properties;
}
