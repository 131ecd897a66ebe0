/* One forward of the transformer, and what it writes to. */
#include <math.h>
#include <stdlib.h>

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
    work->h = arena_tensor(arena, b->compute, SHAPE(tokens, c));
    work->h_precise = arena_tensor(arena, TENSOR_F32, SHAPE(tokens, c));
    work->qkv = arena_tensor(arena, b->compute, SHAPE(tokens, 3 * c));
    work->q = arena_tensor(arena, b->compute, SHAPE(tokens, c));
    work->attended = arena_tensor(arena, b->compute, SHAPE(tokens, c));
    work->ffn = arena_tensor(arena, b->compute, SHAPE(tokens, config->ffn_dim));
    work->patches = arena_tensor(arena, TENSOR_F32, SHAPE(tokens, PATCH * PATCH * LATENT_CHANNELS));
    work->sinusoid = arena_tensor(arena, TENSOR_F32, SHAPE(f, config->freq_dim));
    work->e = arena_tensor(arena, TENSOR_F32, SHAPE(f, c));
    work->e_act = arena_tensor(arena, TENSOR_F32, SHAPE(f, c));
    work->e6 = arena_tensor(arena, TENSOR_F32, SHAPE(f, 6 * c));
    work->m = arena_tensor(arena, TENSOR_F32, SHAPE(f, 6, c));
    work->rope_frame = arena_tensor(arena, TENSOR_F32, SHAPE(f, split.frame, 2));
    work->rope_row = arena_tensor(arena, TENSOR_F32, SHAPE(rows, split.row, 2));
    work->rope_column = arena_tensor(arena, TENSOR_F32, SHAPE(columns, split.column, 2));
    int64_t longest = f > rows ? f : rows;
    longest = longest > columns ? longest : columns;
    work->host = malloc((size_t)longest * (size_t)(transformer->head_dim + config->freq_dim) *
                        sizeof(float));
    if (!work->host)
        backend_fail(b, UNREEL_ENOMEM, "transformer: out of host memory");
    if (!backend_status(b)) {
        rope_fill(work->host, 0, rows, split.row);
        backend_upload(b, work->rope_row,
                       tensor_make(work->host, TENSOR_F32, SHAPE(rows, split.row, 2)));
        rope_fill(work->host, 0, columns, split.column);
        backend_upload(b, work->rope_column,
                       tensor_make(work->host, TENSOR_F32, SHAPE(columns, split.column, 2)));
    }
    int code = backend_status(b);
    if (code < 0)
        transformer_work_close(work);
    return code;
}

void transformer_work_close(struct transformer_work *work)
{
    if (work->arena.backend)
        arena_finish(&work->arena);
    free(work->host);
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
};

static struct tensor rows(struct tensor t, int64_t count)
{
    return tensor_slice(t, 0, 0, count);
}

/* e = MLP(sinusoid(t)), e6 = Linear(SiLU(e)), one row for each distinct level. */
static void embed_timesteps(struct forward *f, const float *timesteps)
{
    struct transformer_work *work = f->work;
    int half = f->t->config.freq_dim / 2;
    f->levels = 1;
    for (int i = 1; i < f->frames; i++) {
        if (timesteps[i] != timesteps[0])
            f->levels = f->frames;
    }
    for (int64_t i = 0; i < f->levels; i++) {
        for (int j = 0; j < half; j++) {
            double angle = (double)timesteps[i] * pow(10000, -(double)j / half);
            work->host[i * 2 * half + j] = (float)cos(angle);
            work->host[i * 2 * half + half + j] = (float)sin(angle);
        }
    }
    struct tensor sinusoid = rows(work->sinusoid, f->levels), e = rows(work->e, f->levels);
    struct tensor act = rows(work->e_act, f->levels), e6 = rows(work->e6, f->levels);
    backend_upload(f->b, sinusoid,
                   tensor_make(work->host, TENSOR_F32, SHAPE(f->levels, 2 * half)));
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
    struct tensor frame = rows(work->rope_frame, f->frames);
    rope_fill(work->host, kv_cache_position(f->cache, f->start), f->frames, (int)frame.shape[1]);
    backend_upload(f->b, frame,
                   tensor_make(work->host, TENSOR_F32, SHAPE(f->frames, frame.shape[1], 2)));
    f->rope = (struct rope_tables){frame, work->rope_row, work->rope_column};
    if (f->cache->relative)
        kv_cache_turn(f->cache);
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

/* Keys of frames [i, i + run) of this block, normed, to their slots [run * tokens, C]; rotated unless
 * that is done when they are read. */
static void store_normed(struct forward *f, struct tensor to, struct tensor k, int i, int run,
                         struct tensor gain)
{
    struct rope_tables rope = f->rope;
    float eps = f->t->config.eps;
    if (f->cache->relative) {
        op_rms_norm(f->b, to, k, gain, eps, ACT_NONE);
        return;
    }
    rope.frame = tensor_slice(rope.frame, 0, i, run);
    op_rms_norm_rope(f->b, as_heads(f, to, run), as_heads(f, k, run), gain, eps, &rope);
}

/* Keys and values of this block's frames into their slots; a block may wrap around the ring. */
static void store_keys(struct forward *f, int index, struct tensor k, struct tensor v)
{
    const struct transformer_layer *layer = &f->t->layer[index];
    int64_t frame = f->cache->tokens, c = f->t->config.dim;
    for (int i = 0; i < f->frames;) {
        int slot = kv_cache_slot(f->cache, f->start + i), run = 1;
        while (i + run < f->frames && kv_cache_slot(f->cache, f->start + i + run) == slot + run)
            run++;
        struct tensor to_k = tensor_slice(f->cache->k[index], 0, slot * frame, run * frame);
        struct tensor to_v = tensor_slice(f->cache->v[index], 0, slot * frame, run * frame);
        store_normed(f, tensor_reshape(to_k, SHAPE(run * frame, c)),
                     tensor_slice(k, 0, i * frame, run * frame), i, run, layer->norm_k);
        op_copy(f->b, tensor_reshape(to_v, SHAPE(run * frame, c)),
                tensor_slice(v, 0, i * frame, run * frame));
        i += run;
    }
}

/* Keys of a layer as attention reads them: rotated, all held frames. */
static struct tensor window_keys(struct forward *f, int index)
{
    int held = kv_cache_held(f->cache);
    int64_t keys = (int64_t)held * f->cache->tokens;
    struct tensor k = rows(f->cache->k[index], keys);
    if (!f->cache->relative)
        return k;
    struct tensor rotated = rows(f->cache->rotated, keys);
    struct rope_tables rope = f->rope;
    rope.frame = rows(f->cache->angles, held);
    op_rope(f->b, as_heads(f, rotated, held), as_heads(f, k, held), &rope);
    return rotated;
}

static void self_attention(struct forward *f, int index, bool only_keys)
{
    struct transformer_work *work = f->work;
    struct transformer_layer *layer = &f->t->layer[index];
    int64_t c = f->t->config.dim, heads = f->t->config.heads, d = f->t->head_dim;
    struct tensor h = rows(work->h, f->tokens), qkv = rows(work->qkv, f->tokens);
    struct tensor q = rows(work->q, f->tokens), attended = rows(work->attended, f->tokens);
    op_layer_norm(f->b, h, f->x, level_rows(f, work->m, 1), level_rows(f, work->m, 0),
                  f->t->config.eps, 1);
    op_linear(f->b, qkv, h, &layer->qkv, ACT_NONE);
    store_keys(f, index, tensor_slice(qkv, 1, c, c), tensor_slice(qkv, 1, 2 * c, c));
    if (only_keys)
        return;
    op_rms_norm_rope(f->b, as_heads(f, q, f->frames),
                     as_heads(f, tensor_slice(qkv, 1, 0, c), f->frames), layer->norm_q,
                     f->t->config.eps, &f->rope);
    int64_t keys = (int64_t)kv_cache_held(f->cache) * f->cache->tokens;
    op_attention(f->b, tensor_reshape(attended, SHAPE(f->tokens, heads, d)),
                 tensor_reshape(q, SHAPE(f->tokens, heads, d)), window_keys(f, index),
                 rows(f->cache->v[index], keys), 1 / sqrtf((float)d), (struct tensor){0});
    op_linear(f->b, h, attended, &layer->o, ACT_NONE);
    op_add_gated(f->b, f->x, h, level_rows(f, work->m, 2));
}

static void cross_attention(struct forward *f, int index)
{
    struct transformer_work *work = f->work;
    struct transformer_layer *layer = &f->t->layer[index];
    int64_t heads = f->t->config.heads, d = f->t->head_dim, text_len = f->t->config.text_len;
    struct tensor h = rows(work->h, f->tokens), q = rows(work->q, f->tokens);
    struct tensor attended = rows(work->attended, f->tokens);
    struct tensor kv = f->text->kv[index]; /* [text_len, 2, heads, D] */
    op_layer_norm(f->b, h, f->x, layer->cross_gain, layer->cross_bias, f->t->config.eps, 0);
    op_linear(f->b, q, h, &layer->cross_q, ACT_NONE);
    op_rms_norm(f->b, q, q, layer->cross_norm_q, f->t->config.eps, ACT_NONE);
    op_attention(f->b, tensor_reshape(attended, SHAPE(f->tokens, heads, d)),
                 tensor_reshape(q, SHAPE(f->tokens, heads, d)),
                 tensor_reshape(tensor_slice(kv, 1, 0, 1), SHAPE(text_len, heads, d)),
                 tensor_reshape(tensor_slice(kv, 1, 1, 1), SHAPE(text_len, heads, d)),
                 1 / sqrtf((float)d), (struct tensor){0});
    op_linear(f->b, h, attended, &layer->cross_o, ACT_NONE);
    op_add_gated(f->b, f->x, h, (struct tensor){0});
}

static void feed_forward(struct forward *f, int index)
{
    struct transformer_work *work = f->work;
    struct transformer_layer *layer = &f->t->layer[index];
    struct tensor h = rows(work->h, f->tokens), ffn = rows(work->ffn, f->tokens);
    op_layer_norm(f->b, h, f->x, level_rows(f, work->m, 4), level_rows(f, work->m, 3),
                  f->t->config.eps, 1);
    op_linear(f->b, ffn, h, &layer->ffn_in, ACT_GELU_TANH);
    op_linear(f->b, h, ffn, &layer->ffn_out, ACT_NONE);
    op_add_gated(f->b, f->x, h, level_rows(f, work->m, 5));
}

/* flow = unpatchify(Linear(LN(x) * (1 + scale) + shift)), the modulation being 2 rows + e. */
static void head(struct forward *f, struct tensor flow)
{
    struct transformer_work *work = f->work;
    struct tensor h = rows(work->h_precise, f->tokens), patches = rows(work->patches, f->tokens);
    const float one[] = {1, 1};
    int64_t c = f->t->config.dim;
    for (int64_t i = 0; i < f->levels; i++) {
        struct tensor e = tensor_slice(work->e, 0, i, 1);
        for (int r = 0; r < 2; r++) {
            struct tensor to = tensor_slice(tensor_slice(work->m, 0, i, 1), 1, r, 1);
            const struct tensor terms[] = {tensor_slice(f->t->head_modulation, 0, r, 1), e};
            op_combine(f->b, tensor_reshape(to, SHAPE(1, c)), 2, one, terms);
        }
    }
    op_layer_norm(f->b, h, f->x, level_rows(f, work->m, 1), level_rows(f, work->m, 0),
                  f->t->config.eps, 1);
    op_linear(f->b, patches, h, &f->t->head, ACT_NONE);
    int64_t cut[] = {f->frames, work->rows, PATCH, work->columns, PATCH * LATENT_CHANNELS};
    op_copy(f->b, tensor_permute(tensor_reshape(flow, 5, cut), (const int[]){0, 1, 3, 2, 4}),
            tensor_reshape(patches, SHAPE(f->frames, work->rows, work->columns, PATCH,
                                          PATCH * LATENT_CHANNELS)));
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
    };
    f.x = rows(work->x, f.tokens);
    if (backend_status(f.b))
        return;
    kv_cache_begin(cache, start, frames);
    embed_timesteps(&f, timesteps);
    embed_patches(&f, latents);
    rotate_positions(&f);
    for (int i = 0; i < transformer->config.layers; i++) {
        bool only_keys = !flow.data && i == transformer->config.layers - 1;
        modulate(&f, work->m, transformer->layer[i].modulation, work->e6);
        self_attention(&f, i, only_keys);
        if (only_keys)
            return;
        cross_attention(&f, i);
        feed_forward(&f, i);
    }
    if (flow.data)
        head(&f, flow);
}
