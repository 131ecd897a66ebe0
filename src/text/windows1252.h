/* Windows-1252 in both directions. Bytes it leaves undefined stand for themselves, as in
 * Latin-1. */
#pragma once

#include <stdint.h>

static const uint16_t windows1252_table[32] = { /* 0x80 to 0x9f */
    0x20ac, 0x0081, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x008d, 0x017d, 0x008f, 0x0090, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x009d, 0x017e, 0x0178,
};

static inline uint32_t windows1252_rune(uint8_t byte)
{
    return byte >= 0x80 && byte <= 0x9f ? windows1252_table[byte - 0x80] : byte;
}

/* The byte that a code point is in Windows-1252, or -1. */
static inline int windows1252_byte(uint32_t rune)
{
    if (rune < 0x80 || (rune >= 0xa0 && rune <= 0xff))
        return (int)rune;
    for (int i = 0; i < 32; i++) {
        if (windows1252_table[i] == rune)
            return 0x80 + i;
    }
    return -1;
}
