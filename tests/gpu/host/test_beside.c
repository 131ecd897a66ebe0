/* A session on the CUDA backend whose decoding is beside its denoising, without a device: two backends
 * over the stand-ins, in two threads. Its pictures are those of a session with one backend.
 *
 *   test_beside GOLDEN_NANO */
#include "../../engine/nano.h"

enum { PICTURES = 45 }; /* of 12 latent frames */

/* Pictures of a video, as sums. */
static void make(const char *golden, const char *without, const char *dtype, uint64_t *sum)
{
    unreel_engine *e = NULL;
    unreel_session *s = NULL;
    unreel_frame *f;
    snprintf(model, sizeof model, "%s/wan_models/Wan2.1-T2V-nano", golden);
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoints/self_forcing_mini.pt", golden);
    unreel_options *o = options_for("a red fox", "12");
    static const char *const sets[][2] = {
        {"device", "cuda"}, {"size", "16x16"}, {"denoising_step_list", "1000,500"}};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        CHECK(unreel_options_set(o, sets[i][0], sets[i][1]) == 0);
    CHECK(unreel_options_set(o, "dtype", dtype) == 0);
    CHECK(unreel_options_set(o, "device_without", without) == 0);
    CHECK_MSG(unreel_engine_open(&e, o) == 0, "%s", test_message);
    if (!e)
        exit(1);
    CHECK(engine_decodes_beside(e) == !*without);
    int code = unreel_session_open(&s, e, o, NULL);
    if (code == UNREEL_EUNSUPPORTED) {
        printf("skipped: %s\n", test_message);
        exit(77);
    }
    CHECK_MSG(code == 0, "%s", test_message);
    for (int i = 0; s && i < PICTURES; i++) {
        CHECK_MSG(unreel_session_pull(s, &f, -1) == 0 && f->index == i, "%s", test_message);
        if (!f)
            break;
        sum[i] = picture_sum(1, f);
        unreel_frame_unref(f);
    }
    CHECK(s && unreel_session_pull(s, &f, -1) == UNREEL_END);
    unreel_session_close(s);
    unreel_options_destroy(o);
    unreel_engine_close(e);
}

int main(int argc, char **argv)
{
    static uint64_t alone[PICTURES], beside[PICTURES];
    if (argc != 2)
        return 2;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        make(argv[1], "beside", bf16 ? "bf16" : "f32", alone);
        make(argv[1], "", bf16 ? "bf16" : "f32", beside);
        for (int i = 0; i < PICTURES; i++)
            CHECK_MSG(alone[i] == beside[i], "bf16 %d: picture %d differs", bf16, i);
    }
    return test_end();
}
