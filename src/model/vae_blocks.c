/* Blocks that the VAE's encoder and decoder share. */
#include <math.h>

#include "model/vae.h"

void vae_norm(struct video_stream *stream, struct tensor y, struct tensor x, struct tensor gain,
              enum activation act)
{
    int64_t c = x.shape[x.dims - 1], rows = tensor_count(&x) / c;
    if (!stream->planning)
        op_rms_norm(stream->b, tensor_reshape(y, SHAPE(rows, c)), tensor_reshape(x, SHAPE(rows, c)),
                    gain, 0, act);
}

/* ---- blocks ------------------------------------------------------------------------------------ */

#define HISTORY 2 /* frames that a 3x3x3 convolution looks back */

struct video_shape vae_run_residual(struct video_stream *stream, struct vae_residual *block,
                                  struct video_shape shape)
{
    struct video_stream *s = stream;
    struct video_shape out = shape;
    out.c = block->conv1.co;
    struct tensor x = video_view(s, &s->x, shape), a = video_view(s, &s->a, out);
    struct tensor z = x, y = a;

    struct tensor in = video_input(s, shape, HISTORY);
    vae_norm(s, tensor_slice(in, 0, HISTORY, shape.t), x, block->gain1, ACT_SILU);
    video_causal(s, a, in, &block->conv1);

    in = video_input(s, out, HISTORY);
    vae_norm(s, tensor_slice(in, 0, HISTORY, shape.t), a, block->gain2, ACT_SILU);
    if (s->planning)
        return out;
    if (block->shortcut.n) {
        int64_t rows = shape.t * shape.h * shape.w;
        op_linear(s->b, tensor_reshape(a, SHAPE(rows, out.c)),
                  tensor_reshape(x, SHAPE(rows, shape.c)), &block->shortcut, ACT_NONE);
        z = a;
        y = video_view(s, &s->x, out);
    }
    if (op_conv_add(s->b, y, z, in, &block->conv2, ACT_NONE).data == a.data)
        video_swap(s);
    video_keep(s, in);
    return out;
}

void vae_run_attention(struct video_stream *stream, struct vae_attention *block,
                       struct video_shape shape)
{
    struct video_stream *s = stream;
    int64_t rows = shape.h * shape.w, c = shape.c;
    if (s->planning) {
        if (rows * c > s->qkv_max)
            s->qkv_max = rows * c;
        return;
    }
    struct tensor x = video_view(s, &s->x, shape);
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
