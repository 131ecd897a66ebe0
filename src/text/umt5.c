/* The umT5 encoder (spec section 3). Sizes are read off the tensors; weights stay mapped, each layer's
 * pages are let go after use. Activations are f32 whatever the compute type: attention is not scaled, so
 * rounded queries and keys cost 3 % of the result, and a prompt is encoded once. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "text/text.h"
#include "weights/weights.h"

#define BUCKETS 32
#define EXACT_DISTANCE 8   /* distances below have a bucket each */
#define MAX_DISTANCE 128.0 /* from here on all share the last bucket */
#define NORM_EPS 1e-6f
#define LAYERS_MAX 256

struct layer {
    struct tensor norm1, norm2;   /* [dim] */
    struct linear qkv, o;         /* [3 attn, dim], [dim, attn] */
    struct linear gate, up, down; /* [ffn, dim], [ffn, dim], [dim, ffn] */
    struct tensor buckets;        /* host [32, heads] */
};

struct text_encoder {
    struct backend *backend;
    struct weights *weights;
    struct arena arena;
    int64_t dim, attn, ffn, heads, vocabulary;
    int layers;
    struct layer *layer;
    struct tensor table; /* host [vocabulary, dim], mapped */
    struct tensor norm;  /* [dim] */

    /* Working memory for up to `rows` tokens, made at the first prompt that needs it. */
    struct arena work;
    int64_t rows;
    struct tensor x;             /* residual stream, f32 [rows, dim] */
    struct tensor h;             /* [rows, dim] */
    struct tensor projected;     /* [rows, 3 attn] */
    struct tensor attended;      /* [rows, attn] */
    struct tensor gated, raised; /* [rows, ffn] */
    struct tensor bias;          /* f32 [heads, 2 rows - 1] */
    float *host;                 /* one embedding table's worth of rows, or the bias */
};

/* ---- weights ----------------------------------------------------------------------------------- */

static struct tensor load_gain(struct text_encoder *e, struct binder *binder, const char *format,
                               int index)
{
    char name[64];
    snprintf(name, sizeof name, format, index);
    struct tensor host = bind(binder, SHAPE(e->dim), "%s", name);
    return host.data ? arena_upload_f32(&e->arena, &host) : host;
}

/* Weights only, no biases anywhere in umT5. */
static void load_linear(struct text_encoder *e, struct binder *binder, struct linear *w, int parts,
                        const char *const *names, int index, int64_t n, int64_t k)
{
    struct linear_desc desc = {.parts = parts, .precise = true, .transient = true, .mapped = true};
    for (int i = 0; i < parts; i++)
        desc.weight[i] = bind(binder, SHAPE(n, k), "blocks.%d.%s.weight", index, names[i]);
    if (!binder->wrong)
        backend_linear_init(e->backend, w, &desc);
}

#define NAMES(...) (const char *const[]){__VA_ARGS__}

static void load_layer(struct text_encoder *e, struct binder *binder, int i)
{
    struct layer *l = &e->layer[i];
    l->norm1 = load_gain(e, binder, "blocks.%d.norm1.weight", i);
    l->norm2 = load_gain(e, binder, "blocks.%d.norm2.weight", i);
    load_linear(e, binder, &l->qkv, 3, NAMES("attn.q", "attn.k", "attn.v"), i, e->attn, e->dim);
    load_linear(e, binder, &l->o, 1, NAMES("attn.o"), i, e->dim, e->attn);
    load_linear(e, binder, &l->gate, 1, NAMES("ffn.gate.0"), i, e->ffn, e->dim);
    load_linear(e, binder, &l->up, 1, NAMES("ffn.fc1"), i, e->ffn, e->dim);
    load_linear(e, binder, &l->down, 1, NAMES("ffn.fc2"), i, e->dim, e->ffn);
    l->buckets = bind(binder, SHAPE(BUCKETS, e->heads), "blocks.%d.pos_embedding.embedding.weight", i);
}

/* The sizes that the names alone give. */
static int read_sizes(struct text_encoder *e, struct binder *binder)
{
    struct tensor q = bind(binder, SHAPE(-1, -1), "blocks.0.attn.q.weight");
    struct tensor fc1 = bind(binder, SHAPE(-1, -1), "blocks.0.ffn.fc1.weight");
    struct tensor buckets = bind(binder, SHAPE(BUCKETS, -1), "blocks.0.pos_embedding.embedding.weight");
    e->table = bind(binder, SHAPE(-1, -1), "token_embedding.weight");
    if (binder->wrong)
        return UNREEL_EFORMAT;
    e->vocabulary = e->table.shape[0];
    e->dim = e->table.shape[1];
    e->attn = q.shape[0];
    e->ffn = fc1.shape[0];
    e->heads = buckets.shape[1];
    while (e->layers < LAYERS_MAX) {
        char name[64];
        snprintf(name, sizeof name, "blocks.%d.attn.q.weight", e->layers);
        if (!weights_find(binder->weights, name))
            break;
        e->layers++;
    }
    if (!e->heads || e->attn % e->heads)
        return log_error(binder->log, UNREEL_EFORMAT, "%s: %lld attention features for %lld heads",
                         weights_path(binder->weights), (long long)e->attn, (long long)e->heads);
    return 0;
}

static int load_all(struct text_encoder *e, const unreel_log *log)
{
    struct binder binder;
    int code = binder_init(&binder, e->weights, log);
    if (code < 0)
        return code;
    code = read_sizes(e, &binder);
    if (code == 0 && !(e->layer = calloc((size_t)e->layers, sizeof *e->layer)))
        code = log_error(log, UNREEL_ENOMEM, "text encoder: out of memory");
    for (int i = 0; code == 0 && i < e->layers; i++)
        load_layer(e, &binder, i);
    if (code == 0)
        e->norm = load_gain(e, &binder, "norm.weight", 0);
    if (code < 0)
        binder_ignore(&binder, ""); /* already said what is wrong; the rest is not unexpected */
    int bound = binder_finish(&binder);
    return code < 0 ? code : bound < 0 ? bound : backend_status(e->backend);
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
        weights_close(weights);
        return log_error(log, UNREEL_ENOMEM, "text encoder: out of memory");
    }
    e->backend = backend;
    e->weights = weights;
    arena_init(&e->arena, backend);
    arena_init(&e->work, backend);
    int code = load_all(e, log);
    if (code < 0) {
        text_encoder_close(e);
        return code;
    }
    *encoder = e;
    return 0;
}

void text_encoder_close(struct text_encoder *encoder)
{
    struct text_encoder *e = encoder;
    if (!e)
        return;
    for (int i = 0; e->layer && i < e->layers; i++) {
        struct linear *linears[] = {&e->layer[i].qkv, &e->layer[i].o, &e->layer[i].gate,
                                    &e->layer[i].up, &e->layer[i].down};
        for (size_t j = 0; j < sizeof linears / sizeof *linears; j++)
            backend_linear_finish(e->backend, linears[j]);
    }
    free(e->layer);
    free(e->host);
    arena_finish(&e->work);
    arena_finish(&e->arena);
    weights_close(e->weights);
    free(e);
}

int text_encoder_dim(const struct text_encoder *encoder)
{
    return (int)encoder->dim;
}

/* ---- encoding ---------------------------------------------------------------------------------- */

static int reserve(struct text_encoder *e, int64_t rows)
{
    struct backend *b = e->backend;
    if (rows <= e->rows)
        return 0;
    arena_finish(&e->work);
    arena_init(&e->work, b);
    e->rows = 0;
    e->x = arena_tensor(&e->work, TENSOR_F32, SHAPE(rows, e->dim));
    e->h = arena_tensor(&e->work, TENSOR_F32, SHAPE(rows, e->dim));
    e->projected = arena_tensor(&e->work, TENSOR_F32, SHAPE(rows, 3 * e->attn));
    e->attended = arena_tensor(&e->work, TENSOR_F32, SHAPE(rows, e->attn));
    e->gated = arena_tensor(&e->work, TENSOR_F32, SHAPE(rows, e->ffn));
    e->raised = arena_tensor(&e->work, TENSOR_F32, SHAPE(rows, e->ffn));
    e->bias = arena_tensor(&e->work, TENSOR_F32, SHAPE(e->heads, 2 * rows - 1));
    free(e->host);
    int64_t count = e->heads * (2 * rows - 1);
    e->host = malloc((size_t)(count > e->dim ? count : e->dim) * sizeof *e->host);
    if (!e->host)
        backend_fail(b, UNREEL_ENOMEM, "text encoder: out of host memory");
    if (!backend_status(b))
        e->rows = rows;
    return backend_status(b);
}

/* T5's bidirectional buckets: half for each sign; exact up to 7, then logarithmic up to 128. */
static int bucket_of(int64_t distance)
{
    int base = distance > 0 ? BUCKETS / 2 : 0, last = BUCKETS / 2 - 1;
    double d = fabs((double)distance);
    if (d < EXACT_DISTANCE)
        return base + (int)d;
    int far = EXACT_DISTANCE + (int)(log(d / EXACT_DISTANCE) /
                                     log(MAX_DISTANCE / EXACT_DISTANCE) *
                                     (BUCKETS / 2 - EXACT_DISTANCE));
    return base + (far < last ? far : last);
}

/* bias[head][j - i + rows - 1] */
static struct tensor layer_bias(struct text_encoder *e, const struct layer *l, int64_t rows)
{
    int64_t width = 2 * rows - 1;
    for (int64_t i = 0; i < width; i++) {
        int bucket = bucket_of(i - (rows - 1));
        for (int64_t h = 0; h < e->heads; h++)
            e->host[h * width + i] =
                tensor_element(l->buckets.data, l->buckets.type, bucket * e->heads + h);
    }
    struct tensor bias = tensor_make(e->bias.data, TENSOR_F32, SHAPE(e->heads, width));
    backend_upload(e->backend, bias, tensor_make(e->host, TENSOR_F32, SHAPE(e->heads, width)));
    return bias;
}

static void run_layer(struct text_encoder *e, struct layer *l, int64_t rows)
{
    struct backend *b = e->backend;
    struct tensor x = tensor_slice(e->x, 0, 0, rows), h = tensor_slice(e->h, 0, 0, rows);
    struct tensor projected = tensor_slice(e->projected, 0, 0, rows);
    struct tensor attended = tensor_slice(e->attended, 0, 0, rows);
    struct tensor gated = tensor_slice(e->gated, 0, 0, rows);
    struct tensor raised = tensor_slice(e->raised, 0, 0, rows);
    struct tensor part[3], none = {0};
    op_rms_norm(b, h, x, l->norm1, NORM_EPS, ACT_NONE);
    op_linear(b, projected, h, &l->qkv, ACT_NONE);
    for (int i = 0; i < 3; i++)
        part[i] = tensor_reshape(tensor_slice(projected, 1, i * e->attn, e->attn),
                                 SHAPE(rows, e->heads, e->attn / e->heads));
    op_attention(b, tensor_reshape(attended, SHAPE(rows, e->heads, e->attn / e->heads)), part[0],
                 part[1], part[2], 1, layer_bias(e, l, rows));
    op_linear(b, h, attended, &l->o, ACT_NONE);
    op_add_gated(b, x, h, none);
    op_rms_norm(b, h, x, l->norm2, NORM_EPS, ACT_NONE);
    op_linear(b, gated, h, &l->gate, ACT_GELU_TANH);
    op_linear(b, raised, h, &l->up, ACT_NONE);
    op_mul(b, raised, raised, gated);
    op_linear(b, h, raised, &l->down, ACT_NONE);
    op_add_gated(b, x, h, none);
}

/* Rows of the mapped table, one by one: most of it is never touched. */
static int embed(struct text_encoder *e, const int32_t *ids, int count)
{
    for (int i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= e->vocabulary)
            return log_error(&e->backend->log, UNREEL_EFORMAT,
                             "%s: no embedding for token %d: another model's tokenizer?",
                             weights_path(e->weights), ids[i]);
        struct tensor row = tensor_slice(e->table, 0, ids[i], 1);
        backend_upload(e->backend, tensor_slice(e->x, 0, i, 1), row);
    }
    file_drop_pages(e->table.data, tensor_bytes(&e->table));
    return 0;
}

int text_encoder_encode(struct text_encoder *encoder, const int32_t *ids, int count,
                        struct tensor embeds)
{
    struct text_encoder *e = encoder;
    struct backend *b = e->backend;
    int64_t rows = embeds.shape[0];
    if (count < 1 || count > rows || embeds.shape[1] != e->dim)
        return log_error(&b->log, UNREEL_EINVAL, "%d tokens do not fit a text embedding of %lld",
                         count, (long long)rows);
    int code = reserve(e, rows);
    if (code == 0)
        code = embed(e, ids, count);
    if (code < 0)
        return code;
    for (int i = 0; i < e->layers; i++)
        run_layer(e, &e->layer[i], count);
    struct tensor valid = tensor_slice(embeds, 0, 0, count);
    op_rms_norm(b, valid, tensor_slice(e->x, 0, 0, count), e->norm, NORM_EPS, ACT_NONE);
    if (count < rows) {
        struct tensor rest = tensor_slice(embeds, 0, count, rows - count), zeros = rest;
        float zero = 0;
        zeros.data = &zero;
        memset(zeros.stride, 0, sizeof zeros.stride);
        backend_upload(b, rest, zeros);
    }
    backend_sync(b);
    return backend_status(b);
}
