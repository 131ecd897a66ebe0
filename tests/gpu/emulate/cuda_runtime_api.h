/* Stands in for CUDA's header where kernels run as host C++ (emulate.h): the types that
 * cuda/kernels.h names. */
#pragma once

typedef enum {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidConfiguration = 9,
} cudaError_t;

typedef struct emulated_stream *cudaStream_t;
