/* Weights of TAEHV: binding, opening and closing. Widths and time strides are read off the shapes. */
#include "model/taehv.h"

#include <stdio.h>
#include <stdlib.h>

struct load {
    struct taehv *taehv;
    struct binder binder;
    int code;
};

#define NAME_SIZE 64

static void init_conv(struct load *load, struct conv *conv, const struct conv_desc *desc)
{
    if (!load->binder.wrong && load->code == 0)
        backend_conv_init(load->taehv->backend, conv, desc);
}

/* A convolution as the file has it, [Co, Ci, k, k]. Its outputs. */
static int64_t load_conv(struct load *load, struct conv *conv, struct conv_desc desc, int64_t co,
                         int64_t ci, int64_t kernel, bool has_bias, const char *name)
{
    struct tensor weight = bind(&load->binder, SHAPE(co, ci, kernel, kernel), "%s.weight", name);
    if (!weight.data)
        return -1;
    desc.weight = tensor_reshape(weight, SHAPE(weight.shape[0], weight.shape[1], 1, kernel, kernel));
    if (has_bias)
        desc.bias = bind(&load->binder, SHAPE(weight.shape[0]), "%s.bias", name);
    init_conv(load, conv, &desc);
    return weight.shape[0];
}

/* [Co, taps * C, k, k], channels of several frames joined, as [Co, C, taps, k, k]; order[i] is which run
 * of channels is tap i. Its data are the taehv's to free. */
static struct tensor taps_from_channels(struct load *load, struct tensor w, int taps, const int *order)
{
    int64_t co = w.shape[0], c = w.shape[1] / taps, kk = w.shape[2] * w.shape[3];
    float **list = realloc(load->taehv->rearranged,
                           (size_t)(load->taehv->rearranged_count + 1) * sizeof *list);
    float *data = malloc((size_t)tensor_count(&w) * sizeof *data);
    if (list)
        load->taehv->rearranged = list;
    if (!list || !data) {
        free(data);
        load->code = log_error(load->binder.log, UNREEL_ENOMEM, "TAEHV: out of memory");
        return (struct tensor){0};
    }
    list[load->taehv->rearranged_count++] = data;
    for (int64_t o = 0; o < co; o++) {
        for (int64_t i = 0; i < c; i++) {
            for (int tap = 0; tap < taps; tap++) {
                int64_t from = (o * taps * c + order[tap] * c + i) * kk;
                int64_t to = ((o * c + i) * taps + tap) * kk;
                for (int64_t k = 0; k < kk; k++)
                    data[to + k] = tensor_element(w.data, w.type, from + k);
            }
        }
    }
    return tensor_make(data, TENSOR_F32, SHAPE(co, c, taps, w.shape[2], w.shape[3]));
}

static void load_block(struct load *load, struct taehv_block *block, int64_t c, const char *prefix)
{
    char name[NAME_SIZE];
    struct conv_desc desc = {.pad_before = 1, .pad_after = 1}, first = desc;
    struct tensor weight = bind(&load->binder, SHAPE(c, 2 * c, 3, 3), "%s.conv.0.weight", prefix);
    first.bias = bind(&load->binder, SHAPE(c), "%s.conv.0.bias", prefix);
    if (weight.data && c > 0) { /* channels: this frame, the frame before */
        first.weight = taps_from_channels(load, weight, 2, (const int[]){1, 0});
        init_conv(load, &block->conv1, &first);
    }
    snprintf(name, sizeof name, "%s.conv.2", prefix);
    load_conv(load, &block->conv2, desc, c, c, 3, true, name);
    snprintf(name, sizeof name, "%s.conv.4", prefix);
    load_conv(load, &block->conv3, desc, c, c, 3, true, name);
}

/* TGrow: a 1x1 convolution to stride * C channels, the frames one after another. */
static void load_grow(struct load *load, struct taehv_level *level, int64_t c, const char *name)
{
    struct tensor weight = bind(&load->binder, SHAPE(-1, c, 1, 1), "%s.conv.weight", name);
    if (!weight.data || c < 1)
        return;
    level->stride = (int)(weight.shape[0] / c);
    if (weight.shape[0] % c || level->stride < 1 || level->stride > 2) {
        load->code = log_error(load->binder.log, UNREEL_EFORMAT, "%s: %s grows time by neither 1 nor 2",
                               weights_path(load->binder.weights), name);
        return;
    }
    for (int i = 0; i < level->stride; i++) {
        struct conv_desc desc = {0};
        desc.weight = tensor_reshape(tensor_slice(weight, 0, i * c, c), SHAPE(c, c, 1, 1, 1));
        init_conv(load, &level->time[i], &desc);
    }
}

/* TPool: a 1x1 convolution over the joined channels of `stride` frames. */
static void load_pool(struct load *load, struct taehv_level *level, int64_t c, const char *name)
{
    struct tensor weight = bind(&load->binder, SHAPE(c, -1, 1, 1), "%s.conv.weight", name);
    if (!weight.data || c < 1)
        return;
    level->stride = (int)(weight.shape[1] / c);
    if (weight.shape[1] % c || level->stride < 1 || level->stride > 2) {
        load->code = log_error(load->binder.log, UNREEL_EFORMAT, "%s: %s pools time by neither 1 nor 2",
                               weights_path(load->binder.weights), name);
        return;
    }
    struct conv_desc desc = {.stride_t = level->stride};
    desc.weight = taps_from_channels(load, weight, level->stride, (const int[]){0, 1});
    init_conv(load, &level->time[0], &desc);
}

/* decoder: 0 clamp, 1 conv, 2 ReLU, then for each level three blocks, upsampling, TGrow, conv; ReLU,
 * conv. */
static void load_decoder(struct load *load)
{
    struct taehv_half *half = &load->taehv->decoder;
    char name[NAME_SIZE];
    const struct conv_desc plain = {.pad_before = 1, .pad_after = 1};
    struct conv_desc up = plain;
    up.upsample = true;
    int64_t c = load_conv(load, &half->first, plain, -1, 16, 3, true, "decoder.1");
    for (int i = 0; i < TAEHV_LEVELS; i++) {
        struct taehv_level *level = &half->level[i];
        int at = 3 + 6 * i;
        for (int k = 0; k < TAEHV_BLOCKS; k++) {
            snprintf(name, sizeof name, "decoder.%d", at + k);
            load_block(load, &level->block[k], c, name);
        }
        snprintf(name, sizeof name, "decoder.%d", at + 4);
        load_grow(load, level, c, name);
        snprintf(name, sizeof name, "decoder.%d", at + 5);
        c = load_conv(load, &level->space, up, -1, c, 3, false, name);
    }
    load_conv(load, &half->last, plain, 3, c, 3, true, "decoder.22");
}

/* encoder: 0 conv, 1 ReLU, then for each level TPool, conv of stride 2, three blocks; conv. */
static void load_encoder(struct load *load)
{
    struct taehv_half *half = &load->taehv->encoder;
    char name[NAME_SIZE];
    const struct conv_desc plain = {.pad_before = 1, .pad_after = 1};
    struct conv_desc down = plain;
    down.stride = 2;
    int64_t c = load_conv(load, &half->first, plain, -1, 3, 3, true, "encoder.0");
    for (int i = 0; i < TAEHV_LEVELS; i++) {
        struct taehv_level *level = &half->level[i];
        int at = 2 + 5 * i;
        snprintf(name, sizeof name, "encoder.%d", at);
        load_pool(load, level, c, name);
        snprintf(name, sizeof name, "encoder.%d", at + 1);
        c = load_conv(load, &level->space, down, -1, c, 3, false, name);
        for (int k = 0; k < TAEHV_BLOCKS; k++) {
            snprintf(name, sizeof name, "encoder.%d", at + 2 + k);
            load_block(load, &level->block[k], c, name);
        }
    }
    load_conv(load, &half->last, plain, 16, c, 3, true, "encoder.17");
}

int taehv_open(struct taehv **taehv, struct backend *backend, const struct weights *weights,
               const unreel_log *log)
{
    *taehv = NULL;
    struct taehv *t = calloc(1, sizeof *t);
    struct load load = {.taehv = t};
    if (!t || binder_init(&load.binder, weights, log) < 0) {
        free(t);
        return log_error(log, UNREEL_ENOMEM, "TAEHV: out of memory");
    }
    t->backend = backend;
    t->decoder.present = weights_find(weights, "decoder.1.weight");
    t->encoder.present = weights_find(weights, "encoder.0.weight");
    if (t->decoder.present || !t->encoder.present)
        load_decoder(&load);
    if (t->encoder.present)
        load_encoder(&load);
    int code = binder_finish(&load.binder);
    if (load.code < 0)
        code = load.code;
    if (code == 0)
        code = backend_status(backend);
    if (code < 0) {
        taehv_close(t);
        return code;
    }
    *taehv = t;
    return 0;
}

static void close_half(struct backend *b, struct taehv_half *half)
{
    backend_conv_finish(b, &half->first);
    backend_conv_finish(b, &half->last);
    for (int i = 0; i < TAEHV_LEVELS; i++) {
        struct taehv_level *level = &half->level[i];
        backend_conv_finish(b, &level->time[0]);
        backend_conv_finish(b, &level->time[1]);
        backend_conv_finish(b, &level->space);
        for (int k = 0; k < TAEHV_BLOCKS; k++) {
            backend_conv_finish(b, &level->block[k].conv1);
            backend_conv_finish(b, &level->block[k].conv2);
            backend_conv_finish(b, &level->block[k].conv3);
        }
    }
}

void taehv_close(struct taehv *taehv)
{
    if (!taehv)
        return;
    close_half(taehv->backend, &taehv->encoder);
    close_half(taehv->backend, &taehv->decoder);
    for (int i = 0; i < taehv->rearranged_count; i++)
        free(taehv->rearranged[i]);
    free(taehv->rearranged);
    free(taehv);
}
