#include "model/rollout.h"

#include <stdlib.h>

#include "base/clock.h"

static int check_config(const struct rollout *r)
{
    const struct rollout_config *c = &r->config;
    const unreel_log *log = &r->transformer->backend->log;
    int64_t below, above;
    if (c->plan.block < 1 || c->plan.block > ROLLOUT_BLOCK_MAX)
        return log_error(log, UNREEL_EINVAL, "blocks of %d latent frames: 1 to %d are possible",
                         c->plan.block, ROLLOUT_BLOCK_MAX);
    if (block_plan_check(&c->plan, &below, &above) < 0) {
        const char *first = c->plan.first_alone ? " after an independent first frame" : "";
        if (below)
            return log_error(log, UNREEL_EINVAL,
                             "num_output_frames: %lld latent frames do not fit blocks of %d%s: %lld or %lld would",
                             (long long)c->plan.frames, c->plan.block, first, (long long)below,
                             (long long)above);
        return log_error(log, UNREEL_EINVAL,
                         "num_output_frames: %lld latent frames do not fit blocks of %d%s: %lld would",
                         (long long)c->plan.frames, c->plan.block, first, (long long)above);
    }
    if (c->window < 1 || c->sink < 0 || c->window - c->sink < c->plan.block)
        return log_error(log, UNREEL_EINVAL,
                         "a window of %d latent frames with a sink of %d has no room for a block "
                         "of %d",
                         c->window, c->sink, c->plan.block);
    if (c->h < 2 || c->w < 2 || c->h % 2 || c->w % 2)
        return log_error(log, UNREEL_EINVAL, "latents of %d x %d: both must be even", c->w, c->h);
    return 0;
}

static int open_parts(struct rollout *r)
{
    const struct rollout_config *c = &r->config;
    struct transformer *t = r->transformer;
    struct backend *b = t->backend;
    const struct kv_cache_config cache = {
        .layers = t->config.layers,
        .heads = t->config.heads,
        .head_dim = t->head_dim,
        .window = c->window,
        .sink = c->sink,
        .tokens = c->h / 2 * (c->w / 2),
        .relative = c->relative,
    };
    int code = transformer_work_open(&r->work, t, c->plan.block, c->h, c->w);
    if (code == 0)
        code = kv_cache_open(&r->cache, b, &cache);
    if (code == 0)
        code = text_context_open(&r->text, t);
    if (code == 0 && rollout_is_guided(c))
        code = kv_cache_open(&r->uncond_cache, b, &cache);
    if (code == 0 && rollout_is_guided(c))
        code = text_context_open(&r->uncond_text, t);
    if (code < 0)
        return code;
    const int64_t shape[] = {c->plan.block, c->h, c->w, LATENT_CHANNELS};
    r->clean = arena_tensor(&r->arena, TENSOR_F32, SHAPE(c->window, c->h, c->w, LATENT_CHANNELS));
    r->x = arena_tensor(&r->arena, TENSOR_F32, 4, shape);
    r->flow = arena_tensor(&r->arena, TENSOR_F32, 4, shape);
    r->fresh = arena_tensor(&r->arena, TENSOR_F32, 4, shape);
    if (rollout_is_guided(c))
        r->uncond_flow = arena_tensor(&r->arena, TENSOR_F32, 4, shape);
    if (!c->steps)
        code = unipc_init(&r->solver, c->sampling_steps, c->sampling_shift, &r->arena, 4, shape);
    r->host = malloc(tensor_bytes(&r->x));
    if (!r->host)
        return log_error(&b->log, UNREEL_ENOMEM, "rollout: out of memory");
    return code < 0 ? code : backend_status(b);
}

int rollout_open(struct rollout *rollout, struct transformer *transformer,
                 const struct rollout_config *config, struct noise_source noise)
{
    *rollout = (struct rollout){
        .config = *config,
        .plan = config->plan,
        .transformer = transformer,
        .noise = noise,
    };
    arena_init(&rollout->arena, transformer->backend);
    schedule_init(&rollout->schedule, config->shift);
    int code = check_config(rollout);
    if (code == 0)
        code = open_parts(rollout);
    if (code < 0)
        rollout_close(rollout);
    return code;
}

void rollout_close(struct rollout *rollout)
{
    if (!rollout->transformer)
        return;
    transformer_work_close(&rollout->work);
    kv_cache_close(&rollout->cache);
    kv_cache_close(&rollout->uncond_cache);
    text_context_close(&rollout->text);
    text_context_close(&rollout->uncond_text);
    unipc_finish(&rollout->solver);
    arena_finish(&rollout->arena);
    free(rollout->host);
    *rollout = (struct rollout){0};
}

void rollout_set_text(struct rollout *rollout, struct tensor embeds, struct tensor negative)
{
    rollout_keep(rollout); /* under the prompt that it was made with */
    text_context_set(&rollout->text, rollout->transformer, embeds);
    if (rollout_is_guided(&rollout->config) && negative.data)
        text_context_set(&rollout->uncond_text, rollout->transformer, negative);
}

/* One forward of a block whose frames, from `start`, all have one timestep. */
static void forward_at(struct rollout *r, struct kv_cache *cache, const struct text_context *text,
                       struct tensor x, float timestep, int64_t start, struct tensor flow)
{
    float timesteps[ROLLOUT_BLOCK_MAX];
    for (int64_t i = 0; i < x.shape[0]; i++)
        timesteps[i] = timestep;
    transformer_forward(r->transformer, &r->work, cache, text, x, timesteps, start, flow);
    r->times.forwards++;
}

static void forward(struct rollout *r, struct kv_cache *cache, const struct text_context *text,
                    struct tensor x, float timestep, struct tensor flow)
{
    forward_at(r, cache, text, x, timestep, r->frame, flow);
}

/* The timestep of the forward that stores a finished frame. */
static float clean_timestep(const struct rollout *r, int64_t frame)
{
    return r->config.steps && frame >= r->plan.given ? r->config.context_noise : 0;
}

/* Where a frame's finished latents are kept: those that the cache holds never share a place. */
static struct tensor clean_latents(const struct rollout *r, int64_t frame)
{
    int sink = r->config.sink, ring = r->config.window - sink;
    return tensor_slice(r->clean, 0, frame < sink ? frame : sink + (frame - sink) % ring, 1);
}

/* A finished block, whose keys and values are still to be written. */
static void finish_block(struct rollout *r, struct tensor x)
{
    for (int64_t i = 0; i < x.shape[0]; i++)
        op_copy(r->transformer->backend, clean_latents(r, r->frame + i), tensor_slice(x, 0, i, 1));
    r->frame += x.shape[0];
    r->noise_frame += x.shape[0];
    r->done += x.shape[0];
    r->unkept = x;
}

void rollout_keep(struct rollout *rollout)
{
    struct rollout *r = rollout;
    struct backend *b = r->transformer->backend;
    struct tensor x = r->unkept;
    if (!x.data)
        return;
    double begin = clock_seconds();
    int64_t start = r->frame - x.shape[0];
    float timestep = clean_timestep(r, start);
    r->unkept = (struct tensor){0};
    backend_range_begin(b, "cache forward");
    forward_at(r, &r->cache, &r->text, x, timestep, start, (struct tensor){0});
    if (rollout_is_guided(&r->config))
        forward_at(r, &r->uncond_cache, &r->uncond_text, x, timestep, start, (struct tensor){0});
    backend_range_end(b);
    backend_sync(b);
    r->times.cache += clock_seconds() - begin;
}

void rollout_give(struct rollout *rollout, struct tensor latents)
{
    const struct block_plan *plan = &rollout->plan;
    while (rollout->frame < plan->given) {
        int frames = block_plan_next(plan, rollout->frame);
        finish_block(rollout, tensor_slice(latents, 0, rollout->frame, frames));
        rollout_keep(rollout);
        if (backend_status(rollout->transformer->backend))
            return;
    }
}

static void draw(struct rollout *r, struct tensor x, int step)
{
    struct backend *b = r->transformer->backend;
    int code = 1;
    if (r->noise.fill)
        code = r->noise.fill(r->noise.opaque, r->host, r->noise_frame, (int)x.shape[0], step);
    if (code < 0 || (code > 0 && !r->noise.key))
        backend_fail(b, code < 0 ? code : UNREEL_EINVAL, "no noise for latent frame %lld",
                     (long long)r->noise_frame);
    else if (code > 0)
        op_noise(b, x, r->noise.key, (uint64_t)r->noise_frame, (uint32_t)step);
    else
        backend_upload(b, x, tensor_make(r->host, TENSOR_F32, x.dims, x.shape));
}

static void denoise_few(struct rollout *r, struct tensor x, struct tensor flow, struct tensor fresh)
{
    struct backend *b = r->transformer->backend;
    const struct rollout_config *c = &r->config;
    for (int i = 0; i < c->steps && !backend_status(b); i++) {
        float sigma = schedule_sigma(&r->schedule, c->timestep[i]);
        backend_range_begin(b, "denoising forward");
        forward(r, &r->cache, &r->text, x, c->timestep[i], flow);
        backend_range_end(b);
        if (i + 1 == c->steps) { /* x0 = x - sigma * flow */
            op_combine(b, x, 2, (const float[]){1, -sigma}, (const struct tensor[]){x, flow});
            break;
        }
        /* (1 - s) * x0 + s * noise at the next level s */
        float s = schedule_sigma(&r->schedule, c->timestep[i + 1]);
        draw(r, fresh, i + 1);
        op_combine(b, x, 3, (const float[]){1 - s, -(1 - s) * sigma, s},
                   (const struct tensor[]){x, flow, fresh});
    }
}

static void denoise_multi(struct rollout *r, struct tensor x, struct tensor flow, int64_t frames)
{
    struct backend *b = r->transformer->backend;
    float guidance = r->config.guidance_scale;
    int guided = r->config.guidance_steps ? r->config.guidance_steps : r->solver.steps;
    struct tensor uncond = {0};
    if (rollout_is_guided(&r->config))
        uncond = tensor_slice(r->uncond_flow, 0, 0, frames);
    unipc_reset(&r->solver);
    for (int i = 0; i < r->solver.steps && !backend_status(b); i++) {
        forward(r, &r->cache, &r->text, x, r->solver.timestep[i], flow);
        if (uncond.data && i < guided) {
            forward(r, &r->uncond_cache, &r->uncond_text, x, r->solver.timestep[i], uncond);
            op_combine(b, flow, 2, (const float[]){guidance, 1 - guidance},
                       (const struct tensor[]){flow, uncond});
        }
        unipc_step(&r->solver, b, x, flow);
    }
}

struct tensor rollout_next(struct rollout *rollout)
{
    struct rollout *r = rollout;
    struct backend *b = r->transformer->backend;
    int frames = rollout_left(r) ? block_plan_next(&r->plan, r->frame) : 0;
    if (!frames)
        return (struct tensor){0};
    rollout_keep(r);
    if (backend_status(b))
        return (struct tensor){0};
    struct tensor x = tensor_slice(r->x, 0, 0, frames), flow = tensor_slice(r->flow, 0, 0, frames);
    double begin = clock_seconds();
    draw(r, x, 0);
    if (r->config.steps)
        denoise_few(r, x, flow, tensor_slice(r->fresh, 0, 0, frames));
    else
        denoise_multi(r, x, flow, frames);
    backend_sync(b);
    r->times.denoise += clock_seconds() - begin;
    finish_block(r, x);
    return backend_status(b) ? (struct tensor){0} : x;
}

/* ---- another scene, another prompt ------------------------------------------------------------- */

int64_t rollout_left(const struct rollout *rollout)
{
    int64_t frames = rollout->config.plan.frames;
    return frames ? frames - rollout->done : -1;
}

void rollout_restart(struct rollout *rollout, bool again)
{
    struct rollout *r = rollout;
    int64_t left = rollout_left(r);
    r->unkept = (struct tensor){0};
    kv_cache_reset(&r->cache);
    if (rollout_is_guided(&r->config))
        kv_cache_reset(&r->uncond_cache);
    r->plan = block_plan_scene(&r->config.plan, left < 0 ? 0 : left, again);
    r->frame = 0;
    if (again)
        r->noise_frame = 0;
}

/* Held frames [frame, end) through the transformer again, block by block. */
static void write_again(struct rollout *r, int64_t frame, int64_t end)
{
    struct backend *b = r->transformer->backend;
    int64_t lead = block_plan_next(&r->plan, 0), block = r->plan.block;
    while (frame < end && !backend_status(b)) {
        /* To the next border of the blocks as they were made. */
        int64_t border = frame < lead ? lead : lead + ((frame - lead) / block + 1) * block;
        int64_t frames = (border < end ? border : end) - frame;
        struct tensor x = tensor_slice(r->x, 0, 0, frames);
        for (int64_t i = 0; i < frames; i++)
            op_copy(b, tensor_slice(x, 0, i, 1), clean_latents(r, frame + i));
        forward_at(r, &r->cache, &r->text, x, clean_timestep(r, frame), frame, (struct tensor){0});
        frame += frames;
    }
}

void rollout_expect_recache(struct rollout *rollout, bool sink)
{
    struct rollout *r = rollout;
    int64_t start = r->frame - (r->unkept.data ? r->unkept.shape[0] : 0);
    if (!rollout_is_guided(&r->config) && (sink || start >= r->config.sink))
        r->unkept = (struct tensor){0};
}

void rollout_recache(struct rollout *rollout, bool sink)
{
    struct rollout *r = rollout;
    rollout_keep(r);
    double begin = clock_seconds();
    int64_t end = r->frame, head = end < r->config.sink ? end : r->config.sink;
    int64_t held = end < r->config.window ? end : r->config.window;
    int64_t first = end - (held - head); /* behind the sink */
    if (sink)
        kv_cache_reset(&r->cache);
    else
        kv_cache_keep(&r->cache, (int)head);
    if (first == head) { /* nothing was evicted */
        write_again(r, sink ? 0 : head, end);
    } else {
        if (sink)
            write_again(r, 0, head);
        if (!backend_status(r->transformer->backend))
            kv_cache_skip(&r->cache, first);
        write_again(r, first, end);
    }
    backend_sync(r->transformer->backend);
    r->times.cache += clock_seconds() - begin;
}

uint64_t rollout_cache_bytes(const struct rollout *rollout)
{
    return rollout->cache.arena.bytes + rollout->uncond_cache.arena.bytes +
           rollout->text.arena.bytes + rollout->uncond_text.arena.bytes;
}
