/* The library is column-major: it computes y^T [n, m] = w [n, k] x^T, which is what our rows look
 * like to it: A = w read transposed, B = x, D = y. */
#include "matmul.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choices.h"

#define WORKSPACE_BYTES ((size_t)32 << 20) /* what NVIDIA recommends from sm_90 on */
#define CANDIDATES 8

struct plan {
    char key[160];
    void *desc, *a, *b, *d;
    struct lt_algo algo;
    size_t workspace;
    bool usable;
};

struct matmul {
    struct lt_api api;
    void *handle;
    struct plan *plan;
    int plans, capacity;
};

/* ---- plans ---------------------------------------------------------------------------------- */

static int type_of(enum tensor_type type)
{
    return type == TENSOR_E4M3 ? LT_TYPE_E4M3 : type == TENSOR_BF16 ? LT_TYPE_BF16 : LT_TYPE_F32;
}

static int epilogue_of(const struct matmul_call *call)
{
    int act = call->act == ACT_RELU        ? LT_EPILOGUE_RELU
              : call->act == ACT_GELU_TANH ? LT_EPILOGUE_GELU
                                           : 0;
    int epilogue = act | (call->bias ? LT_EPILOGUE_BIAS : 0);
    return epilogue ? epilogue : LT_EPILOGUE_DEFAULT;
}

/* Largest power of two that divides an address, up to the 256 bytes that the library assumes. */
static uint32_t alignment_of(const void *data)
{
    uintptr_t low = (uintptr_t)data & -(uintptr_t)data;
    return low && low < 256 ? (uint32_t)low : 256;
}

static void describe(const struct matmul_call *call, char *key, size_t size)
{
    snprintf(key, size,
             "m%" PRId64 " n%" PRId64 " k%" PRId64 " ldx%" PRId64 " ldy%" PRId64
             " %s%s to %s, epilogue %d, aligned %u %u %u",
             call->m, call->n, call->k, call->x_stride, call->y_stride,
             tensor_type_name(call->x_type), call->x_scale ? " scaled" : "",
             tensor_type_name(call->y_type), epilogue_of(call), alignment_of(call->w),
             alignment_of(call->x), alignment_of(call->y));
}

static void destroy_plan(struct matmul *m, struct plan *plan)
{
    if (plan->desc)
        m->api.cublasLtMatmulDescDestroy(plan->desc);
    void *layouts[] = {plan->a, plan->b, plan->d};
    for (int i = 0; i < 3; i++)
        if (layouts[i])
            m->api.cublasLtMatrixLayoutDestroy(layouts[i]);
    plan->desc = plan->a = plan->b = plan->d = NULL;
}

/* What differs between two calls of one plan. */
static int set_pointers(const struct lt_api *api, void *desc, const struct matmul_call *call)
{
    const struct {
        int attribute;
        const void *value;
    } pointer[] = {{LT_DESC_BIAS_POINTER, call->bias},
                   {LT_DESC_A_SCALE_POINTER, call->w_scale},
                   {LT_DESC_B_SCALE_POINTER, call->x_scale}};
    int code = 0;
    for (int i = 0; i < 3 && !code; i++)
        if (pointer[i].value)
            code = api->cublasLtMatmulDescSetAttribute(desc, pointer[i].attribute,
                                                       &pointer[i].value, sizeof pointer[i].value);
    return code;
}

/* Fast sums have fewer bits, which count less than those that the factors have lost; GELU in the
 * epilogue may need them. */
static bool describe_fp8(const struct lt_api *api, void *desc, bool scaled)
{
    int8_t fast = 1;
    int32_t mode = LT_SCALE_OUTER_VEC;
    return !api->cublasLtMatmulDescSetAttribute(desc, LT_DESC_FAST_ACCUM, &fast, sizeof fast) &&
           (!scaled ||
            (!api->cublasLtMatmulDescSetAttribute(desc, LT_DESC_A_SCALE_MODE, &mode, sizeof mode) &&
             !api->cublasLtMatmulDescSetAttribute(desc, LT_DESC_B_SCALE_MODE, &mode, sizeof mode)));
}

static bool create_descriptors(struct matmul *m, struct plan *plan, const struct matmul_call *call)
{
    const struct lt_api *api = &m->api;
    int x = type_of(call->x_type), y = type_of(call->y_type);
    int32_t transposed = LT_OP_T, epilogue = epilogue_of(call), bias = y;
    uint64_t rows = (uint64_t)call->m, n = (uint64_t)call->n, k = (uint64_t)call->k;
    bool good = !api->cublasLtMatmulDescCreate(&plan->desc, LT_COMPUTE_32F, LT_TYPE_F32) &&
                !api->cublasLtMatrixLayoutCreate(&plan->a, x, k, n, call->k) &&
                !api->cublasLtMatrixLayoutCreate(&plan->b, x, k, rows, call->x_stride) &&
                !api->cublasLtMatrixLayoutCreate(&plan->d, y, n, rows, call->y_stride) &&
                !api->cublasLtMatmulDescSetAttribute(plan->desc, LT_DESC_TRANSA, &transposed,
                                                     sizeof transposed) &&
                !api->cublasLtMatmulDescSetAttribute(plan->desc, LT_DESC_EPILOGUE, &epilogue,
                                                     sizeof epilogue);
    if (good && call->bias)
        good = !api->cublasLtMatmulDescSetAttribute(plan->desc, LT_DESC_BIAS_DATA_TYPE, &bias,
                                                    sizeof bias);
    if (good && call->x_type == TENSOR_E4M3)
        good = describe_fp8(api, plan->desc, call->x_scale);
    return good && !set_pointers(api, plan->desc, call);
}

static int propose(struct matmul *m, const struct plan *plan, const struct matmul_call *call,
                   struct lt_result *result)
{
    const struct lt_api *api = &m->api;
    size_t workspace = WORKSPACE_BYTES;
    uint32_t alignment[] = {alignment_of(call->w), alignment_of(call->x), alignment_of(call->y),
                            alignment_of(call->y)};
    uint32_t reduction = LT_REDUCTION_COMPUTE_TYPE;
    void *preference = NULL;
    int count = 0;
    if (api->cublasLtMatmulPreferenceCreate(&preference))
        return 0;
    bool good = !api->cublasLtMatmulPreferenceSetAttribute(preference, LT_PREF_MAX_WORKSPACE_BYTES,
                                                           &workspace, sizeof workspace) &&
                !api->cublasLtMatmulPreferenceSetAttribute(
                    preference, LT_PREF_REDUCTION_SCHEME_MASK, &reduction, sizeof reduction);
    for (int i = 0; i < 4; i++)
        good = good &&
               !api->cublasLtMatmulPreferenceSetAttribute(preference, LT_PREF_MIN_ALIGNMENT_A + i,
                                                          &alignment[i], sizeof alignment[i]);
    if (!good ||
        api->cublasLtMatmulAlgoGetHeuristic(m->handle, plan->desc, plan->a, plan->b, plan->d,
                                            plan->d, preference, CANDIDATES, result, &count))
        count = 0;
    api->cublasLtMatmulPreferenceDestroy(preference);
    return count;
}

/* ---- running -------------------------------------------------------------------------------- */

static int execute(struct cuda_backend *c, const struct plan *plan, const struct lt_algo *algo,
                   void *workspace, size_t bytes, const struct matmul_call *call)
{
    static const float one = 1, zero = 0;
    struct matmul *m = c->matmul;
    return m->api.cublasLtMatmul(m->handle, plan->desc, &one, call->w, plan->a, call->x, plan->b,
                                 &zero, call->y, plan->d, call->y, plan->d, algo, workspace, bytes,
                                 c->stream);
}

struct trial {
    const struct plan *plan;
    const struct lt_result *result;
    void *workspace;
    const struct matmul_call *call;
};

static int run_trial(struct cuda_backend *c, void *opaque)
{
    const struct trial *t = opaque;
    return execute(c, t->plan, &t->result->algo, t->workspace, t->result->workspace, t->call);
}

/* Milliseconds a run; negative: it fails. */
static float measure(struct cuda_backend *c, const struct plan *plan,
                     const struct lt_result *result, void *workspace,
                     const struct matmul_call *call)
{
    struct trial trial = {plan, result, workspace, call};
    if (result->state || result->workspace > WORKSPACE_BYTES)
        return -1;
    return cuda_measure(c, run_trial, &trial);
}

/* The choice of an earlier run, if the library still takes it. */
static bool recall(struct cuda_backend *c, struct plan *plan, const char *key)
{
    struct matmul *m = c->matmul;
    struct lt_result result = {0};
    size_t size = 0;
    void *data = choices_load(c->choices, key, &size);
    bool good = data && size == sizeof plan->algo;
    if (good) {
        memcpy(&plan->algo, data, sizeof plan->algo);
        good = !m->api.cublasLtMatmulAlgoCheck(m->handle, plan->desc, plan->a, plan->b, plan->d,
                                               plan->d, &plan->algo, &result) &&
               result.workspace <= WORKSPACE_BYTES;
        plan->workspace = result.workspace;
    }
    free(data);
    return good;
}

static void choose(struct cuda_backend *c, struct plan *plan, const struct matmul_call *call)
{
    struct matmul *m = c->matmul;
    struct lt_result result[CANDIDATES];
    char key[640];
    snprintf(key, sizeof key, "cublasLt %zu, %s, %s", m->api.cublasLtGetVersion(), c->device,
             plan->key);
    memset(result, 0, sizeof result);
    void *workspace = cuda_scratch(c, SCRATCH_WORKSPACE, WORKSPACE_BYTES);
    if (!workspace || !create_descriptors(m, plan, call))
        return;
    plan->usable = recall(c, plan, key);
    if (plan->usable)
        return;
    int count = propose(m, plan, call, result);
    float best = 0;
    for (int i = 0; i < count; i++) {
        float time = measure(c, plan, &result[i], workspace, call);
        if (time < 0 || (plan->usable && time >= best))
            continue;
        best = time;
        plan->usable = true;
        plan->algo = result[i].algo;
        plan->workspace = result[i].workspace;
    }
    if (plan->usable)
        choices_store(c->choices, key, &plan->algo, sizeof plan->algo);
}

static struct plan *find_plan(struct cuda_backend *c, const struct matmul_call *call)
{
    struct matmul *m = c->matmul;
    struct plan plan = {0};
    describe(call, plan.key, sizeof plan.key);
    for (int i = 0; i < m->plans; i++)
        if (!strcmp(m->plan[i].key, plan.key))
            return &m->plan[i];
    if (m->plans == m->capacity) {
        int capacity = m->capacity ? 2 * m->capacity : 64;
        struct plan *more = realloc(m->plan, (size_t)capacity * sizeof *more);
        if (!more) {
            backend_fail(&c->base, UNREEL_ENOMEM, "out of host memory");
            return NULL;
        }
        m->plan = more;
        m->capacity = capacity;
    }
    if (!cuda_recording_allows(c, "an algorithm must be chosen"))
        return NULL;
    choose(c, &plan, call);
    if (!plan.usable)
        destroy_plan(m, &plan);
    if (c->base.status) { /* no memory, say: that is no choice */
        destroy_plan(m, &plan);
        return NULL;
    }
    m->plan[m->plans] = plan;
    return &m->plan[m->plans++];
}

bool matmul_run(struct cuda_backend *c, const struct matmul_call *call)
{
    struct matmul *m = c->matmul;
    struct plan *plan = m ? find_plan(c, call) : NULL;
    if (c->base.status)
        return true;
    if (!plan || !plan->usable)
        return false;
    int code = set_pointers(&m->api, plan->desc, call);
    void *workspace = cuda_scratch(c, SCRATCH_WORKSPACE, WORKSPACE_BYTES);
    if (!code && workspace)
        code = execute(c, plan, &plan->algo, workspace, plan->workspace, call);
    if (code)
        backend_fail(&c->base, UNREEL_EDEVICE, "cuBLASLt: status %d for %s", code, plan->key);
    return true;
}

/* ---- opening -------------------------------------------------------------------------------- */

void matmul_open_with(struct cuda_backend *c, const struct lt_api *api)
{
    struct matmul *m = calloc(1, sizeof *m);
    if (!m)
        return;
    m->api = *api;
    int code = api->cublasLtCreate(&m->handle);
    if (code) {
        log_info(&c->base.log,
                 "cuda: cuBLASLt does not start (status %d): matrix products by the "
                 "plain kernel, slow",
                 code);
        matmul_close(m);
        return;
    }
    c->matmul = m;
}

void matmul_open(struct cuda_backend *c)
{
    struct lt_api api = {0};
    if (lt_load(&api, &c->base.log))
        matmul_open_with(c, &api);
}

void matmul_close(struct matmul *matmul)
{
    if (!matmul)
        return;
    for (int i = 0; i < matmul->plans; i++)
        destroy_plan(matmul, &matmul->plan[i]);
    if (matmul->handle)
        matmul->api.cublasLtDestroy(matmul->handle);
    free(matmul->plan);
    free(matmul);
}
