#include "dnn.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "choices.h"
#include "dnn_graph.h"
#include "library.h"

#define VERSION_WHOLE 91301 /* the first with attention as one operation */
#define VERSION_HELD 91500  /* ... whose lengths may be in device memory */
#define HEURISTICS 3      /* engines that are compiled (0.3 to 3 s each) and measured ... */
#define FALLBACKS 2       /* ... and of the list of those that always work */
#define CHOOSE_SECONDS 2 /* once there is a plan, no further one is compiled after so long, */
#define SMALL_MS 0.1f    /* ... nor where one takes less than this: there is little to win */
#define WORKSPACE_MAX ((int64_t)1 << 30)
#define KEY_SIZE 512
#define NO_MEMORY (-1) /* beside the library's own status, and as a time */
#define FAILS (-2)     /* as a time */

struct plan {
    char key[KEY_SIZE];
    struct dnn_graph graph;
    void *plan; /* NULL: not tried yet, or the library does not do it */
    bool tried;
    int64_t workspace;
    int32_t *queries; /* attention with lengths: i32 [1] in device memory */
};

struct dnn {
    struct dnn_api api;
    void *handle;
    struct plan **plan; /* those without `plan` are what the library does not do */
    int plans, capacity;
};

/* Tensors of a call. */
struct binding {
    int count;
    int64_t uid[8];
    void *data[8];
};

static void bind(struct binding *binding, int64_t uid, const void *data)
{
    binding->uid[binding->count] = uid;
    binding->data[binding->count++] = (void *)(uintptr_t)data;
}

/* ---- execution ------------------------------------------------------------------------------ */

static int execute(struct cuda_backend *c, void *plan, void *workspace,
                   const struct binding *binding)
{
    const struct dnn_api *api = &c->dnn->api;
    void *pack = NULL;
    int status = api->cudnnBackendCreateDescriptor(DNN_VARIANT_PACK, &pack);
    if (status)
        return status;
    status = api->cudnnBackendSetAttribute(pack, DNN_VARIANT_PACK_UNIQUE_IDS, DNN_TYPE_INT64,
                                           binding->count, binding->uid);
    if (!status)
        status = api->cudnnBackendSetAttribute(pack, DNN_VARIANT_PACK_DATA_POINTERS,
                                               DNN_TYPE_VOID_PTR, binding->count, binding->data);
    if (!status)
        status = api->cudnnBackendSetAttribute(pack, DNN_VARIANT_PACK_WORKSPACE, DNN_TYPE_VOID_PTR,
                                               1, &workspace);
    if (!status)
        status = api->cudnnBackendFinalize(pack);
    if (!status)
        status = api->cudnnBackendExecute(c->dnn->handle, plan, pack);
    api->cudnnBackendDestroyDescriptor(pack);
    return status;
}

/* In the memory that all plans share. */
static int execute_shared(struct cuda_backend *c, void *plan, int64_t workspace_bytes,
                          const struct binding *binding)
{
    void *workspace = NULL;
    if (workspace_bytes > 0)
        workspace = cuda_scratch_try(c, SCRATCH_WORKSPACE, (size_t)workspace_bytes);
    if (workspace_bytes > 0 && !workspace)
        return NO_MEMORY;
    return execute(c, plan, workspace, binding);
}

struct trial {
    void *plan, *workspace;
    const struct binding *binding;
};

static int run_trial(struct cuda_backend *c, void *opaque)
{
    const struct trial *trial = opaque;
    return execute(c, trial->plan, trial->workspace, trial->binding);
}

/* Milliseconds a run, FAILS or NO_MEMORY. In memory of its own: what is not chosen must not make the
 * shared memory grow. */
static float measure(struct cuda_backend *c, void *plan, int64_t workspace_bytes,
                     const struct binding *binding)
{
    struct trial trial = {.plan = plan, .binding = binding};
    if (workspace_bytes > WORKSPACE_MAX)
        return FAILS;
    if (workspace_bytes > 0 && !(trial.workspace = cuda_take(c, (size_t)workspace_bytes)))
        return NO_MEMORY;
    float time = cuda_measure(c, run_trial, &trial);
    cuda_give(c, trial.workspace);
    return time < 0 ? FAILS : time;
}

/* ---- plans ---------------------------------------------------------------------------------- */

static void destroy(struct dnn *dnn, void *descriptor)
{
    if (descriptor)
        dnn->api.cudnnBackendDestroyDescriptor(descriptor);
}

/* A plan of an engine, or with `json` what an earlier one was saved as. NULL: it does not work. */
static void *make_plan(struct dnn *dnn, void *config, const char *json, size_t json_size,
                       int64_t *workspace)
{
    const struct dnn_api *api = &dnn->api;
    void *plan = NULL;
    int64_t count = 0;
    if (api->cudnnBackendCreateDescriptor(DNN_PLAN, &plan))
        return NULL;
    int status =
        api->cudnnBackendSetAttribute(plan, DNN_PLAN_HANDLE, DNN_TYPE_HANDLE, 1, &dnn->handle);
    if (!status && json)
        status = api->cudnnBackendSetAttribute(plan, DNN_PLAN_JSON, DNN_TYPE_CHAR,
                                               (int64_t)json_size, json);
    else if (!status)
        status = api->cudnnBackendSetAttribute(plan, DNN_PLAN_ENGINE_CONFIG, DNN_TYPE_DESCRIPTOR, 1,
                                               &config);
    if (!status)
        status = api->cudnnBackendFinalize(plan);
    if (!status)
        status = api->cudnnBackendGetAttribute(plan, DNN_PLAN_WORKSPACE_SIZE, DNN_TYPE_INT64, 1,
                                               &count, workspace);
    if (!status)
        return plan;
    destroy(dnn, plan);
    return NULL;
}

static void save_plan(struct cuda_backend *c, const char *key, void *plan)
{
    const struct dnn_api *api = &c->dnn->api;
    int64_t size = 0;
    if (api->cudnnBackendGetAttribute(plan, DNN_PLAN_JSON, DNN_TYPE_CHAR, 0, &size, NULL) ||
        size < 1)
        return;
    char *json = malloc((size_t)size);
    if (json &&
        !api->cudnnBackendGetAttribute(plan, DNN_PLAN_JSON, DNN_TYPE_CHAR, size, &size, json))
        choices_store(c->choices, key, json, (size_t)size);
    free(json);
}

/* The plan of an earlier run, if the library still takes it and it runs. */
static void *recall(struct cuda_backend *c, const char *key, const struct binding *binding,
                    int64_t *workspace)
{
    size_t size = 0;
    char *json = choices_load(c->choices, key, &size);
    void *plan = json ? make_plan(c->dnn, NULL, json, size, workspace) : NULL;
    free(json);
    if (plan && (*workspace > WORKSPACE_MAX || execute_shared(c, plan, *workspace, binding))) {
        destroy(c->dnn, plan);
        plan = NULL;
    }
    return plan;
}

/* For somebody who waits a minute for a first picture, and will not again. Once: an engine may have two
 * backends. */
static void say_compiling(struct cuda_backend *c)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&said))
        log_info(&c->base.log,
                 "cuda: cuDNN compiles for shapes that are new to it: this run takes up to two minutes longer%s",
                 c->choices ? ", later ones do not" : "");
}

static void choose(struct cuda_backend *c, struct plan *plan, const struct binding *binding)
{
    struct dnn *dnn = c->dnn;
    void *config[HEURISTICS + FALLBACKS];
    char key[KEY_SIZE + 400];
    float best = 0;
    int64_t missing = 0; /* bytes that an engine could not have */
    snprintf(key, sizeof key, "cudnn %zu, %s, %s", dnn->api.cudnnGetVersion(), c->device,
             plan->key);
    plan->plan = recall(c, key, binding, &plan->workspace);
    if (plan->plan || c->base.status)
        return;
    say_compiling(c);
    int count = dnn_graph_engines(&plan->graph, NULL, HEURISTICS, FALLBACKS, config);
    double begin = clock_seconds();
    for (int i = 0; i < count; i++) {
        int64_t workspace = 0;
        if (plan->plan && (best < SMALL_MS || clock_seconds() - begin > CHOOSE_SECONDS)) {
            destroy(dnn, config[i]);
            continue;
        }
        void *made = make_plan(dnn, config[i], NULL, 0, &workspace);
        float time = made ? measure(c, made, workspace, binding) : FAILS;
        destroy(dnn, config[i]);
        if (time == NO_MEMORY)
            missing = workspace;
        if (time < 0 || (plan->plan && time >= best)) {
            destroy(dnn, made);
            continue;
        }
        destroy(dnn, plan->plan);
        plan->plan = made;
        plan->workspace = workspace;
        best = time;
    }
    if (plan->plan && !missing) /* with more memory another may be better */
        save_plan(c, key, plan->plan);
    else if (!plan->plan && missing)
        backend_fail(&c->base, UNREEL_ENOMEM, "out of device memory: %" PRId64 " bytes for %s", missing,
                     plan->key);
}

static struct plan *find(const struct dnn *dnn, const char *key)
{
    for (int i = 0; i < dnn->plans; i++)
        if (!strcmp(dnn->plan[i]->key, key))
            return dnn->plan[i];
    return NULL;
}

static struct plan *add(struct cuda_backend *c, const char *key)
{
    struct dnn *dnn = c->dnn;
    if (dnn->plans == dnn->capacity) {
        int capacity = dnn->capacity ? 2 * dnn->capacity : 64;
        struct plan **more = realloc(dnn->plan, (size_t)capacity * sizeof(struct plan *));
        if (!more)
            return NULL;
        dnn->plan = more;
        dnn->capacity = capacity;
    }
    struct plan *plan = calloc(1, sizeof *plan);
    if (plan) {
        snprintf(plan->key, sizeof plan->key, "%s", key);
        dnn->plan[dnn->plans++] = plan;
    }
    return plan;
}

static void remove_plan(struct cuda_backend *c, struct dnn *dnn, struct plan *plan)
{
    int i = 0;
    while (dnn->plan[i] != plan)
        i++;
    dnn->plan[i] = dnn->plan[--dnn->plans];
    destroy(dnn, plan->plan);
    cuda_give(c, plan->queries);
    dnn_graph_finish(&plan->graph);
    free(plan);
}

/* How many queries there are, for plans that read it. */
static void bind_queries(struct cuda_backend *c, struct plan *plan, struct binding *binding,
                         int64_t queries)
{
    int32_t count = (int32_t)queries;
    if (!plan->queries) {
        struct tensor y = tensor_make(cuda_take(c, sizeof count), TENSOR_I32, SHAPE(1));
        struct tensor x = tensor_make(&count, TENSOR_I32, SHAPE(1));
        plan->queries = y.data;
        if (y.data)
            cuda_upload(&c->base, &y, &x);
        else
            backend_fail(&c->base, UNREEL_ENOMEM, "out of device memory");
    }
    bind(binding, DNN_UID_QUERIES, plan->queries);
}

/* Runs the plan of `key`, which a first call builds by `conv` or `attention`. */
static bool run(struct cuda_backend *c, const char *key, const struct dnn_conv_shape *conv,
                const struct dnn_attention_shape *attention, struct binding *binding)
{
    struct dnn *dnn = c->dnn;
    struct plan *plan = find(dnn, key);
    if (!plan && !cuda_recording_allows(c, "a plan must be made"))
        return true;
    if (!plan) {
        plan = add(c, key);
        if (!plan) {
            backend_fail(&c->base, UNREEL_ENOMEM, "out of host memory");
            return true;
        }
        if (conv)
            dnn_build_conv(&plan->graph, &dnn->api, dnn->handle, conv);
        else
            dnn_build_attention(&plan->graph, &dnn->api, dnn->handle, attention);
    }
    if (attention && attention->held)
        bind_queries(c, plan, binding, attention->queries);
    if (!plan->tried && !c->base.status) {
        plan->tried = true;
        choose(c, plan, binding);
        if (c->base.status) { /* no memory, say: that is no choice */
            remove_plan(c, dnn, plan);
            return true;
        }
        if (!plan->plan)
            log_info(&c->base.log, "cuda: cuDNN has nothing for %s%s", key,
                     attention && attention->held ? "" : ": the plain kernel, slow");
    }
    if (c->base.status)
        return true;
    if (!plan->plan)
        return false;
    int status = execute_shared(c, plan->plan, plan->workspace, binding);
    if (status == NO_MEMORY) {
        backend_fail(&c->base, UNREEL_ENOMEM, "out of device memory: %" PRId64 " bytes for %s",
                     plan->workspace, key);
    } else if (status) {
        char why[256] = "";
        dnn->api.cudnnGetLastErrorString(why, sizeof why);
        backend_fail(&c->base, UNREEL_EDEVICE, "cuDNN: %s for %s: %s",
                     dnn->api.cudnnGetErrorString(status), key, why);
    }
    return true;
}

/* ---- operations ----------------------------------------------------------------------------- */

/* Largest power of two that divides an address, up to the 16 bytes that engines move at a time. */
static int alignment_of(const void *data)
{
    uintptr_t low = (uintptr_t)data & -(uintptr_t)data;
    return low && low < 16 ? (int)low : 16;
}

static void describe_conv(const struct dnn_conv_shape *s, char *key, size_t size)
{
    const int64_t *x = s->x, *y = s->y, *k = s->kernel, *p = s->pad_before, *a = s->pad_after;
    snprintf(
        key, size,
        "conv [%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "] frames %" PRId64 " to [%" PRId64
        ",%" PRId64 ",%" PRId64 ",%" PRId64 "] frames %" PRId64 " rows %" PRId64 " pixels %" PRId64
        ", kernel %" PRId64 "x%" PRId64 "x%" PRId64 ", stride %" PRId64 "x%" PRId64
        ", padding %" PRId64 ",%" PRId64 ";%" PRId64 ",%" PRId64 ", aligned %d %d %d%s",
        x[0], x[1], x[2], x[3], s->x_stride[0], y[0], y[1], y[2], y[3], s->y_stride[0],
        s->y_stride[1], s->y_stride[2], k[0], k[1], k[2], s->stride[0], s->stride[1], p[1], p[2],
        a[1], a[2], s->alignment[0], s->alignment[1], s->alignment[2], s->relu ? ", relu" : "");
    size_t n = strlen(key);
    if (s->add)
        snprintf(key + n, size - n, ", added to %" PRId64 " %" PRId64 " %" PRId64 " aligned %d",
                 s->z_stride[0], s->z_stride[1], s->z_stride[2], s->alignment[3]);
}

/* Zeros below and right that the size of the output asks for. */
static int64_t pad_after(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t before)
{
    int64_t pad = (out - 1) * stride + kernel - in - before;
    return pad > 0 ? pad : 0;
}

static void shape_conv(struct dnn_conv_shape *s, const struct kernel_conv *conv)
{
    *s = (struct dnn_conv_shape){
        .relu = conv->act == KERNEL_ACT_RELU,
        .add = conv->add.data != NULL,
        .pad_before = {0, conv->pad[0], conv->pad[1]},
    };
    memcpy(s->x, conv->in, sizeof s->x);
    memcpy(s->y, conv->out, sizeof s->y);
    memcpy(s->kernel, conv->kernel, sizeof s->kernel);
    memcpy(s->stride, conv->stride, sizeof s->stride);
    for (int i = 1; i < 3; i++)
        s->pad_after[i] = pad_after(s->x[i], s->y[i], s->kernel[i], s->stride[i], s->pad_before[i]);
}

bool dnn_conv(struct cuda_backend *c, const struct kernel_video *y, const struct kernel_video *x,
              const void *w, const uint16_t *bias, const struct kernel_conv *conv)
{
    if (!c->dnn || x->type != KERNEL_BF16 || conv->upsample ||
        (conv->act != KERNEL_ACT_NONE && conv->act != KERNEL_ACT_RELU))
        return false;
    struct dnn_conv_shape s;
    shape_conv(&s, conv);
    /* No engine adds to what it writes: the sum comes first, and then to its place. */
    bool in_place = s.add && conv->add.data == y->data;
    struct tensor sum = tensor_make(NULL, TENSOR_BF16, 4, s.y);
    struct kernel_video to = *y;
    if (in_place) {
        sum.data = cuda_scratch(c, SCRATCH_RESULT, tensor_bytes(&sum));
        if (!sum.data)
            return true;
        to = cuda_video(&sum);
    }
    memcpy(s.x_stride, x->stride, sizeof s.x_stride);
    memcpy(s.y_stride, to.stride, sizeof s.y_stride);
    memcpy(s.z_stride, conv->add.stride, sizeof s.z_stride);
    const void *data[] = {x->data, w, to.data, conv->add.data};
    for (int i = 0; i < 4; i++)
        s.alignment[i] = alignment_of(data[i]);
    char key[KEY_SIZE];
    describe_conv(&s, key, sizeof key);
    struct binding binding = {0};
    bind(&binding, DNN_UID_X, x->data);
    bind(&binding, DNN_UID_W, w);
    bind(&binding, DNN_UID_BIAS, bias);
    bind(&binding, DNN_UID_Y, to.data);
    if (s.add)
        bind(&binding, DNN_UID_Z, conv->add.data);
    if (!run(c, key, &s, NULL, &binding))
        return false;
    if (in_place && !c->base.status) {
        struct tensor out = sum;
        out.data = y->data;
        memcpy(out.stride, y->stride, sizeof y->stride);
        cuda_copy(&c->base, &out, &sum);
    }
    return true;
}

static bool attend(struct cuda_backend *c, const struct tensor *y, const struct tensor *q,
                   const struct tensor *k, const struct tensor *v, float scale,
                   const int32_t *held)
{
    const struct tensor *tensor[] = {q, k, v, y};
    struct dnn_attention_shape s = {
        .heads = q->shape[1],
        .width = q->shape[2],
        .queries = q->shape[0],
        .keys = k->shape[0],
        .held = held != NULL,
        .composed = c->dnn && c->dnn->api.cudnnGetVersion() < VERSION_WHOLE,
    };
    char key[KEY_SIZE];
    if (!c->dnn || q->type != TENSOR_BF16 || s.width % 8)
        return false;
    for (int i = 0; i < 4; i++) {
        s.stride[i] = tensor[i]->stride[0];
        s.head_stride[i] = tensor[i]->stride[1];
        if (s.stride[i] % 8 || (s.heads > 1 && s.head_stride[i] % 8) ||
            alignment_of(tensor[i]->data) < 16)
            return false;
    }
    snprintf(key, sizeof key,
             "attention %" PRId64 " heads of %" PRId64 ", %" PRId64 " queries, %s%" PRId64
             " keys, tokens %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 ", heads %" PRId64
             " %" PRId64 " %" PRId64 " %" PRId64,
             s.heads, s.width, s.queries, held ? "up to " : "", s.keys, s.stride[0], s.stride[1], s.stride[2],
             s.stride[3], s.head_stride[0], s.head_stride[1], s.head_stride[2], s.head_stride[3]);
    struct binding binding = {0};
    bind(&binding, DNN_UID_Q, q->data);
    bind(&binding, DNN_UID_K, k->data);
    bind(&binding, DNN_UID_V, v->data);
    bind(&binding, DNN_UID_O, y->data);
    bind(&binding, DNN_UID_SCALE, &scale);
    if (held)
        bind(&binding, DNN_UID_KEYS, held);
    return run(c, key, NULL, &s, &binding);
}

bool dnn_attention(struct cuda_backend *c, const struct tensor *y, const struct tensor *q,
                   const struct tensor *k, const struct tensor *v, float scale)
{
    return attend(c, y, q, k, v, scale, NULL);
}

bool dnn_attention_held(struct cuda_backend *c, const struct tensor *y, const struct tensor *q,
                        const struct tensor *k, const struct tensor *v, float scale,
                        const int32_t *held)
{
    return c->dnn && c->dnn->api.cudnnGetVersion() >= VERSION_HELD && alignment_of(held) == 16 &&
           attend(c, y, q, k, v, scale, held);
}

/* ---- opening -------------------------------------------------------------------------------- */

void dnn_open(struct cuda_backend *c)
{
    const unreel_log *log = &c->base.log;
    struct dnn *dnn = calloc(1, sizeof *dnn);
    if (!dnn || !dnn_load(&dnn->api, log)) {
        free(dnn);
        return;
    }
    int status = dnn->api.cudnnCreate(&dnn->handle);
    if (!status)
        status = dnn->api.cudnnSetStream(dnn->handle, c->stream);
    if (status) {
        log_info(log,
                 "cuda: cuDNN does not start (%s): attention and convolutions by the plain "
                 "kernels, slow",
                 dnn->api.cudnnGetErrorString(status));
        dnn_close(c, dnn);
        return;
    }
    c->dnn = dnn;
}

void dnn_close(struct cuda_backend *c, struct dnn *dnn)
{
    if (!dnn)
        return;
    while (dnn->plans)
        remove_plan(c, dnn, dnn->plan[dnn->plans - 1]);
    if (dnn->handle)
        dnn->api.cudnnDestroy(dnn->handle);
    free(dnn->plan);
    free(dnn);
}
