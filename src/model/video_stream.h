/* What a causal video network carries from call to call, and the buffers it works in.
 *
 * The network is walked twice by the same code: once planning, which only sizes buffers and allocates
 * histories, then for real. Causality is a buffer layout: the input of a causal convolution starts with
 * its history, so nothing is padded or joined. Where the backend has the memory (backend.decode_apart)
 * every convolution has an input of its own, in which its last frames move to the front; else all share
 * one, and histories wait elsewhere. */
#pragma once

#include "backend/recorder.h"

/* A causal convolution's. */
struct causal_input {
    struct tensor in;      /* [kt - 1 + t, h, w, Ci] for the most frames; data NULL: the shared one */
    struct tensor history; /* [kt - 1, h, w, Ci]: the front of `in`, or on its own */
};

struct video_stream {
    struct backend *b;
    struct arena arena;
    struct recorder recorder; /* of walks */
    bool planning;
    /* Flat buffers of compute type; tensors are cut from their front. */
    struct tensor x;        /* activations that go from block to block */
    struct tensor a;        /* the other one: blocks swap them */
    bool swapped;           /* they are not where a walk begins */
    struct tensor in;       /* the shared input of causal convolutions: history, then the frames */
    struct tensor qkv, mix; /* attention */
    struct tensor zero;     /* one element */
    int64_t x_max, in_max, qkv_max; /* elements */
    struct causal_input *causal; /* in order of use */
    int causals, capacity, cursor;
};

/* Where a walk is: the shape of what is in x. */
struct video_shape {
    int64_t t, h, w, c;
};

int video_stream_init(struct video_stream *stream, struct backend *backend);
int video_stream_allocate(struct video_stream *stream); /* after the planning walk */
void video_stream_finish(struct video_stream *stream);
void video_stream_reset(struct video_stream *stream); /* histories to zero */

void video_stream_begin(struct video_stream *stream); /* what every walk begins with */

/* Has a walk done that comes again: recorded and replayed where the backend can. The key tells apart
 * what recorder.h says; of the host's memory a walk changes nothing that the next one does not begin
 * with anew. */
void video_stream_run(struct video_stream *stream, const uint64_t key[RECORDING_KEY],
                      void (*walk)(void *opaque), void *opaque);

/* x or a buffer as [t, h, w, c]. */
struct tensor video_view(struct video_stream *stream, struct tensor *buffer, struct video_shape shape);

/* Input of the next causal convolution: [history + t, h, w, c], its history in place. The caller
 * writes the frames behind it, convolves, and calls video_keep, which keeps the last frames as the new
 * history: nothing else is in `in` then. */
struct tensor video_input(struct video_stream *stream, struct video_shape shape, int history);
void video_keep(struct video_stream *stream, struct tensor in);

/* A convolution of `in`, the only one, then video_keep. */
void video_causal(struct video_stream *stream, struct tensor y, struct tensor in,
                  struct conv *conv);
void video_swap(struct video_stream *stream); /* a becomes x */
