/* Attention of one head with AMX. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Everything is bf16; strides are elements from token to token. */
struct amx_attention {
    const uint16_t *q, *k, *v;
    uint16_t *y;
    int64_t q_stride, k_stride, v_stride, y_stride;
    int64_t queries, keys;
    int width; /* D */
    float scale;
};

/* Bytes that a call works in, 64-byte aligned. */
size_t amx_attention_memory(int64_t queries, int64_t keys, int width);

/* y [queries, D] = softmax(q k^T * scale) v. */
void amx_attention(const struct amx_attention *attention, void *memory);
