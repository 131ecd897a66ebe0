/* Streams against themselves: any split of a video into calls gives the same pictures and latents, a
 * reset stream begins anew, nothing is allocated after opening. And resizing of pictures. */
#include "base/philox.h"
#include "model/image.h"
#include "model/video_decoder.h"
#include "test.h"

static char golden[4096];

enum { H = 4, W = 6, FRAMES = 9 };

static void fill(float *x, int64_t count, uint32_t seed, float scale)
{
    for (int64_t i = 0; i < count; i++) {
        const uint32_t counter[4] = {(uint32_t)i, seed, 0, 0}, key[2] = {1, 2};
        uint32_t out[4];
        philox_4x32_10(counter, key, out);
        x[i] = scale * ((float)out[0] * 0x1p-31f - 1);
    }
}

struct nets {
    struct backend *b;
    struct weights *vae_weights, *light_weights;
    struct vae *vae;
    struct taehv *light;
};

static bool open_nets(struct nets *n, const char *dtype)
{
    char path[4200];
    const struct backend_config config = {.device = "cpu", .dtype = dtype, .threads = 2};
    *n = (struct nets){0};
    CHECK(backend_open(&n->b, &config, &test_log) == 0);
    snprintf(path, sizeof path, "%s/nano/wan_models/Wan2.1-T2V-nano/Wan2.1_VAE.pth", golden);
    CHECK(weights_open(&n->vae_weights, path, NULL, &test_log) == 0);
    CHECK(vae_open(&n->vae, n->b, n->vae_weights, &test_log) == 0);
    snprintf(path, sizeof path, "%s/taehv/taew2_1.safetensors", golden);
    CHECK(weights_open(&n->light_weights, path, NULL, &test_log) == 0);
    CHECK(taehv_open(&n->light, n->b, n->light_weights, &test_log) == 0);
    return n->vae && n->light;
}

static void close_nets(struct nets *n)
{
    vae_close(n->vae);
    taehv_close(n->light);
    backend_close(n->b);
    weights_close(n->vae_weights);
    weights_close(n->light_weights);
}

/* Decodes [FRAMES, H, W, 16] in calls of these lengths into out, channels as they come. Pictures. */
static int64_t decode(struct backend *b, struct video_decoder *d, struct tensor latents,
                      const int *split, float *out)
{
    int64_t frame = 0, pictures = 0;
    for (; *split; split++) {
        int promised = d->ops->pictures(d, *split);
        struct tensor pixels = video_decoder_decode(d, tensor_slice(latents, 0, frame, *split));
        CHECK(pixels.data && pixels.shape[0] == promised);
        if (!pixels.data)
            return pictures;
        int64_t size = 8 * H * 8 * W * 3;
        backend_download(b, tensor_make(out + pictures * size, TENSOR_F32, 4, pixels.shape), pixels);
        frame += *split;
        pictures += pixels.shape[0];
    }
    return pictures;
}

static const int splits[][FRAMES + 1] = {
    {9}, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {2, 7}, {3, 3, 3}, {1, 5, 3}, {8, 1}, {4, 1, 4}};

enum { VIDEO = (1 + 4 * (FRAMES - 1)) * 8 * H * 8 * W * 3 };

/* `first`: what it gives, or what it must give if `known`. */
static void check_decoder(struct backend *b, struct video_decoder *d, const char *name, float *first,
                          bool known)
{
    enum { SIZE = VIDEO };
    float *again = malloc(SIZE * sizeof *again);
    static float host[FRAMES * H * W * 16];
    struct arena arena;
    arena_init(&arena, b);
    struct tensor latents = arena_tensor(&arena, TENSOR_F32, SHAPE(FRAMES, H, W, 16));
    fill(host, FRAMES * H * W * 16, 1, 2);
    backend_upload(b, latents, tensor_make(host, TENSOR_F32, 4, latents.shape));
    uint64_t bytes = b->bytes_peak;
    if (!known)
        CHECK(decode(b, d, latents, splits[0], first) == 33);
    for (size_t i = !known; i < sizeof splits / sizeof *splits; i++) {
        memset(again, 0, SIZE * sizeof *again);
        video_decoder_reset(d);
        CHECK(decode(b, d, latents, splits[i], again) == 33);
        CHECK_MSG(!memcmp(first, again, SIZE * sizeof *first), "%s: split %zu differs", name, i);
    }
    CHECK_MSG(b->bytes_peak == bytes, "%s: memory was allocated while decoding", name);
    CHECK(!video_decoder_decode(d, (struct tensor){.dims = 1}).data); /* refused */
    CHECK(backend_status(b) == UNREEL_EINVAL);
    backend_clear(b);
    arena_finish(&arena);
    free(again);
}

/* Copies that three latent frames together take, behind a stream's first. */
static int64_t count_copies(struct nets *n, bool apart)
{
    struct op_profile profile = {0};
    struct video_decoder *d;
    struct arena arena;
    arena_init(&arena, n->b);
    struct tensor latents = arena_tensor(&arena, TENSOR_F32, SHAPE(4, H, W, 16));
    n->b->decode_frames = 3;
    n->b->decode_apart = apart;
    CHECK(vae_decoder_open(&d, n->vae, H, W, 3) == 0);
    CHECK(video_decoder_decode(d, tensor_slice(latents, 0, 0, 1)).data);
    n->b->profile = &profile;
    CHECK(video_decoder_decode(d, tensor_slice(latents, 0, 1, 3)).data);
    n->b->profile = NULL;
    video_decoder_close(d);
    arena_finish(&arena);
    return profile.calls[OP_COPY];
}

enum { LATENTS = FRAMES * H * W * 16 };

/* `one`: what it gives, or what it must give if `known`. */
static void check_encoder(struct backend *b, struct video_encoder *e, int first, const char *name,
                          float *one, bool known)
{
    static float again[LATENTS], host[33 * 8 * H * 8 * W * 3];
    int pictures = first + 4 * 8;
    struct arena arena;
    arena_init(&arena, b);
    struct tensor pixels = arena_tensor(&arena, TENSOR_F32, SHAPE(pictures, 8 * H, 8 * W, 3));
    fill(host, tensor_count(&pixels), 2, 1);
    backend_upload(b, pixels, tensor_make(host, TENSOR_F32, 4, pixels.shape));
    int64_t frames = 8 + (first > 0);
    for (int split = 0; split < 3; split++) {
        int64_t at = 0, done = 0;
        float *to = split || known ? again : one;
        video_encoder_reset(e);
        while (at < pictures) {
            int64_t groups = split == 0 ? 8 : split == 1 ? 1 : 3;
            int64_t count = 4 * groups + (at == 0 ? first : 0);
            count = count > pictures - at ? pictures - at : count;
            struct tensor latents = video_encoder_encode(e, tensor_slice(pixels, 0, at, count));
            CHECK(latents.data != NULL);
            if (!latents.data)
                break;
            backend_download(b, tensor_make(to + done * H * W * 16, TENSOR_F32, 4, latents.shape), latents);
            done += latents.shape[0];
            at += count;
        }
        CHECK(done == frames);
        if (split || known)
            CHECK_MSG(!memcmp(one, again, (size_t)(frames * H * W * 16) * sizeof *one),
                      "%s: split %d differs", name, split);
    }
    arena_finish(&arena);
}

static void test_streams(const char *dtype)
{
    struct nets n;
    struct video_decoder *d = NULL;
    struct video_encoder *e = NULL;
    if (!open_nets(&n, dtype))
        return;
    static float latents[2][LATENTS]; /* full, light */
    float *video = malloc(VIDEO * sizeof *video);
    uint64_t bytes = 0;
    for (int way = 0; way < 6; way++) { /* latent frames together; the pictures are the same */
        n.b->decode_frames = 1 + way % 3;
        n.b->decode_apart = way > 2;
        CHECK(vae_decoder_open(&d, n.vae, H, W, FRAMES) == 0);
        CHECK(d->bytes > bytes);
        bytes = d->bytes;
        check_decoder(n.b, d, "vae", video, way > 0);
        video_decoder_close(d);
    }
    for (int apart = 0; apart < 2; apart++) {
        n.b->decode_apart = apart;
        CHECK(taehv_decoder_open(&d, n.light, H, W, FRAMES) == 0);
        check_decoder(n.b, d, "taehv", video, apart);
        video_decoder_close(d);
        CHECK(vae_encoder_open(&e, n.vae, H, W, FRAMES) == 0);
        check_encoder(n.b, e, 1, "vae", latents[0], apart);
        video_encoder_close(e);
        CHECK(taehv_encoder_open(&e, n.light, H, W, FRAMES) == 0);
        check_encoder(n.b, e, 0, "taehv", latents[1], apart);
        video_encoder_close(e);
    }
    free(video);
    /* One for each convolution instead of two, and two for what the doublings of time see. */
    CHECK(count_copies(&n, false) == 2 * count_copies(&n, true) - 2);
    CHECK(n.b->bytes > 0);
    close_nets(&n);
}

/* A checkpoint of another model is refused with all that is wrong. */
static void test_other_model(void)
{
    struct nets n;
    struct vae *vae = NULL;
    struct taehv *light = NULL;
    if (!open_nets(&n, "f32"))
        return;
    test_message[0] = 0;
    CHECK(vae_open(&vae, n.b, n.light_weights, &test_log) == UNREEL_EFORMAT && !vae);
    CHECK(strstr(test_message, "taew2_1.safetensors"));
    backend_clear(n.b);
    CHECK(taehv_open(&light, n.b, n.vae_weights, &test_log) == UNREEL_EFORMAT && !light);
    CHECK(strstr(test_message, "Wan2.1_VAE.pth"));
    backend_clear(n.b);
    close_nets(&n);
}

/* ---- resizing ---------------------------------------------------------------------------------- */

/* The triangle filter in double precision, straight from its definition. */
static double resized(const uint8_t *rgb, int w, int h, int to_w, int to_h, int x, int y, int c)
{
    double sx = (double)w / to_w, sy = (double)h / to_h, sum = 0, weights = 0;
    double rx = sx > 1 ? sx : 1, ry = sy > 1 ? sy : 1;
    for (int j = 0; j < h; j++) {
        double wy = 1 - fabs(j + 0.5 - (y + 0.5) * sy) / ry;
        for (int i = 0; wy > 0 && i < w; i++) {
            double wx = 1 - fabs(i + 0.5 - (x + 0.5) * sx) / rx;
            if (wx <= 0)
                continue;
            sum += wx * wy * rgb[(j * w + i) * 3 + c];
            weights += wx * wy;
        }
    }
    return sum / weights / 127.5 - 1;
}

static void check_resize(int w, int h, int to_w, int to_h)
{
    uint8_t *rgb = malloc((size_t)(w * h * 3));
    float *out = malloc((size_t)(to_w * to_h * 3) * sizeof *out);
    double worst = 0;
    for (int i = 0; i < w * h * 3; i++)
        rgb[i] = (uint8_t)(i * 2654435761u >> 13);
    CHECK(image_resize(out, to_w, to_h, rgb, w, h, (size_t)w * 3, &test_log) == 0);
    for (int y = 0; y < to_h; y++) {
        for (int x = 0; x < to_w; x++) {
            for (int c = 0; c < 3; c++)
                worst = test_worse(worst, fabs(out[(y * to_w + x) * 3 + c] -
                                               resized(rgb, w, h, to_w, to_h, x, y, c)));
        }
    }
    CHECK_MSG(worst < 1e-5, "%dx%d to %dx%d: %g", w, h, to_w, to_h, worst);
    free(rgb);
    free(out);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        printf("usage: test_streams GOLDEN\n");
        return 2;
    }
    snprintf(golden, sizeof golden, "%s", argv[1]);
    test_streams("f32");
    test_streams("bf16");
    test_other_model();
    check_resize(16, 16, 16, 16);
    check_resize(50, 40, 48, 32);
    check_resize(31, 17, 16, 16);
    check_resize(200, 3, 16, 16);
    check_resize(1, 1, 16, 32);
    check_resize(7, 5, 32, 48);
    return test_end();
}
