#include "base/noise.h"

#include <math.h>

#include "base/philox.h"

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
