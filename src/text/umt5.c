/* The umT5 encoder. L tokens, C model width (dim), A attention width (dim_attn), H heads, F width
 * of the feed-forward. Only the prompt's own tokens are encoded: padding would be masked out of
 * every attention anyway.
 *
 * Attention is f32 whatever the compute type: it is not scaled, so rounding queries and keys
 * to bf16 alone costs up to 3 % of the result. The feed-forward has the compute type. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/relative_position.h"
#include "text/text.h"
#include "weights/weights.h"

#define LAYERS_MAX 1024
#define EPS 1e-6f

struct layer {
    struct linear qkv, out;       /* [3 A, C], [C, A] */
    struct linear gate, up, down; /* [F, C], [F, C], [C, F] */
    struct tensor norm1, norm2;   /* [C] f32 */
    const struct weight *positions; /* [32, H] */
};

/* For up to `rows` tokens. */
struct workspace {
    struct arena arena;
    int64_t rows;
    void *embeds;         /* host: rows of the table, in its type */
    float *bias;          /* host [H, 2 rows - 1] */
    struct tensor x;        /* [rows, C] f32, the residual stream */
    struct tensor branch;   /* [rows, C] f32, what a branch adds to it */
    struct tensor norm1;    /* [rows, C] f32 */
    struct tensor qkv;      /* [rows, 3 A] f32 */
    struct tensor mixed;    /* [rows, A] f32, what attention gives */
    struct tensor norm2;    /* [rows, C] */
    struct tensor gate, up; /* [rows, F] */
    struct tensor relative; /* [H (2 rows - 1)] f32 */
    struct tensor zero;     /* [1, C] f32 */
};

struct text_encoder {
    struct backend *backend;
    struct weights *weights;
    struct arena arena; /* gains */
    int64_t vocab, dim, dim_attn, dim_ffn, heads;
    int layers;
    struct layer *layer; /* [layers] */
    const struct weight *table; /* [vocab, C] */
    struct tensor norm; /* [C] f32 */
    struct workspace work;
};

/* ---- weights --------------------------------------------------------------------------------- */

static int64_t length_of(const struct weights *weights, const char *name, int dim)
{
    const struct weight *w = weights_find(weights, name);
    return w && w->tensor.dims > dim ? w->tensor.shape[dim] : -1;
}

static int read_sizes(struct text_encoder *e, const unreel_log *log)
{
    const char *path = weights_path(e->weights);
    char name[64];
    e->vocab = length_of(e->weights, "token_embedding.weight", 0);
    e->dim = length_of(e->weights, "token_embedding.weight", 1);
    e->dim_attn = length_of(e->weights, "blocks.0.attn.q.weight", 0);
    e->dim_ffn = length_of(e->weights, "blocks.0.ffn.fc1.weight", 0);
    e->heads = length_of(e->weights, "blocks.0.pos_embedding.embedding.weight", 1);
    if (e->vocab < 1 || e->dim < 1 || e->dim_attn < 1 || e->dim_ffn < 1 || e->heads < 1)
        return log_error(log, UNREEL_EFORMAT,
                         "%s: not a umT5 encoder (token_embedding.weight, blocks.0.*)", path);
    if (e->dim_attn % e->heads || e->vocab > INT32_MAX || e->dim > INT32_MAX)
        return log_error(log, UNREEL_EFORMAT, "%s: %lld heads do not share a width of %lld", path,
                         (long long)e->heads, (long long)e->dim_attn);
    do
        snprintf(name, sizeof name, "blocks.%d.norm1.weight", ++e->layers);
    while (e->layers < LAYERS_MAX && weights_find(e->weights, name));
    return 0;
}

/* Weights named by `parts`, each [n, k], as one product that is used once a prompt. */
static struct linear_desc bind_linear(struct text_encoder *e, struct binder *binder, int layer,
                                      int count, const char *const *parts, int64_t n, int64_t k)
{
    struct linear_desc desc = {.parts = count, .transient = true};
    desc.precise = !strncmp(parts[0], "attn.", 5);
    for (int i = 0; i < count; i++)
        desc.weight[i] = bind(binder, SHAPE(n, k), "blocks.%d.%s.weight", layer, parts[i]);
    return desc;
}

static void open_linear(struct text_encoder *e, struct linear *linear, const struct binder *binder,
                        const struct linear_desc *desc)
{
    if (!binder->wrong)
        backend_linear_init(e->backend, linear, desc);
}

static struct tensor open_gain(struct text_encoder *e, const struct binder *binder,
                               struct tensor gain)
{
    return binder->wrong ? gain : arena_upload_f32(&e->arena, &gain);
}

static void open_layer(struct text_encoder *e, struct binder *binder, int i)
{
    struct layer *layer = &e->layer[i];
    int64_t c = e->dim, a = e->dim_attn, f = e->dim_ffn;
    struct linear_desc qkv =
        bind_linear(e, binder, i, 3, (const char *const[]){"attn.q", "attn.k", "attn.v"}, a, c);
    struct linear_desc out = bind_linear(e, binder, i, 1, (const char *const[]){"attn.o"}, c, a);
    struct linear_desc gate =
        bind_linear(e, binder, i, 1, (const char *const[]){"ffn.gate.0"}, f, c);
    struct linear_desc up = bind_linear(e, binder, i, 1, (const char *const[]){"ffn.fc1"}, f, c);
    struct linear_desc down = bind_linear(e, binder, i, 1, (const char *const[]){"ffn.fc2"}, c, f);
    struct tensor norm1 = bind(binder, SHAPE(c), "blocks.%d.norm1.weight", i);
    struct tensor norm2 = bind(binder, SHAPE(c), "blocks.%d.norm2.weight", i);
    char name[64];
    snprintf(name, sizeof name, "blocks.%d.pos_embedding.embedding.weight", i);
    bind(binder, SHAPE(RELATIVE_BUCKETS, e->heads), "%s", name);
    layer->positions = weights_find(e->weights, name);
    layer->norm1 = open_gain(e, binder, norm1);
    layer->norm2 = open_gain(e, binder, norm2);
    open_linear(e, &layer->qkv, binder, &qkv);
    open_linear(e, &layer->out, binder, &out);
    open_linear(e, &layer->gate, binder, &gate);
    open_linear(e, &layer->up, binder, &up);
    open_linear(e, &layer->down, binder, &down);
}

static int open_weights(struct text_encoder *e, const unreel_log *log)
{
    struct binder binder;
    int code = read_sizes(e, log);
    if (code < 0 || (code = binder_init(&binder, e->weights, log)) < 0)
        return code;
    e->layer = calloc((size_t)e->layers, sizeof *e->layer);
    if (!e->layer) {
        binder_finish(&binder);
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", weights_path(e->weights));
    }
    bind(&binder, SHAPE(e->vocab, e->dim), "token_embedding.weight");
    e->table = weights_find(e->weights, "token_embedding.weight");
    struct tensor norm = bind(&binder, SHAPE(e->dim), "norm.weight");
    e->norm = open_gain(e, &binder, norm);
    for (int i = 0; i < e->layers; i++)
        open_layer(e, &binder, i);
    code = binder_finish(&binder);
    return code < 0 ? code : backend_status(e->backend);
}

int text_encoder_open(struct text_encoder **encoder, struct backend *backend, const char *path,
                      const unreel_log *log)
{
    struct weights *weights;
    *encoder = NULL;
    int code = weights_open(&weights, path, NULL, log);
    return code < 0 ? code : text_encoder_from_weights(encoder, backend, weights, log);
}

int text_encoder_from_weights(struct text_encoder **encoder, struct backend *backend,
                              struct weights *weights, const unreel_log *log)
{
    *encoder = NULL;
    struct text_encoder *e = calloc(1, sizeof *e);
    if (!e) {
        int code = log_error(log, UNREEL_ENOMEM, "%s: out of memory", weights_path(weights));
        weights_close(weights);
        return code;
    }
    e->backend = backend;
    e->weights = weights;
    arena_init(&e->arena, backend);
    arena_init(&e->work.arena, backend);
    int code = open_weights(e, log);
    if (code < 0)
        text_encoder_close(e);
    else
        *encoder = e;
    return code;
}

static void finish_workspace(struct workspace *w)
{
    struct backend *backend = w->arena.backend;
    arena_finish(&w->arena);
    free(w->embeds);
    free(w->bias);
    *w = (struct workspace){0};
    arena_init(&w->arena, backend);
}

void text_encoder_close(struct text_encoder *e)
{
    if (!e)
        return;
    for (int i = 0; e->layer && i < e->layers; i++) {
        struct layer *layer = &e->layer[i];
        backend_linear_finish(e->backend, &layer->qkv);
        backend_linear_finish(e->backend, &layer->out);
        backend_linear_finish(e->backend, &layer->gate);
        backend_linear_finish(e->backend, &layer->up);
        backend_linear_finish(e->backend, &layer->down);
    }
    free(e->layer);
    finish_workspace(&e->work);
    arena_finish(&e->arena);
    weights_close(e->weights);
    free(e);
}

int text_encoder_dim(const struct text_encoder *encoder)
{
    return (int)encoder->dim;
}

/* ---- encoding -------------------------------------------------------------------------------- */

static int reserve(struct text_encoder *e, int64_t rows)
{
    struct workspace *w = &e->work;
    struct backend *b = e->backend;
    if (rows <= w->rows)
        return 0;
    finish_workspace(w);
    w->x = arena_tensor(&w->arena, TENSOR_F32, SHAPE(rows, e->dim));
    w->branch = arena_tensor(&w->arena, TENSOR_F32, SHAPE(rows, e->dim));
    w->norm1 = arena_tensor(&w->arena, TENSOR_F32, SHAPE(rows, e->dim));
    w->norm2 = arena_tensor(&w->arena, b->compute, SHAPE(rows, e->dim));
    w->qkv = arena_tensor(&w->arena, TENSOR_F32, SHAPE(rows, 3 * e->dim_attn));
    w->mixed = arena_tensor(&w->arena, TENSOR_F32, SHAPE(rows, e->dim_attn));
    w->gate = arena_tensor(&w->arena, b->compute, SHAPE(rows, e->dim_ffn));
    w->up = arena_tensor(&w->arena, b->compute, SHAPE(rows, e->dim_ffn));
    w->relative = arena_tensor(&w->arena, TENSOR_F32, SHAPE(e->heads * (2 * rows - 1)));
    w->zero = arena_tensor(&w->arena, TENSOR_F32, SHAPE(1, e->dim));
    w->embeds = malloc((size_t)(rows * e->dim) * tensor_type_size(e->table->tensor.type));
    w->bias = malloc((size_t)(e->heads * (2 * rows - 1)) * sizeof *w->bias);
    if (!w->embeds || !w->bias)
        backend_fail(b, UNREEL_ENOMEM, "out of host memory for a text of %lld tokens",
                     (long long)rows);
    int code = backend_status(b);
    if (code < 0)
        finish_workspace(w);
    else
        w->rows = rows;
    return code;
}

/* The first `count` rows of a workspace tensor. */
static struct tensor head(struct tensor t, int64_t count)
{
    return tensor_slice(t, 0, 0, count);
}

/* x = rows of the embedding table, straight from the mapped file. */
static void embed(struct text_encoder *e, const int32_t *ids, int64_t count)
{
    const struct tensor *table = &e->table->tensor;
    size_t row = (size_t)e->dim * tensor_type_size(table->type);
    for (int64_t i = 0; i < count; i++)
        memcpy((char *)e->work.embeds + (size_t)i * row,
               (const char *)table->data + (size_t)ids[i] * row, row);
    backend_upload(e->backend, head(e->work.x, count),
                   tensor_make(e->work.embeds, table->type, SHAPE(count, e->dim)));
    tensor_drop_pages(table);
}

/* The layer's bias [H, 2 L - 1], entry j - i + L - 1 for query i and key j. */
static struct tensor relative_bias(struct text_encoder *e, const struct layer *layer, int64_t count)
{
    int64_t width = 2 * count - 1;
    const struct tensor *table = &layer->positions->tensor;
    for (int64_t at = 0; at < width; at++) {
        int64_t bucket = relative_bucket(at - (count - 1));
        for (int64_t h = 0; h < e->heads; h++)
            e->work.bias[h * width + at] =
                tensor_element(table->data, table->type, bucket * e->heads + h);
    }
    struct tensor bias = tensor_slice(e->work.relative, 0, 0, e->heads * width);
    bias = tensor_reshape(bias, SHAPE(e->heads, width));
    backend_upload(e->backend, bias,
                   tensor_make(e->work.bias, TENSOR_F32, SHAPE(e->heads, width)));
    return bias;
}

static void attend(struct text_encoder *e, struct layer *layer, int64_t count)
{
    struct backend *b = e->backend;
    struct tensor norm = head(e->work.norm1, count), qkv = head(e->work.qkv, count);
    struct tensor mixed = head(e->work.mixed, count), branch = head(e->work.branch, count);
    struct tensor x = head(e->work.x, count), part[3], heads;
    int64_t width = e->dim_attn / e->heads;
    for (int i = 0; i < 3; i++)
        part[i] = tensor_reshape(tensor_slice(qkv, 1, i * e->dim_attn, e->dim_attn),
                                 SHAPE(count, e->heads, width));
    heads = tensor_reshape(mixed, SHAPE(count, e->heads, width));
    op_rms_norm(b, norm, x, layer->norm1, EPS, ACT_NONE);
    op_linear(b, qkv, norm, &layer->qkv, ACT_NONE);
    op_attention(b, heads, part[0], part[1], part[2], 1, relative_bias(e, layer, count));
    op_linear(b, branch, mixed, &layer->out, ACT_NONE);
    op_add_gated(b, x, branch, (struct tensor){0});
}

static void feed_forward(struct text_encoder *e, struct layer *layer, int64_t count)
{
    struct backend *b = e->backend;
    struct tensor norm = head(e->work.norm2, count), branch = head(e->work.branch, count);
    struct tensor gate = head(e->work.gate, count), up = head(e->work.up, count);
    struct tensor x = head(e->work.x, count);
    op_rms_norm(b, norm, x, layer->norm2, EPS, ACT_NONE);
    op_linear(b, gate, norm, &layer->gate, ACT_GELU_TANH);
    op_linear(b, up, norm, &layer->up, ACT_NONE);
    op_mul(b, up, up, gate);
    op_linear(b, branch, up, &layer->down, ACT_NONE);
    op_add_gated(b, x, branch, (struct tensor){0});
}

static int check_request(struct text_encoder *e, const int32_t *ids, int count,
                         const struct tensor *embeds)
{
    if (!embeds->data || embeds->type != TENSOR_F32 || embeds->dims != 2 ||
        embeds->shape[1] != e->dim || count < 1 || count > embeds->shape[0])
        return log_error(&e->backend->log, UNREEL_EINVAL,
                         "%s: %d tokens do not fit the given embedding",
                         weights_path(e->weights), count);
    for (int i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= e->vocab)
            return log_error(&e->backend->log, UNREEL_EINVAL,
                             "%s: token %d, but there are only %lld", weights_path(e->weights),
                             ids[i], (long long)e->vocab);
    }
    return 0;
}

int text_encoder_encode(struct text_encoder *e, const int32_t *ids, int count, struct tensor embeds)
{
    struct backend *b = e->backend;
    int code = check_request(e, ids, count, &embeds);
    if (code < 0 || (code = backend_status(b)) < 0 || (code = reserve(e, embeds.shape[0])) < 0)
        return code;
    embed(e, ids, count);
    for (int i = 0; i < e->layers; i++) {
        attend(e, &e->layer[i], count);
        feed_forward(e, &e->layer[i], count);
    }
    op_rms_norm(b, head(embeds, count), head(e->work.x, count), e->norm, EPS, ACT_NONE);
    if (count < embeds.shape[0]) {
        struct tensor rest = tensor_slice(embeds, 0, count, embeds.shape[0] - count);
        struct tensor zero = e->work.zero;
        zero.shape[0] = rest.shape[0];
        zero.stride[0] = 0;
        op_copy(b, rest, zero);
    }
    return backend_status(b);
}
