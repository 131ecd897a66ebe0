#include "base/crc32.h"

void crc32_init(struct crc32 *crc)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0xedb88320 : 0);
        crc->table[0][i] = value;
    }
    for (int k = 1; k < 8; k++) {
        for (int i = 0; i < 256; i++) {
            uint32_t before = crc->table[k - 1][i];
            crc->table[k][i] = before >> 8 ^ crc->table[0][before & 255];
        }
    }
}

static uint32_t little4(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

uint32_t crc32_update(const struct crc32 *crc, uint32_t value, const void *data, size_t size)
{
    const uint32_t(*t)[256] = crc->table;
    const uint8_t *at = data;
    value = ~value;
    for (; size >= 8; size -= 8, at += 8) {
        uint32_t a = value ^ little4(at), b = little4(at + 4);
        value = t[7][a & 255] ^ t[6][a >> 8 & 255] ^ t[5][a >> 16 & 255] ^ t[4][a >> 24] ^
                t[3][b & 255] ^ t[2][b >> 8 & 255] ^ t[1][b >> 16 & 255] ^ t[0][b >> 24];
    }
    for (; size; size--, at++)
        value = value >> 8 ^ t[0][(value ^ *at) & 255];
    return ~value;
}
