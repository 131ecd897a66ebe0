#include "model/noise.h"

#include <math.h>

void philox_4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53 * c[0], p1 = (uint64_t)0xCD9E8D57 * c[2];
        uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k[0], (uint32_t)p1,
                            (uint32_t)(p0 >> 32) ^ c[3] ^ k[1], (uint32_t)p0};
        for (int i = 0; i < 4; i++)
            c[i] = next[i];
        k[0] += 0x9E3779B9;
        k[1] += 0xBB67AE85;
    }
    for (int i = 0; i < 4; i++)
        out[i] = c[i];
}

/* Uniform in (0, 1) from the top 24 bits, then a pair of normals. */
static void box_muller(uint32_t a, uint32_t b, float *x)
{
    double u = ((double)(a >> 8) + 0.5) * 0x1p-24, v = ((double)(b >> 8) + 0.5) * 0x1p-24;
    double radius = sqrt(-2 * log(u)), angle = 6.283185307179586 * v;
    x[0] = (float)(radius * cos(angle));
    x[1] = (float)(radius * sin(angle));
}

void noise_frame(float *x, int64_t count, const struct noise_key *key, uint64_t frame, uint32_t step)
{
    /* The frame's key is itself drawn, from all that names it; the counter is then free for the
     * element, and neighbouring names share no blocks. */
    uint32_t words[4], frame_key[2];
    const uint32_t seed[2] = {(uint32_t)key->seed, (uint32_t)(key->seed >> 32)};
    const uint32_t name[4] = {(uint32_t)frame, key->sample, key->prompt, step};
    philox_4x32_10(name, seed, words);
    frame_key[0] = words[0];
    frame_key[1] = words[1];
    for (int64_t i = 0; i < count; i += 4) {
        const uint32_t counter[4] = {(uint32_t)(i / 4), (uint32_t)((uint64_t)i / 4 >> 32), words[2],
                                     words[3]};
        uint32_t random[4];
        float normal[4];
        philox_4x32_10(counter, frame_key, random);
        box_muller(random[0], random[1], normal);
        box_muller(random[2], random[3], normal + 2);
        for (int64_t j = 0; j < 4 && i + j < count; j++)
            x[i + j] = normal[j];
    }
}
