/* TAEHV's decoder and encoder as streams. */
#include <stdlib.h>

#include "model/latent.h"
#include "model/taehv.h"

#define GROUP 4   /* pictures of a latent frame */
#define DROPPED 3 /* pictures at the start of a stream that have no full history behind them */

/* ---- blocks ------------------------------------------------------------------------------------ */

static void run_block(struct video_stream *s, struct taehv_block *block, struct video_shape shape)
{
    struct tensor x = video_view(s, &s->x, shape), a = video_view(s, &s->a, shape);
    struct tensor in = video_input(s, shape, 1);
    if (!s->planning)
        op_copy(s->b, tensor_slice(in, 0, 1, shape.t), x);
    if (s->planning)
        return;
    struct tensor middle = tensor_slice(in, 0, 0, shape.t); /* all but what is to be kept */
    op_conv(s->b, a, in, &block->conv1, ACT_RELU, false);
    op_conv(s->b, middle, a, &block->conv2, ACT_RELU, false);
    if (op_conv_add(s->b, a, x, middle, &block->conv3, ACT_RELU).data == a.data)
        video_swap(s);
    video_keep(s, in);
}

/* x by a convolution into a, which becomes x. */
static void run_conv(struct video_stream *s, struct conv *conv, struct video_shape from,
                     struct video_shape to, enum activation act)
{
    struct tensor x = video_view(s, &s->x, from), a = video_view(s, &s->a, to);
    if (s->planning)
        return;
    op_conv(s->b, a, x, conv, act, false);
    video_swap(s);
}

/* Time grows by `stride`: a 1x1 convolution for each of the frames that come out. */
static struct video_shape grow_time(struct video_stream *s, struct taehv_level *level,
                                    struct video_shape shape)
{
    struct video_shape out = shape;
    out.t *= level->stride;
    struct tensor x = video_view(s, &s->x, shape), a = video_view(s, &s->a, out);
    struct tensor groups = tensor_reshape(a, SHAPE(shape.t, level->stride, shape.h, shape.w, shape.c));
    if (s->planning)
        return out;
    for (int i = 0; i < level->stride; i++)
        op_conv(s->b,
                tensor_reshape(tensor_slice(groups, 1, i, 1),
                               SHAPE(shape.t, shape.h, shape.w, shape.c)),
                x, &level->time[i], ACT_NONE, false);
    video_swap(s);
    return out;
}

/* ---- decoder ----------------------------------------------------------------------------------- */

struct decoder {
    struct video_decoder base;
    struct taehv *taehv;
    struct video_stream stream;
    int h, w, frames_max;
    int64_t frame;
    struct tensor clamped; /* f32 [1, h, w, 16] */
    struct tensor pixels;  /* [4 frames_max, 8h, 8w, 3] */
};

/* One latent frame [1, h, w, 16] to pixels [4, 8h, 8w, 3]. */
static void walk_decoder(struct decoder *d, struct tensor latent, struct tensor pixels)
{
    struct video_stream *s = &d->stream;
    struct taehv_half *half = &d->taehv->decoder;
    struct video_shape from = {1, d->h, d->w, LATENT_CHANNELS}, shape = from;
    video_stream_begin(s);
    struct tensor x = video_view(s, &s->x, from);
    if (!s->planning) {
        op_activate(s->b, d->clamped, latent, ACT_TANH3);
        op_copy(s->b, x, d->clamped);
    }
    shape.c = half->first.co;
    run_conv(s, &half->first, from, shape, ACT_RELU);
    for (int i = 0; i < TAEHV_LEVELS; i++) {
        struct taehv_level *level = &half->level[i];
        for (int k = 0; k < TAEHV_BLOCKS; k++)
            run_block(s, &level->block[k], shape);
        /* The checkpoint blows up first and grows time then; a 1x1 convolution does not care. */
        shape = grow_time(s, level, shape);
        from = shape;
        shape = (struct video_shape){from.t, 2 * from.h, 2 * from.w, level->space.co};
        run_conv(s, &level->space, from, shape, i + 1 == TAEHV_LEVELS ? ACT_RELU : ACT_NONE);
    }
    if (!s->planning)
        op_conv(s->b, pixels, video_view(s, &s->x, shape), &half->last, ACT_NONE, false);
}

struct pass {
    struct decoder *d;
    struct tensor latent, pixels;
};

static void run_pass(void *opaque)
{
    const struct pass *p = opaque;
    walk_decoder(p->d, p->latent, p->pixels);
}

static int pictures(const struct video_decoder *base, int frames)
{
    const struct decoder *d = (const struct decoder *)base;
    return GROUP * frames - (d->frame == 0 ? DROPPED : 0);
}

static struct tensor decode(struct video_decoder *base, struct tensor latents)
{
    struct decoder *d = (struct decoder *)base;
    if (!backend_ready(base->backend))
        return (struct tensor){0};
    if (latents.dims != 4 || latents.shape[0] > d->frames_max || latents.shape[1] != d->h ||
        latents.shape[2] != d->w || latents.shape[3] != LATENT_CHANNELS) {
        backend_fail(base->backend, UNREEL_EINVAL, "TAEHV: latents of another shape");
        return (struct tensor){0};
    }
    int64_t dropped = d->frame == 0 ? DROPPED : 0, frames = latents.shape[0];
    for (int64_t i = 0; i < frames; i++) {
        struct pass pass = {d, tensor_slice(latents, 0, i, 1),
                            tensor_slice(d->pixels, 0, GROUP * i, GROUP)};
        const uint64_t key[RECORDING_KEY] = {(uintptr_t)pass.latent.data,
                                             (uintptr_t)pass.pixels.data};
        video_stream_run(&d->stream, key, run_pass, &pass);
    }
    d->frame += frames;
    return backend_status(base->backend)
               ? (struct tensor){0}
               : tensor_slice(d->pixels, 0, dropped, GROUP * frames - dropped);
}

static void reset_decoder(struct video_decoder *base)
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

static const struct video_decoder_ops decoder_ops = {
    .name = "taehv",
    .pictures = pictures,
    .decode = decode,
    .reset = reset_decoder,
    .close = close_decoder,
};

int taehv_decoder_open(struct video_decoder **decoder, struct taehv *taehv, int h, int w,
                       int frames_max)
{
    struct backend *b = taehv->backend;
    *decoder = NULL;
    int stride = 1;
    for (int i = 0; i < TAEHV_LEVELS; i++)
        stride *= taehv->decoder.level[i].stride;
    if (!taehv->decoder.present || stride != GROUP)
        return log_error(&b->log, UNREEL_EFORMAT, "TAEHV: no decoder of 4 pictures a latent frame");
    struct decoder *d = calloc(1, sizeof *d);
    if (!d)
        return log_error(&b->log, UNREEL_ENOMEM, "TAEHV: out of memory");
    d->base = (struct video_decoder){.ops = &decoder_ops, .backend = b, .scale = 1, .offset = 0};
    d->base.recorder = &d->stream.recorder;
    d->taehv = taehv;
    d->h = h;
    d->w = w;
    d->frames_max = frames_max;
    video_stream_init(&d->stream, b);
    walk_decoder(d, (struct tensor){0}, (struct tensor){0});
    d->clamped = arena_tensor(&d->stream.arena, TENSOR_F32, SHAPE(1, h, w, LATENT_CHANNELS));
    d->pixels = arena_tensor(&d->stream.arena, b->compute,
                             SHAPE(GROUP * (int64_t)frames_max, 8 * h, 8 * w, 3));
    int code = video_stream_allocate(&d->stream);
    d->base.bytes = d->stream.arena.bytes;
    if (code < 0) {
        close_decoder(&d->base);
        return code;
    }
    *decoder = &d->base;
    return 0;
}

/* ---- encoder ----------------------------------------------------------------------------------- */

struct encoder {
    struct video_encoder base;
    struct taehv *taehv;
    struct video_stream stream;
    int h, w, frames_max;
    struct tensor latents; /* f32 [frames_max, h, w, 16] */
};

/* Four pictures [4, 8h, 8w, 3] to one latent frame [1, h, w, 16]. */
static void walk_encoder(struct encoder *e, struct tensor pixels, struct tensor latent)
{
    struct video_stream *s = &e->stream;
    struct taehv_half *half = &e->taehv->encoder;
    struct video_shape from = {GROUP, 8 * e->h, 8 * e->w, 3}, shape = from;
    video_stream_begin(s);
    struct tensor x = video_view(s, &s->x, from);
    if (!s->planning)
        op_copy(s->b, x, pixels);
    shape.c = half->first.co;
    run_conv(s, &half->first, from, shape, ACT_RELU);
    for (int i = 0; i < TAEHV_LEVELS; i++) {
        struct taehv_level *level = &half->level[i];
        from = shape;
        shape.t /= level->stride;
        run_conv(s, &level->time[0], from, shape, ACT_NONE);
        from = shape;
        shape = (struct video_shape){from.t, from.h / 2, from.w / 2, level->space.co};
        run_conv(s, &level->space, from, shape, ACT_NONE);
        for (int k = 0; k < TAEHV_BLOCKS; k++)
            run_block(s, &level->block[k], shape);
    }
    from = shape;
    shape.c = LATENT_CHANNELS;
    run_conv(s, &half->last, from, shape, ACT_NONE);
    if (!s->planning)
        op_copy(s->b, latent, video_view(s, &s->x, shape));
}

static struct tensor encode(struct video_encoder *base, struct tensor pixels)
{
    struct encoder *e = (struct encoder *)base;
    int64_t frames = pixels.shape[0] / GROUP;
    if (!backend_ready(base->backend))
        return (struct tensor){0};
    if (pixels.dims != 4 || pixels.shape[0] % GROUP || frames > e->frames_max ||
        pixels.shape[1] != 8 * e->h || pixels.shape[2] != 8 * e->w) {
        backend_fail(base->backend, UNREEL_EINVAL, "TAEHV: pictures of another shape or number");
        return (struct tensor){0};
    }
    for (int64_t i = 0; i < frames; i++)
        walk_encoder(e, tensor_slice(pixels, 0, GROUP * i, GROUP), tensor_slice(e->latents, 0, i, 1));
    return backend_status(base->backend) ? (struct tensor){0}
                                         : tensor_slice(e->latents, 0, 0, frames);
}

static void reset_encoder(struct video_encoder *base)
{
    video_stream_reset(&((struct encoder *)base)->stream);
}

static void close_encoder(struct video_encoder *base)
{
    struct encoder *e = (struct encoder *)base;
    video_stream_finish(&e->stream);
    free(e);
}

static const struct video_encoder_ops encoder_ops = {
    .encode = encode, .reset = reset_encoder, .close = close_encoder};

int taehv_encoder_open(struct video_encoder **encoder, struct taehv *taehv, int h, int w,
                       int frames_max)
{
    struct backend *b = taehv->backend;
    *encoder = NULL;
    if (!taehv->encoder.present)
        return log_error(&b->log, UNREEL_EFORMAT, "TAEHV: these weights have no encoder");
    struct encoder *e = calloc(1, sizeof *e);
    if (!e)
        return log_error(&b->log, UNREEL_ENOMEM, "TAEHV: out of memory");
    e->base = (struct video_encoder){.ops = &encoder_ops, .backend = b};
    e->taehv = taehv;
    e->h = h;
    e->w = w;
    e->frames_max = frames_max;
    video_stream_init(&e->stream, b);
    walk_encoder(e, (struct tensor){0}, (struct tensor){0});
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
