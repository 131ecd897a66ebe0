/* The C side of libsentencepiece, which is C++. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sentencepiece_model;

/* Loads a model from memory; on failure NULL and a reason of up to `size` bytes. */
struct sentencepiece_model *sentencepiece_load(const void *data, size_t length, char *reason, size_t size);
void sentencepiece_free(struct sentencepiece_model *model);

/* Ids of a text, at most `max` of them written; the number there are, or -1. Thread-safe. */
long sentencepiece_encode(const struct sentencepiece_model *model, const char *text, int32_t *ids,
                          size_t max);

#ifdef __cplusplus
}
#endif
