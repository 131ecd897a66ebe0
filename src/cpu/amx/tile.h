/* Tile instructions, for files compiled with AMX and AVX-512. Every tile is 16 rows of 64 bytes.
 *
 * Products: c [16, 16] f32 += a [16, 32] bf16 times b, where b is 16 rows of 16 pairs: row i, pair j
 * holds elements (2i, j) and (2i + 1, j) of the [32, 16] factor.
 *
 * A product takes the unit 16 cycles, a load 8 from the first-level cache. The fastest block is 2 x 2
 * products from two a's and two b's: one load a product. Tiles loaded by TILE_STREAM come from the
 * second-level cache without displacing what the first holds. As far as measured, only three or four
 * writes of tiles can be under way beside loads: a block that begins and ends costs some 60 to 100
 * cycles, so sums should be long. */
#pragma once

#include <immintrin.h>
#include <stdint.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))

#define TILE_BYTES 1024

static ALWAYS_INLINE void tiles_begin(void)
{
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t columns[16];
        uint8_t rows[16];
    } config = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    asm volatile("ldtilecfg %0" : : "m"(config));
}

static ALWAYS_INLINE void tiles_end(void)
{
    asm volatile("tilerelease");
}

/* Strides are bytes from row to row. */
#define TILE_ZERO(t) asm volatile("tilezero %%tmm" #t : :)
#define TILE_LOAD(t, from, stride)                                                                 \
    asm volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(from), "r"((int64_t)(stride)) : "memory")
#define TILE_STREAM(t, from, stride)                                                               \
    asm volatile("tileloaddt1 (%0,%1,1), %%tmm" #t : : "r"(from), "r"((int64_t)(stride)) : "memory")
#define TILE_STORE(t, to, stride)                                                                  \
    asm volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(to), "r"((int64_t)(stride)) : "memory")
#define TILE_MULTIPLY(c, a, b)                                                                     \
    asm volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c : : : "memory")

/* 16 x 16 elements of 4 bytes, transposed. */
static ALWAYS_INLINE void transpose_16x16(__m512i r[16])
{
    __m512i t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    /* r[4i + j]: columns j, j + 4, j + 8, j + 12 of rows 4i .. 4i + 3 */
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        t[j] = _mm512_shuffle_i32x4(r[j], r[j + 4], 0x88);
        t[j + 4] = _mm512_shuffle_i32x4(r[j], r[j + 4], 0xdd);
        t[j + 8] = _mm512_shuffle_i32x4(r[j + 8], r[j + 12], 0x88);
        t[j + 12] = _mm512_shuffle_i32x4(r[j + 8], r[j + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
        r[j + 4] = _mm512_shuffle_i32x4(t[j + 4], t[j + 12], 0x88);
        r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
        r[j + 12] = _mm512_shuffle_i32x4(t[j + 4], t[j + 12], 0xdd);
    }
}

/* Round to nearest even, as bf16_from_f32(); a NaN stays one unless its lowest bits alone say so. */
static ALWAYS_INLINE __m256i bf16_of(__m512 x)
{
    __m512i u = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_epi32(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    u = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(u, 16));
}
