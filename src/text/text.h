/* Prompt to text embedding: cleaning, SentencePiece tokens, umT5 encoder (spec section 3). */
#pragma once

#include "backend/backend.h"
#include "weights/weights.h"

#define TEXT_BYTES_MAX (1 << 20) /* of one prompt */

/* ---- cleaning -------------------------------------------------------------------------------- */

/* ftfy-like repair, HTML unescape twice, white space folded, trimmed. *clean is the caller's to
 * free. UNREEL_EFORMAT if `text` is not UTF-8, UNREEL_EUNSUPPORTED if this build cannot
 * normalise it. */
int text_clean(char **clean, const char *text, const unreel_log *log);

/* The last steps of it alone: HTML unescape twice, white space folded, trimmed. */
int text_fold(char **clean, const char *text, const unreel_log *log);

/* ---- tokens ---------------------------------------------------------------------------------- */

struct tokenizer;

int tokenizer_open(struct tokenizer **tokenizer, const char *path, const unreel_log *log);
/* The same from memory, which is not needed afterwards; `name` is for messages. */
int tokenizer_open_memory(struct tokenizer **tokenizer, const void *data, size_t size,
                          const char *name, const unreel_log *log);
void tokenizer_close(struct tokenizer *tokenizer); /* NULL is fine */

/* Token ids of an already cleaned text, `</s>` last, cut to `max` (the last one stays `</s>`).
 * Returns their number or a negative code. Thread-safe. */
int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, int32_t *ids, int max,
                     const unreel_log *log);

/* ---- encoder --------------------------------------------------------------------------------- */

struct text_encoder;

/* Sizes are read off the tensors. The weights stay mapped; each layer is used and let go. */
int text_encoder_open(struct text_encoder **encoder, struct backend *backend, const char *path,
                      const unreel_log *log);
/* The same from weights that are open already; they are the encoder's to close, also on failure. */
int text_encoder_from_weights(struct text_encoder **encoder, struct backend *backend,
                              struct weights *weights, const unreel_log *log);
void text_encoder_close(struct text_encoder *encoder);
int text_encoder_dim(const struct text_encoder *encoder);

/* embeds f32 [text_len, dim] in backend memory: the first `count` rows are written, the others set
 * to zero. */
int text_encoder_encode(struct text_encoder *encoder, const int32_t *ids, int count,
                        struct tensor embeds);
