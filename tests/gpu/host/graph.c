/* cuDNN's backend interface as far as cuda/dnn.c uses it: descriptors are bags of attributes;
 * running a plan walks its graph, operation by operation, in plain loops with f32 between the
 * operations. Of the engines that it proposes, one cannot be compiled and one fails when it runs. A
 * plan's JSON is the number of its engine, and the graph of a plan made from JSON that of the last
 * one finalised. UNREEL_EMULATE_REFUSE=sdpa: an older version, without attention as one operation. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/tensor.h"
#include "capture.h"
#include "dnn_graph.h"
#include "library.h"

#define ATTRIBUTES 16
#define VALUES 16
#define TENSORS 24
#define BAD_PARAM 2000
#define NOT_SUPPORTED 3000
#define EXECUTION_FAILED 5000

struct attribute {
    int name, type;
    int64_t count;
    union {
        int64_t integer[VALUES];
        int32_t small[VALUES];
        void *pointer[VALUES];
        double real[VALUES];
        bool yes;
    } value;
};

struct descriptor {
    int type, attributes;
    bool final;
    int64_t engine;
    struct descriptor *graph;
    struct attribute attribute[ATTRIBUTES];
};

/* A tensor while a graph runs: where it is, or its values in f32. */
struct place {
    const struct descriptor *tensor;
    float *value; /* dense */
};

struct run {
    const struct descriptor *pack;
    struct place place[TENSORS];
    int places;
};

static const size_t sizes[] = {
    [DNN_TYPE_HANDLE] = 8,         [DNN_TYPE_DATA_TYPE] = 4,
    [DNN_TYPE_BOOLEAN] = 1,        [DNN_TYPE_INT64] = 8,
    [DNN_TYPE_DOUBLE] = 8,         [DNN_TYPE_VOID_PTR] = 8,
    [DNN_TYPE_HEUR_MODE] = 4,      [DNN_TYPE_CONVOLUTION_MODE] = 4,
    [DNN_TYPE_POINTWISE_MODE] = 4, [DNN_TYPE_DESCRIPTOR] = 8,
    [DNN_TYPE_CHAR] = 1,           [DNN_TYPE_REDUCTION_OPERATOR] = 4,
};

static _Thread_local struct descriptor *last_graph;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "cuDNN's stand-in: %s\n", what);
    abort();
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static const struct attribute *find(const struct descriptor *d, int name)
{
    for (int i = 0; i < d->attributes; i++)
        if (d->attribute[i].name == name)
            return &d->attribute[i];
    return NULL;
}

static const struct attribute *need(const struct descriptor *d, int name)
{
    const struct attribute *a = find(d, name);
    if (!a)
        die("an attribute is missing");
    return a;
}

static const struct descriptor *child(const struct descriptor *d, int name)
{
    return need(d, name)->value.pointer[0];
}

static const int64_t *ints(const struct descriptor *d, int name)
{
    return need(d, name)->value.integer;
}

static int create(int type, void **descriptor)
{
    if (type == DNN_OPERATION_SDPA && emulate_refuses("sdpa"))
        return NOT_SUPPORTED;
    struct descriptor *d = calloc(1, sizeof *d);
    d->type = type;
    *descriptor = d;
    return 0;
}

static int destroy(void *descriptor)
{
    free(descriptor);
    return 0;
}

static int set(void *descriptor, int name, int type, int64_t count, const void *values)
{
    struct descriptor *d = descriptor;
    if (d->final || count < 1 || !sizes[type])
        return BAD_PARAM;
    if (type == DNN_TYPE_CHAR) { /* JSON */
        d->engine = atoi(values);
        d->graph = last_graph;
        return 0;
    }
    if (d->attributes == ATTRIBUTES || count > VALUES || find(d, name))
        return BAD_PARAM;
    if (type == DNN_TYPE_DESCRIPTOR)
        for (int64_t i = 0; i < count; i++)
            if (!((void *const *)values)[i] || !((struct descriptor *const *)values)[i]->final)
                return BAD_PARAM;
    struct attribute *a = &d->attribute[d->attributes++];
    *a = (struct attribute){.name = name, .type = type, .count = count};
    memcpy(&a->value, values, (size_t)count * sizes[type]);
    return 0;
}

static int finalise(void *descriptor)
{
    struct descriptor *d = descriptor;
    d->final = true;
    if (d->type == DNN_OPERATIONGRAPH) {
        need(d, DNN_OPERATIONGRAPH_OPS);
        last_graph = d;
    }
    if (d->type == DNN_PLAN && !d->graph) {
        const struct descriptor *config = child(d, DNN_PLAN_ENGINE_CONFIG);
        d->graph = config->graph;
        d->engine = config->engine;
    }
    return d->type == DNN_PLAN && d->engine == 1 ? NOT_SUPPORTED : 0;
}

static int get(void *descriptor, int name, int type, int64_t asked, int64_t *count, void *values)
{
    struct descriptor *d = descriptor;
    if (!d->final)
        return BAD_PARAM;
    if (name == DNN_PLAN_WORKSPACE_SIZE) {
        *(int64_t *)values = 256 * d->engine;
        *count = 1;
        return 0;
    }
    if (name == DNN_PLAN_JSON) {
        char text[32];
        *count = snprintf(text, sizeof text, "%d engine", (int)d->engine);
        if (values)
            memcpy(values, text, (size_t)*count);
        return 0;
    }
    if (name != DNN_ENGINEHEUR_RESULTS)
        return BAD_PARAM;
    int32_t mode = need(d, DNN_ENGINEHEUR_MODE)->value.small[0];
    int64_t most = mode == DNN_HEUR_A ? 3 : 1;
    for (*count = 0; *count < asked && *count < most; ++*count) {
        struct descriptor *config = ((struct descriptor **)values)[*count];
        config->engine = mode == DNN_HEUR_A ? *count + 1 : 4; /* 1 and 2 are no good */
        config->graph = (struct descriptor *)(uintptr_t)child(d, DNN_ENGINEHEUR_OPERATION_GRAPH);
        config->final = true;
    }
    return 0;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static void *pointer_of(const struct run *run, const struct descriptor *tensor)
{
    const struct attribute *uid = need(run->pack, DNN_VARIANT_PACK_UNIQUE_IDS);
    const struct attribute *data = need(run->pack, DNN_VARIANT_PACK_DATA_POINTERS);
    for (int64_t i = 0; i < uid->count; i++) {
        if (uid->value.integer[i] != ints(tensor, DNN_TENSOR_UNIQUE_ID)[0])
            continue;
        if ((uintptr_t)data->value.pointer[i] %
            (uintptr_t)ints(tensor, DNN_TENSOR_BYTE_ALIGNMENT)[0])
            die("memory is not aligned as was said");
        return data->value.pointer[i];
    }
    die("a tensor is not in the variant pack");
}

static int64_t count_of(const struct descriptor *tensor)
{
    const struct attribute *shape = need(tensor, DNN_TENSOR_DIMENSIONS);
    int64_t count = 1;
    for (int64_t i = 0; i < shape->count; i++)
        count *= shape->value.integer[i];
    return count;
}

/* Offset of element i, in the order of dimensions. */
static int64_t offset_of(const struct descriptor *tensor, int64_t i)
{
    const struct attribute *shape = need(tensor, DNN_TENSOR_DIMENSIONS);
    int64_t offset = 0;
    for (int64_t d = shape->count - 1; d >= 0; i /= shape->value.integer[d--])
        offset += i % shape->value.integer[d] * ints(tensor, DNN_TENSOR_STRIDES)[d];
    return offset;
}

/* Values in f32, dense in the order of dimensions: read from memory, or what an operation left. */
static const float *values(struct run *run, const struct descriptor *tensor)
{
    for (int i = 0; i < run->places; i++)
        if (run->place[i].tensor == tensor)
            return run->place[i].value;
    if (find(tensor, DNN_TENSOR_IS_VIRTUAL))
        die("a virtual tensor is read before it is written");
    int64_t count = count_of(tensor);
    float *value = malloc((size_t)count * sizeof *value);
    bool bf16 = need(tensor, DNN_TENSOR_DATA_TYPE)->value.small[0] == DNN_DATA_BFLOAT16;
    const void *data = pointer_of(run, tensor);
    for (int64_t i = 0; i < count; i++)
        value[i] = tensor_element(data, bf16 ? TENSOR_BF16 : TENSOR_F32, offset_of(tensor, i));
    run->place[run->places++] = (struct place){tensor, value};
    return value;
}

static float *result(struct run *run, const struct descriptor *tensor)
{
    float *value = malloc((size_t)count_of(tensor) * sizeof *value);
    run->place[run->places++] = (struct place){tensor, value};
    return value;
}

static void write_back(const struct run *run, const struct descriptor *tensor)
{
    const float *value = values((struct run *)run, tensor);
    if (find(tensor, DNN_TENSOR_IS_VIRTUAL))
        return;
    uint16_t *data = pointer_of(run, tensor);
    for (int64_t i = count_of(tensor) - 1; i >= 0; i--)
        data[offset_of(tensor, i)] = bf16_from_f32(value[i]);
}

/* ---- operations ------------------------------------------------------------------------------ */

static void convolve(struct run *run, const struct descriptor *op)
{
    const struct descriptor *conv = child(op, DNN_CONV_CONV_DESC);
    const struct descriptor *tx = child(op, DNN_CONV_X), *tw = child(op, DNN_CONV_W),
                            *ty = child(op, DNN_CONV_Y);
    const int64_t *in = ints(tx, DNN_TENSOR_DIMENSIONS), *k = ints(tw, DNN_TENSOR_DIMENSIONS),
                  *out = ints(ty, DNN_TENSOR_DIMENSIONS);
    const int64_t *step = ints(conv, DNN_CONVOLUTION_FILTER_STRIDES),
                  *before = ints(conv, DNN_CONVOLUTION_PRE_PADDINGS),
                  *after = ints(conv, DNN_CONVOLUTION_POST_PADDINGS);
    if (need(conv, DNN_CONVOLUTION_CONV_MODE)->value.small[0] != DNN_CROSS_CORRELATION)
        die("a convolution that turns its filter around");
    for (int i = 0; i < 3; i++)
        if (out[2 + i] != (in[2 + i] + before[i] + after[i] - k[2 + i]) / step[i] + 1)
            die("shapes of a convolution do not agree");
    const float *x = values(run, tx), *w = values(run, tw);
    float *y = result(run, ty);
    for (int64_t i = 0; i < count_of(ty); i++) {
        int64_t at[3], rest = i;
        for (int d = 2; d >= 0; rest /= out[2 + d--])
            at[d] = rest % out[2 + d] * step[d] - before[d];
        double sum = 0;
        const float *filter = w + rest % out[1] * k[1] * k[2] * k[3] * k[4];
        for (int64_t j = 0; j < k[1] * k[2] * k[3] * k[4]; j++) {
            int64_t a = at[2] + j % k[4], b = at[1] + j / k[4] % k[3],
                    c = at[0] + j / (k[4] * k[3]) % k[2], ci = j / (k[4] * k[3] * k[2]);
            if (a >= 0 && b >= 0 && c >= 0 && a < in[4] && b < in[3] && c < in[2])
                sum += (double)filter[j] * (double)x[((ci * in[2] + c) * in[3] + b) * in[4] + a];
        }
        y[i] = (float)sum;
    }
}

/* Where element i of a tensor of `shape` lies in a dense one that has 1 in some of the dimensions. */
static int64_t broadcast(const int64_t *shape, const struct descriptor *tensor, int64_t i)
{
    const struct attribute *own = need(tensor, DNN_TENSOR_DIMENSIONS);
    int64_t offset = 0, step = 1;
    for (int64_t d = own->count - 1; d >= 0; i /= shape[d--]) {
        int64_t n = own->value.integer[d];
        if (n != 1 && n != shape[d])
            die("shapes of an operation do not agree");
        offset += n == 1 ? 0 : i % shape[d] * step;
        step *= n;
    }
    return offset;
}

static float apply(int32_t mode, float x, float b)
{
    switch (mode) {
    case DNN_MODE_ADD:
        return x + b;
    case DNN_MODE_MUL:
        return x * b;
    case DNN_MODE_SUB:
        return x - b;
    case DNN_MODE_DIV:
        return x / b;
    case DNN_MODE_EXP:
        return expf(x);
    case DNN_MODE_LOG:
        return logf(x);
    case DNN_MODE_RELU:
        return fmaxf(x, 0);
    default:
        die("an operation that is not known");
    }
}

static void point(struct run *run, const struct descriptor *op)
{
    const struct descriptor *tx = child(op, DNN_POINTWISE_X), *ty = child(op, DNN_POINTWISE_Y);
    const struct descriptor *tb = find(op, DNN_POINTWISE_B) ? child(op, DNN_POINTWISE_B) : NULL;
    int32_t mode = need(child(op, DNN_POINTWISE_PW), DNN_POINTWISE_MODE)->value.small[0];
    if (!tb != (mode == DNN_MODE_EXP || mode == DNN_MODE_LOG || mode == DNN_MODE_RELU))
        die("an operation of too many or too few");
    const float *x = values(run, tx), *b = tb ? values(run, tb) : NULL;
    const int64_t *shape = ints(ty, DNN_TENSOR_DIMENSIONS);
    bool bf16 = need(ty, DNN_TENSOR_DATA_TYPE)->value.small[0] == DNN_DATA_BFLOAT16;
    float *y = result(run, ty);
    for (int64_t i = 0, count = count_of(ty); i < count; i++) {
        float value = apply(mode, x[broadcast(shape, tx, i)], b ? b[broadcast(shape, tb, i)] : 0);
        y[i] = bf16 ? bf16_to_f32(bf16_from_f32(value)) : value;
    }
}

/* [1, heads, m, k] by [1, heads, k, n] */
static void multiply(struct run *run, const struct descriptor *op)
{
    const struct descriptor *ta = child(op, DNN_OPERATION_MATMUL_A), *tb = child(op, DNN_OPERATION_MATMUL_B),
                            *tc = child(op, DNN_OPERATION_MATMUL_C);
    const int64_t *a_shape = ints(ta, DNN_TENSOR_DIMENSIONS), *b_shape = ints(tb, DNN_TENSOR_DIMENSIONS);
    int64_t m = a_shape[2], k = a_shape[3], n = b_shape[3], heads = a_shape[1];
    if (b_shape[1] != heads || b_shape[2] != k || count_of(tc) != heads * m * n)
        die("shapes of a product do not agree");
    const float *a = values(run, ta), *b = values(run, tb);
    float *c = result(run, tc);
    for (int64_t i = 0; i < heads * m * n; i++) {
        const float *row = a + i / n * k, *column = b + i / (m * n) * k * n + i % n;
        double sum = 0;
        for (int64_t j = 0; j < k; j++)
            sum += (double)row[j] * (double)column[j * n];
        c[i] = (float)sum;
    }
}

/* Over the last dimension. */
static void reduce(struct run *run, const struct descriptor *op)
{
    const struct descriptor *tx = child(op, DNN_OPERATION_REDUCTION_X), *ty = child(op, DNN_OPERATION_REDUCTION_Y);
    int32_t how = need(child(op, DNN_OPERATION_REDUCTION_DESC), DNN_REDUCTION_OPERATOR)->value.small[0];
    int64_t n = ints(tx, DNN_TENSOR_DIMENSIONS)[3];
    if (count_of(ty) * n != count_of(tx) || (how != DNN_REDUCE_ADD && how != DNN_REDUCE_MAX))
        die("a reduction that is not known");
    const float *x = values(run, tx);
    float *y = result(run, ty);
    for (int64_t i = 0; i < count_of(ty); i++) {
        float most = -INFINITY;
        double sum = 0;
        for (int64_t j = 0; j < n; j++) {
            most = x[i * n + j] > most ? x[i * n + j] : most;
            sum += (double)x[i * n + j];
        }
        y[i] = how == DNN_REDUCE_MAX ? most : (float)sum;
    }
}

/* One number of device memory, from 1 to `most`. */
static int64_t length(struct run *run, const struct descriptor *tensor, int64_t most)
{
    const int32_t *data = pointer_of(run, tensor);
    if (need(tensor, DNN_TENSOR_DATA_TYPE)->value.small[0] != DNN_DATA_INT32 ||
        count_of(tensor) != 1 || *data < 1 || *data > most)
        die("a length that is none");
    return *data;
}

static void attend(struct run *run, const struct descriptor *op)
{
    const struct descriptor *ty = child(op, DNN_SDPA_O);
    const int64_t *q_shape = ints(child(op, DNN_SDPA_Q), DNN_TENSOR_DIMENSIONS);
    int64_t width = q_shape[3], queries = q_shape[2], heads = q_shape[1],
            keys = ints(child(op, DNN_SDPA_K), DNN_TENSOR_DIMENSIONS)[2], counted = keys;
    if (find(op, DNN_SDPA_SEQ_LEN_KV)) {
        counted = length(run, child(op, DNN_SDPA_SEQ_LEN_KV), keys);
        if (length(run, child(op, DNN_SDPA_SEQ_LEN_Q), queries) != queries)
            die("not all queries count");
    }
    const float *q = values(run, child(op, DNN_SDPA_Q)), *k = values(run, child(op, DNN_SDPA_K)),
                *v = values(run, child(op, DNN_SDPA_V)),
                scale = values(run, child(op, DNN_SDPA_SCALE))[0];
    float *y = result(run, ty);
    double *weight = malloc((size_t)keys * sizeof *weight);
    for (int64_t i = 0; i < heads * queries; i++) {
        const float *of_k = k + i / queries * keys * width, *of_v = v + i / queries * keys * width;
        double most = -INFINITY, sum = 0;
        for (int64_t j = 0; j < counted; j++) {
            weight[j] = 0;
            for (int64_t d = 0; d < width; d++)
                weight[j] += (double)q[i * width + d] * (double)of_k[j * width + d];
            weight[j] *= (double)scale;
            most = weight[j] > most ? weight[j] : most;
        }
        for (int64_t j = 0; j < counted; j++)
            sum += weight[j] = exp(weight[j] - most);
        for (int64_t d = 0; d < width; d++) {
            double mean = 0;
            for (int64_t j = 0; j < counted; j++)
                mean += weight[j] / sum * (double)of_v[j * width + d];
            y[i * width + d] = (float)mean;
        }
    }
    free(weight);
}

static const struct operation {
    int type;
    void (*run)(struct run *run, const struct descriptor *op);
    int result;
} operations[] = {
    {DNN_OPERATION_CONVOLUTION, convolve, DNN_CONV_Y},
    {DNN_OPERATION_POINTWISE, point, DNN_POINTWISE_Y},
    {DNN_OPERATION_MATMUL, multiply, DNN_OPERATION_MATMUL_C},
    {DNN_OPERATION_REDUCTION, reduce, DNN_OPERATION_REDUCTION_Y},
    {DNN_OPERATION_SDPA, attend, DNN_SDPA_O},
};

static const struct operation *operation_of(const struct descriptor *op)
{
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (operations[i].type == op->type)
            return &operations[i];
    die("an operation that is not known");
}

/* A call with its own copy of the pack. */
struct execution {
    const struct descriptor *plan;
    struct descriptor pack;
    float scale; /* a value in host memory, which a capture copies */
};

static void run_graph(void *opaque)
{
    struct execution *e = opaque;
    struct run run = {.pack = &e->pack};
    const struct attribute *ops = need(e->plan->graph, DNN_OPERATIONGRAPH_OPS);
    const struct descriptor *last = NULL;
    for (int64_t i = 0; i < ops->count; i++) {
        last = ops->value.pointer[i];
        operation_of(last)->run(&run, last);
    }
    write_back(&run, child(last, operation_of(last)->result));
    while (run.places)
        free(run.place[--run.places].value);
}

static void keep(const struct execution *now)
{
    struct execution *kept = malloc(sizeof *kept);
    *kept = *now;
    struct attribute *uid = NULL, *data = NULL;
    for (int i = 0; i < kept->pack.attributes; i++) {
        struct attribute *a = &kept->pack.attribute[i];
        uid = a->name == DNN_VARIANT_PACK_UNIQUE_IDS ? a : uid;
        data = a->name == DNN_VARIANT_PACK_DATA_POINTERS ? a : data;
    }
    for (int64_t i = 0; i < uid->count; i++) {
        if (uid->value.integer[i] == DNN_UID_SCALE) {
            kept->scale = *(const float *)data->value.pointer[i];
            data->value.pointer[i] = &kept->scale;
        }
    }
    emulate_capture(run_graph, free, kept);
}

static int execute(void *handle, void *plan, void *pack)
{
    struct execution e = {plan, *(struct descriptor *)pack, 0};
    if (!e.plan->final || !e.pack.final || !handle)
        return BAD_PARAM;
    if (e.plan->engine && !need(pack, DNN_VARIANT_PACK_WORKSPACE)->value.pointer[0])
        die("no workspace");
    if (e.plan->engine == 2)
        return EXECUTION_FAILED;
    if (emulate_capturing())
        keep(&e);
    else
        run_graph(&e);
    return 0;
}

/* ---- the rest -------------------------------------------------------------------------------- */

static size_t version(void)
{
    return emulate_refuses("sdpa") ? 91000 : 91900;
}

static const char *error_string(int status)
{
    return status ? "an error" : "success";
}

static void last_error(char *message, size_t size)
{
    snprintf(message, size, "of the stand-in");
}

static int create_handle(void **handle)
{
    *handle = malloc(1);
    return 0;
}

static int set_stream(void *handle, void *stream)
{
    return handle && stream ? 0 : BAD_PARAM;
}

bool dnn_load(struct dnn_api *api, const unreel_log *log)
{
    *api = (struct dnn_api){
        .cudnnGetVersion = version,
        .cudnnGetErrorString = error_string,
        .cudnnGetLastErrorString = last_error,
        .cudnnCreate = create_handle,
        .cudnnDestroy = destroy,
        .cudnnSetStream = set_stream,
        .cudnnBackendCreateDescriptor = create,
        .cudnnBackendDestroyDescriptor = destroy,
        .cudnnBackendFinalize = finalise,
        .cudnnBackendSetAttribute = set,
        .cudnnBackendGetAttribute = get,
        .cudnnBackendExecute = execute,
    };
    return true;
}
