/* Sessions steered while they run, on the small golden model: prompts, seeds, reset, bad input. */
#include "steer.h"

/* ---- prompts ----------------------------------------------------------------------------------- */

static void test_switch(unreel_engine *e, const struct picture *plain, enum unreel_switch how,
                        struct picture *p)
{
    unreel_options *o = endless();
    unreel_session *s = switched(e, o, how, p);
    CHECK(same(p, plain, 0, BORDER, 0) == BORDER);
    CHECK_MSG(same(p, plain, BORDER, PICTURES, 0) == 0, "way %d", how);
    CHECK(p[BORDER - 1].scene == 0 && p[BORDER].scene == 1 && p[BORDER].chunk == 3);
    CHECK(flagged(p, 0, PICTURES, UNREEL_FRAME_CHANGE) == 1 && p[BORDER].flags & UNREEL_FRAME_CHANGE);
    CHECK(flagged(p, 0, PICTURES, UNREEL_FRAME_CUT) == (how == UNREEL_SWITCH_CUT));
    CHECK(!(p[BORDER].flags & UNREEL_FRAME_CUT) == (how != UNREEL_SWITCH_CUT));
    CHECK(p[BORDER + 9].chunk == (how == UNREEL_SWITCH_CUT ? 4 : 3)); /* a scene begins with 9 */
    unreel_stats stats = stats_of(s);
    CHECK(stats.scene == 1 && stats.seconds_change > 0 && stats.seconds_change < stats.seconds_total);
    CHECK(stats.pictures_dropped == 0);
    unreel_session_close(s);
    unreel_options_destroy(o);
}

static void test_ways(unreel_engine *e, const struct picture *plain)
{
    static struct picture p[3][PICTURES], q[PICTURES];
    test_switch(e, plain, UNREEL_SWITCH_BLEND, p[0]);
    test_switch(e, plain, UNREEL_SWITCH_RECACHE, p[1]);
    test_switch(e, plain, UNREEL_SWITCH_CUT, p[2]);
    CHECK(same(p[0], p[1], BORDER, PICTURES, 0) == 0 && same(p[1], p[2], BORDER, PICTURES, 0) == 0);
    /* The option chooses what DEFAULT is; blending over one chunk is another way than over three. */
    static const struct {
        const char *name, *value;
        int way; /* of p; -1: none */
    } sets[] = {
        {"prompt_switch", "recache", 1}, {"prompt_switch", "cut", 2}, {"prompt_switch", "blend", 0},
        {"blend_chunks", "1", -1},
    };
    unreel_options *o = endless();
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        CHECK(unreel_options_set(o, sets[i].name, sets[i].value) == 0);
        unreel_session_close(switched(e, o, UNREEL_SWITCH_DEFAULT, q));
        for (int way = 0; way < 3; way++)
            CHECK_MSG((same(p[way], q, BORDER, PICTURES, 0) > 0) == (way == sets[i].way),
                      "%s %s, way %d", sets[i].name, sets[i].value, way);
    }
    unreel_options_set(o, "prompt_switch", "recache");
    unreel_options_set(o, "recache_sink", "true");
    unreel_session_close(switched(e, o, UNREEL_SWITCH_DEFAULT, q));
    CHECK(same(p[1], q, BORDER, PICTURES, 0) == 0);
    unreel_options_destroy(o);
}

/* The same ways with guidance, and with positions in the window. */
static void test_other_rollouts(unreel_engine *e)
{
    static struct picture plain[PICTURES], p[PICTURES];
    for (int multi = 0; multi < 2; multi++) {
        unreel_options *o = endless();
        unreel_options_set(o, "sampling_steps", "2");
        unreel_options_set(o, multi ? "denoising_step_list" : "rotary", multi ? "" : "relative");
        plain_video(e, o, plain, PICTURES);
        for (int how = UNREEL_SWITCH_BLEND; how <= UNREEL_SWITCH_CUT; how++) {
            unreel_session_close(switched(e, o, how, p));
            CHECK(same(p, plain, 0, BORDER, 0) == BORDER);
            CHECK_MSG(same(p, plain, BORDER, PICTURES, 0) == 0, "multi %d, way %d", multi, how);
        }
        unreel_options_destroy(o);
    }
}

/* The later of two prompts counts, as if the earlier had never been. */
static void test_replaced(unreel_engine *e)
{
    static struct picture p[PICTURES], q[PICTURES];
    unreel_options *o = endless();
    unreel_session *s = open_session(e, o);
    wait_full(s);
    CHECK(unreel_session_set_prompt(s, "a green hill", UNREEL_SWITCH_CUT, 0) == 1);
    CHECK(unreel_session_set_prompt(s, BOAT, UNREEL_SWITCH_RECACHE, 0) == 2);
    char *prompt = unreel_session_prompt(s);
    CHECK(prompt && !strcmp(prompt, BOAT));
    unreel_free(prompt);
    CHECK(pull(s, p, 0, PICTURES) == PICTURES);
    CHECK(p[BORDER].scene == 2 && flagged(p, 0, PICTURES, UNREEL_FRAME_CUT) == 0);
    unreel_session_close(s);
    unreel_session_close(switched(e, o, UNREEL_SWITCH_RECACHE, q));
    CHECK(same(p, q, 0, PICTURES, 0) == PICTURES);
    unreel_options_destroy(o);
}

/* ---- seed and reset ------------------------------------------------------------------------------ */

static void test_seed(unreel_engine *e, const struct picture *plain)
{
    static struct picture p[PICTURES], q[PICTURES];
    unreel_options *o = endless();
    unreel_session *s = open_session(e, o);
    wait_full(s);
    CHECK(unreel_session_set_seed(s, 7) == 1 && stats_of(s).seed == 0);
    CHECK(pull(s, p, 0, PICTURES) == PICTURES);
    CHECK(same(p, plain, 0, BORDER, 0) == BORDER && same(p, plain, BORDER, PICTURES, 0) == 0);
    CHECK(p[BORDER].flags == UNREEL_FRAME_CHANGE && p[BORDER].scene == 1);
    CHECK(stats_of(s).seed == 7);
    unreel_session_close(s);

    /* Seed, prompt and reset in one border: as a fresh session with them. */
    s = open_session(e, o);
    wait_full(s);
    CHECK(unreel_session_reset(s) == 1 && unreel_session_set_seed(s, 7) == 2);
    CHECK(unreel_session_set_prompt(s, BOAT, UNREEL_SWITCH_BLEND, 0) == 3);
    CHECK(pull(s, p, 0, PICTURES) == PICTURES);
    unreel_session_close(s);
    unreel_options_set(o, "seed", "7");
    unreel_options_set(o, "prompt", BOAT);
    plain_video(e, o, q, PICTURES);
    CHECK(p[BORDER].scene == 3 && p[BORDER].flags == (UNREEL_FRAME_CUT | UNREEL_FRAME_CHANGE));
    CHECK(same(p, q, BORDER, PICTURES, -BORDER) == PICTURES - BORDER);
    unreel_options_destroy(o);
}

/* A reset repeats the video; a cut to the same prompt does not. */
static void test_reset(unreel_engine *e, const struct picture *plain)
{
    static struct picture p[PICTURES];
    unreel_options *o = endless();
    for (int cut = 0; cut < 2; cut++) {
        unreel_session *s = open_session(e, o);
        wait_full(s);
        CHECK((cut ? unreel_session_set_prompt(s, FOX, UNREEL_SWITCH_CUT, 0)
                   : unreel_session_reset(s)) == 1);
        CHECK(pull(s, p, 0, PICTURES) == PICTURES);
        CHECK(p[BORDER].flags == (UNREEL_FRAME_CUT | UNREEL_FRAME_CHANGE));
        CHECK(same(p, plain, BORDER, PICTURES, -BORDER) == (cut ? 0 : PICTURES - BORDER));
        unreel_session_close(s);
    }
    /* In the middle of a blend: begins with the prompt that it goes to. */
    static struct picture q[PICTURES];
    unreel_options_set(o, "blend_chunks", "50");
    unreel_session *s = open_session(e, o);
    wait_full(s);
    CHECK(unreel_session_set_prompt(s, BOAT, UNREEL_SWITCH_BLEND, 0) == 1);
    CHECK(pull(s, p, 0, 41) == 41); /* the worker waits in the third chunk of it */
    wait_full(s);
    CHECK(unreel_session_reset(s) == 2);
    CHECK(pull(s, p, 41, PICTURES) == PICTURES - 41);
    unreel_session_close(s);
    int begin = 69;
    CHECK(p[begin - 1].scene == 1 && p[begin].scene == 2);
    unreel_options_set(o, "prompt", BOAT);
    plain_video(e, o, q, PICTURES);
    CHECK(same(p, q, begin, PICTURES, -begin) == PICTURES - begin);
    unreel_options_destroy(o);
}

/* From a picture: a reset shows it again, a cut does not. And videos of given length stay so long. */
static void test_image(unreel_engine *e)
{
    static struct picture p[2][PICTURES];
    uint8_t rgb[50 * 40 * 3];
    char path[4200];
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)(i * 7);
    const unreel_clip clip = {.rgb = rgb, .stride = 150, .frames = 1, .width = 50, .height = 40};
    unreel_options *o = options_for(FOX, "16");
    snprintf(path, sizeof path, "%s/steered.safetensors", scratch);
    for (int cut = 0; cut < 2; cut++) {
        unreel_session *s = NULL;
        unreel_options_set(o, "save_latents", path);
        CHECK(unreel_session_open(&s, e, o, &clip) == 0);
        wait_full(s); /* 1 and 12 pictures, then 11 of the second block */
        CHECK((cut ? unreel_session_set_prompt(s, FOX, UNREEL_SWITCH_CUT, 0)
                   : unreel_session_reset(s)) == 1);
        /* 7 latent frames were made before the border, 9 are left: 25 and 33 pictures. */
        CHECK(pull(s, p[cut], 0, 100) == 58);
        CHECK(same(p[cut], p[cut], 25, 38, -25) == (cut ? 0 : 13));
        CHECK(p[cut][25].scene == 1 && p[cut][25].flags & UNREEL_FRAME_CUT);
        unreel_stats stats = stats_of(s);
        CHECK(stats.latent_frames == 16 && stats.pictures == 58 && stats.pictures_total == 58);
        CHECK(unreel_session_reset(s) == UNREEL_END); /* too late */
        CHECK(unreel_session_set_seed(s, 1) == UNREEL_END);
        CHECK(unreel_session_set_prompt(s, FOX, UNREEL_SWITCH_CUT, 1) == UNREEL_END);
        unreel_session_close(s);
        CHECK(access(path, R_OK) == 0);
        unlink(path);
    }
    unreel_options_destroy(o);
}

/* ---- bad input -------------------------------------------------------------------------------------- */

static void test_refusals(unreel_engine *e)
{
    unreel_options *o = endless();
    unreel_session *s = open_session(e, o);
    char *text = malloc(UNREEL_PROMPT_MAX + 2);
    memset(text, 'x', UNREEL_PROMPT_MAX + 1);
    text[UNREEL_PROMPT_MAX + 1] = 0;
    CHECK(unreel_session_set_prompt(s, text, UNREEL_SWITCH_CUT, 0) == UNREEL_EINVAL);
    CHECK_MSG(strstr(test_message, "16384"), "%s", test_message);
    CHECK(unreel_session_set_prompt(s, NULL, UNREEL_SWITCH_CUT, 0) == UNREEL_EINVAL);
    CHECK(unreel_session_set_prompt(s, "a \xff fox", UNREEL_SWITCH_CUT, 0) == UNREEL_EFORMAT);
    CHECK(unreel_session_set_prompt(s, BOAT, (enum unreel_switch)4, 0) == UNREEL_EINVAL);
    CHECK(unreel_session_set_seed(s, -1) == UNREEL_EINVAL);
    char *prompt = unreel_session_prompt(s);
    CHECK(prompt && !strcmp(prompt, FOX) && stats_of(s).scene_asked == 0);
    unreel_free(prompt);
    unreel_free(NULL);
    text[UNREEL_PROMPT_MAX] = 0;
    CHECK(unreel_session_set_prompt(s, text, UNREEL_SWITCH_DEFAULT, 1) == 1);
    CHECK(unreel_session_set_prompt(s, "", UNREEL_SWITCH_DEFAULT, 1) == 2);
    free(text);
    unreel_session_close(s); /* with a change that never took effect */
    static const char *const bad[][2] = {{"prompt_switch", "fade"}, {"rotary", "none"},
                                         {"blend_chunks", "0"}, {"recache_sink", "maybe"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(unreel_options_set(o, bad[i][0], bad[i][1]) == UNREEL_EINVAL);
    unreel_options_destroy(o);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        printf("usage: test_steer GOLDEN_NANO SCRATCH\n");
        return 2;
    }
    static struct picture plain[PICTURES];
    unreel_engine *e = NULL;
    int code = open_nano(&e, argv[1], argv[2], "1");
    if (!e)
        return code;
    unreel_options *o = endless();
    plain_video(e, o, plain, PICTURES);
    unreel_options_destroy(o);
    test_ways(e, plain);
    test_other_rollouts(e);
    test_replaced(e);
    test_seed(e, plain);
    test_reset(e, plain);
    test_image(e);
    test_refusals(e);
    unreel_engine_close(e);
    return test_end();
}
