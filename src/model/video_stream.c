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
    if (s->in_max)
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
    free(stream->causal);
    *stream = (struct video_stream){0};
}

void video_stream_reset(struct video_stream *stream)
{
    for (int i = 0; i < stream->causals; i++) {
        struct tensor zeros = stream->causal[i].history; /* one zero, seen in that shape */
        zeros.data = stream->zero.data;
        memset(zeros.stride, 0, sizeof zeros.stride);
        op_copy(stream->b, stream->causal[i].history, zeros);
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

static void plan_input(struct video_stream *s, struct video_shape whole, int history)
{
    const int64_t shape[] = {whole.t, whole.h, whole.w, whole.c};
    if (s->causals == s->capacity) {
        int capacity = s->capacity ? 2 * s->capacity : 64;
        struct causal_input *more = realloc(s->causal, (size_t)capacity * sizeof *more);
        if (!more) {
            backend_fail(s->b, UNREEL_ENOMEM, "VAE: out of host memory");
            return;
        }
        s->causal = more;
        s->capacity = capacity;
    }
    struct causal_input *causal = &s->causal[s->causals++];
    *causal = (struct causal_input){0};
    if (s->b->decode_apart) {
        causal->in = arena_tensor(&s->arena, s->b->compute, 4, shape);
        causal->history = tensor_slice(causal->in, 0, 0, history);
        return;
    }
    causal->history = arena_tensor(&s->arena, s->b->compute,
                                   SHAPE(history, whole.h, whole.w, whole.c));
    if (count_of(whole) > s->in_max)
        s->in_max = count_of(whole);
}

struct tensor video_input(struct video_stream *stream, struct video_shape shape, int history)
{
    struct video_stream *s = stream;
    struct video_shape whole = shape;
    whole.t += history;
    if (s->planning) {
        plan_input(s, whole, history);
        return tensor_make(NULL, s->b->compute, SHAPE(whole.t, whole.h, whole.w, whole.c));
    }
    const struct causal_input *causal = &s->causal[s->cursor];
    if (causal->in.data)
        return tensor_slice(causal->in, 0, 0, whole.t);
    struct tensor in = tensor_make(s->in.data, s->b->compute,
                                   SHAPE(whole.t, whole.h, whole.w, whole.c));
    op_copy(s->b, tensor_slice(in, 0, 0, history), causal->history);
    return in;
}

/* Within an input of its own as many frames at a time as do not lie over where they go. */
void video_keep(struct video_stream *stream, struct tensor in)
{
    struct video_stream *s = stream;
    if (s->planning)
        return;
    const struct causal_input *causal = &s->causal[s->cursor++];
    int64_t frames = causal->history.shape[0], fresh = in.shape[0] - frames;
    for (int64_t i = 0, run; i < frames; i += run) {
        run = causal->in.data && fresh < frames - i ? fresh : frames - i;
        op_copy(s->b, tensor_slice(causal->history, 0, i, run),
                tensor_slice(in, 0, fresh + i, run));
    }
}

void video_causal(struct video_stream *stream, struct tensor y, struct tensor in, struct conv *conv)
{
    if (stream->planning)
        return;
    op_conv(stream->b, y, in, conv, ACT_NONE, false);
    video_keep(stream, in);
}
