/* postcard-latents: renders scenes and encodes them with the engine, for the training's second
 * stage.
 *
 *     postcard-latents VAE_FILE LATENTS SCENES FIRST COUNT SEED WIDTH HEIGHT PICTURES
 *
 * Appends COUNT clips of PICTURES (1 + 4 n): n + 1 latent frames [n + 1, 16, h, w] as half floats
 * to LATENTS and struct scene to SCENES. Every fourth scene changes midway, if it is long enough.
 * Clip i has seed SEED * 1000003 + i. */
#include <stdio.h>
#include <stdlib.h>

#include "backend/backend.h"
#include "model/video_decoder.h"
#include "weights/weights.h"
#include "world.h"

struct encoding {
    unreel_log log;
    struct backend *backend;
    struct weights *weights;
    struct vae *vae;
    struct video_encoder *encoder;
    struct arena arena;
    int width, height, pictures, frames;
    uint8_t *rgb;         /* [pictures, height, width, 3] */
    struct tensor pixels; /* f32 the same, in [-1, 1] */
    _Float16 *latents;    /* [frames, 16, h, w] */
};

static void print_line(void *opaque, int level, const char *message)
{
    if (level <= UNREEL_LOG_WARNING)
        fprintf(stderr, "postcard-latents: %s\n", message);
}

static int open_all(struct encoding *e, const char *path)
{
    const struct backend_config config = {.device = "cpu", .dtype = "f32"};
    size_t pixels = (size_t)e->pictures * (size_t)e->width * (size_t)e->height * 3;
    e->log = (unreel_log){print_line, NULL};
    e->rgb = malloc(pixels);
    e->latents = malloc((size_t)e->frames * 16 * (size_t)(e->width / 8 * e->height / 8) * 2);
    if (!e->rgb || !e->latents || backend_open(&e->backend, &config, &e->log) < 0)
        return -1;
    arena_init(&e->arena, e->backend);
    e->pixels = arena_tensor(&e->arena, TENSOR_F32, SHAPE(e->pictures, e->height, e->width, 3));
    return weights_open(&e->weights, path, NULL, &e->log) < 0 ||
                   vae_open(&e->vae, e->backend, e->weights, &e->log) < 0 ||
                   vae_encoder_open(&e->encoder, e->vae, e->height / 8, e->width / 8, e->frames) < 0
               ? -1
               : backend_status(e->backend);
}

/* Rows [24, h, w, 16] to planes [24, 16, h, w]. */
static void to_planes(struct encoding *e, const float *from)
{
    size_t area = (size_t)(e->width / 8 * e->height / 8);
    for (size_t f = 0; f < (size_t)e->frames; f++)
        for (size_t p = 0; p < area; p++)
            for (size_t c = 0; c < 16; c++)
                e->latents[(f * 16 + c) * area + p] = (_Float16)from[(f * area + p) * 16 + c];
}

#define WHOLE 9 /* pictures of an opening, in which nothing shall leave */

static int encode_scene(struct encoding *e, const struct scene *s)
{
    float *x = e->pixels.data;
    size_t count = (size_t)e->pictures * (size_t)e->width * (size_t)e->height * 3;
    if (world_render(s, 0, e->pictures, e->width, e->height, e->rgb) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        x[i] = (float)e->rgb[i] / 127.5f - 1;
    video_encoder_reset(e->encoder);
    struct tensor z = video_encoder_encode(e->encoder, e->pixels);
    backend_sync(e->backend);
    if (backend_status(e->backend) < 0 || z.type != TENSOR_F32)
        return -1;
    to_planes(e, z.data);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 10) {
        fprintf(stderr,
                "usage: postcard-latents VAE_FILE LATENTS SCENES FIRST COUNT SEED WIDTH HEIGHT "
                "PICTURES\n");
        return 2;
    }
    struct encoding e = {.width = atoi(argv[7]), .height = atoi(argv[8])};
    e.pictures = atoi(argv[9]);
    e.frames = (e.pictures - 1) / 4 + 1;
    uint64_t first = strtoull(argv[4], NULL, 10), seed = strtoull(argv[6], NULL, 10);
    FILE *latents = fopen(argv[2], "ab"), *scenes = fopen(argv[3], "ab");
    size_t size = (size_t)e.frames * 16 * (size_t)(e.width / 8 * e.height / 8) * 2;
    int code = latents && scenes ? open_all(&e, argv[1]) : -1;
    for (uint64_t i = first; code == 0 && i < first + strtoull(argv[5], NULL, 10); i++) {
        struct scene s;
        world_scene(&s, seed * 1000003 + i, i % 2 == 0, e.pictures);
        if (e.pictures > WHOLE && i % 4 != 0)
            world_leave(&s);
        code = encode_scene(&e, &s);
        if (code == 0 && (fwrite(e.latents, size, 1, latents) != 1 || fflush(latents) ||
                          fwrite(&s, sizeof s, 1, scenes) != 1 || fflush(scenes)))
            code = -1;
    }
    if (code < 0)
        fprintf(stderr, "postcard-latents: failed\n");
    video_encoder_close(e.encoder);
    vae_close(e.vae);
    weights_close(e.weights);
    if (e.backend)
        arena_finish(&e.arena);
    backend_close(e.backend);
    free(e.rgb);
    free(e.latents);
    return code < 0 ? 1 : 0;
}
