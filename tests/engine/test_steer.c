/* Sessions steered while they run, on the small golden model: prompts, seeds, reset, pause, dropped
 * pictures, and anything in any order from several threads. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/engine.h"
#include "nano.h"

enum {
    WAITING = 24,  /* pictures that fit the queue: the worker then waits in the third chunk, */
    BORDER = 33,   /* so that a change takes effect with this picture */
    PICTURES = 90, /* that are compared */
};

#define FOX "a red fox"
#define BOAT "a blue boat"

struct picture {
    uint64_t sum;
    int64_t chunk, scene;
    unsigned flags;
};

static unreel_options *endless(void)
{
    return options_for(FOX, "0");
}

static unreel_session *open_session(unreel_engine *e, const unreel_options *o)
{
    unreel_session *s = NULL;
    CHECK_MSG(unreel_session_open(&s, e, o, NULL) == 0, "%s", test_message);
    return s;
}

/* Pictures [from, to) of a session; how many came. */
static int pull(unreel_session *s, struct picture *p, int from, int to)
{
    for (int i = from; i < to; i++) {
        unreel_frame *f;
        if (unreel_session_pull(s, &f, -1) < 0)
            return i - from;
        CHECK(f->index == i && fabs(f->time - i / 16.0) < 1e-9);
        p[i] = (struct picture){picture_sum(1, f), f->chunk, f->scene, f->flags};
        unreel_frame_unref(f);
    }
    return to - from;
}

static unreel_stats stats_of(unreel_session *s)
{
    unreel_stats stats;
    unreel_session_stats(s, &stats);
    return stats;
}

/* Until the worker waits for room in the queue. */
static void wait_full(unreel_session *s)
{
    for (int i = 0; i < 6000; i++) {
        if (stats_of(s).pictures_waiting == WAITING)
            return;
        usleep(10000);
    }
    CHECK_MSG(0, "the queue never filled");
}

/* What a session that nobody steers shows. */
static void plain_video(unreel_engine *e, const unreel_options *o, struct picture *p, int count)
{
    unreel_session *s = open_session(e, o);
    CHECK(pull(s, p, 0, count) == count);
    for (int i = 0; i < count; i++)
        CHECK(p[i].scene == 0 && p[i].flags == 0);
    unreel_session_close(s);
}

/* How many of the pictures [from, to) are the same, those of q being `shift` further on. */
static int same(const struct picture *p, const struct picture *q, int from, int to, int shift)
{
    int count = 0;
    for (int i = from; i < to; i++)
        count += p[i].sum == q[i + shift].sum;
    return count;
}

static int flagged(const struct picture *p, int from, int to, unsigned flag)
{
    int count = 0;
    for (int i = from; i < to; i++)
        count += (p[i].flags & flag) != 0;
    return count;
}

/* ---- prompts ----------------------------------------------------------------------------------- */

/* Up to the border nothing changes, with it everything. Runs the session that far; the caller closes it. */
static unreel_session *switched(unreel_engine *e, const unreel_options *o, enum unreel_switch how,
                                struct picture *p)
{
    unreel_session *s = open_session(e, o);
    wait_full(s);
    CHECK(unreel_session_set_prompt(s, BOAT, how, 0) == 1);
    unreel_stats stats = stats_of(s);
    CHECK(stats.scene_asked == 1 && stats.scene == 0 && stats.seconds_change == 0);
    CHECK(pull(s, p, 0, PICTURES) == PICTURES);
    return s;
}

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

/* A change while the last chunk is made: no picture shows it, and a warning says so. */
static void test_too_late(unreel_engine *e)
{
    static struct picture p[PICTURES];
    unreel_options *o = options_for(FOX, "9");
    unreel_session *s = open_session(e, o);
    wait_full(s); /* in the third of three blocks */
    test_message[0] = 0;
    CHECK(unreel_session_set_prompt(s, BOAT, UNREEL_SWITCH_CUT, 0) == 1);
    CHECK(pull(s, p, 0, PICTURES) == 33);
    unreel_session_close(s);
    for (int i = 0; i < 33; i++)
        CHECK(p[i].scene == 0);
    CHECK_MSG(strstr(test_message, "no picture shows it"), "%s", test_message);
    unreel_options_destroy(o);
}

/* ---- pause --------------------------------------------------------------------------------------- */

static void test_pause(unreel_engine *e, const struct picture *plain)
{
    static struct picture p[PICTURES];
    unreel_options *o = endless();
    unreel_session *s = open_session(e, o);
    unreel_frame *f;
    wait_full(s);
    unreel_session_pause(s, 1);
    CHECK(stats_of(s).paused == 1);
    CHECK(pull(s, p, 0, BORDER) == BORDER); /* what was made, the chunk at work included */
    CHECK(unreel_session_pull(s, &f, 300) == UNREEL_EAGAIN);
    CHECK(stats_of(s).chunks == 3);
    unreel_session_pause(s, 0);
    CHECK(pull(s, p, BORDER, PICTURES) == PICTURES - BORDER && !stats_of(s).paused);
    CHECK(same(p, plain, 0, PICTURES, 0) == PICTURES);
    CHECK(stats_of(s).scene == 0 && flagged(p, 0, PICTURES, ~0u) == 0);
    unreel_session_close(s);

    /* Changes wait for the end of the pause; a paused session can be cancelled and closed. */
    s = open_session(e, o);
    wait_full(s);
    unreel_session_pause(s, 1);
    CHECK(unreel_session_set_prompt(s, BOAT, UNREEL_SWITCH_RECACHE, 0) == 1);
    CHECK(pull(s, p, 0, BORDER) == BORDER && unreel_session_pull(s, &f, 200) == UNREEL_EAGAIN);
    CHECK(stats_of(s).scene == 0);
    unreel_session_pause(s, 0);
    CHECK(pull(s, p, BORDER, BORDER + 1) == 1 && p[BORDER].scene == 1);
    unreel_session_pause(s, 1);
    unreel_session_cancel(s);
    int code;
    while ((code = unreel_session_pull(s, &f, -1)) == 0)
        unreel_frame_unref(f);
    CHECK(code == UNREEL_ECANCELED && unreel_session_reset(s) == UNREEL_ECANCELED);
    unreel_session_close(s);
    s = open_session(e, o);
    unreel_session_pause(s, 1);
    unreel_session_close(s);
    unreel_options_destroy(o);
}

/* ---- dropped pictures ------------------------------------------------------------------------------ */

static void test_eager(unreel_engine *e, const struct picture *plain)
{
    static struct picture p[PICTURES], q[PICTURES];
    unreel_options *o = endless();
    unreel_session *s = open_session(e, o);
    wait_full(s);
    CHECK(pull(s, p, 0, 5) == 5);
    wait_full(s); /* 5 taken, 24 waiting, 4 of the third chunk still to come */
    CHECK(unreel_session_set_prompt(s, BOAT, UNREEL_SWITCH_RECACHE, 1) == 1);
    for (int i = 0; i < 6000 && stats_of(s).scene == 0; i++)
        usleep(10000);
    CHECK(stats_of(s).pictures_dropped == BORDER - 5); /* nothing was waited for */
    CHECK(pull(s, p, 5, PICTURES) == PICTURES - 5);
    CHECK(p[5].scene == 1 && p[5].flags == UNREEL_FRAME_CHANGE && p[5].chunk == 3);
    CHECK(same(p, plain, 0, 5, 0) == 5);
    unreel_stats stats = stats_of(s);
    CHECK(stats.pictures == PICTURES + stats.pictures_waiting);
    unreel_session_close(s);
    /* What is shown is what an ordinary change shows. */
    unreel_session_close(switched(e, o, UNREEL_SWITCH_RECACHE, q));
    CHECK(same(p, q, 5, PICTURES - BORDER + 5, BORDER - 5) == PICTURES - BORDER);

    /* A cut that nobody saw is still one, and a later change that is not eager keeps pictures. */
    s = open_session(e, o);
    wait_full(s);
    CHECK(unreel_session_set_prompt(s, BOAT, UNREEL_SWITCH_CUT, 0) == 1);
    CHECK(pull(s, p, 0, 20) == 20);
    wait_full(s);
    CHECK(stats_of(s).scene == 1);
    CHECK(unreel_session_set_prompt(s, FOX, UNREEL_SWITCH_BLEND, 1) == 2);
    for (int i = 0; i < 6000 && stats_of(s).scene == 1; i++)
        usleep(10000);
    CHECK(pull(s, p, 20, 60) == 40);
    CHECK(p[20].scene == 2 && p[20].flags == (UNREEL_FRAME_CUT | UNREEL_FRAME_CHANGE));
    CHECK(flagged(p, 0, 60, ~0u) == 1);
    unreel_session_close(s);

    /* The later prompt says whether pictures are dropped. */
    unreel_frame *f;
    s = open_session(e, o);
    unreel_session_pause(s, 1);
    while (unreel_session_pull(s, &f, 500) == 0) /* until the worker is idle */
        unreel_frame_unref(f);
    CHECK(unreel_session_set_prompt(s, BOAT, UNREEL_SWITCH_CUT, 1) == 1);
    CHECK(unreel_session_set_prompt(s, BOAT, UNREEL_SWITCH_CUT, 0) == 2);
    unreel_session_pause(s, 0);
    wait_full(s);
    CHECK(stats_of(s).pictures_dropped == 0);
    unreel_session_close(s);
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

/* ---- long videos -------------------------------------------------------------------------------------- */

/* With the window computed again every 50 chunks: the same memory at the end as after a warm-up, and
 * none allocated on the device once the session is open. */
static void test_endless(unreel_engine *e, int64_t latent_frames)
{
    unreel_options *o = endless();
    unreel_options_set(o, "rotary", "relative");
    e->backend->bytes_peak = e->backend->bytes; /* not that of the sessions before */
    unreel_session *s = open_session(e, o);
    int64_t total = 1 + 4 * (latent_frames - 1), change = 0, asked = 0;
    uint64_t device = e->backend->bytes_peak;
    long warm = 0;
    for (int64_t i = 0; i < total; i++) {
        unreel_frame *f;
        if (unreel_session_pull(s, &f, -1) < 0 || f->index != i || f->scene < change) {
            CHECK_MSG(0, "picture %lld", (long long)i);
            break;
        }
        change = f->scene;
        if (f->chunk / 50 >= asked) {
            asked++;
            CHECK(unreel_session_set_prompt(s, asked % 2 ? BOAT : FOX, UNREEL_SWITCH_RECACHE, 0) ==
                  asked);
        }
        unreel_frame_unref(f);
        if (i == 800)
            warm = resident_kb();
    }
    long grown = resident_kb() - warm;
#ifdef __SANITIZE_ADDRESS__ /* keeps what is freed for a while, up to 256 MB */
    grown -= 256 << 10;
#endif
    CHECK_MSG(warm > 0 && grown < 1024, "%ld kB more after %lld latent frames", grown,
              (long long)latent_frames);
    CHECK(e->backend->bytes_peak == device);
    CHECK(change >= asked - 1 && asked == latent_frames / 3 / 50 + (latent_frames / 3 % 50 > 0));
    unreel_session_close(s);
    unreel_options_destroy(o);
}

/* ---- anything in any order ----------------------------------------------------------------------------- */

struct player {
    unreel_session *session;
    atomic_bool stop;
    uint32_t random;
    bool wrong;
};

static uint32_t draw(struct player *p, uint32_t below)
{
    p->random = p->random * 1664525 + 1013904223;
    return (p->random >> 8) % below;
}

static void *take_pictures(void *arg)
{
    struct player *p = arg;
    int64_t index = 0, scene = 0;
    while (!atomic_load(&p->stop)) {
        unreel_frame *f;
        int code = unreel_session_pull(p->session, &f, 1);
        if (code == UNREEL_EAGAIN)
            continue;
        if (code < 0)
            break;
        p->wrong = p->wrong || f->index != index++ || f->scene < scene;
        scene = f->scene;
        unreel_frame_unref(f);
    }
    return NULL;
}

static void steer_once(struct player *p)
{
    static const char *const prompts[] = {FOX, BOAT, "rain over hills", ""};
    unreel_session *s = p->session;
    switch (draw(p, 8)) {
    case 0:
    case 1:
        unreel_session_set_prompt(s, prompts[draw(p, 4)], (enum unreel_switch)draw(p, 4),
                                  (int)draw(p, 2));
        break;
    case 2:
        unreel_session_set_seed(s, draw(p, 5));
        break;
    case 3:
        unreel_session_reset(s);
        break;
    case 4:
        unreel_session_pause(s, 1);
        break;
    case 5:
        unreel_session_pause(s, 0);
        break;
    case 6:
        unreel_free(unreel_session_prompt(s));
        stats_of(s);
        break;
    case 7:
        usleep(draw(p, 4000));
    }
}

static void *steer(void *arg)
{
    for (int left = 12; left > 0; left--)
        steer_once(arg);
    return NULL;
}

static void test_any_order(unreel_engine *e, int rounds)
{
    unreel_options *o = endless();
    int wrong = 0;
    unreel_options_set(o, "size", "32x32");
    for (int i = 0; i < rounds; i++) {
        unreel_options_set(o, "rotary", i % 2 ? "relative" : "absolute");
        unreel_session *s = open_session(e, o);
        struct player p[3];
        pthread_t thread[3];
        for (int k = 0; k < 3; k++) {
            p[k] = (struct player){.session = s, .random = (uint32_t)(3 * i + k)};
            pthread_create(&thread[k], NULL, k ? steer : take_pictures, &p[k]);
        }
        pthread_join(thread[1], NULL);
        if (i % 5 == 0) /* while the other still steers */
            unreel_session_cancel(s);
        pthread_join(thread[2], NULL);
        atomic_store(&p[0].stop, true);
        pthread_join(thread[0], NULL);
        wrong += p[0].wrong;
        unreel_session_close(s);
    }
    CHECK_MSG(wrong == 0, "%d of %d sessions lost or repeated a picture", wrong, rounds);
    unreel_options_destroy(o);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        printf("usage: test_steer GOLDEN_NANO SCRATCH [ORDERS LATENT_FRAMES]\n");
        return 2;
    }
    static struct picture plain[PICTURES];
    unreel_engine *e = NULL;
    int code = open_nano(&e, argv[1], argv[2], "1");
    if (!e)
        return code;
    int orders = argc > 3 ? atoi(argv[3]) : 40;
    unreel_options *o = endless();
    plain_video(e, o, plain, PICTURES);
    unreel_options_destroy(o);
    test_ways(e, plain);
    test_other_rollouts(e);
    test_replaced(e);
    test_seed(e, plain);
    test_reset(e, plain);
    test_image(e);
    test_too_late(e);
    test_pause(e, plain);
    test_eager(e, plain);
    test_refusals(e);
    test_endless(e, argc > 4 ? atoll(argv[4]) : 450);
    test_any_order(e, orders);
    unreel_engine_close(e);
    return test_end();
}
