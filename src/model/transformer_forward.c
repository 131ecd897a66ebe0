/* One forward of the transformer, and what it writes to. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/rope.h"
#include "model/transformer.h"

#define PATCH 2 /* latent pixels a token's side */

/* ---- a prompt -------------------------------------------------------------------------------- */

int text_context_open(struct text_context *context, struct transformer *transformer)
{
    const struct transformer_config *config = &transformer->config;
    *context = (struct text_context){.layers = config->layers};
    arena_init(&context->arena, transformer->backend);
    context->kv = calloc((size_t)config->layers, sizeof *context->kv);
    if (!context->kv)
        return log_error(&transformer->backend->log, UNREEL_ENOMEM, "text context: out of memory");
    for (int i = 0; i < config->layers; i++)
        context->kv[i] = arena_tensor(&context->arena, transformer->backend->compute,
                                      SHAPE(config->text_len, 2, config->heads,
                                            transformer->head_dim));
    enum tensor_type type = transformer->backend->compute;
    context->input = arena_tensor(&context->arena, type,
                                  SHAPE(config->text_len, transformer->text_dim));
    context->hidden = arena_tensor(&context->arena, type, SHAPE(config->text_len, config->dim));
    context->text = arena_tensor(&context->arena, type, SHAPE(config->text_len, config->dim));
    int code = backend_status(transformer->backend);
    if (code < 0)
        text_context_close(context);
    return code;
}

void text_context_close(struct text_context *context)
{
    if (context->arena.backend)
        arena_finish(&context->arena);
    free(context->kv);
    *context = (struct text_context){0};
}

void text_context_set(struct text_context *context, struct transformer *transformer,
                      struct tensor embeds)
{
    struct backend *b = transformer->backend;
    int64_t rows = embeds.shape[0], c = transformer->config.dim;
    if (backend_status(b))
        return;
    op_copy(b, context->input, embeds);
    op_linear(b, context->hidden, context->input, &transformer->text_in, ACT_GELU_TANH);
    op_linear(b, context->text, context->hidden, &transformer->text_out, ACT_NONE);
    for (int i = 0; i < context->layers; i++) {
        struct transformer_layer *layer = &transformer->layer[i];
        struct tensor kv = tensor_reshape(context->kv[i], SHAPE(rows, 2 * c));
        op_linear(b, kv, context->text, &layer->cross_kv, ACT_NONE);
        struct tensor k = tensor_slice(kv, 1, 0, c);
        op_rms_norm(b, k, k, layer->cross_norm_k, transformer->config.eps, ACT_NONE);
    }
    backend_sync(b);
}

/* ---- work ------------------------------------------------------------------------------------ */

int transformer_work_open(struct transformer_work *work, struct transformer *transformer,
                          int frames_max, int h, int w)
{
    struct backend *b = transformer->backend;
    const struct transformer_config *config = &transformer->config;
    int rows = h / PATCH, columns = w / PATCH;
    int64_t f = frames_max, c = config->dim, tokens = f * rows * columns;
    struct rope_split split = rope_split(transformer->head_dim);
    *work = (struct transformer_work){.frames_max = frames_max, .rows = rows, .columns = columns};
    struct arena *arena = &work->arena;
    arena_init(arena, b);
    work->x = arena_tensor(arena, TENSOR_F32, SHAPE(tokens, c));
    work->h = arena_tensor(arena, backend_quantised(b), SHAPE(tokens, c));
    work->h_precise = arena_tensor(arena, TENSOR_F32, SHAPE(tokens, c));
    work->qkv = arena_tensor(arena, b->compute, SHAPE(tokens, 3 * c));
    work->q = arena_tensor(arena, b->compute, SHAPE(tokens, c));
    work->attended = arena_tensor(arena, b->compute, SHAPE(tokens, c));
    work->ffn = arena_tensor(arena, backend_quantised(b), SHAPE(tokens, config->ffn_dim));
    work->patches = arena_tensor(arena, TENSOR_F32, SHAPE(tokens, PATCH * PATCH * LATENT_CHANNELS));
    work->timestep = arena_tensor(arena, TENSOR_F32, SHAPE(f));
    work->place = arena_tensor(arena, TENSOR_I32, SHAPE(PLACE_SLOTS + f));
    work->sinusoid = arena_tensor(arena, TENSOR_F32, SHAPE(f, config->freq_dim));
    work->e = arena_tensor(arena, TENSOR_F32, SHAPE(f, c));
    work->e_act = arena_tensor(arena, TENSOR_F32, SHAPE(f, c));
    work->e6 = arena_tensor(arena, TENSOR_F32, SHAPE(f, 6 * c));
    for (int i = 0; i < 2; i++)
        work->m[i] = arena_tensor(arena, TENSOR_F32, SHAPE(f, 6, c));
    work->rope_frame = arena_tensor(arena, TENSOR_F32, SHAPE(f, split.frame, 2));
    work->rope_row = arena_tensor(arena, TENSOR_F32, SHAPE(rows, split.row, 2));
    work->rope_column = arena_tensor(arena, TENSOR_F32, SHAPE(columns, split.column, 2));
    work->place_host = calloc((size_t)(PLACE_SLOTS + f), sizeof *work->place_host);
    if (!work->place_host)
        backend_fail(b, UNREEL_ENOMEM, "transformer: out of host memory");
    recorder_init(&work->recorder, b);
    if (!backend_status(b)) { /* positions from 0, as place is zero yet */
        struct tensor zero = tensor_slice(work->place, 0, PLACE_START, 1);
        op_rope_table(b, work->rope_row, zero);
        op_rope_table(b, work->rope_column, zero);
    }
    int code = backend_status(b);
    if (code < 0)
        transformer_work_close(work);
    return code;
}

void transformer_work_close(struct transformer_work *work)
{
    recorder_finish(&work->recorder);
    if (work->arena.backend)
        arena_finish(&work->arena);
    free(work->place_host);
    *work = (struct transformer_work){0};
}

/* ---- the forward ----------------------------------------------------------------------------- */

/* What the parts of one forward share. */
struct forward {
    struct transformer *t;
    struct transformer_work *work;
    struct kv_cache *cache;
    const struct text_context *text;
    struct backend *b;
    int frames;
    int64_t start, tokens;
    int64_t levels; /* rows of e: 1 if all frames have one timestep */
    struct rope_tables rope;
    struct tensor x; /* the work's, cut to this forward's tokens */
    struct tensor latents, flow;
};

static struct tensor rows(struct tensor t, int64_t count)
{
    return tensor_slice(t, 0, 0, count);
}

/* What differs between two forwards of one shape, to where the operations read it. */
static void set_place(struct forward *f, const float *timesteps)
{
    struct transformer_work *work = f->work;
    struct kv_cache *cache = f->cache;
    f->levels = 1;
    for (int i = 1; i < f->frames; i++) {
        if (timesteps[i] != timesteps[0])
            f->levels = f->frames;
    }
    work->place_host[PLACE_START] = (int32_t)kv_cache_position(cache, f->start);
    work->place_host[PLACE_HELD] = kv_cache_held(cache) * cache->tokens;
    for (int i = 0; i < f->frames; i++)
        work->place_host[PLACE_SLOTS + i] = kv_cache_slot(cache, f->start + i);
    backend_upload(f->b, rows(work->place, PLACE_SLOTS + f->frames),
                   tensor_make(work->place_host, TENSOR_I32, SHAPE(PLACE_SLOTS + f->frames)));
    backend_upload(f->b, rows(work->timestep, f->levels),
                   tensor_make((void *)(uintptr_t)timesteps, TENSOR_F32, SHAPE(f->levels)));
    if (cache->relative)
        kv_cache_turn(cache);
}

/* e = MLP(sinusoid(t)), e6 = Linear(SiLU(e)), one row for each distinct level. */
static void embed_timesteps(struct forward *f)
{
    struct transformer_work *work = f->work;
    struct tensor sinusoid = rows(work->sinusoid, f->levels), e = rows(work->e, f->levels);
    struct tensor act = rows(work->e_act, f->levels), e6 = rows(work->e6, f->levels);
    op_sinusoid(f->b, sinusoid, rows(work->timestep, f->levels));
    op_linear(f->b, act, sinusoid, &f->t->time_in, ACT_SILU);
    op_linear(f->b, e, act, &f->t->time_out, ACT_NONE);
    op_activate(f->b, act, e, ACT_SILU);
    op_linear(f->b, e6, act, &f->t->time_projection, ACT_NONE);
}

static void embed_patches(struct forward *f, struct tensor latents)
{
    struct transformer_work *work = f->work;
    struct tensor patches = rows(work->patches, f->tokens);
    int64_t cut[] = {f->frames, work->rows, PATCH, work->columns, PATCH * LATENT_CHANNELS};
    op_copy(f->b,
            tensor_reshape(patches, SHAPE(f->frames, work->rows, work->columns, PATCH,
                                          PATCH * LATENT_CHANNELS)),
            tensor_permute(tensor_reshape(latents, 5, cut), (const int[]){0, 1, 3, 2, 4}));
    op_linear(f->b, f->x, patches, &f->t->patch, ACT_NONE);
}

static void rotate_positions(struct forward *f)
{
    struct transformer_work *work = f->work;
    f->rope = (struct rope_tables){rows(work->rope_frame, f->frames), work->rope_row,
                                   work->rope_column};
    op_rope_table(f->b, f->rope.frame, tensor_slice(work->place, 0, PLACE_START, 1));
}

/* Rows `row` of m = base + e: base [n, C], e [levels, n C] into m [levels, n, C]. */
static void modulate(struct forward *f, struct tensor m, struct tensor base, struct tensor e)
{
    const float one[] = {1, 1};
    for (int64_t i = 0; i < f->levels; i++) {
        struct tensor shape = tensor_reshape(tensor_slice(e, 0, i, 1),
                                             SHAPE(base.shape[0], base.shape[1]));
        struct tensor to = tensor_reshape(tensor_slice(m, 0, i, 1),
                                          SHAPE(base.shape[0], base.shape[1]));
        op_combine(f->b, to, 2, one, (const struct tensor[]){base, shape});
    }
}

/* Row r of the modulation for every level: [levels, C]. */
static struct tensor level_rows(const struct forward *f, struct tensor m, int r)
{
    struct tensor row = tensor_slice(rows(m, f->levels), 1, r, 1);
    return tensor_reshape(row, SHAPE(f->levels, m.shape[2]));
}

/* [tokens, C] as [frames, rows, columns, heads, D]. */
static struct tensor as_heads(const struct forward *f, struct tensor t, int frames)
{
    return tensor_reshape(t, SHAPE(frames, f->work->rows, f->work->columns, f->t->config.heads,
                                   f->t->head_dim));
}

/* A ring of keys or values as frames in slots. */
static struct tensor as_slots(const struct forward *f, struct tensor ring)
{
    return as_heads(f, ring, f->cache->window);
}

/* Keys that are rotated when they are read: normed, frame by frame to their slots. */
static void store_unrotated(struct forward *f, struct store_qkv *s)
{
    int64_t frame = f->cache->tokens, c = f->t->config.dim;
    for (int64_t i = 0; i < f->frames; i++) {
        struct tensor to_k = tensor_slice(s->k, 0, s->slots[i], 1);
        struct tensor to_v = tensor_slice(s->v, 0, s->slots[i], 1);
        op_rms_norm(f->b, tensor_reshape(to_k, SHAPE(frame, c)),
                    tensor_reshape(tensor_slice(s->x_k, 0, i, 1), SHAPE(frame, c)), s->gain_k,
                    s->eps, ACT_NONE);
        op_copy(f->b, to_v, tensor_slice(s->x_v, 0, i, 1));
    }
    if (s->q.data)
        op_rms_norm_rope(f->b, s->q, s->x_q, s->gain_q, s->eps, &s->rope);
}

/* Keys and values of this block's frames into their slots, queries into q; a block may wrap around the
 * ring. */
static void store_qkv(struct forward *f, int index, struct tensor qkv, bool only_keys)
{
    const struct transformer_layer *layer = &f->t->layer[index];
    int64_t c = f->t->config.dim;
    struct store_qkv s = {
        .k = as_slots(f, f->cache->k[index]),
        .v = as_slots(f, f->cache->v[index]),
        .x_q = as_heads(f, tensor_slice(qkv, 1, 0, c), f->frames),
        .x_k = as_heads(f, tensor_slice(qkv, 1, c, c), f->frames),
        .x_v = as_heads(f, tensor_slice(qkv, 1, 2 * c, c), f->frames),
        .gain_q = layer->norm_q,
        .gain_k = layer->norm_k,
        .eps = f->t->config.eps,
        .rope = f->rope,
        .slot = tensor_slice(f->work->place, 0, PLACE_SLOTS, f->frames),
        .slots = f->work->place_host + PLACE_SLOTS,
    };
    if (!only_keys)
        s.q = as_heads(f, rows(f->work->q, f->tokens), f->frames);
    if (f->cache->relative)
        store_unrotated(f, &s);
    else
        op_store_qkv(f->b, &s);
}

/* Keys of a layer as attention reads them: rotated. */
static struct tensor window_keys(struct forward *f, int index)
{
    int held = kv_cache_held(f->cache);
    if (!f->cache->relative)
        return f->cache->k[index];
    struct rope_tables rope = f->rope;
    int64_t keys = (int64_t)held * f->cache->tokens;
    rope.frame = rows(f->cache->angles, held);
    op_rope(f->b, as_heads(f, rows(f->cache->rotated, keys), held),
            as_heads(f, rows(f->cache->k[index], keys), held), &rope);
    return f->cache->rotated;
}

/* x += y * gate, then h = its norm with rows `scale` and `shift` of a modulation. Products go into q,
 * which is free by then. */
static void add_modulated(struct forward *f, struct tensor gate, struct tensor m, int scale, int shift)
{
    op_add_gated_layer_norm(f->b, rows(f->work->h, f->tokens), f->x, rows(f->work->q, f->tokens), gate,
                            level_rows(f, m, scale), level_rows(f, m, shift), f->t->config.eps, 1);
}

/* What attention left, as the product after it takes it: perhaps quantised, into h, which is free. */
static struct tensor attended(struct forward *f)
{
    struct tensor attended = rows(f->work->attended, f->tokens), h = rows(f->work->h, f->tokens);
    if (h.type == attended.type)
        return attended;
    op_quantise(f->b, h, attended);
    return h;
}

/* From h, the normed stream, to h, that of cross attention. False: only keys and values are wanted. */
static bool self_attention(struct forward *f, int index, bool only_keys)
{
    struct transformer_work *work = f->work;
    struct transformer_layer *layer = &f->t->layer[index];
    int64_t heads = f->t->config.heads, d = f->t->head_dim;
    struct tensor h = rows(work->h, f->tokens), qkv = rows(work->qkv, f->tokens);
    struct tensor q = rows(work->q, f->tokens), to = rows(work->attended, f->tokens);
    op_linear(f->b, qkv, h, &layer->qkv, ACT_NONE);
    store_qkv(f, index, qkv, only_keys);
    if (only_keys)
        return false;
    op_attention_held(f->b, tensor_reshape(to, SHAPE(f->tokens, heads, d)),
                      tensor_reshape(q, SHAPE(f->tokens, heads, d)), window_keys(f, index),
                      f->cache->v[index], 1 / sqrtf((float)d),
                      tensor_slice(work->place, 0, PLACE_HELD, 1),
                      (int64_t)kv_cache_held(f->cache) * f->cache->tokens);
    op_linear(f->b, q, attended(f), &layer->o, ACT_NONE);
    op_add_gated_layer_norm(f->b, h, f->x, q, level_rows(f, work->m[index % 2], 2),
                            layer->cross_gain, layer->cross_bias, f->t->config.eps, 0);
    return true;
}

/* From h to h, that of the feed-forward layer. */
static void cross_attention(struct forward *f, int index)
{
    struct transformer_work *work = f->work;
    struct transformer_layer *layer = &f->t->layer[index];
    int64_t heads = f->t->config.heads, d = f->t->head_dim, text_len = f->t->config.text_len;
    struct tensor h = rows(work->h, f->tokens), q = rows(work->q, f->tokens);
    struct tensor to = rows(work->attended, f->tokens);
    struct tensor kv = f->text->kv[index]; /* [text_len, 2, heads, D] */
    op_linear(f->b, q, h, &layer->cross_q, ACT_NONE);
    op_rms_norm(f->b, q, q, layer->cross_norm_q, f->t->config.eps, ACT_NONE);
    op_attention(f->b, tensor_reshape(to, SHAPE(f->tokens, heads, d)),
                 tensor_reshape(q, SHAPE(f->tokens, heads, d)),
                 tensor_reshape(tensor_slice(kv, 1, 0, 1), SHAPE(text_len, heads, d)),
                 tensor_reshape(tensor_slice(kv, 1, 1, 1), SHAPE(text_len, heads, d)),
                 1 / sqrtf((float)d), (struct tensor){0});
    op_linear(f->b, q, attended(f), &layer->cross_o, ACT_NONE);
    add_modulated(f, (struct tensor){0}, work->m[index % 2], 4, 3);
}

/* Row r of the head's modulation is its own row r + e. */
static void modulate_head(struct forward *f, struct tensor m)
{
    const float one[] = {1, 1};
    int64_t c = f->t->config.dim;
    for (int64_t i = 0; i < f->levels; i++) {
        struct tensor e = tensor_slice(f->work->e, 0, i, 1);
        for (int r = 0; r < 2; r++) {
            struct tensor to = tensor_slice(tensor_slice(m, 0, i, 1), 1, r, 1);
            const struct tensor terms[] = {tensor_slice(f->t->head_modulation, 0, r, 1), e};
            op_combine(f->b, tensor_reshape(to, SHAPE(1, c)), 2, one, terms);
        }
    }
}

/* From h to h, that of the next layer; after the last layer h_precise, that of the head, if there is to
 * be flow. */
static void feed_forward(struct forward *f, int index)
{
    struct transformer_work *work = f->work;
    struct transformer_layer *layer = &f->t->layer[index];
    struct tensor h = rows(work->h, f->tokens), ffn = rows(work->ffn, f->tokens);
    struct tensor q = rows(work->q, f->tokens), next = work->m[(index + 1) % 2];
    struct tensor gate = level_rows(f, work->m[index % 2], 5);
    op_linear(f->b, ffn, h, &layer->ffn_in, ACT_GELU_TANH);
    op_linear(f->b, q, ffn, &layer->ffn_out, ACT_NONE);
    if (index + 1 < f->t->config.layers) {
        modulate(f, next, f->t->layer[index + 1].modulation, work->e6);
        add_modulated(f, gate, next, 1, 0);
        return;
    }
    modulate_head(f, next);
    op_add_gated_layer_norm(f->b, rows(work->h_precise, f->tokens), f->x, q, gate,
                            level_rows(f, next, 1), level_rows(f, next, 0), f->t->config.eps, 1);
}

/* flow = unpatchify(Linear(h_precise)) */
static void head(struct forward *f)
{
    struct transformer_work *work = f->work;
    struct tensor h = rows(work->h_precise, f->tokens), patches = rows(work->patches, f->tokens);
    op_linear(f->b, patches, h, &f->t->head, ACT_NONE);
    int64_t cut[] = {f->frames, work->rows, PATCH, work->columns, PATCH * LATENT_CHANNELS};
    op_copy(f->b, tensor_permute(tensor_reshape(f->flow, 5, cut), (const int[]){0, 1, 3, 2, 4}),
            tensor_reshape(patches, SHAPE(f->frames, work->rows, work->columns, PATCH,
                                          PATCH * LATENT_CHANNELS)));
}

/* All operations of a forward: the same for the same key(). */
static void run(void *opaque)
{
    struct forward *f = opaque;
    struct tensor m = f->work->m[0];
    int layers = f->t->config.layers;
    embed_timesteps(f);
    embed_patches(f, f->latents);
    rotate_positions(f);
    modulate(f, m, f->t->layer[0].modulation, f->work->e6);
    op_layer_norm(f->b, rows(f->work->h, f->tokens), f->x, level_rows(f, m, 1), level_rows(f, m, 0),
                  f->t->config.eps, 1);
    for (int i = 0; i < layers; i++) {
        if (!self_attention(f, i, !f->flow.data && i == layers - 1))
            return;
        cross_attention(f, i);
        feed_forward(f, i);
    }
    head(f);
}

/* Slots are the operations' own where these are not read from backend memory. */
static void make_key(const struct forward *f, uint64_t key[RECORDING_KEY])
{
    bool baked = f->cache->relative || !f->b->ops->store_qkv;
    uint64_t slots = 0;
    for (int i = 0; baked && i < f->frames; i++)
        slots = slots * 0x100000001b3 + (uint64_t)f->work->place_host[PLACE_SLOTS + i] + 1;
    const uint64_t parts[RECORDING_KEY] = {
        f->cache->arena.serial,     f->text->arena.serial,          (uint64_t)f->frames,
        (uint64_t)f->levels,        (uint64_t)kv_cache_held(f->cache), slots,
        (uintptr_t)f->latents.data, (uintptr_t)f->flow.data,
    };
    memcpy(key, parts, sizeof parts);
}

void transformer_forward(struct transformer *transformer, struct transformer_work *work,
                         struct kv_cache *cache, const struct text_context *text,
                         struct tensor latents, const float *timesteps, int64_t start,
                         struct tensor flow)
{
    int frames = (int)latents.shape[0];
    struct forward f = {
        .t = transformer,
        .work = work,
        .cache = cache,
        .text = text,
        .b = transformer->backend,
        .frames = frames,
        .start = start,
        .tokens = (int64_t)frames * work->rows * work->columns,
        .latents = latents,
        .flow = flow,
    };
    uint64_t key[RECORDING_KEY];
    f.x = rows(work->x, f.tokens);
    if (backend_status(f.b))
        return;
    kv_cache_begin(cache, start, frames);
    set_place(&f, timesteps);
    make_key(&f, key);
    recorder_run(&work->recorder, key, run, &f);
}
