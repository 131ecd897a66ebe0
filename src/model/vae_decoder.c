/* Latents to pictures by the Wan VAE, as a stream. */
#include <stdlib.h>

#include "model/vae.h"

#define TIME_HISTORY 2

struct decoder {
    struct video_decoder base;
    struct vae *vae;
    struct video_stream stream;
    int h, w, frames_max;
    int pass; /* latent frames that go through the network together */
    int64_t frame;        /* next latent frame of the stream */
    struct tensor pixels; /* [pictures max, 8h, 8w, 3] */
};

/* Doubles time: x [t] to a [2t], two convolutions that write every other frame. */
static struct video_shape double_time(struct video_stream *s, struct vae_resample *block,
                                    struct video_shape shape)
{
    struct video_shape out = shape;
    out.t = 2 * shape.t;
    struct tensor x = video_view(s, &s->x, shape), a = video_view(s, &s->a, out);
    struct tensor in = video_input(s, shape, TIME_HISTORY);
    struct tensor pairs = tensor_reshape(a, SHAPE(shape.t, 2, shape.h, shape.w, shape.c));
    if (s->planning)
        return out;
    op_copy(s->b, tensor_slice(in, 0, TIME_HISTORY, shape.t), x);
    struct tensor earlier = tensor_reshape(tensor_slice(pairs, 1, 0, 1),
                                           SHAPE(shape.t, shape.h, shape.w, shape.c));
    struct tensor later = tensor_reshape(tensor_slice(pairs, 1, 1, 1),
                                         SHAPE(shape.t, shape.h, shape.w, shape.c));
    op_conv(s->b, earlier, in, &block->time[0], ACT_NONE, false);
    video_causal(s, later, in, &block->time[1]);
    video_swap(s);
    return out;
}

/* The first latent frame of a stream is not doubled in time and leaves no trace in the history. */
static struct video_shape upsample(struct video_stream *s, struct vae_resample *block,
                                 struct video_shape shape, bool first)
{
    if (block->has_time && !first)
        shape = double_time(s, block, shape);
    else if (block->has_time)
        s->cursor++;
    struct video_shape out = {shape.t, 2 * shape.h, 2 * shape.w, block->space.co};
    struct tensor x = video_view(s, &s->x, shape), a = video_view(s, &s->a, out);
    if (!s->planning) {
        op_conv(s->b, a, x, &block->space, ACT_NONE, false);
        video_swap(s);
    }
    return out;
}

/* latents [t, h, w, 16] to pixels [t', 8h, 8w, 3]. */
static void walk(struct decoder *d, struct tensor latents, struct tensor pixels, bool first)
{
    struct video_stream *s = &d->stream;
    struct vae_half *half = &d->vae->decoder;
    struct video_shape shape = {latents.shape[0], d->h, d->w, LATENT_CHANNELS};
    int64_t rows = shape.t * shape.h * shape.w;
    video_stream_begin(s);
    struct tensor in = video_input(s, shape, TIME_HISTORY);
    if (!s->planning)
        op_linear(s->b,
                  tensor_reshape(tensor_slice(in, 0, TIME_HISTORY, shape.t),
                                 SHAPE(rows, LATENT_CHANNELS)),
                  tensor_reshape(latents, SHAPE(rows, LATENT_CHANNELS)), &half->latent, ACT_NONE);
    shape.c = half->first.co;
    video_causal(s, video_view(s, &s->x, shape), in, &half->first);

    shape = vae_run_residual(s, &half->middle[0], shape);
    vae_run_attention(s, &half->attention, shape);
    shape = vae_run_residual(s, &half->middle[1], shape);
    for (int i = 0; i < half->stages; i++) {
        struct vae_stage *stage = &half->stage[i];
        shape = stage->is_resample ? upsample(s, &stage->resample, shape, first)
                                   : vae_run_residual(s, &stage->residual, shape);
    }
    in = video_input(s, shape, TIME_HISTORY);
    vae_norm(s, tensor_slice(in, 0, TIME_HISTORY, shape.t), video_view(s, &s->x, shape),
             half->head_gain, ACT_SILU);
    video_causal(s, pixels, in, &half->head);
}

/* What goes through the network together. */
struct pass {
    struct decoder *d;
    struct tensor latents, pixels;
    bool first;
};

static void run_pass(void *opaque)
{
    const struct pass *p = opaque;
    walk(p->d, p->latents, p->pixels, p->first);
}

static int pictures(const struct video_decoder *base, int frames)
{
    const struct decoder *d = (const struct decoder *)base;
    return 4 * frames - (d->frame == 0 ? 3 : 0);
}

static struct tensor decode(struct video_decoder *base, struct tensor latents)
{
    struct decoder *d = (struct decoder *)base;
    int64_t count = 0;
    if (!backend_ready(base->backend))
        return (struct tensor){0};
    if (latents.dims != 4 || latents.shape[0] > d->frames_max || latents.shape[1] != d->h ||
        latents.shape[2] != d->w || latents.shape[3] != LATENT_CHANNELS) {
        backend_fail(base->backend, UNREEL_EINVAL, "VAE: latents of another shape");
        return (struct tensor){0};
    }
    for (int64_t i = 0; i < latents.shape[0];) {
        bool first = d->frame == 0;
        int64_t left = latents.shape[0] - i;
        int64_t frames = first ? 1 : left < d->pass ? left : d->pass;
        int64_t made = first ? 1 : 4 * frames;
        struct pass pass = {d, tensor_slice(latents, 0, i, frames),
                            tensor_slice(d->pixels, 0, count, made), first};
        const uint64_t key[RECORDING_KEY] = {(uintptr_t)pass.latents.data,
                                             (uintptr_t)pass.pixels.data, (uint64_t)frames, first};
        video_stream_run(&d->stream, key, run_pass, &pass);
        count += made;
        i += frames;
        d->frame += frames;
    }
    return backend_status(base->backend) ? (struct tensor){0}
                                         : tensor_slice(d->pixels, 0, 0, count);
}

static void reset(struct video_decoder *base)
{
    struct decoder *d = (struct decoder *)base;
    d->frame = 0;
    video_stream_reset(&d->stream);
}

static void close_decoder(struct video_decoder *base)
{
    struct decoder *d = (struct decoder *)base;
    video_stream_finish(&d->stream);
    free(d);
}

static const struct video_decoder_ops ops = {
    .name = "vae",
    .pictures = pictures,
    .decode = decode,
    .reset = reset,
    .close = close_decoder,
};

int vae_decoder_open(struct video_decoder **decoder, struct vae *vae, int h, int w, int frames_max)
{
    const unreel_log *log = &vae->backend->log;
    *decoder = NULL;
    if (!vae->decoder.stages)
        return log_error(log, UNREEL_EFORMAT, "VAE: these weights have no decoder");
    struct decoder *d = calloc(1, sizeof *d);
    if (!d)
        return log_error(log, UNREEL_ENOMEM, "VAE: out of memory");
    d->base = (struct video_decoder){
        .ops = &ops, .backend = vae->backend, .scale = 0.5f, .offset = 0.5f};
    d->base.recorder = &d->stream.recorder;
    d->vae = vae;
    d->h = h;
    d->w = w;
    d->frames_max = frames_max;
    d->pass = vae->backend->decode_frames;
    if (d->pass > frames_max)
        d->pass = frames_max;
    video_stream_init(&d->stream, vae->backend);
    struct tensor latents = tensor_make(NULL, TENSOR_F32, SHAPE(d->pass, h, w, LATENT_CHANNELS));
    walk(d, latents, (struct tensor){0}, false);
    d->pixels = arena_tensor(&d->stream.arena, vae->backend->compute,
                             SHAPE(4 * (int64_t)frames_max, 8 * h, 8 * w, 3));
    int code = video_stream_allocate(&d->stream);
    d->base.bytes = d->stream.arena.bytes;
    if (code < 0) {
        close_decoder(&d->base);
        return code;
    }
    *decoder = &d->base;
    return 0;
}
