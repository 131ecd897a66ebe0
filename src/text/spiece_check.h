/* Walks a SentencePiece model file (a protocol buffer) before libsentencepiece sees it: the
 * library follows offsets of the normaliser's trie unchecked, recurses by the length of pieces
 * and aborts the process on some contradictions. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct spiece_info {
    int pieces;   /* number of ids */
    uint8_t *kept; /* the checked fields alone, serialised again; the caller's to free */
    size_t kept_bytes;
};

/* NULL if the model is sound, or what is wrong (static text). */
const char *spiece_check(struct spiece_info *info, const uint8_t *data, size_t size);
