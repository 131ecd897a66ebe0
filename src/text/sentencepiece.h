/* libsentencepiece for C. Nothing throws; errors come back as text. The bytes of a model must have
 * passed spiece_check() first: the library trusts them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* NULL on failure, with the reason in error[size]. */
void *sentencepiece_open(const void *data, size_t bytes, char *error, size_t size);
void sentencepiece_close(void *model);

/* Writes the first `max` ids of a text; returns how many there are in all, or -1. Thread-safe. */
int64_t sentencepiece_encode(const void *model, const char *text, size_t bytes, int32_t *ids,
                             size_t max, char *error, size_t size);

#ifdef __cplusplus
}
#endif
