/* The engine: one model on one device, shared by sessions. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "engine/model_folder.h"
#include "model/transformer.h"
#include "model/video_decoder.h"
#include "text/text.h"
#include "unreel/unreel.h"

struct light;

struct unreel_engine {
    atomic_int refs; /* the owner and every session */
    unreel_log log;
    pthread_mutex_t device; /* held by whoever works on the device, a step at a time */
    struct backend *backend;
    pthread_mutex_t decoder_device; /* likewise, of `decoder` where that is another */
    struct backend *decoder; /* of the VAE and the decoders: the same, or one that works beside it */
    struct model_folder folder;
    struct weights *transformer_weights, *vae_weights;
    struct transformer transformer;
    struct vae *vae;
    struct light *lights;           /* those that sessions have asked for */
    struct tokenizer *tokenizer;    /* NULL until the first prompt */
    struct text_encoder *text;      /* NULL: the folder has none */
};

void engine_ref(struct unreel_engine *engine);

/* Bytes of the transformer's and the VAE's tensors in their files. */
uint64_t engine_weight_bytes(const struct unreel_engine *engine);

/* Takes the device for a session, whose operations stop when *cancel becomes true (NULL: never) and
 * log what fails to `log`. */
void engine_lock(struct unreel_engine *engine, const atomic_bool *cancel, const unreel_log *log);

/* Gives it back in working order, and returns the status the session's operations left. */
int engine_unlock(struct unreel_engine *engine);

/* The same for VAE and decoders. Never with the device taken, which may be the same. */
void engine_lock_decoder(struct unreel_engine *engine, const atomic_bool *cancel,
                         const unreel_log *log);
int engine_unlock_decoder(struct unreel_engine *engine);

/* Whether the two are taken by two threads at once. */
static inline bool engine_decodes_beside(const struct unreel_engine *engine)
{
    return engine->decoder != engine->backend;
}

/* Opens the tokenizer if it is not open yet. With the device taken. */
int engine_tokenizer(struct unreel_engine *engine, const unreel_log *log);

/* Prompt to at most text_len token ids, which are the caller's to free: how many, or a negative code.
 * From any thread, without the device, once the tokenizer is open. */
int engine_tokenize(struct unreel_engine *engine, const char *prompt, int32_t **ids,
                    const unreel_log *log);

/* Tokens to embedding f32 [text_len, text_dim] in backend memory. With the device taken. */
int engine_encode(struct unreel_engine *engine, const int32_t *ids, int count, struct tensor embeds);

/* The light decoder ("decoder_path", NULL: the model folder's), opened when its file is first asked
 * for. With the decoders' device taken. */
int engine_light(struct taehv **light, struct unreel_engine *engine, const char *path,
                 const unreel_log *log);
