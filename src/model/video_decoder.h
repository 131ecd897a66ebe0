/* Latents to pictures, as a stream: the full VAE and the light decoder (TAEHV) behind one interface.
 * Any split of a stream into calls gives the same pictures. */
#pragma once

#include "backend/recorder.h"
#include "weights/weights.h"

struct video_decoder;

struct video_decoder_ops {
    const char *name; /* "vae", "taehv" */
    /* How many pictures the next call with `frames` latent frames gives. */
    int (*pictures)(const struct video_decoder *, int frames);
    struct tensor (*decode)(struct video_decoder *, struct tensor latents);
    void (*reset)(struct video_decoder *);
    void (*close)(struct video_decoder *);
};

/* The first member of each decoder's own struct. */
struct video_decoder {
    const struct video_decoder_ops *ops;
    struct backend *backend;
    float scale, offset; /* picture in [0, 1] = clamp(pixel * scale + offset) */
    uint64_t bytes;      /* working memory, history included */
    const struct recorder *recorder; /* of its passes through the network */
};

/* latents: f32 [F, h, w, 16], normalised, 1 <= F <= the frames_max it was opened with. Returns pixels
 * [P, 8 h, 8 w, 3], either type, contiguous, valid until the next call; not clamped. For the VAE the
 * first latent frame of a stream gives 1 picture, every later one 4. */
struct tensor video_decoder_decode(struct video_decoder *decoder, struct tensor latents);
int video_decoder_pictures(const struct video_decoder *decoder, int frames); /* of the next call */
void video_decoder_reset(struct video_decoder *decoder); /* back to the start of a stream */
void video_decoder_close(struct video_decoder *decoder); /* NULL is fine */

/* ---- the weights and their streams ------------------------------------------------------------ */

struct vae; /* weights of encoder and decoder, shared by streams */

int vae_open(struct vae **vae, struct backend *backend, const struct weights *weights,
             const unreel_log *log);
void vae_close(struct vae *vae);

int vae_decoder_open(struct video_decoder **decoder, struct vae *vae, int h, int w, int frames_max);

struct taehv;

int taehv_open(struct taehv **taehv, struct backend *backend, const struct weights *weights,
               const unreel_log *log);
void taehv_close(struct taehv *taehv);
int taehv_decoder_open(struct video_decoder **decoder, struct taehv *taehv, int h, int w,
                       int frames_max);

/* ---- pictures to latents ------------------------------------------------------------------------ */

struct video_encoder;

struct video_encoder_ops {
    struct tensor (*encode)(struct video_encoder *, struct tensor pixels);
    void (*reset)(struct video_encoder *);
    void (*close)(struct video_encoder *);
};

struct video_encoder {
    const struct video_encoder_ops *ops;
    struct backend *backend;
    uint64_t bytes;
};

/* pixels: f32 [P, 8 h, 8 w, 3] in [-1, 1] (VAE) or [0, 1] (TAEHV). VAE: P is 1 + 4 n at the start of
 * a stream and 4 n later. TAEHV: P is 4 n. Returns normalised latents f32 [F, h, w, 16], valid until
 * the next call. */
struct tensor video_encoder_encode(struct video_encoder *encoder, struct tensor pixels);
void video_encoder_reset(struct video_encoder *encoder);
void video_encoder_close(struct video_encoder *encoder);

int vae_encoder_open(struct video_encoder **encoder, struct vae *vae, int h, int w, int frames_max);
int taehv_encoder_open(struct video_encoder **encoder, struct taehv *taehv, int h, int w,
                       int frames_max);
