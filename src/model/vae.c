/* Weights of the Wan VAE: binding, opening and closing. All sizes are read off the tensors. */
#include "model/vae.h"

#include <stdio.h>
#include <stdlib.h>

/* Per-channel statistics of Wan2.1's latents, with which the transformer's latents are normalised. */
static const float latent_mean[LATENT_CHANNELS] = {-0.7571f, -0.7089f, -0.9113f, 0.1075f,
                                                   -0.1745f, 0.9653f,  -0.1517f, 1.5508f,
                                                   0.4134f,  -0.0715f, 0.5517f,  -0.3632f,
                                                   -0.1922f, -0.9497f, 0.2503f,  -0.2921f};
static const float latent_std[LATENT_CHANNELS] = {2.8184f, 1.4541f, 2.3275f, 2.6558f,
                                                  1.2196f, 1.7708f, 2.6052f, 2.0743f,
                                                  3.2687f, 2.1526f, 2.8652f, 1.5579f,
                                                  1.6382f, 1.1253f, 2.8251f, 1.9160f};

struct load {
    struct vae *vae;
    struct binder binder;
    int code;
};

#define NAME_SIZE 96

static struct tensor load_gain(struct load *load, int64_t c, const char *name)
{
    struct tensor host = bind(&load->binder, SHAPE(c), "%s.gamma", name);
    return host.data ? arena_upload_f32(&load->vae->arena, &host) : host;
}

static bool has(struct load *load, const char *prefix, const char *name)
{
    char text[NAME_SIZE];
    snprintf(text, sizeof text, "%s.%s", prefix, name);
    return weights_find(load->binder.weights, text) != NULL;
}

/* A convolution of the given kernel, `part` of `parts` equal runs of its outputs. ci, co -1: any. The
 * number of outputs of the whole. */
static int64_t load_conv_part(struct load *load, struct conv *conv, struct conv_desc *desc,
                              const int64_t *shape, int dims, int part, int parts, const char *name)
{
    struct tensor weight = bind(&load->binder, dims, shape, "%s.weight", name);
    struct tensor bias = bind(&load->binder, SHAPE(weight.data ? weight.shape[0] : shape[0]),
                              "%s.bias", name);
    if (!weight.data || !bias.data)
        return weight.data ? weight.shape[0] : -1;
    int64_t co = weight.shape[0] / parts;
    if (dims == 4) /* [Co, Ci, kh, kw] */
        weight = tensor_reshape(weight, SHAPE(weight.shape[0], weight.shape[1], 1, weight.shape[2],
                                              weight.shape[3]));
    desc->weight = tensor_slice(weight, 0, part * co, co);
    desc->bias = tensor_slice(bias, 0, part * co, co);
    if (!load->binder.wrong)
        backend_conv_init(load->vae->backend, conv, desc);
    return weight.shape[0];
}

/* 3x3x3, padded by one in space. */
static int64_t load_conv3(struct load *load, struct conv *conv, int64_t co, int64_t ci,
                          const char *name)
{
    struct conv_desc desc = {.pad_before = 1, .pad_after = 1};
    return load_conv_part(load, conv, &desc, (const int64_t[]){co, ci, 3, 3, 3}, 5, 0, 1, name);
}

static void load_linear(struct load *load, struct linear *w, int64_t n, int64_t k, const char *name)
{
    struct linear_desc desc = {.parts = 1};
    desc.weight[0] = bind(&load->binder, SHAPE(n, k), "%s.weight", name);
    desc.bias[0] = bind(&load->binder, SHAPE(n), "%s.bias", name);
    if (!load->binder.wrong)
        backend_linear_init(load->vae->backend, w, &desc);
}

/* Returns the block's output channels. */
static int64_t load_residual(struct load *load, struct vae_residual *block, int64_t ci,
                             const char *prefix)
{
    char name[NAME_SIZE];
#define NAME(text) (snprintf(name, sizeof name, "%s.%s", prefix, text), name)
    block->gain1 = load_gain(load, ci, NAME("residual.0"));
    int64_t co = load_conv3(load, &block->conv1, -1, ci, NAME("residual.2"));
    block->gain2 = load_gain(load, co, NAME("residual.3"));
    load_conv3(load, &block->conv2, co, co, NAME("residual.6"));
    if (co != ci || has(load, prefix, "shortcut.weight"))
        load_linear(load, &block->shortcut, co, ci, NAME("shortcut"));
#undef NAME
    return co;
}

static void load_attention(struct load *load, struct vae_attention *block, int64_t c,
                           const char *prefix)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s.norm", prefix);
    block->gain = load_gain(load, c, name);
    snprintf(name, sizeof name, "%s.to_qkv", prefix);
    load_linear(load, &block->qkv, 3 * c, c, name);
    snprintf(name, sizeof name, "%s.proj", prefix);
    load_linear(load, &block->proj, c, c, name);
}

static int64_t load_resample(struct load *load, struct vae_resample *block, int64_t c, bool down,
                             const char *prefix)
{
    char name[NAME_SIZE];
    snprintf(name, sizeof name, "%s.resample.1", prefix);
    struct conv_desc space = {.pad_after = 1, .stride = 2};
    if (!down)
        space = (struct conv_desc){.pad_before = 1, .pad_after = 1, .upsample = true};
    int64_t co = load_conv_part(load, &block->space, &space, (const int64_t[]){-1, c, 3, 3}, 4, 0, 1,
                                name);
    block->has_time = has(load, prefix, "time_conv.weight");
    snprintf(name, sizeof name, "%s.time_conv", prefix);
    for (int i = 0; block->has_time && i < (down ? 1 : 2); i++) {
        struct conv_desc time = {.stride_t = down ? 2 : 1};
        const int64_t shape[] = {down ? c : 2 * c, c, 3, 1, 1};
        load_conv_part(load, &block->time[i], &time, shape, 5, i, down ? 1 : 2, name);
    }
    return co;
}

static int64_t load_stages(struct load *load, struct vae_half *half, int64_t c, bool down,
                           const char *list)
{
    char prefix[64];
    for (int i = 0; i < VAE_STAGES_MAX; i++) {
        struct vae_stage *stage = &half->stage[i];
        snprintf(prefix, sizeof prefix, "%s.%d", list, i);
        stage->is_resample = has(load, prefix, "resample.1.weight");
        if (stage->is_resample)
            c = load_resample(load, &stage->resample, c, down, prefix);
        else if (has(load, prefix, "residual.0.gamma"))
            c = load_residual(load, &stage->residual, c, prefix);
        else
            break;
        half->stages = i + 1;
    }
    return c;
}

/* Latents are an eighth of the pictures' size, and a frame of them is four pictures. */
static void check_scale(struct load *load, const struct vae_half *half, const char *list)
{
    int space = 0, time = 0;
    for (int i = 0; i < half->stages; i++) {
        space += half->stage[i].is_resample;
        time += half->stage[i].is_resample && half->stage[i].resample.has_time;
    }
    if (!load->binder.wrong && (space != 3 || time != 2))
        load->code = log_error(load->binder.log, UNREEL_EFORMAT,
                               "%s: %s resample %d times, %d of them in time, instead of 3 and 2",
                               weights_path(load->binder.weights), list, space, time);
}

static void load_middle(struct load *load, struct vae_half *half, int64_t c, const char *side)
{
    char prefix[64];
    for (int i = 0; i < 2; i++) {
        snprintf(prefix, sizeof prefix, "%s.middle.%d", side, 2 * i);
        load_residual(load, &half->middle[i], c, prefix);
    }
    snprintf(prefix, sizeof prefix, "%s.middle.1", side);
    load_attention(load, &half->attention, c, prefix);
}

/* The 1x1x1 convolution at the latents, with their statistics folded in: decoder
 * W (z * std + mean) + b; encoder the rows of mu only, (W x + b - mean) / std. */
static void load_latent(struct load *load, struct vae_half *half, int64_t n, bool encoder,
                        const char *name)
{
    struct tensor weight = bind(&load->binder, SHAPE(n, n), "%s.weight", name);
    struct tensor bias = bind(&load->binder, SHAPE(n), "%s.bias", name);
    if (!weight.data || !bias.data)
        return;
    half->latent_weight = malloc((size_t)(LATENT_CHANNELS * n + LATENT_CHANNELS) * sizeof(float));
    if (!half->latent_weight) {
        load->code = log_error(load->binder.log, UNREEL_ENOMEM, "VAE: out of memory");
        return;
    }
    float *w = half->latent_weight, *b = w + LATENT_CHANNELS * n;
    for (int64_t o = 0; o < LATENT_CHANNELS; o++) {
        double sum = tensor_element(bias.data, bias.type, o);
        for (int64_t i = 0; i < n; i++) {
            double value = tensor_element(weight.data, weight.type, o * n + i);
            if (!encoder)
                sum += value * latent_mean[i];
            w[o * n + i] = (float)(encoder ? value / latent_std[o] : value * latent_std[i]);
        }
        b[o] = (float)(encoder ? (sum - latent_mean[o]) / latent_std[o] : sum);
    }
    struct linear_desc desc = {.parts = 1, .precise = true};
    desc.weight[0] = tensor_make(w, TENSOR_F32, SHAPE(LATENT_CHANNELS, n));
    desc.bias[0] = tensor_make(b, TENSOR_F32, SHAPE(LATENT_CHANNELS));
    backend_linear_init(load->vae->backend, &half->latent, &desc);
}

static void load_decoder(struct load *load)
{
    struct vae_half *half = &load->vae->decoder;
    load_latent(load, half, LATENT_CHANNELS, false, "conv2");
    int64_t c = load_conv3(load, &half->first, -1, LATENT_CHANNELS, "decoder.conv1");
    load_middle(load, half, c, "decoder");
    c = load_stages(load, half, c, false, "decoder.upsamples");
    check_scale(load, half, "decoder.upsamples");
    half->head_gain = load_gain(load, c, "decoder.head.0");
    load_conv3(load, &half->head, 3, c, "decoder.head.2");
}

static void load_encoder(struct load *load)
{
    struct vae_half *half = &load->vae->encoder;
    int64_t c = load_conv3(load, &half->first, -1, 3, "encoder.conv1");
    c = load_stages(load, half, c, true, "encoder.downsamples");
    check_scale(load, half, "encoder.downsamples");
    load_middle(load, half, c, "encoder");
    half->head_gain = load_gain(load, c, "encoder.head.0");
    load_conv3(load, &half->head, 2 * LATENT_CHANNELS, c, "encoder.head.2");
    load_latent(load, half, 2 * LATENT_CHANNELS, true, "conv1");
}

int vae_open(struct vae **vae, struct backend *backend, const struct weights *weights,
             const unreel_log *log)
{
    *vae = NULL;
    struct vae *v = calloc(1, sizeof *v);
    struct load load = {.vae = v};
    if (!v || binder_init(&load.binder, weights, log) < 0) {
        free(v);
        return log_error(log, UNREEL_ENOMEM, "VAE: out of memory");
    }
    v->backend = backend;
    arena_init(&v->arena, backend);
    v->decoder.present = weights_find(weights, "decoder.conv1.weight");
    v->encoder.present = weights_find(weights, "encoder.conv1.weight");
    if (v->decoder.present || !v->encoder.present)
        load_decoder(&load);
    if (v->encoder.present)
        load_encoder(&load);
    int code = binder_finish(&load.binder);
    if (load.code < 0)
        code = load.code;
    if (code == 0)
        code = backend_status(backend);
    if (code < 0) {
        vae_close(v);
        return code;
    }
    *vae = v;
    return 0;
}

static void close_residual(struct backend *b, struct vae_residual *block)
{
    backend_conv_finish(b, &block->conv1);
    backend_conv_finish(b, &block->conv2);
    backend_linear_finish(b, &block->shortcut);
}

static void close_half(struct backend *b, struct vae_half *half)
{
    backend_conv_finish(b, &half->first);
    backend_conv_finish(b, &half->head);
    backend_linear_finish(b, &half->latent);
    backend_linear_finish(b, &half->attention.qkv);
    backend_linear_finish(b, &half->attention.proj);
    close_residual(b, &half->middle[0]);
    close_residual(b, &half->middle[1]);
    for (int i = 0; i < half->stages; i++) {
        close_residual(b, &half->stage[i].residual);
        backend_conv_finish(b, &half->stage[i].resample.space);
        backend_conv_finish(b, &half->stage[i].resample.time[0]);
        backend_conv_finish(b, &half->stage[i].resample.time[1]);
    }
    free(half->latent_weight);
}

void vae_close(struct vae *vae)
{
    if (!vae)
        return;
    close_half(vae->backend, &vae->encoder);
    close_half(vae->backend, &vae->decoder);
    arena_finish(&vae->arena);
    free(vae);
}
