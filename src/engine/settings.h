/* What a session reads from its options, checked. */
#pragma once

#include "base/noise.h"
#include "model/rollout.h"
#include "unreel/unreel.h"

#define TRAINED_FRAMES 21 /* latent frames that the published models were trained on: window -1 */
#define DECODE_CHUNK_MAX 4 /* latent frames decoded at a time, where the device wants more than 1 */

struct session_settings {
    int width, height; /* px, multiples of 16 */
    double fps;
    enum unreel_format format;
    bool light; /* decoder: TAEHV */
    struct rollout_config rollout;
    struct noise_key noise;
    const char *noise_path, *latents_path, *decoder_path; /* NULL: none; the options' memory */
    const char *prompt, *negative;
    enum unreel_switch prompt_switch;
    int blend_chunks;
    bool recache_sink;
};

/* `given`: latent frames that the clip will give. Logs what is wrong. */
int session_settings_read(struct session_settings *settings, const unreel_options *options,
                          int given);

/* Pictures that a number of latent frames gives: 1, then 4 for every further one. */
int64_t pictures_of(int64_t latent_frames);
