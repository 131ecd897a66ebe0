/* Blocks that encoder and decoder share, and the stream they run in. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/vae.h"

/* ---- the stream -------------------------------------------------------------------------------- */

int vae_stream_init(struct vae_stream *stream, struct backend *backend)
{
    *stream = (struct vae_stream){.b = backend, .planning = true};
    arena_init(&stream->arena, backend);
    return 0;
}

int vae_stream_allocate(struct vae_stream *stream)
{
    struct vae_stream *s = stream;
    enum tensor_type type = s->b->compute;
    s->zero = arena_tensor(&s->arena, type, SHAPE(1));
    s->x = arena_tensor(&s->arena, type, SHAPE(s->x_max));
    s->a = arena_tensor(&s->arena, type, SHAPE(s->x_max));
    s->in = arena_tensor(&s->arena, type, SHAPE(s->in_max));
    if (s->qkv_max) {
        s->qkv = arena_tensor(&s->arena, type, SHAPE(3 * s->qkv_max));
        s->mix = arena_tensor(&s->arena, type, SHAPE(s->qkv_max));
    }
    s->planning = false;
    s->cursor = 0;
    return backend_status(s->b);
}

void vae_stream_finish(struct vae_stream *stream)
{
    if (stream->arena.backend)
        arena_finish(&stream->arena);
    free(stream->history);
    *stream = (struct vae_stream){0};
}

void vae_stream_reset(struct vae_stream *stream)
{
    for (int i = 0; i < stream->histories; i++) {
        struct tensor zeros = stream->history[i]; /* one zero, seen in that shape */
        zeros.data = stream->zero.data;
        memset(zeros.stride, 0, sizeof zeros.stride);
        op_copy(stream->b, stream->history[i], zeros);
    }
}

static int64_t count_of(struct vae_shape s)
{
    return s.t * s.h * s.w * s.c;
}

struct tensor vae_view(struct vae_stream *stream, struct tensor *buffer, struct vae_shape shape)
{
    int64_t count = count_of(shape);
    if (stream->planning && count > stream->x_max)
        stream->x_max = count;
    return tensor_make(buffer->data, stream->b->compute, SHAPE(shape.t, shape.h, shape.w, shape.c));
}

void vae_swap(struct vae_stream *stream)
{
    struct tensor swap = stream->x;
    stream->x = stream->a;
    stream->a = swap;
}

/* ---- causal convolutions ----------------------------------------------------------------------- */

static void plan_history(struct vae_stream *s, struct vae_shape shape, int history)
{
    if (s->histories == s->capacity) {
        int capacity = s->capacity ? 2 * s->capacity : 64;
        struct tensor *more = realloc(s->history, (size_t)capacity * sizeof *more);
        if (!more) {
            backend_fail(s->b, UNREEL_ENOMEM, "VAE: out of host memory");
            return;
        }
        s->history = more;
        s->capacity = capacity;
    }
    s->history[s->histories++] = arena_tensor(&s->arena, s->b->compute,
                                              SHAPE(history, shape.h, shape.w, shape.c));
}

struct tensor vae_input(struct vae_stream *stream, struct vae_shape shape, int history)
{
    struct vae_stream *s = stream;
    struct vae_shape whole = shape;
    whole.t += history;
    struct tensor in = tensor_make(s->in.data, s->b->compute,
                                   SHAPE(whole.t, whole.h, whole.w, whole.c));
    if (s->planning) {
        if (count_of(whole) > s->in_max)
            s->in_max = count_of(whole);
        plan_history(s, shape, history);
    } else {
        op_copy(s->b, tensor_slice(in, 0, 0, history), s->history[s->cursor]);
    }
    return in;
}

void vae_causal(struct vae_stream *stream, struct tensor y, struct tensor in, struct conv *conv,
                bool accumulate)
{
    struct vae_stream *s = stream;
    if (s->planning)
        return;
    op_conv(s->b, y, in, conv, ACT_NONE, accumulate);
    int64_t history = s->history[s->cursor].shape[0];
    op_copy(s->b, s->history[s->cursor++], tensor_slice(in, 0, in.shape[0] - history, history));
}

void vae_norm(struct vae_stream *stream, struct tensor y, struct tensor x, struct tensor gain,
              enum activation act)
{
    int64_t c = x.shape[x.dims - 1], rows = tensor_count(&x) / c;
    if (!stream->planning)
        op_rms_norm(stream->b, tensor_reshape(y, SHAPE(rows, c)), tensor_reshape(x, SHAPE(rows, c)),
                    gain, 0, act);
}

/* ---- blocks ------------------------------------------------------------------------------------ */

#define HISTORY 2 /* frames that a 3x3x3 convolution looks back */

struct vae_shape vae_run_residual(struct vae_stream *stream, struct vae_residual *block,
                                  struct vae_shape shape)
{
    struct vae_stream *s = stream;
    struct vae_shape out = shape;
    out.c = block->conv1.co;
    struct tensor x = vae_view(s, &s->x, shape), a = vae_view(s, &s->a, out);

    struct tensor in = vae_input(s, shape, HISTORY);
    vae_norm(s, tensor_slice(in, 0, HISTORY, shape.t), x, block->gain1, ACT_SILU);
    vae_causal(s, a, in, &block->conv1, false);

    in = vae_input(s, out, HISTORY);
    vae_norm(s, tensor_slice(in, 0, HISTORY, shape.t), a, block->gain2, ACT_SILU);
    if (block->shortcut.n) {
        int64_t rows = shape.t * shape.h * shape.w;
        if (!s->planning)
            op_linear(s->b, tensor_reshape(a, SHAPE(rows, out.c)),
                      tensor_reshape(x, SHAPE(rows, shape.c)), &block->shortcut, ACT_NONE);
        vae_causal(s, a, in, &block->conv2, true);
        vae_swap(s);
    } else {
        vae_causal(s, x, in, &block->conv2, true);
    }
    return out;
}

void vae_run_attention(struct vae_stream *stream, struct vae_attention *block,
                       struct vae_shape shape)
{
    struct vae_stream *s = stream;
    int64_t rows = shape.h * shape.w, c = shape.c;
    if (s->planning) {
        if (rows * c > s->qkv_max)
            s->qkv_max = rows * c;
        return;
    }
    struct tensor x = vae_view(s, &s->x, shape);
    struct tensor qkv = tensor_make(s->qkv.data, s->b->compute, SHAPE(rows, 3, 1, c));
    struct tensor mix = tensor_make(s->mix.data, s->b->compute, SHAPE(rows, c));
    struct tensor heads = tensor_reshape(mix, SHAPE(rows, 1, c));
    for (int64_t t = 0; t < shape.t; t++) {
        struct tensor frame = tensor_reshape(tensor_slice(x, 0, t, 1), SHAPE(rows, c));
        struct tensor part[3];
        vae_norm(s, mix, frame, block->gain, ACT_NONE);
        op_linear(s->b, tensor_reshape(qkv, SHAPE(rows, 3 * c)), mix, &block->qkv, ACT_NONE);
        for (int i = 0; i < 3; i++)
            part[i] = tensor_reshape(tensor_slice(qkv, 1, i, 1), SHAPE(rows, 1, c));
        op_attention(s->b, heads, part[0], part[1], part[2], 1 / sqrtf((float)c),
                     (struct tensor){0});
        struct tensor out = tensor_make(s->qkv.data, s->b->compute, SHAPE(rows, c));
        op_linear(s->b, out, mix, &block->proj, ACT_NONE);
        op_add_gated(s->b, frame, out, (struct tensor){0});
    }
}
