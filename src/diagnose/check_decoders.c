/* VAE and light decoder alone. */
#include <stdlib.h>

#include "diagnose/check.h"
#include "engine/model_folder.h"
#include "model/latent.h"
#include "model/video_decoder.h"

static const struct check_range clamp_signed = {1, 0, -1, 1}, clamp_unsigned = {1, 0, 0, 1};

static void check_decoder(struct check *check, const char *label, struct video_decoder *decoder,
                          const struct weights *file, struct tensor latents,
                          const struct check_range *range)
{
    struct tensor pixels = video_decoder_decode(decoder, latents);
    check_compare(check, label, pixels, file, "pixels", 0, range);
}

static void compare_vae(struct check *check, struct vae *vae, const struct weights *file)
{
    struct arena arena;
    struct video_decoder *decoder = NULL;
    struct video_encoder *encoder = NULL;
    arena_init(&arena, check->backend);
    struct tensor latents = check_upload(check, &arena, file, "latents");
    struct tensor clip = check_upload(check, &arena, file, "clip");
    if (latents.data && vae_decoder_open(&decoder, vae, (int)latents.shape[1],
                                         (int)latents.shape[2], (int)latents.shape[0]) == 0)
        check_decoder(check, "vae.pixels", decoder, file, latents, &clamp_signed);
    else
        check_broken(check, "vae.pixels", "cannot be set up:");
    if (clip.data && vae_encoder_open(&encoder, vae, (int)clip.shape[1] / LATENT_PIXELS,
                                      (int)clip.shape[2] / LATENT_PIXELS,
                                      1 + (int)(clip.shape[0] - 1) / 4) == 0)
        check_compare(check, "vae.clip_latent", video_encoder_encode(encoder, clip), file,
                      "clip_latent", 0, NULL);
    else
        check_broken(check, "vae.clip_latent", "cannot be set up:");
    video_encoder_close(encoder);
    video_decoder_close(decoder);
    arena_finish(&arena);
}

void check_vae(struct check *check)
{
    struct model_folder folder;
    struct weights *weights = NULL, *file = NULL;
    struct vae *vae = NULL;
    if (!check_is_recorded(check, "vae.safetensors"))
        return;
    char *path = check_join(check->expected, "vae.safetensors");
    if (model_folder_find(&folder, check->model, &check->log) < 0) {
        check_broken(check, "vae", "no model folder:");
        free(path);
        return;
    }
    if (weights_open(&weights, folder.vae, NULL, &check->log) == 0 &&
        vae_open(&vae, check->backend, weights, &check->log) == 0 &&
        weights_open(&file, path, NULL, &check->log) == 0)
        compare_vae(check, vae, file);
    else
        check_broken(check, "vae", "cannot be opened:");
    vae_close(vae);
    weights_close(file);
    weights_close(weights);
    model_folder_finish(&folder);
    free(path);
}

/* The recorded clip's end was padded with copies of its last picture to a multiple of 4. */
static struct tensor pad_clip(struct check *check, struct arena *arena, struct tensor clip)
{
    int64_t pictures = clip.shape[0], padded = (pictures + 3) / 4 * 4;
    if (padded == pictures)
        return clip;
    struct tensor whole = arena_tensor(arena, TENSOR_F32,
                                       SHAPE(padded, clip.shape[1], clip.shape[2], clip.shape[3]));
    if (!whole.data)
        return whole;
    op_copy(check->backend, tensor_slice(whole, 0, 0, pictures), clip);
    for (int64_t i = pictures; i < padded; i++)
        op_copy(check->backend, tensor_slice(whole, 0, i, 1),
                tensor_slice(clip, 0, pictures - 1, 1));
    return whole;
}

static void compare_light(struct check *check, struct taehv *taehv, const struct weights *weights,
                          const struct weights *file)
{
    struct arena arena;
    struct video_decoder *decoder = NULL;
    struct video_encoder *encoder = NULL;
    arena_init(&arena, check->backend);
    struct tensor latents = check_upload(check, &arena, file, "latents");
    /* weights without an encoder, and nothing recorded of one, are complete */
    bool encodes = weights_find(weights, "encoder.0.weight") || weights_find(file, "clip");
    struct tensor clip = encodes ? check_upload(check, &arena, file, "clip") : (struct tensor){0};
    if (latents.data && taehv_decoder_open(&decoder, taehv, (int)latents.shape[1],
                                           (int)latents.shape[2], (int)latents.shape[0]) == 0)
        check_decoder(check, "taehv.pixels", decoder, file, latents, &clamp_unsigned);
    else
        check_broken(check, "taehv.pixels", "cannot be set up:");
    if (clip.data)
        clip = pad_clip(check, &arena, clip);
    if (clip.data && taehv_encoder_open(&encoder, taehv, (int)clip.shape[1] / LATENT_PIXELS,
                                        (int)clip.shape[2] / LATENT_PIXELS,
                                        (int)clip.shape[0] / 4) == 0)
        check_compare(check, "taehv.clip_latents", video_encoder_encode(encoder, clip), file,
                      "clip_latents", 0, NULL);
    else if (encodes)
        check_broken(check, "taehv.clip_latents", "cannot be set up:");
    video_encoder_close(encoder);
    video_decoder_close(decoder);
    arena_finish(&arena);
}

void check_light(struct check *check, const char *path, const char *expected)
{
    struct weights *weights = NULL, *file = NULL;
    struct taehv *taehv = NULL;
    if (weights_open(&weights, path, NULL, &check->log) == 0 &&
        taehv_open(&taehv, check->backend, weights, &check->log) == 0 &&
        weights_open(&file, expected, NULL, &check->log) == 0)
        compare_light(check, taehv, weights, file);
    else
        check_broken(check, "taehv", "cannot be opened:");
    taehv_close(taehv);
    weights_close(file);
    weights_close(weights);
}
