/* Pictures to latents by the Wan VAE, as a stream: one picture, then groups of four. */
#include <stdlib.h>

#include "model/vae.h"

#define GROUP 4 /* pictures of every latent frame but the first */
#define HISTORY 2
#define TIME_HISTORY 1 /* of the convolution that halves time */

struct encoder {
    struct video_encoder base;
    struct vae *vae;
    struct video_stream stream;
    int h, w, frames_max;
    int64_t frame;         /* next latent frame of the stream */
    struct tensor mu;      /* f32 [h w, 32]: input of the last 1x1x1 convolution */
    struct tensor latents; /* f32 [frames_max, h, w, 16] */
};

/* Halves time: over the last frame of the group before and this one. The stream's first picture passes
 * untouched; it is the history of the second. */
static struct video_shape halve_time(struct video_stream *s, struct vae_resample *block,
                                   struct video_shape shape, bool first)
{
    struct video_shape out = shape;
    out.t = shape.t / 2;
    struct tensor x = video_view(s, &s->x, shape);
    if (first) {
        op_copy(s->b, s->causal[s->cursor++].history, x);
        return shape;
    }
    struct tensor in = video_input(s, shape, TIME_HISTORY);
    if (!s->planning)
        op_copy(s->b, tensor_slice(in, 0, TIME_HISTORY, shape.t), x);
    video_causal(s, video_view(s, &s->a, out), in, &block->time[0]);
    if (!s->planning)
        video_swap(s);
    return out;
}

static struct video_shape downsample(struct video_stream *s, struct vae_resample *block,
                                   struct video_shape shape, bool first)
{
    struct video_shape out = {shape.t, shape.h / 2, shape.w / 2, block->space.co};
    struct tensor x = video_view(s, &s->x, shape), a = video_view(s, &s->a, out);
    if (!s->planning) {
        op_conv(s->b, a, x, &block->space, ACT_NONE, false);
        video_swap(s);
    }
    return block->has_time ? halve_time(s, block, out, first) : out;
}

/* pixels f32 [t, 8h, 8w, 3] to one latent frame [1, h, w, 16]. */
static void walk(struct encoder *e, struct tensor pixels, struct tensor latent, bool first)
{
    struct video_stream *s = &e->stream;
    struct vae_half *half = &e->vae->encoder;
    struct video_shape shape = {pixels.shape[0], 8 * e->h, 8 * e->w, 3};
    video_stream_begin(s);
    struct tensor in = video_input(s, shape, HISTORY);
    if (!s->planning)
        op_copy(s->b, tensor_slice(in, 0, HISTORY, shape.t), pixels);
    shape.c = half->first.co;
    video_causal(s, video_view(s, &s->x, shape), in, &half->first);
    for (int i = 0; i < half->stages; i++) {
        struct vae_stage *stage = &half->stage[i];
        shape = stage->is_resample ? downsample(s, &stage->resample, shape, first)
                                   : vae_run_residual(s, &stage->residual, shape);
    }
    shape = vae_run_residual(s, &half->middle[0], shape);
    vae_run_attention(s, &half->attention, shape);
    shape = vae_run_residual(s, &half->middle[1], shape);

    in = video_input(s, shape, HISTORY);
    vae_norm(s, tensor_slice(in, 0, HISTORY, shape.t), video_view(s, &s->x, shape), half->head_gain,
             ACT_SILU);
    shape.c = 2 * LATENT_CHANNELS;
    struct tensor mu = video_view(s, &s->a, shape);
    video_causal(s, mu, in, &half->head);
    if (s->planning)
        return;
    int64_t rows = shape.h * shape.w;
    op_copy(s->b, e->mu, tensor_reshape(mu, SHAPE(rows, shape.c)));
    op_linear(s->b, tensor_reshape(latent, SHAPE(rows, LATENT_CHANNELS)), e->mu, &half->latent,
              ACT_NONE);
}

static struct tensor encode(struct video_encoder *base, struct tensor pixels)
{
    struct encoder *e = (struct encoder *)base;
    int64_t count = 0, rest = pixels.shape[0] - (e->frame == 0);
    if (!backend_ready(base->backend))
        return (struct tensor){0};
    if (pixels.dims != 4 || rest % GROUP || pixels.shape[1] != 8 * e->h ||
        pixels.shape[2] != 8 * e->w || rest / GROUP + (e->frame == 0) > e->frames_max) {
        backend_fail(base->backend, UNREEL_EINVAL, "VAE: pictures of another shape or number");
        return (struct tensor){0};
    }
    for (int64_t i = 0; i < pixels.shape[0];) {
        bool first = e->frame == 0;
        int64_t group = first ? 1 : GROUP;
        walk(e, tensor_slice(pixels, 0, i, group), tensor_slice(e->latents, 0, count++, 1), first);
        i += group;
        e->frame++;
    }
    return backend_status(base->backend) ? (struct tensor){0}
                                         : tensor_slice(e->latents, 0, 0, count);
}

static void reset(struct video_encoder *base)
{
    struct encoder *e = (struct encoder *)base;
    e->frame = 0;
    video_stream_reset(&e->stream);
}

static void close_encoder(struct video_encoder *base)
{
    struct encoder *e = (struct encoder *)base;
    video_stream_finish(&e->stream);
    free(e);
}

static const struct video_encoder_ops ops = {
    .encode = encode, .reset = reset, .close = close_encoder};

int vae_encoder_open(struct video_encoder **encoder, struct vae *vae, int h, int w, int frames_max)
{
    const unreel_log *log = &vae->backend->log;
    *encoder = NULL;
    if (!vae->encoder.present)
        return log_error(log, UNREEL_EFORMAT, "VAE: these weights have no encoder");
    struct encoder *e = calloc(1, sizeof *e);
    if (!e)
        return log_error(log, UNREEL_ENOMEM, "VAE: out of memory");
    e->base = (struct video_encoder){.ops = &ops, .backend = vae->backend};
    e->vae = vae;
    e->h = h;
    e->w = w;
    e->frames_max = frames_max;
    video_stream_init(&e->stream, vae->backend);
    walk(e, tensor_make(NULL, TENSOR_F32, SHAPE(GROUP, 8 * h, 8 * w, 3)), (struct tensor){0}, false);
    e->mu = arena_tensor(&e->stream.arena, TENSOR_F32, SHAPE((int64_t)h * w, 2 * LATENT_CHANNELS));
    e->latents =
        arena_tensor(&e->stream.arena, TENSOR_F32, SHAPE(frames_max, h, w, LATENT_CHANNELS));
    int code = video_stream_allocate(&e->stream);
    e->base.bytes = e->stream.arena.bytes;
    if (code < 0) {
        close_encoder(&e->base);
        return code;
    }
    *encoder = &e->base;
    return 0;
}
