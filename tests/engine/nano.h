/* What tests of sessions share: the small golden model, sums of pictures, memory. With
 * UNREEL_TEST_BESIDE the engine has a second backend for its decoders, as on a device that runs both at
 * once: everything must come out the same. */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include "engine/engine.h"
#include "test.h"

static char model[4096], checkpoint[4096], scratch[4096];

static inline unreel_options *options_for(const char *prompt, const char *frames)
{
    unreel_options *o = unreel_options_create(&test_log);
    static const char *const sets[][2] = {
        {"device", "cpu"},         {"dtype", "f32"},
        {"threads", "2"},          {"size", "48x32"},
        {"use_ema", "true"},       {"denoising_step_list", "1000,750,500,250"},
        {"warp_denoising_step", "true"}, {"num_frame_per_block", "3"},
        {"model_kwargs.timestep_shift", "5"}, {"window", "6"},
        {"sink", "1"},
    };
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        CHECK(unreel_options_set(o, sets[i][0], sets[i][1]) == 0);
    unreel_options_set(o, "model", model);
    unreel_options_set(o, "checkpoint_path", checkpoint);
    unreel_options_set(o, "prompt", prompt);
    unreel_options_set(o, "num_output_frames", frames);
    return o;
}

/* FNV-1a over the planes' pixels: equal videos have equal sums. */
static inline uint64_t picture_sum(uint64_t sum, const unreel_frame *f)
{
    for (int plane = 0; plane < 3; plane++) {
        int width = plane ? f->width / 2 : f->width, height = plane ? f->height / 2 : f->height;
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++)
                sum = (sum ^ f->data[plane][(size_t)y * f->stride[plane] + (size_t)x]) *
                      0x100000001b3;
        }
    }
    return sum;
}

static inline long resident_kb(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long total = 0, resident = 0;
    if (f) {
        if (fscanf(f, "%ld %ld", &total, &resident) != 2)
            resident = 0;
        fclose(f);
    }
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static inline void decode_beside(struct unreel_engine *e)
{
    const struct backend_config config = {.device = "cpu", .dtype = "f32", .threads = 1};
    vae_close(e->vae);
    e->vae = NULL;
    CHECK(backend_open(&e->decoder, &config, &test_log) == 0);
    CHECK(vae_open(&e->vae, e->decoder, e->vae_weights, &test_log) == 0);
}

/* The engine, or NULL and the exit code of a test that cannot run in this build. With one thread it
 * is quicker where others work too: the model is tiny, and every operation would wait for a second. */
static inline int open_nano(unreel_engine **engine, const char *golden, const char *folder,
                            const char *threads)
{
    snprintf(model, sizeof model, "%s/wan_models/Wan2.1-T2V-nano", golden);
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoints/self_forcing_mini.pt", golden);
    snprintf(scratch, sizeof scratch, "%s", folder);
    unreel_options *o = options_for("a red fox", "12");
    unreel_session *s = NULL;
    unreel_options_set(o, "threads", threads);
    CHECK_MSG(unreel_engine_open(engine, o) == 0, "%s", test_message);
    if (*engine && getenv("UNREEL_TEST_BESIDE"))
        decode_beside(*engine);
    int code = *engine ? unreel_session_open(&s, *engine, o, NULL) : UNREEL_EINVAL;
    unreel_session_close(s);
    unreel_options_destroy(o);
    if (!*engine)
        return test_end();
    if (code != UNREEL_EUNSUPPORTED)
        return 0;
    printf("skipped: %s\n", test_message);
    unreel_engine_close(*engine);
    *engine = NULL;
    return 77;
}
