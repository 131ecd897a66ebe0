/* Made-up weights: any network shape can be tried at full size without its files.
 *
 * Element i of a tensor is offset + scale * u, u uniform in [-1, 1) from word i % 4 of Philox
 * 4x32-10 with counter (i / 4, 0, 0, 0) and the key FNV-1a-64(name) XOR seed, low word first. It
 * depends on nothing else. Scales keep activations near 1: sqrt(3 / inputs) for matrices and
 * convolutions; norm gains are 1 +- 0.1, biases +- 0.02. */
#pragma once

#include "weights/weights.h"

struct made_up_shape {
    const char *name;
    int dim, ffn_dim, freq_dim, heads, layers, text_len; /* transformer */
    int vae_dim;
    int light_dim; /* of the light decoder, at full size */
    int vocabulary, text_dim, text_attn, text_ffn, text_heads, text_layers;
};

/* A known shape ("wan2.1-1.3b", "postcard", "tiny"); NULL: unknown. */
const struct made_up_shape *made_up_shape_find(const char *name);
const struct made_up_shape *made_up_shape_at(int index); /* NULL past the last */

enum made_up_part { MADE_UP_TRANSFORMER, MADE_UP_VAE, MADE_UP_TEXT, MADE_UP_TAEHV };

struct made_up_tensor {
    char name[96];
    int dims;
    int64_t shape[TENSOR_DIMS];
    float scale, offset;
};

/* Calls `add` for every tensor of a part, in a fixed order; stops at the first negative code and
 * returns it. */
typedef int (*made_up_fn)(void *opaque, const struct made_up_tensor *tensor);
int made_up_list(const struct made_up_shape *shape, enum made_up_part part, made_up_fn add,
                 void *opaque);

/* Elements [first, first + count) of a tensor; first is a multiple of 4. F32 or BF16. */
void made_up_fill(void *data, enum tensor_type type, const struct made_up_tensor *tensor,
                  uint64_t seed, int64_t first, int64_t count);

/* A part in memory, as if it had been read from a file. */
int made_up_weights(struct weights **weights, const struct made_up_shape *shape,
                    enum made_up_part part, enum tensor_type type, uint64_t seed,
                    const unreel_log *log);
