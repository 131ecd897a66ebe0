/* CRC-32 of ZIP and PNG (polynomial 0xEDB88320, reflected), eight bytes at a time. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct crc32 {
    uint32_t table[8][256]; /* [k][b]: the checksum of byte b followed by k zero bytes */
};

void crc32_init(struct crc32 *crc);
/* Continues a checksum; begin with 0. */
uint32_t crc32_update(const struct crc32 *crc, uint32_t value, const void *data, size_t size);
