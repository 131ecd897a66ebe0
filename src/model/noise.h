/* Gaussian noise that depends only on what it is for, not on who draws it or in which order: Philox
 * 4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011) as a counter-based
 * generator, two words to two normals by Box and Muller. Computed on the host for every backend, so
 * that the same numbers come out everywhere. */
#pragma once

#include <stdint.h>

struct noise_key {
    uint64_t seed;
    uint32_t prompt; /* index of the prompt in its list */
    uint32_t sample; /* which of its videos */
};

/* One block of the generator: counter and key to four random words. */
void philox_4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* `count` standard normals for one latent frame: step 0 is what the frame starts from, step i the
 * re-noising after the i-th denoising step. Element order is that of the latent, [h, w, 16].
 * Frames repeat after 2^32 of them, 34 years of video. */
void noise_frame(float *x, int64_t count, const struct noise_key *key, uint64_t frame,
                 uint32_t step);
