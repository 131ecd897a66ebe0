/* Primitives of oneDNN: describing, compiling, keeping and running them. */
#include "cpu/onednn.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define PRIMITIVES 192 /* a network uses some 60; the rest is for other sizes */

/* ---- versions 2 and 3 --------------------------------------------------------------------- */

typedef dnnl_memory_desc_t layout; /* version 2: a struct; 3: an object to be freed */

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t layout_ref;
#define REF(l) (l)

static dnnl_status_t layout_strided(layout *l, int dims, const int64_t *shape,
                                    dnnl_data_type_t type, const int64_t *stride)
{
    return dnnl_memory_desc_create_with_strides(l, dims, shape, type, stride);
}

static dnnl_status_t layout_tagged(layout *l, int dims, const int64_t *shape,
                                   dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(l, dims, shape, type, tag);
}

static dnnl_status_t layout_copy(layout *l, layout_ref from)
{
    return dnnl_memory_desc_clone(l, from);
}

static void layout_free(layout *l)
{
    if (*l)
        dnnl_memory_desc_destroy(*l);
    *l = NULL;
}
#else
typedef const dnnl_memory_desc_t *layout_ref;
#define REF(l) (&(l))

static dnnl_status_t layout_strided(layout *l, int dims, const int64_t *shape,
                                    dnnl_data_type_t type, const int64_t *stride)
{
    return dnnl_memory_desc_init_by_strides(l, dims, shape, type, stride);
}

static dnnl_status_t layout_tagged(layout *l, int dims, const int64_t *shape,
                                   dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(l, dims, shape, type, tag);
}

static dnnl_status_t layout_copy(layout *l, layout_ref from)
{
    *l = *from;
    return dnnl_success;
}

static void layout_free(layout *l)
{
}
#endif

/* x, weight, bias and y of a product or convolution. */
struct layouts {
    layout x, w, bias, y;
};

static void layouts_free(struct layouts *l)
{
    layout_free(&l->x);
    layout_free(&l->w);
    layout_free(&l->bias);
    layout_free(&l->y);
}

static dnnl_status_t describe_product(dnnl_primitive_desc_t *desc, dnnl_engine_t engine,
                                      const struct layouts *l, const_dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_matmul_primitive_desc_create(desc, engine, l->x, l->w, l->bias, l->y, attr);
#else
    dnnl_matmul_desc_t op;
    dnnl_status_t status = dnnl_matmul_desc_init(&op, &l->x, &l->w, &l->bias, &l->y);
    return status ? status : dnnl_primitive_desc_create(desc, &op, attr, engine, NULL);
#endif
}

static dnnl_status_t describe_conv(dnnl_primitive_desc_t *desc, dnnl_engine_t engine,
                                   const struct layouts *l, int64_t stride,
                                   const_dnnl_primitive_attr_t attr)
{
    dnnl_dims_t strides = {1, stride, stride}, none = {0, 0, 0};
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_convolution_forward_primitive_desc_create(
        desc, engine, dnnl_forward_inference, dnnl_convolution_direct, l->x, l->w, l->bias, l->y,
        strides, none, none, none, attr);
#else
    dnnl_convolution_desc_t op;
    dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &op, dnnl_forward_inference, dnnl_convolution_direct, &l->x, &l->w, &l->bias, &l->y,
        strides, none, none, none);
    return status ? status : dnnl_primitive_desc_create(desc, &op, attr, engine, NULL);
#endif
}

/* ---- the table ---------------------------------------------------------------------------- */

struct onednn {
    unreel_log log;
    dnnl_engine_t engine;
    dnnl_stream_t *stream; /* [threads] */
    int threads;
    bool refused; /* once logged */
    uint64_t clock;
    struct onednn_primitive table[PRIMITIVES];
};

struct onednn *onednn_create(int threads, const unreel_log *log)
{
    struct onednn *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->log = *log;
    o->threads = threads;
    o->stream = calloc((size_t)threads, sizeof *o->stream);
    bool made = o->stream && !dnnl_engine_create(&o->engine, dnnl_cpu, 0);
    for (int i = 0; made && i < threads; i++)
        made = !dnnl_stream_create(&o->stream[i], o->engine, dnnl_stream_default_flags);
    if (made)
        return o;
    onednn_destroy(o);
    return NULL;
}

static void forget(struct onednn *o, struct onednn_primitive *p)
{
    for (int i = 0; p->memory && i < o->threads; i++)
        for (int j = 0; j < ONEDNN_ARGUMENTS; j++)
            if (p->memory[i][j])
                dnnl_memory_destroy(p->memory[i][j]);
    free(p->memory);
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    *p = (struct onednn_primitive){0};
}

void onednn_destroy(struct onednn *o)
{
    if (!o)
        return;
    for (int i = 0; i < PRIMITIVES; i++)
        forget(o, &o->table[i]);
    for (int i = 0; o->stream && i < o->threads; i++)
        if (o->stream[i])
            dnnl_stream_destroy(o->stream[i]);
    free(o->stream);
    if (o->engine)
        dnnl_engine_destroy(o->engine);
    free(o);
}

bool onednn_has_bf16(void)
{
    int isa = (int)dnnl_get_effective_cpu_isa(), bf16 = dnnl_cpu_isa_avx512_core_bf16;
    return (isa & bf16) == bf16;
}

/* ---- what a key asks for ------------------------------------------------------------------ */

static dnnl_data_type_t type_of(int32_t type)
{
    return type == TENSOR_F32 ? dnnl_f32 : dnnl_bf16;
}

/* Scratch memory is the caller's, so that threads can share a primitive. */
static dnnl_status_t make_attributes(dnnl_primitive_attr_t *attr)
{
    dnnl_status_t status = dnnl_primitive_attr_create(attr);
    return status ? status
                  : dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
}

/* `packed` NULL: oneDNN chooses the order of the weight. */
static dnnl_status_t product_layouts(struct layouts *l, const struct onednn_key *key,
                                     layout_ref packed)
{
    dnnl_dims_t x = {key->m, key->k}, w = {key->k, key->n}, y = {key->m, key->n};
    dnnl_dims_t bias = {1, key->n};
    dnnl_status_t status = layout_tagged(&l->x, 2, x, type_of(key->x_type), dnnl_ab);
    if (!status && packed)
        status = layout_copy(&l->w, packed);
    else if (!status)
        status = layout_tagged(&l->w, 2, w, type_of(key->w_type), dnnl_format_tag_any);
    if (!status)
        status = layout_tagged(&l->bias, 2, bias, dnnl_f32, dnnl_ab);
    if (!status)
        status = layout_tagged(&l->y, 2, y, type_of(key->y_type), dnnl_ab);
    return status;
}

static dnnl_status_t conv_layouts(struct layouts *l, const struct onednn_key *key,
                                  layout_ref packed)
{
    dnnl_dims_t x = {1, key->ci, key->t + key->kt - 1, (key->h - 1) * key->stride + key->kh,
                     (key->w - 1) * key->stride + key->kw};
    dnnl_dims_t w = {key->co, key->ci, key->kt, key->kh, key->kw};
    dnnl_dims_t y = {1, key->co, key->t, key->h, key->w}, bias = {key->co};
    dnnl_status_t status = layout_tagged(&l->x, 5, x, type_of(key->x_type), dnnl_ndhwc);
    if (!status && packed)
        status = layout_copy(&l->w, packed);
    else if (!status)
        status = layout_tagged(&l->w, 5, w, type_of(key->w_type), dnnl_format_tag_any);
    if (!status)
        status = layout_tagged(&l->bias, 1, bias, dnnl_f32, dnnl_a);
    if (!status)
        status = layout_tagged(&l->y, 5, y, type_of(key->y_type), dnnl_ndhwc);
    return status;
}

static dnnl_status_t describe_with(dnnl_primitive_desc_t *desc, dnnl_engine_t engine,
                                   const struct onednn_key *key, layout_ref packed)
{
    struct layouts l = {0};
    dnnl_primitive_attr_t attr = NULL;
    bool conv = key->kind == ONEDNN_CONV;
    dnnl_status_t status =
        conv ? conv_layouts(&l, key, packed) : product_layouts(&l, key, packed);
    status = status ? status : make_attributes(&attr);
    if (!status && conv)
        status = describe_conv(desc, engine, &l, key->stride, attr);
    else if (!status)
        status = describe_product(desc, engine, &l, attr);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    layouts_free(&l);
    return status;
}

/* The order weights are packed in: oneDNN's choice for a typical size, so that it depends on nothing
 * but the weight. */
static dnnl_status_t packed_layout(layout *packed, dnnl_engine_t engine,
                                   const struct onednn_key *key)
{
    struct onednn_key typical = *key;
    dnnl_primitive_desc_t desc = NULL;
    bool conv = key->kind == ONEDNN_CONV || key->kind == ONEDNN_CONV_PACK;
    typical.kind = conv ? ONEDNN_CONV : ONEDNN_LINEAR;
    typical.m = 512;
    typical.t = 1;
    typical.h = 8;
    typical.w = 64;
    typical.x_type = typical.w_type = key->w_type;
    typical.y_type = TENSOR_F32;
    dnnl_status_t status = describe_with(&desc, engine, &typical, NULL);
    if (status)
        return status;
    status = layout_copy(packed, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0));
    dnnl_primitive_desc_destroy(desc);
    return status;
}

static dnnl_status_t describe_pack(dnnl_primitive_desc_t *desc, dnnl_engine_t engine,
                                   const struct onednn_key *key, layout_ref packed)
{
    layout plain = {0};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status;
    if (key->kind == ONEDNN_CONV_PACK) {
        dnnl_dims_t shape = {key->co, key->ci, key->kt, key->kh, key->kw};
        status = layout_tagged(&plain, 5, shape, type_of(key->x_type), dnnl_abcde);
    } else {
        dnnl_dims_t shape = {key->k, key->n}, stride = {1, key->k};
        status = layout_strided(&plain, 2, shape, type_of(key->x_type), stride);
    }
    status = status ? status : make_attributes(&attr);
    status = status ? status
                    : dnnl_reorder_primitive_desc_create(desc, REF(plain), engine, packed, engine,
                                                         attr);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    layout_free(&plain);
    return status;
}

/* ---- compiling ---------------------------------------------------------------------------- */

/* The reference implementation is there for completeness, not for use. */
static bool is_reference(const_dnnl_primitive_desc_t desc)
{
    const char *name = "";
    dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &name);
    return strstr(name, "ref") != NULL;
}

static bool is_pack(const struct onednn_key *key)
{
    return key->kind == ONEDNN_LINEAR_PACK || key->kind == ONEDNN_CONV_PACK;
}

static dnnl_status_t make_memory(struct onednn *o, struct onednn_primitive *p,
                                 const_dnnl_primitive_desc_t desc)
{
    bool pack = is_pack(&p->key);
    static const struct {
        enum onednn_argument argument;
        dnnl_query_t what;
        int index;
        bool pack;
    } query[] = {
        {ONEDNN_X, dnnl_query_src_md, 0, true},      {ONEDNN_W, dnnl_query_weights_md, 0, false},
        {ONEDNN_BIAS, dnnl_query_weights_md, 1, false}, {ONEDNN_Y, dnnl_query_dst_md, 0, true},
        {ONEDNN_SCRATCH, dnnl_query_scratchpad_md, 0, true},
    };
    p->memory = calloc((size_t)o->threads, sizeof *p->memory);
    if (!p->memory)
        return dnnl_out_of_memory;
    for (size_t i = 0; i < sizeof query / sizeof query[0]; i++) {
        if (pack && !query[i].pack)
            continue;
        layout_ref l = dnnl_primitive_desc_query_md(desc, query[i].what, query[i].index);
        if (query[i].argument == ONEDNN_SCRATCH)
            p->scratch = dnnl_memory_desc_get_size(l);
        if (query[i].argument == ONEDNN_Y && pack)
            p->packed = dnnl_memory_desc_get_size(l);
        for (int thread = 0; thread < o->threads; thread++) {
            dnnl_status_t status = dnnl_memory_create(&p->memory[thread][query[i].argument], l,
                                                      o->engine, DNNL_MEMORY_NONE);
            if (status)
                return status;
        }
    }
    return dnnl_success;
}

static dnnl_status_t compile(struct onednn *o, struct onednn_primitive *p)
{
    layout packed = {0};
    dnnl_primitive_desc_t desc = NULL;
    bool pack = is_pack(&p->key);
    dnnl_status_t status = packed_layout(&packed, o->engine, &p->key);
    if (!status && pack)
        status = describe_pack(&desc, o->engine, &p->key, REF(packed));
    else if (!status)
        status = describe_with(&desc, o->engine, &p->key, REF(packed));
    if (!status && !pack && is_reference(desc))
        status = dnnl_unimplemented;
    status = status ? status : make_memory(o, p, desc);
    status = status ? status : dnnl_primitive_create(&p->primitive, desc);
    if (desc)
        dnnl_primitive_desc_destroy(desc);
    layout_free(&packed);
    return status;
}

static void log_refusal(struct onednn *o, const struct onednn_key *key, dnnl_status_t status)
{
    if (o->refused)
        return;
    o->refused = true;
    if (key->kind == ONEDNN_LINEAR || key->kind == ONEDNN_LINEAR_PACK)
        log_write(&o->log, UNREEL_LOG_DEBUG,
                  "oneDNN has no product [%lld, %lld] x [%lld, %lld] (status %d): plain C instead",
                  (long long)key->m, (long long)key->k, (long long)key->k, (long long)key->n,
                  (int)status);
    else
        log_write(&o->log, UNREEL_LOG_DEBUG,
                  "oneDNN has no convolution %lld -> %lld, %lldx%lldx%lld (status %d): "
                  "plain C instead",
                  (long long)key->ci, (long long)key->co, (long long)key->kt, (long long)key->kh,
                  (long long)key->kw, (int)status);
}

const struct onednn_primitive *onednn_get(struct onednn *o, const struct onednn_key *key)
{
    struct onednn_primitive *oldest = &o->table[0];
    o->clock++;
    for (int i = 0; i < PRIMITIVES; i++) {
        struct onednn_primitive *p = &o->table[i];
        if (p->last_use && !memcmp(&p->key, key, sizeof *key)) {
            p->last_use = o->clock;
            return p->primitive ? p : NULL;
        }
        if (p->last_use < oldest->last_use)
            oldest = p;
    }
    forget(o, oldest);
    oldest->key = *key;
    oldest->last_use = o->clock;
    /* Code is made for the number of threads set at this time. */
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    dnnl_status_t status = compile(o, oldest);
    omp_set_num_threads(threads);
    if (!status)
        return oldest;
    log_refusal(o, key, status);
    forget(o, oldest);
    oldest->key = *key; /* not asked again */
    oldest->last_use = o->clock;
    return NULL;
}

void onednn_run(struct onednn *o, const struct onednn_primitive *p, int thread, const void *x,
                const void *w, const float *bias, void *y, void *scratch)
{
    dnnl_memory_t *memory = p->memory[thread];
    void *data[ONEDNN_ARGUMENTS] = {(void *)x, (void *)w, (void *)bias, y, scratch};
    const int name[ONEDNN_ARGUMENTS] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS,
                                        DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    dnnl_exec_arg_t arguments[ONEDNN_ARGUMENTS];
    int count = 0;
    for (int i = 0; i < ONEDNN_ARGUMENTS; i++) {
        if (!memory[i])
            continue;
        dnnl_memory_set_data_handle(memory[i], data[i]);
        arguments[count++] = (dnnl_exec_arg_t){name[i], memory[i]};
    }
    int threads = omp_get_max_threads(); /* of this thread's own setting */
    omp_set_num_threads(1);
    dnnl_primitive_execute(p->primitive, o->stream[thread], count, arguments);
    dnnl_stream_wait(o->stream[thread]);
    omp_set_num_threads(threads);
}
