/* cuBLASLt as its documentation describes it, as far as cuda/matmul.c uses it: column-major
 * matrices D = op(A) op(B) (+ bias over D's rows, activation), in plain loops; E4M3 ones with
 * scales. Refuses, or ends the program, where the library would. Two algorithms are proposed, and
 * one that fails when it runs. UNREEL_EMULATE_REFUSE=scales: none of rows, as beside Hopper;
 * UNREEL_EMULATE_REFUSE=gelu: no GELU beside them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/tensor.h"
#include "capture.h"
#include "library.h"

enum {
    NOT_SUPPORTED = 15,
    INVALID_VALUE = 7,
};

struct desc {
    int32_t transposed, epilogue, bias_type, mode[2];
    int8_t fast;
    const void *bias, *scale[2];
};

struct layout {
    int type;
    uint64_t rows, columns;
    int64_t ld;
};

struct preference {
    size_t workspace;
    uint32_t alignment[4], reduction;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "cuBLASLt's stand-in: %s\n", what);
    abort();
}

static size_t version(void)
{
    return 130100;
}

static int create(void **handle)
{
    *handle = malloc(1);
    return *handle ? 0 : 3;
}

static int destroy(void *data)
{
    free(data);
    return 0;
}

static int desc_create(void **desc, int compute, int scale_type)
{
    if (compute != LT_COMPUTE_32F || scale_type != LT_TYPE_F32)
        die("another type of sums");
    struct desc *d = calloc(1, sizeof *d);
    *d = (struct desc){.epilogue = LT_EPILOGUE_DEFAULT, .bias_type = -1};
    *desc = d;
    return 0;
}

static int desc_set(void *desc, int attribute, const void *value, size_t size)
{
    struct desc *d = desc;
    const struct {
        int attribute;
        void *to;
        size_t size;
    } known[] = {
        {LT_DESC_TRANSA, &d->transposed, 4},
        {LT_DESC_EPILOGUE, &d->epilogue, 4},
        {LT_DESC_BIAS_DATA_TYPE, &d->bias_type, 4},
        {LT_DESC_BIAS_POINTER, &d->bias, sizeof d->bias},
        {LT_DESC_A_SCALE_MODE, &d->mode[0], 4},
        {LT_DESC_B_SCALE_MODE, &d->mode[1], 4},
        {LT_DESC_A_SCALE_POINTER, &d->scale[0], sizeof d->scale[0]},
        {LT_DESC_B_SCALE_POINTER, &d->scale[1], sizeof d->scale[1]},
        {LT_DESC_FAST_ACCUM, &d->fast, 1},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].attribute != attribute || known[i].size != size)
            continue;
        memcpy(known[i].to, value, size);
        return 0;
    }
    return INVALID_VALUE;
}

static int layout_create(void **layout, int type, uint64_t rows, uint64_t columns, int64_t ld)
{
    if (ld < (int64_t)rows)
        return INVALID_VALUE;
    struct layout *l = calloc(1, sizeof *l);
    *l = (struct layout){type, rows, columns, ld};
    *layout = l;
    return 0;
}

static int preference_create(void **preference)
{
    struct preference *p = calloc(1, sizeof *p);
    for (int i = 0; i < 4; i++)
        p->alignment[i] = 256;
    *preference = p;
    return 0;
}

static int preference_set(void *preference, int attribute, const void *value, size_t size)
{
    struct preference *p = preference;
    if (attribute == LT_PREF_MAX_WORKSPACE_BYTES && size == sizeof p->workspace)
        memcpy(&p->workspace, value, size);
    else if (attribute == LT_PREF_REDUCTION_SCHEME_MASK && size == sizeof p->reduction)
        memcpy(&p->reduction, value, size);
    else if (attribute >= LT_PREF_MIN_ALIGNMENT_A && attribute < LT_PREF_MIN_ALIGNMENT_A + 4 &&
             size == 4)
        memcpy(&p->alignment[attribute - LT_PREF_MIN_ALIGNMENT_A], value, size);
    else
        return INVALID_VALUE;
    return 0;
}

/* E4M3: bf16 results with a bf16 bias; everything a multiple of 16 bytes but the number of D's
 * columns; scales of rows both or none, and there. */
static int supported_fp8(const struct desc *d, const struct layout *a, const struct layout *b,
                         const struct layout *out)
{
    if (out->type != LT_TYPE_BF16 || a->rows % 16 || a->columns % 16 || a->ld % 16 || b->ld % 16 ||
        out->ld % 8)
        return NOT_SUPPORTED;
    for (int i = 0; i < 2; i++)
        if (d->mode[i] != d->mode[0] || !d->mode[i] != !d->scale[i] ||
            (d->mode[i] && d->mode[i] != LT_SCALE_OUTER_VEC) || (uintptr_t)d->scale[i] % 16)
            return INVALID_VALUE;
    bool gelu = d->epilogue & LT_EPILOGUE_GELU && emulate_refuses("gelu");
    return d->mode[0] && (gelu || emulate_refuses("scales")) ? NOT_SUPPORTED : 0;
}

/* The combinations of types in the library's table, and sizes that agree. */
static int supported(const struct desc *d, const struct layout *a, const struct layout *b,
                     const struct layout *out)
{
    int bias = d->epilogue & LT_EPILOGUE_BIAS;
    if (d->transposed != LT_OP_T || a->rows != b->rows || out->rows != a->columns ||
        out->columns != b->columns)
        return INVALID_VALUE;
    if (a->type != b->type || (a->type == LT_TYPE_F32 && out->type != LT_TYPE_F32) ||
        (bias && d->bias_type != out->type))
        return NOT_SUPPORTED;
    if (a->type == LT_TYPE_E4M3)
        return supported_fp8(d, a, b, out);
    return d->scale[0] || d->scale[1] || d->mode[0] || d->mode[1] ? INVALID_VALUE : 0;
}

static int heuristic(void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference,
                     int asked, struct lt_result *result, int *count)
{
    const struct preference *p = preference;
    const struct layout *la = a;
    int status = supported(desc, a, b, d);
    for (int i = 0; i < 4 && la->type == LT_TYPE_E4M3; i++)
        if (p->alignment[i] < 16)
            return NOT_SUPPORTED;
    if (status || c != d)
        return status ? status : INVALID_VALUE;
    for (*count = 0; *count < asked && *count < 3; ++*count) {
        struct lt_result *r = &result[*count];
        *r = (struct lt_result){.workspace = (size_t)*count << 20};
        /* What it may assume goes along, so that running can check that it holds. */
        r->algo.data[0] = (uint64_t)*count;
        for (int i = 0; i < 4; i++)
            r->algo.data[1 + i] = p->alignment[i];
        if (r->workspace > p->workspace)
            die("little workspace");
    }
    return 0;
}

static int algo_check(void *handle, void *desc, void *a, void *b, void *c, void *d,
                      const struct lt_algo *algo, struct lt_result *result)
{
    result->workspace = (size_t)algo->data[0] << 20;
    return algo->data[0] > 2 ? NOT_SUPPORTED : supported(desc, a, b, d);
}

static float get(const void *data, int type, int64_t i)
{
    return tensor_element(data,
                          type == LT_TYPE_BF16   ? TENSOR_BF16
                          : type == LT_TYPE_E4M3 ? TENSOR_E4M3
                                                 : TENSOR_F32,
                          i);
}

static double activate(double x, int epilogue)
{
    if (epilogue & LT_EPILOGUE_GELU)
        return 0.5 * x * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
    return epilogue & LT_EPILOGUE_RELU ? fmax(x, 0) : x;
}

struct product {
    struct desc desc;
    struct layout la, lb, ld;
    const void *a, *b;
    void *d;
};

static void multiply(void *opaque)
{
    const struct product *p = opaque;
    const struct desc *m = &p->desc;
    const struct layout *la = &p->la, *lb = &p->lb, *ld = &p->ld;
    if (emulate_dry())
        return;
    for (int64_t j = 0; j < (int64_t)ld->columns; j++) {
        for (int64_t i = 0; i < (int64_t)ld->rows; i++) {
            double sum = 0;
            for (int64_t k = 0; k < (int64_t)la->rows; k++)
                sum += (double)get(p->a, la->type, i * la->ld + k) *
                       (double)get(p->b, lb->type, j * lb->ld + k);
            if (m->mode[0])
                sum *= (double)((const float *)m->scale[0])[i] *
                       (double)((const float *)m->scale[1])[j];
            if (m->epilogue & LT_EPILOGUE_BIAS)
                sum += (double)get(m->bias, m->bias_type, i);
            float y = (float)activate(sum, m->epilogue & ~LT_EPILOGUE_BIAS);
            if (ld->type == LT_TYPE_BF16)
                ((uint16_t *)p->d)[j * ld->ld + i] = bf16_from_f32(y);
            else
                ((float *)p->d)[j * ld->ld + i] = y;
        }
    }
}

static int matmul(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                  const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                  void *d, void *d_layout, const struct lt_algo *algo, void *workspace,
                  size_t workspace_bytes, void *stream)
{
    const struct desc *m = desc;
    const struct layout *la = a_layout, *lb = b_layout, *ld = d_layout;
    const void *pointer[] = {a, b, c, d};
    if (*(const float *)alpha != 1 || *(const float *)beta != 0 || !stream || c != d ||
        workspace_bytes < (size_t)algo->data[0] << 20 || (workspace_bytes && !workspace))
        die("a wrong call");
    for (int i = 0; i < 4; i++)
        if ((uintptr_t)pointer[i] % algo->data[1 + i])
            die("memory is not aligned as was said");
    if (algo->data[0] == 1)
        return 13; /* CUBLAS_STATUS_EXECUTION_FAILED */
    struct product product = {*m, *la, *lb, *ld, a, b, d};
    if (!emulate_capturing()) {
        multiply(&product);
        return 0;
    }
    struct product *kept = malloc(sizeof *kept);
    *kept = product;
    emulate_capture(multiply, free, kept);
    return 0;
}

bool lt_load(struct lt_api *api, const unreel_log *log)
{
    *api = (struct lt_api){
        .cublasLtGetVersion = version,
        .cublasLtCreate = create,
        .cublasLtDestroy = destroy,
        .cublasLtMatmulDescCreate = desc_create,
        .cublasLtMatmulDescDestroy = destroy,
        .cublasLtMatmulDescSetAttribute = desc_set,
        .cublasLtMatrixLayoutCreate = layout_create,
        .cublasLtMatrixLayoutDestroy = destroy,
        .cublasLtMatmulPreferenceCreate = preference_create,
        .cublasLtMatmulPreferenceDestroy = destroy,
        .cublasLtMatmulPreferenceSetAttribute = preference_set,
        .cublasLtMatmulAlgoGetHeuristic = heuristic,
        .cublasLtMatmulAlgoCheck = algo_check,
        .cublasLtMatmul = matmul,
    };
    return true;
}
