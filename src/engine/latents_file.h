/* Latents and noise in safetensors files, channels first as the original program has them:
 * [F, 16, h, w]. */
#pragma once

#include "model/rollout.h"
#include "weights/weights.h"

/* ---- noise from a file ------------------------------------------------------------------------ */

/* `noise` [F, 16, h, w] is what the generated frames start from; `renoise.NNN`, in the order of use,
 * what they are re-noised with. Without renoise tensors the generator of noise.h is used for those. */
struct noise_file {
    struct weights *weights;
    const char *path;
    const unreel_log *log;
    int h, w;
    int64_t first; /* latent frame of the video that noise[0] is for: given frames have none */
    int next;      /* renoise.NNN to be used next */
    bool renoise;  /* the file holds renoise tensors */
};

int noise_file_open(struct noise_file *file, const char *path, int h, int w, int64_t first,
                    int64_t frames, const unreel_log *log);
void noise_file_close(struct noise_file *file);

/* For struct noise_source. Returns 1 if the file leaves the step to the generator. */
int noise_file_fill(struct noise_file *file, float *x, int64_t frame, int frames, int step);

/* ---- latents into a file ------------------------------------------------------------------------- */

struct latents_file {
    const char *path;
    int h, w;
    int64_t frames, count; /* room and content, latent frames */
    float *data;           /* [frames, 16, h, w] */
};

int latents_file_open(struct latents_file *file, const char *path, int64_t frames, int h, int w,
                      const unreel_log *log);
void latents_file_add(struct latents_file *file, struct backend *b, struct tensor latents);
int latents_file_save(struct latents_file *file, const unreel_log *log);
void latents_file_close(struct latents_file *file);
