/* Weights of the transformer: config.json, binding, opening and closing. */
#include "model/transformer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"

#define CONFIG_BYTES_MAX (1 << 20)

static int config_int(const struct json *object, const char *key, int min, int max, int *value,
                      const char *path, const unreel_log *log)
{
    const struct json *entry = json_get(object, key);
    int64_t number;
    if (!entry)
        return log_error(log, UNREEL_EFORMAT, "%s: %s is missing", path, key);
    if (!json_int(entry, &number) || number < min || number > max)
        return log_error(log, UNREEL_EFORMAT, "%s: %s must be a whole number from %d to %d", path,
                         key, min, max);
    *value = (int)number;
    return 0;
}

int transformer_config_read(struct transformer_config *config, const char *path,
                            const unreel_log *log)
{
    char *text;
    size_t size;
    int code = file_read_text(&text, &size, path, CONFIG_BYTES_MAX, log);
    if (code < 0)
        return code;
    struct json *root;
    code = json_parse(&root, text, size, path, log);
    free(text);
    if (code < 0)
        return code;
    *config = (struct transformer_config){.eps = 1e-6f};
    const struct {
        const char *key;
        int min, max, *value;
    } ints[] = {
        {"dim", 2, 1 << 16, &config->dim},
        {"ffn_dim", 1, 1 << 18, &config->ffn_dim},
        {"freq_dim", 2, 1 << 16, &config->freq_dim},
        {"num_heads", 1, 1 << 10, &config->heads},
        {"num_layers", 1, 1 << 10, &config->layers},
        {"in_dim", LATENT_CHANNELS, LATENT_CHANNELS, &config->in_dim},
        {"out_dim", LATENT_CHANNELS, LATENT_CHANNELS, &config->out_dim},
        {"text_len", 1, 1 << 14, &config->text_len},
    };
    for (size_t i = 0; code == 0 && i < sizeof ints / sizeof *ints; i++)
        code = config_int(root, ints[i].key, ints[i].min, ints[i].max, ints[i].value, path, log);
    double eps;
    if (code == 0 && json_get(root, "eps")) {
        if (!json_double(json_get(root, "eps"), &eps) || !(eps > 0 && eps < 1))
            code = log_error(log, UNREEL_EFORMAT, "%s: eps must be between 0 and 1", path);
        else
            config->eps = (float)eps;
    }
    if (code == 0 && (config->dim % config->heads || config->dim / config->heads % 2 ||
                      config->dim / config->heads < 6))
        code = log_error(log, UNREEL_EFORMAT,
                         "%s: dim %d does not split into %d heads of an even width of 6 or more",
                         path, config->dim, config->heads);
    if (code == 0 && config->freq_dim % 2)
        code = log_error(log, UNREEL_EFORMAT, "%s: freq_dim must be even", path);
    json_free(root);
    return code;
}

/* ---- binding --------------------------------------------------------------------------------- */

struct load {
    struct transformer *t;
    struct binder binder;
};

/* Weight and bias of `name` as part `part` of a stacked linear; weight [n, k]. */
static void bind_part(struct load *load, struct linear_desc *desc, int part, int64_t n, int64_t k,
                      const char *name)
{
    desc->weight[part] = bind(&load->binder, SHAPE(n, k), "%s.weight", name);
    desc->bias[part] = bind(&load->binder, SHAPE(n), "%s.bias", name);
    desc->parts = part + 1;
}

static void load_linear(struct load *load, struct linear *w, struct linear_desc *desc)
{
    if (!load->binder.wrong)
        backend_linear_init(load->t->backend, w, desc);
}

/* desc: how, without the weights. */
static void bind_linear(struct load *load, struct linear *w, int64_t n, int64_t k,
                        struct linear_desc desc, const char *name)
{
    bind_part(load, &desc, 0, n, k, name);
    load_linear(load, w, &desc);
}

static struct tensor bind_vector(struct load *load, int dims, const int64_t *shape,
                                 const char *prefix, const char *name)
{
    struct tensor host = bind(&load->binder, dims, shape, "%s.%s", prefix, name);
    return host.data ? arena_upload_f32(&load->t->arena, &host) : host;
}

static void load_layer(struct load *load, int index)
{
    struct transformer_layer *layer = &load->t->layer[index];
    int64_t c = load->t->config.dim, ffn = load->t->config.ffn_dim;
    char prefix[32], name[64];
    snprintf(prefix, sizeof prefix, "blocks.%d", index);
#define NAME(text) (snprintf(name, sizeof name, "%s.%s", prefix, text), name)
    const struct linear_desc large = {.quantise = true};
    struct linear_desc qkv = large, cross_kv = {0};
    bind_part(load, &qkv, 0, c, c, NAME("self_attn.q"));
    bind_part(load, &qkv, 1, c, c, NAME("self_attn.k"));
    bind_part(load, &qkv, 2, c, c, NAME("self_attn.v"));
    load_linear(load, &layer->qkv, &qkv);
    bind_linear(load, &layer->o, c, c, large, NAME("self_attn.o"));
    bind_linear(load, &layer->cross_q, c, c, large, NAME("cross_attn.q"));
    bind_part(load, &cross_kv, 0, c, c, NAME("cross_attn.k"));
    bind_part(load, &cross_kv, 1, c, c, NAME("cross_attn.v"));
    load_linear(load, &layer->cross_kv, &cross_kv);
    bind_linear(load, &layer->cross_o, c, c, large, NAME("cross_attn.o"));
    bind_linear(load, &layer->ffn_in, ffn, c, large, NAME("ffn.0"));
    bind_linear(load, &layer->ffn_out, c, ffn, large, NAME("ffn.2"));
#undef NAME
    layer->norm_q = bind_vector(load, SHAPE(c), prefix, "self_attn.norm_q.weight");
    layer->norm_k = bind_vector(load, SHAPE(c), prefix, "self_attn.norm_k.weight");
    layer->cross_norm_q = bind_vector(load, SHAPE(c), prefix, "cross_attn.norm_q.weight");
    layer->cross_norm_k = bind_vector(load, SHAPE(c), prefix, "cross_attn.norm_k.weight");
    layer->cross_gain = bind_vector(load, SHAPE(c), prefix, "norm3.weight");
    layer->cross_bias = bind_vector(load, SHAPE(c), prefix, "norm3.bias");
    layer->modulation = bind_vector(load, SHAPE(1, 6, c), prefix, "modulation");
    if (load->binder.wrong)
        return;
    layer->cross_gain = tensor_reshape(layer->cross_gain, SHAPE(1, c));
    layer->cross_bias = tensor_reshape(layer->cross_bias, SHAPE(1, c));
    layer->modulation = tensor_reshape(layer->modulation, SHAPE(6, c));
}

/* The checkpoint's patch weight is [C, channel, 1, row, column]; patches are cut (row, column,
 * channel), since latents are features-last. */
static int load_patch(struct load *load)
{
    struct transformer *t = load->t;
    int64_t c = t->config.dim, patch = 4 * LATENT_CHANNELS;
    struct tensor weight = bind(&load->binder, SHAPE(c, LATENT_CHANNELS, 1, 2, 2),
                                "patch_embedding.weight");
    struct tensor bias = bind(&load->binder, SHAPE(c), "patch_embedding.bias");
    if (load->binder.wrong)
        return 0;
    t->patch_weight = malloc((size_t)(c * patch) * sizeof(float));
    if (!t->patch_weight)
        return log_error(load->binder.log, UNREEL_ENOMEM, "patch embedding: out of memory");
    for (int64_t o = 0; o < c; o++) {
        for (int64_t i = 0; i < patch; i++) {
            int64_t pixel = i / LATENT_CHANNELS, channel = i % LATENT_CHANNELS;
            t->patch_weight[o * patch + i] = tensor_element(
                weight.data, weight.type, (o * LATENT_CHANNELS + channel) * 4 + pixel);
        }
    }
    struct linear_desc desc = {.parts = 1, .precise = true};
    desc.weight[0] = tensor_make(t->patch_weight, TENSOR_F32, SHAPE(c, patch));
    desc.bias[0] = bias;
    backend_linear_init(t->backend, &t->patch, &desc);
    return 0;
}

static int load_all(struct load *load)
{
    struct transformer *t = load->t;
    const struct linear_desc plain = {0}, precise = {.precise = true};
    int64_t c = t->config.dim;
    struct tensor text = bind(&load->binder, SHAPE(c, -1), "text_embedding.0.weight");
    t->text_dim = text.data ? (int)text.shape[1] : 0;
    bind_linear(load, &t->text_in, c, text.data ? text.shape[1] : -1, plain, "text_embedding.0");
    bind_linear(load, &t->text_out, c, c, plain, "text_embedding.2");
    bind_linear(load, &t->time_in, c, t->config.freq_dim, precise, "time_embedding.0");
    bind_linear(load, &t->time_out, c, c, precise, "time_embedding.2");
    bind_linear(load, &t->time_projection, 6 * c, c, precise, "time_projection.1");
    bind_linear(load, &t->head, 4 * LATENT_CHANNELS, c, precise, "head.head");
    t->head_modulation = bind_vector(load, SHAPE(1, 2, c), "head", "modulation");
    for (int i = 0; i < t->config.layers; i++)
        load_layer(load, i);
    int code = load_patch(load);
    if (!load->binder.wrong)
        t->head_modulation = tensor_reshape(t->head_modulation, SHAPE(2, c));
    return code;
}

int transformer_open(struct transformer *transformer, struct backend *backend,
                     const struct transformer_config *config, const struct weights *weights,
                     const unreel_log *log)
{
    *transformer = (struct transformer){
        .config = *config,
        .head_dim = config->dim / config->heads,
        .backend = backend,
    };
    arena_init(&transformer->arena, backend);
    transformer->layer = calloc((size_t)config->layers, sizeof *transformer->layer);
    struct load load = {.t = transformer};
    int code = binder_init(&load.binder, weights, log);
    if (code < 0 || !transformer->layer) {
        transformer_close(transformer);
        return code < 0 ? code : log_error(log, UNREEL_ENOMEM, "transformer: out of memory");
    }
    code = load_all(&load);
    int bound = binder_finish(&load.binder);
    if (code == 0)
        code = bound;
    if (code == 0)
        code = backend_status(backend);
    if (code < 0)
        transformer_close(transformer);
    return code;
}

void transformer_close(struct transformer *transformer)
{
    struct backend *b = transformer->backend;
    if (!b)
        return;
    for (int i = 0; transformer->layer && i < transformer->config.layers; i++) {
        struct transformer_layer *layer = &transformer->layer[i];
        struct linear *linears[] = {&layer->qkv,     &layer->o,      &layer->cross_q, &layer->cross_kv,
                                    &layer->cross_o, &layer->ffn_in, &layer->ffn_out};
        for (size_t j = 0; j < sizeof linears / sizeof *linears; j++)
            backend_linear_finish(b, linears[j]);
    }
    struct linear *linears[] = {&transformer->patch,    &transformer->text_in,
                                &transformer->text_out, &transformer->time_in,
                                &transformer->time_out, &transformer->time_projection,
                                &transformer->head};
    for (size_t j = 0; j < sizeof linears / sizeof *linears; j++)
        backend_linear_finish(b, linears[j]);
    free(transformer->layer);
    free(transformer->patch_weight);
    arena_finish(&transformer->arena);
    *transformer = (struct transformer){0};
}
