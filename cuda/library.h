/* The parts of cuBLASLt's and cuDNN's C interfaces that are used, loaded at run time: the module
 * then builds without their headers and works, slower, without the libraries. Names and values are
 * theirs (tests/gpu/headers.c compares them where the headers are installed). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

/* ---- cuBLASLt 12 and 13 ---------------------------------------------------------------------- */

enum {
    LT_COMPUTE_32F = 68, /* f32 sums, and f32 products of f32: no TF32 */
    LT_TYPE_F32 = 0,
    LT_TYPE_BF16 = 14,
    LT_TYPE_E4M3 = 28,
    LT_OP_T = 1,
    LT_DESC_TRANSA = 3,
    LT_DESC_EPILOGUE = 7,
    LT_DESC_BIAS_POINTER = 8,
    LT_DESC_A_SCALE_POINTER = 17,
    LT_DESC_B_SCALE_POINTER = 18,
    LT_DESC_FAST_ACCUM = 25,
    LT_DESC_BIAS_DATA_TYPE = 26,
    LT_DESC_A_SCALE_MODE = 31, /* from 12.8 */
    LT_DESC_B_SCALE_MODE = 32,
    LT_SCALE_OUTER_VEC = 3, /* one a row of A, one a column of B; from 12.9, on sm_90 only */
    LT_EPILOGUE_DEFAULT = 1,
    LT_EPILOGUE_RELU = 2,
    LT_EPILOGUE_BIAS = 4,
    LT_EPILOGUE_GELU = 32, /* the tanh form */
    LT_PREF_MAX_WORKSPACE_BYTES = 1,
    LT_PREF_REDUCTION_SCHEME_MASK = 3,
    LT_PREF_MIN_ALIGNMENT_A = 5, /* then B, C, D */
    LT_REDUCTION_COMPUTE_TYPE = 2, /* parts of a split sum are f32, too; not splitting is always allowed */
};

struct lt_algo {
    uint64_t data[8];
};

struct lt_result {
    struct lt_algo algo;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

struct lt_api {
    void *library;
    size_t (*cublasLtGetVersion)(void);
    int (*cublasLtCreate)(void **handle);
    int (*cublasLtDestroy)(void *handle);
    int (*cublasLtMatmulDescCreate)(void **desc, int compute, int scale_type);
    int (*cublasLtMatmulDescDestroy)(void *desc);
    int (*cublasLtMatmulDescSetAttribute)(void *desc, int attribute, const void *value,
                                          size_t size);
    int (*cublasLtMatrixLayoutCreate)(void **layout, int type, uint64_t rows, uint64_t columns,
                                      int64_t ld);
    int (*cublasLtMatrixLayoutDestroy)(void *layout);
    int (*cublasLtMatmulPreferenceCreate)(void **preference);
    int (*cublasLtMatmulPreferenceDestroy)(void *preference);
    int (*cublasLtMatmulPreferenceSetAttribute)(void *preference, int attribute, const void *value,
                                                size_t size);
    int (*cublasLtMatmulAlgoGetHeuristic)(void *handle, void *desc, void *a, void *b, void *c,
                                          void *d, void *preference, int asked,
                                          struct lt_result *result, int *count);
    int (*cublasLtMatmulAlgoCheck)(void *handle, void *desc, void *a, void *b, void *c, void *d,
                                   const struct lt_algo *algo, struct lt_result *result);
    int (*cublasLtMatmul)(void *handle, void *desc, const void *alpha, const void *a,
                          void *a_layout, const void *b, void *b_layout, const void *beta,
                          const void *c, void *c_layout, void *d, void *d_layout,
                          const struct lt_algo *algo, void *workspace, size_t workspace_bytes,
                          void *stream);
};

/* ---- cuDNN 9 --------------------------------------------------------------------------------- */

enum dnn_descriptor {
    DNN_POINTWISE = 0,
    DNN_CONVOLUTION = 1,
    DNN_ENGINE = 2,
    DNN_ENGINECFG = 3,
    DNN_ENGINEHEUR = 4,
    DNN_PLAN = 5,
    DNN_OPERATION_CONVOLUTION = 10,
    DNN_OPERATION_POINTWISE = 13,
    DNN_OPERATIONGRAPH = 15,
    DNN_VARIANT_PACK = 16,
    DNN_TENSOR = 17,
    DNN_MATMUL = 18,
    DNN_OPERATION_MATMUL = 19,
    DNN_REDUCTION = 21,
    DNN_OPERATION_REDUCTION = 22,
    DNN_DEVICEPROP = 38,
    DNN_OPERATION_SDPA = 41, /* from 9.13.1 */
};

enum dnn_type {
    DNN_TYPE_HANDLE = 0,
    DNN_TYPE_DATA_TYPE = 1,
    DNN_TYPE_BOOLEAN = 2,
    DNN_TYPE_INT64 = 3,
    DNN_TYPE_DOUBLE = 5,
    DNN_TYPE_VOID_PTR = 6,
    DNN_TYPE_CONVOLUTION_MODE = 7,
    DNN_TYPE_HEUR_MODE = 8,
    DNN_TYPE_POINTWISE_MODE = 14,
    DNN_TYPE_DESCRIPTOR = 15,
    DNN_TYPE_REDUCTION_OPERATOR = 18,
    DNN_TYPE_CHAR = 24,
};

enum dnn_attribute {
    DNN_POINTWISE_MODE = 0,
    DNN_POINTWISE_MATH_PREC = 1,
    DNN_CONVOLUTION_COMP_TYPE = 100,
    DNN_CONVOLUTION_CONV_MODE = 101,
    DNN_CONVOLUTION_DILATIONS = 102,
    DNN_CONVOLUTION_FILTER_STRIDES = 103,
    DNN_CONVOLUTION_POST_PADDINGS = 104,
    DNN_CONVOLUTION_PRE_PADDINGS = 105,
    DNN_CONVOLUTION_SPATIAL_DIMS = 106,
    DNN_ENGINEHEUR_MODE = 200,
    DNN_ENGINEHEUR_OPERATION_GRAPH = 201,
    DNN_ENGINEHEUR_RESULTS = 202,
    DNN_ENGINEHEUR_DEVICEPROP = 204,
    DNN_PLAN_HANDLE = 400,
    DNN_PLAN_ENGINE_CONFIG = 401,
    DNN_PLAN_WORKSPACE_SIZE = 402,
    DNN_PLAN_JSON = 405,
    DNN_PLAN_DEVICEPROP = 407,
    DNN_CONV_ALPHA = 700,
    DNN_CONV_BETA = 701,
    DNN_CONV_CONV_DESC = 702,
    DNN_CONV_W = 703,
    DNN_CONV_X = 704,
    DNN_CONV_Y = 705,
    DNN_POINTWISE_PW = 750,
    DNN_POINTWISE_X = 751,
    DNN_POINTWISE_B = 752,
    DNN_POINTWISE_Y = 753,
    DNN_OPERATIONGRAPH_HANDLE = 800,
    DNN_OPERATIONGRAPH_OPS = 801,
    DNN_TENSOR_BYTE_ALIGNMENT = 900,
    DNN_TENSOR_DATA_TYPE = 901,
    DNN_TENSOR_DIMENSIONS = 902,
    DNN_TENSOR_STRIDES = 903,
    DNN_TENSOR_UNIQUE_ID = 906,
    DNN_TENSOR_IS_VIRTUAL = 907,
    DNN_TENSOR_IS_BY_VALUE = 908,
    DNN_VARIANT_PACK_UNIQUE_IDS = 1000,
    DNN_VARIANT_PACK_DATA_POINTERS = 1001,
    DNN_VARIANT_PACK_WORKSPACE = 1003,
    DNN_MATMUL_COMP_TYPE = 1500,
    DNN_OPERATION_MATMUL_A = 1520,
    DNN_OPERATION_MATMUL_B = 1521,
    DNN_OPERATION_MATMUL_C = 1522,
    DNN_OPERATION_MATMUL_DESC = 1523,
    DNN_REDUCTION_OPERATOR = 1600,
    DNN_REDUCTION_COMP_TYPE = 1601,
    DNN_OPERATION_REDUCTION_X = 1610,
    DNN_OPERATION_REDUCTION_Y = 1611,
    DNN_OPERATION_REDUCTION_DESC = 1612,
    DNN_DEVICEPROP_JSON = 2702,
    DNN_SDPA_Q = 2800,
    DNN_SDPA_K = 2801,
    DNN_SDPA_V = 2802,
    DNN_SDPA_O = 2803,
    DNN_SDPA_SCALE = 2805,
    DNN_SDPA_SEQ_LEN_Q = 2809, /* from 9.15 */
    DNN_SDPA_SEQ_LEN_KV = 2810,
};

enum {
    DNN_DATA_FLOAT = 0,
    DNN_DATA_INT32 = 4,
    DNN_DATA_BFLOAT16 = 9,
    DNN_MODE_ADD = 0,
    DNN_MODE_MUL = 1,
    DNN_MODE_DIV = 6,
    DNN_MODE_SUB = 9,
    DNN_MODE_EXP = 13,
    DNN_MODE_LOG = 15,
    DNN_MODE_RELU = 100,
    DNN_REDUCE_ADD = 0,
    DNN_REDUCE_MAX = 3,
    DNN_CROSS_CORRELATION = 1,
    DNN_HEUR_FALLBACK = 2,
    DNN_HEUR_A = 3,
};

struct dnn_api {
    void *library;
    size_t (*cudnnGetVersion)(void); /* 91900: 9.19.0 */
    const char *(*cudnnGetErrorString)(int status);
    void (*cudnnGetLastErrorString)(char *message, size_t size);
    int (*cudnnCreate)(void **handle);
    int (*cudnnDestroy)(void *handle);
    int (*cudnnSetStream)(void *handle, void *stream);
    int (*cudnnBackendCreateDescriptor)(int type, void **descriptor);
    int (*cudnnBackendDestroyDescriptor)(void *descriptor);
    int (*cudnnBackendFinalize)(void *descriptor);
    int (*cudnnBackendSetAttribute)(void *descriptor, int attribute, int type, int64_t count,
                                    const void *values);
    int (*cudnnBackendGetAttribute)(void *descriptor, int attribute, int type, int64_t asked,
                                    int64_t *count, void *values);
    int (*cudnnBackendExecute)(void *handle, void *plan, void *variant_pack);
};

/* Opens the library. False, with one line of information, where it is missing or lacks a function.
 */
bool lt_load(struct lt_api *api, const unreel_log *log);
bool dnn_load(struct dnn_api *api, const unreel_log *log);
