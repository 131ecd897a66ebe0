/* A device that is too small at every place where one can be, without a device: a session that does not fit
 * fails, and says so; the engine goes on, a smaller session opens afterwards and shows what it always did, and
 * what the failed one had is free again.
 *
 *   test_memory GOLDEN_NANO */
#include "../../engine/nano.h"

#define STEPS 16 /* of memory, from what is in use to more than what a session takes */
#define UNLIMITED ((size_t)1 << 30)

static int hints;

static void watch(void *opaque, int level, const char *message)
{
    (void)opaque;
    test_log_write(NULL, level, message);
    hints += strstr(message, "does not fit the memory") != NULL;
}

static void limit(size_t bytes)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", bytes);
    setenv("UNREEL_EMULATE_MEMORY", text, 1);
}

static size_t used(struct unreel_engine *e)
{
    struct backend_memory memory;
    engine_lock(e, NULL, &test_log);
    e->backend->ops->memory(e->backend, &memory);
    engine_unlock(e);
    return UNLIMITED - memory.free;
}

/* The code that ends a session, the sum of its pictures, and the memory in use before it closes. */
static int show(struct unreel_engine *e, unreel_options *o, const char *size, uint64_t *sum, size_t *bytes)
{
    unreel_session *s;
    unreel_frame *f;
    CHECK(unreel_options_set(o, "size", size) == 0);
    int code = unreel_session_open(&s, e, o, NULL);
    for (*sum = 1; code == 0 && (code = unreel_session_pull(s, &f, -1)) == 0; unreel_frame_unref(f))
        *sum = picture_sum(*sum, f);
    *bytes = used(e);
    unreel_session_close(s);
    return code;
}

static void test_sizes(struct unreel_engine *e, unreel_options *o)
{
    uint64_t small, large, sum;
    size_t idle, top, bytes;
    int failed = 0;
    int code = show(e, o, "16x16", &small, &bytes);
    if (code == UNREEL_EUNSUPPORTED) {
        printf("skipped: %s\n", test_message);
        exit(77);
    }
    CHECK_MSG(code == UNREEL_END, "code %d", code);
    idle = used(e);
    CHECK(show(e, o, "32x32", &large, &top) == UNREEL_END);
    CHECK_MSG(top > idle && small != large, "%zu bytes, with the larger session %zu", idle, top);
    idle = used(e); /* with the scratch memory that the larger one needs, which stays */
    for (int i = 0; i < STEPS; i++) {
        limit(idle + (top - idle) * 5 / 4 / STEPS * (size_t)i);
        hints = 0;
        code = show(e, o, "32x32", &sum, &bytes);
        CHECK_MSG(code == UNREEL_ENOMEM ? hints == 1 : code == UNREEL_END && sum == large && !hints,
                  "step %d: code %d, %d hints: %s", i, code, hints, test_message);
        failed += code == UNREEL_ENOMEM;
        limit(UNLIMITED);
        CHECK_MSG(used(e) == idle, "after step %d: %zu bytes in use, not %zu", i, used(e), idle);
        CHECK_MSG(show(e, o, "16x16", &sum, &bytes) == UNREEL_END && sum == small, "after step %d", i);
    }
    printf("%d of %d did not fit\n", failed, STEPS);
    CHECK(failed > STEPS / 2 && failed < STEPS);
}

int main(int argc, char **argv)
{
    static const char *const sets[][2] = {
        {"device", "cuda"},        {"dtype", "bf16"},          {"use_ema", "true"}, {"prompt", "a red fox"},
        {"num_output_frames", "3"}, {"num_frame_per_block", "3"}, {"window", "3"},
        {"denoising_step_list", "1000,500"},
    };
    const unreel_log log = {watch, NULL};
    unreel_engine *e = NULL;
    if (argc != 2)
        return 2;
    limit(UNLIMITED);
    unreel_options *o = unreel_options_create(&log);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        CHECK(unreel_options_set(o, sets[i][0], sets[i][1]) == 0);
    snprintf(model, sizeof model, "%s/wan_models/Wan2.1-T2V-nano", argv[1]);
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoints/self_forcing_mini.pt", argv[1]);
    CHECK(unreel_options_set(o, "model", model) == 0 && unreel_options_set(o, "checkpoint_path", checkpoint) == 0);
    CHECK_MSG(unreel_engine_open(&e, o) == 0, "%s", test_message);
    if (e)
        test_sizes(e, o);
    unreel_options_destroy(o);
    unreel_engine_close(e);
    return test_end();
}
