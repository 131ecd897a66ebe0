#include "model/video_stream.h"

#include <stdlib.h>
#include <string.h>

int video_stream_init(struct video_stream *stream, struct backend *backend)
{
    *stream = (struct video_stream){.b = backend, .planning = true};
    arena_init(&stream->arena, backend);
    recorder_init(&stream->recorder, backend);
    return 0;
}

int video_stream_allocate(struct video_stream *stream)
{
    struct video_stream *s = stream;
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
    return backend_status(s->b);
}

void video_stream_finish(struct video_stream *stream)
{
    recorder_finish(&stream->recorder);
    if (stream->arena.backend)
        arena_finish(&stream->arena);
    free(stream->history);
    *stream = (struct video_stream){0};
}

void video_stream_reset(struct video_stream *stream)
{
    for (int i = 0; i < stream->histories; i++) {
        struct tensor zeros = stream->history[i]; /* one zero, seen in that shape */
        zeros.data = stream->zero.data;
        memset(zeros.stride, 0, sizeof zeros.stride);
        op_copy(stream->b, stream->history[i], zeros);
    }
}

static int64_t count_of(struct video_shape s)
{
    return s.t * s.h * s.w * s.c;
}

struct tensor video_view(struct video_stream *stream, struct tensor *buffer, struct video_shape shape)
{
    int64_t count = count_of(shape);
    if (stream->planning && count > stream->x_max)
        stream->x_max = count;
    return tensor_make(buffer->data, stream->b->compute, SHAPE(shape.t, shape.h, shape.w, shape.c));
}

void video_swap(struct video_stream *stream)
{
    struct tensor swap = stream->x;
    stream->x = stream->a;
    stream->a = swap;
    stream->swapped = !stream->swapped;
}

void video_stream_begin(struct video_stream *stream)
{
    stream->cursor = 0;
    if (stream->swapped)
        video_swap(stream);
}

void video_stream_run(struct video_stream *stream, const uint64_t key[RECORDING_KEY],
                      void (*walk)(void *opaque), void *opaque)
{
    recorder_run(&stream->recorder, key, walk, opaque);
}

/* ---- causal convolutions ----------------------------------------------------------------------- */

static void plan_history(struct video_stream *s, struct video_shape shape, int history)
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

struct tensor video_input(struct video_stream *stream, struct video_shape shape, int history)
{
    struct video_stream *s = stream;
    struct video_shape whole = shape;
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

void video_causal(struct video_stream *stream, struct tensor y, struct tensor in, struct conv *conv,
                  enum activation act, bool accumulate)
{
    struct video_stream *s = stream;
    if (s->planning)
        return;
    op_conv(s->b, y, in, conv, act, accumulate);
    int64_t history = s->history[s->cursor].shape[0];
    op_copy(s->b, s->history[s->cursor++], tensor_slice(in, 0, in.shape[0] - history, history));
}

