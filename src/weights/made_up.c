#include "weights/made_up.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "base/thread_pool.h"

static const struct made_up_shape shapes[] = {
    {"wan2.1-1.3b", 1536, 8960, 256, 12, 30, 512, 96, 64, 256384, 4096, 4096, 10240, 64, 24},
    {"postcard", 192, 768, 256, 3, 6, 48, 16, 8, 800, 128, 128, 256, 4, 3}, /* models/postcard */
    {"tiny", 96, 224, 64, 3, 3, 48, 12, 8, 1200, 64, 64, 160, 4, 3},
};

const struct made_up_shape *made_up_shape_at(int index)
{
    return index < (int)(sizeof shapes / sizeof *shapes) ? &shapes[index] : NULL;
}

const struct made_up_shape *made_up_shape_find(const char *name)
{
    const struct made_up_shape *shape;
    for (int i = 0; (shape = made_up_shape_at(i)); i++) {
        if (!strcmp(shape->name, name))
            return shape;
    }
    return NULL;
}

/* ---- lists of tensors ------------------------------------------------------------------------ */

struct list {
    made_up_fn add;
    void *opaque;
    int code;
    char prefix[64];
};

enum kind { WEIGHT, BIAS, GAIN, SMALL };

static void put(struct list *list, enum kind kind, int dims, const int64_t *shape,
                const char *format, ...) __attribute__((format(printf, 5, 6)));

static void put(struct list *list, enum kind kind, int dims, const int64_t *shape,
                const char *format, ...)
{
    struct made_up_tensor t = {.dims = dims, .scale = 0.02f};
    va_list args;
    int64_t inputs = 1;
    if (list->code < 0)
        return;
    size_t length = strlen(list->prefix);
    memcpy(t.name, list->prefix, length);
    va_start(args, format);
    vsnprintf(t.name + length, sizeof t.name - length, format, args);
    va_end(args);
    memcpy(t.shape, shape, (size_t)dims * sizeof *shape);
    for (int i = 1; i < dims; i++)
        inputs *= shape[i];
    if (kind == WEIGHT)
        t.scale = sqrtf(3 / (float)inputs);
    if (kind == GAIN) {
        t.scale = 0.1f;
        t.offset = 1;
    }
    list->code = list->add(list->opaque, &t);
}

static void put_linear(struct list *list, int64_t n, int64_t k, const char *name)
{
    put(list, WEIGHT, SHAPE(n, k), "%s.weight", name);
    put(list, BIAS, SHAPE(n), "%s.bias", name);
}

static void list_transformer(struct list *list, const struct made_up_shape *s)
{
    static const char *const attentions[] = {"self_attn", "cross_attn"};
    static const char *const parts[] = {"q", "k", "v", "o"};
    int64_t c = s->dim;
    char name[32];
    put(list, WEIGHT, SHAPE(c, 16, 1, 2, 2), "patch_embedding.weight");
    put(list, BIAS, SHAPE(c), "patch_embedding.bias");
    put_linear(list, c, s->text_dim, "text_embedding.0");
    put_linear(list, c, c, "text_embedding.2");
    put_linear(list, c, s->freq_dim, "time_embedding.0");
    put_linear(list, c, c, "time_embedding.2");
    put_linear(list, 6 * c, c, "time_projection.1");
    for (int i = 0; i < s->layers; i++) {
        snprintf(list->prefix, sizeof list->prefix, "blocks.%d.", i);
        put(list, SMALL, SHAPE(1, 6, c), "modulation");
        for (int a = 0; a < 2; a++) {
            for (int p = 0; p < 4; p++) {
                snprintf(name, sizeof name, "%s.%s", attentions[a], parts[p]);
                put_linear(list, c, c, name);
            }
            put(list, GAIN, SHAPE(c), "%s.norm_q.weight", attentions[a]);
            put(list, GAIN, SHAPE(c), "%s.norm_k.weight", attentions[a]);
        }
        put(list, GAIN, SHAPE(c), "norm3.weight");
        put(list, BIAS, SHAPE(c), "norm3.bias");
        put_linear(list, s->ffn_dim, c, "ffn.0");
        put_linear(list, c, s->ffn_dim, "ffn.2");
    }
    list->prefix[0] = 0;
    put(list, SMALL, SHAPE(1, 2, c), "head.modulation");
    put_linear(list, 64, c, "head.head");
}

static void put_conv(struct list *list, int64_t co, int64_t ci, int kt, int k, const char *name)
{
    put(list, WEIGHT, SHAPE(co, ci, kt, k, k), "%s.weight", name);
    put(list, BIAS, SHAPE(co), "%s.bias", name);
}

static void put_residual(struct list *list, int64_t ci, int64_t co)
{
    put(list, GAIN, SHAPE(ci, 1, 1, 1), "residual.0.gamma");
    put_conv(list, co, ci, 3, 3, "residual.2");
    put(list, GAIN, SHAPE(co, 1, 1, 1), "residual.3.gamma");
    put_conv(list, co, co, 3, 3, "residual.6");
    if (ci != co)
        put_conv(list, co, ci, 1, 1, "shortcut");
}

static void put_middle(struct list *list, int64_t c, const char *side)
{
    for (int i = 0; i < 3; i += 2) {
        snprintf(list->prefix, sizeof list->prefix, "%s.middle.%d.", side, i);
        put_residual(list, c, c);
    }
    snprintf(list->prefix, sizeof list->prefix, "%s.middle.1.", side);
    put(list, GAIN, SHAPE(c, 1, 1), "norm.gamma");
    put(list, WEIGHT, SHAPE(3 * c, c, 1, 1), "to_qkv.weight");
    put(list, BIAS, SHAPE(3 * c), "to_qkv.bias");
    put(list, WEIGHT, SHAPE(c, c, 1, 1), "proj.weight");
    put(list, BIAS, SHAPE(c), "proj.bias");
    list->prefix[0] = 0;
}

static void put_resample(struct list *list, int64_t co, int64_t ci, int64_t time_co)
{
    put(list, WEIGHT, SHAPE(co, ci, 3, 3), "resample.1.weight");
    put(list, BIAS, SHAPE(co), "resample.1.bias");
    if (!time_co)
        return;
    put(list, WEIGHT, SHAPE(time_co, ci, 3, 1, 1), "time_conv.weight");
    put(list, BIAS, SHAPE(time_co), "time_conv.bias");
}

/* Four levels of `blocks` residual blocks and a resampler after the first three. */
static void list_half(struct list *list, const char *side, const char *stages,
                      const int64_t *widths, int64_t c, int blocks, bool encoder)
{
    int stage = 0;
    for (int level = 0; level < 4; level++) {
        for (int i = 0; i < blocks; i++) {
            snprintf(list->prefix, sizeof list->prefix, "%s.%s.%d.", side, stages, stage++);
            put_residual(list, c, widths[level]);
            c = widths[level];
        }
        if (level == 3)
            break;
        snprintf(list->prefix, sizeof list->prefix, "%s.%s.%d.", side, stages, stage++);
        if (encoder) {
            put_resample(list, c, c, level > 0 ? c : 0);
        } else {
            put_resample(list, c / 2, c, level < 2 ? 2 * c : 0);
            c /= 2;
        }
    }
    list->prefix[0] = 0;
}

static void list_vae(struct list *list, const struct made_up_shape *s)
{
    int64_t d = s->vae_dim;
    const int64_t up[] = {4 * d, 4 * d, 2 * d, d}, down[] = {d, 2 * d, 4 * d, 4 * d};
    put_conv(list, d, 3, 3, 3, "encoder.conv1");
    list_half(list, "encoder", "downsamples", down, d, 2, true);
    put_middle(list, 4 * d, "encoder");
    put(list, GAIN, SHAPE(4 * d, 1, 1, 1), "encoder.head.0.gamma");
    put_conv(list, 32, 4 * d, 3, 3, "encoder.head.2");
    put_conv(list, 32, 32, 1, 1, "conv1");
    put_conv(list, 16, 16, 1, 1, "conv2");
    put_conv(list, 4 * d, 16, 3, 3, "decoder.conv1");
    put_middle(list, 4 * d, "decoder");
    list_half(list, "decoder", "upsamples", up, 4 * d, 3, false);
    put(list, GAIN, SHAPE(d, 1, 1, 1), "decoder.head.0.gamma");
    put_conv(list, 3, d, 3, 3, "decoder.head.2");
}

static void list_text(struct list *list, const struct made_up_shape *s)
{
    int64_t dim = s->text_dim, attn = s->text_attn, ffn = s->text_ffn;
    put(list, SMALL, SHAPE(s->vocabulary, dim), "token_embedding.weight");
    for (int i = 0; i < s->text_layers; i++) {
        snprintf(list->prefix, sizeof list->prefix, "blocks.%d.", i);
        put(list, GAIN, SHAPE(dim), "norm1.weight");
        put(list, WEIGHT, SHAPE(attn, dim), "attn.q.weight");
        put(list, WEIGHT, SHAPE(attn, dim), "attn.k.weight");
        put(list, WEIGHT, SHAPE(attn, dim), "attn.v.weight");
        put(list, WEIGHT, SHAPE(dim, attn), "attn.o.weight");
        put(list, GAIN, SHAPE(dim), "norm2.weight");
        put(list, WEIGHT, SHAPE(ffn, dim), "ffn.gate.0.weight");
        put(list, WEIGHT, SHAPE(ffn, dim), "ffn.fc1.weight");
        put(list, WEIGHT, SHAPE(dim, ffn), "ffn.fc2.weight");
        put(list, SMALL, SHAPE(32, s->text_heads), "pos_embedding.embedding.weight");
    }
    list->prefix[0] = 0;
    put(list, GAIN, SHAPE(dim), "norm.weight");
}

/* The light decoder's decoder; in the numbering, blocks without weights count too. */
static void list_taehv(struct list *list, const struct made_up_shape *s)
{
    int64_t d = s->light_dim;
    const int64_t width[] = {4 * d, 2 * d, d, d}, stride[] = {1, 2, 2};
    put(list, WEIGHT, SHAPE(width[0], 16, 3, 3), "decoder.1.weight");
    put(list, BIAS, SHAPE(width[0]), "decoder.1.bias");
    for (int level = 0; level < 3; level++) {
        int64_t c = width[level];
        int at = 3 + 6 * level;
        for (int block = 0; block < 3; block++) {
            for (int i = 0; i < 5; i += 2) {
                put(list, WEIGHT, SHAPE(c, i ? c : 2 * c, 3, 3), "decoder.%d.conv.%d.weight",
                    at + block, i);
                put(list, BIAS, SHAPE(c), "decoder.%d.conv.%d.bias", at + block, i);
            }
        }
        put(list, WEIGHT, SHAPE(stride[level] * c, c, 1, 1), "decoder.%d.conv.weight", at + 4);
        put(list, WEIGHT, SHAPE(width[level + 1], c, 3, 3), "decoder.%d.weight", at + 5);
    }
    put(list, WEIGHT, SHAPE(3, d, 3, 3), "decoder.22.weight");
    put(list, BIAS, SHAPE(3), "decoder.22.bias");
}

int made_up_list(const struct made_up_shape *shape, enum made_up_part part, made_up_fn add,
                 void *opaque)
{
    struct list list = {.add = add, .opaque = opaque};
    switch (part) {
    case MADE_UP_TRANSFORMER:
        list_transformer(&list, shape);
        break;
    case MADE_UP_VAE:
        list_vae(&list, shape);
        break;
    case MADE_UP_TEXT:
        list_text(&list, shape);
        break;
    case MADE_UP_TAEHV:
        list_taehv(&list, shape);
        break;
    }
    return list.code;
}

/* ---- values ---------------------------------------------------------------------------------- */

static uint64_t hash_name(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a, 64 bits */
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3;
    return hash;
}

#define GROUP 64 /* elements made at a time */

/* The group that begins with element 4 * block. */
static void make_group(float *value, const struct made_up_tensor *tensor, const uint32_t key[2],
                       uint64_t block)
{
    float factor = tensor->scale * 0x1p-31f, offset = tensor->offset;
    for (int i = 0; i < GROUP; i += 4, block++) {
        const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), 0, 0};
        uint32_t word[4];
        philox_4x32_10(counter, key, word);
        for (int j = 0; j < 4; j++)
            value[i + j] = offset + factor * (float)(int32_t)word[j];
    }
}

/* As bf16_from_f32, of values that are no NaN. */
static void round_group(uint16_t *to, const float *value)
{
    uint32_t bits[GROUP];
    memcpy(bits, value, sizeof bits);
    for (int i = 0; i < GROUP; i++)
        to[i] = (uint16_t)((bits[i] + 0x7fff + (bits[i] >> 16 & 1)) >> 16);
}

void made_up_fill(void *data, enum tensor_type type, const struct made_up_tensor *tensor,
                  uint64_t seed, int64_t first, int64_t count)
{
    uint64_t hash = hash_name(tensor->name) ^ seed;
    const uint32_t key[2] = {(uint32_t)hash, (uint32_t)(hash >> 32)};
    size_t element = tensor_type_size(type);
    for (int64_t i = 0; i < count; i += GROUP) {
        float value[GROUP];
        uint16_t rounded[GROUP];
        size_t part = (size_t)(count - i < GROUP ? count - i : GROUP);
        make_group(value, tensor, key, (uint64_t)(first + i) / 4);
        if (type == TENSOR_BF16)
            round_group(rounded, value);
        memcpy((char *)data + (size_t)i * element, type == TENSOR_BF16 ? (void *)rounded : value,
               part * element);
    }
}

/* ---- in memory ------------------------------------------------------------------------------- */

struct build {
    struct weight *list;
    void **blocks;                      /* a tensor and its description each */
    const struct made_up_tensor **made; /* these descriptions */
    size_t count, capacity;
    enum tensor_type type;
    uint64_t seed;
};

static int build_tensor(void *opaque, const struct made_up_tensor *t)
{
    struct build *b = opaque;
    if (b->count == b->capacity) {
        size_t capacity = b->capacity ? 2 * b->capacity : 256;
        struct weight *list = realloc(b->list, capacity * sizeof *list);
        if (list)
            b->list = list;
        void **blocks = realloc(b->blocks, capacity * sizeof *blocks);
        if (blocks)
            b->blocks = blocks;
        const struct made_up_tensor **made = realloc(b->made, capacity * sizeof *made);
        if (made)
            b->made = made;
        if (!list || !blocks || !made)
            return UNREEL_ENOMEM;
        b->capacity = capacity;
    }
    struct weight *w = &b->list[b->count];
    w->tensor = tensor_make(NULL, b->type, t->dims, t->shape);
    w->bytes = tensor_bytes(&w->tensor);
    size_t room = (w->bytes + 63) / 64 * 64;
    char *block = aligned_alloc(64, room + (sizeof *t + 63) / 64 * 64);
    if (!block)
        return UNREEL_ENOMEM;
    b->made[b->count] = memcpy(block + room, t, sizeof *t);
    b->blocks[b->count++] = block;
    w->tensor.data = block;
    w->name = b->made[b->count - 1]->name;
    return 0;
}

static void fill_tensors(void *arg, int64_t begin, int64_t end, int thread)
{
    const struct build *b = arg;
    for (int64_t i = begin; i < end; i++)
        made_up_fill(b->blocks[i], b->type, b->made[i], b->seed, 0,
                     tensor_count(&b->list[i].tensor));
}

/* A billion weights take a core half a minute. */
static int fill_all(struct build *b)
{
    struct thread_pool *pool = thread_pool_create(thread_pool_processors());
    if (!pool)
        return UNREEL_ENOMEM;
    thread_pool_run(pool, (int64_t)b->count, 1, fill_tensors, b);
    thread_pool_destroy(pool);
    return 0;
}

int made_up_weights(struct weights **weights, const struct made_up_shape *shape,
                    enum made_up_part part, enum tensor_type type, uint64_t seed,
                    const unreel_log *log)
{
    struct build b = {.type = type, .seed = seed};
    *weights = NULL;
    int code = made_up_list(shape, part, build_tensor, &b);
    if (code == 0)
        code = fill_all(&b);
    free(b.made);
    if (code < 0) {
        for (size_t i = 0; i < b.count; i++)
            free(b.blocks[i]);
        free(b.blocks);
        free(b.list);
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory for made-up weights", shape->name);
    }
    return weights_from_memory(weights, shape->name, b.list, b.count, b.blocks, b.count, log);
}
