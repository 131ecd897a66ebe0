/* Gaussian noise that depends only on what it is for, not on who draws it or in which order: Philox
 * 4x32-10, two words to two normals by Box and Muller. Every backend draws the same words; a device's
 * logarithms and cosines may differ from the host's in the last place. */
#pragma once

#include <stdint.h>

struct noise_key {
    uint64_t seed;
    uint32_t prompt; /* index of the prompt in its list */
    uint32_t sample; /* which of its videos */
};

/* `count` standard normals for one latent frame: step 0 is what the frame starts from, step i the
 * re-noising after the i-th denoising step. Element order is that of the latent, [h, w, 16].
 * Frames repeat after 2^32 of them, 34 years of video. */
void noise_frame(float *x, int64_t count, const struct noise_key *key, uint64_t frame,
                 uint32_t step);
