/* The engine: one model on one device, shared by sessions. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "engine/model_folder.h"
#include "model/transformer.h"
#include "model/video_decoder.h"
#include "text/text.h"
#include "unreel/unreel.h"

struct unreel_engine {
    atomic_int refs; /* the owner and every session */
    unreel_log log;
    pthread_mutex_t device; /* held by whoever works on the device, a step at a time */
    struct backend *backend;
    struct model_folder folder;
    struct weights *transformer_weights, *vae_weights, *light_weights;
    struct transformer transformer;
    struct vae *vae;
    struct taehv *light;            /* NULL until a session asks for it */
    struct tokenizer *tokenizer;    /* NULL until the first prompt */
    struct text_encoder *text;      /* likewise */
};

void engine_ref(struct unreel_engine *engine);

/* Bytes of the transformer's and the VAE's tensors in their files. */
uint64_t engine_weight_bytes(const struct unreel_engine *engine);

/* Takes the device for a session, whose operations stop when *cancel becomes true (NULL: never). */
void engine_lock(struct unreel_engine *engine, const atomic_bool *cancel);

/* Gives it back in working order, and returns the status the session's operations left. */
int engine_unlock(struct unreel_engine *engine);

/* Prompt to embedding f32 [text_len, text_dim] in backend memory. With the device taken. */
int engine_encode(struct unreel_engine *engine, const char *prompt, struct tensor embeds);

/* The light decoder's weights ("decoder_path", or the model folder's), opened at the first call. With
 * the device taken. */
int engine_light(struct unreel_engine *engine, const char *path);
