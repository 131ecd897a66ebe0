/* The flow of pictures of a steered session: pauses, the end, dropped pictures, times. */
#include "steer.h"

/* ---- the end and pauses
 * -------------------------------------------------------------------------- */

/* A change while the last chunk is made: no picture shows it, a warning says so, and the end of the
 * video is not dropped for it. */
static void test_too_late(unreel_engine *e)
{
    static struct picture p[PICTURES];
    unreel_options *o = options_for(FOX, "9");
    for (int eager = 0; eager < 2; eager++) {
        unreel_session *s = open_session(e, o);
        wait_full(s); /* in the third of three blocks */
        test_message[0] = 0;
        CHECK(unreel_session_set_prompt(s, BOAT, UNREEL_SWITCH_CUT, eager) == 1);
        usleep(200000); /* for the worker to drop what has no room */
        int pictures = pull(s, p, 0, PICTURES);
        CHECK_MSG(pictures == 33, "%d pictures, eager %d", pictures, eager);
        CHECK(stats_of(s).pictures_dropped == 0);
        unreel_session_close(s);
        for (int i = 0; i < pictures; i++)
            CHECK(p[i].scene == 0);
        CHECK_MSG(strstr(test_message, "no picture shows it"), "%s", test_message);
    }
    unreel_options_destroy(o);
}

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

/* The longest chunk of a session whose pictures wait for half as long again as `seconds`. */
static double longest_chunk(unreel_engine *e, double seconds)
{
    unreel_options *o = endless();
    unreel_session *s = open_session(e, o);
    static struct picture p[PICTURES];
    wait_full(s);
    usleep((useconds_t)(1.5e6 * seconds));
    CHECK(pull(s, p, 0, PICTURES) == PICTURES);
    unreel_stats stats = stats_of(s);
    CHECK(stats.chunks >= 3 && stats.chunk_first > 0);
    CHECK(stats.chunk_first <= stats.chunk_p99 && stats.chunk_p50 <= stats.chunk_p99);
    unreel_session_close(s);
    unreel_options_destroy(o);
    return stats.chunk_p99;
}

/* Pictures that wait to be taken are no computing; they wait for longer where the machine is so busy that a
 * chunk takes a second. */
static void test_times(unreel_engine *e)
{
    double patience = 1, chunk = longest_chunk(e, patience);
    while (chunk >= patience && patience < 8) {
        patience *= 2;
        chunk = longest_chunk(e, patience);
    }
    CHECK_MSG(chunk < patience, "%.2f s for a chunk", chunk);
}

/* ---- dropped pictures
 * ------------------------------------------------------------------------------ */

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

    /* The first picture that there is owes nothing to one before: it has no flags. */
    s = open_session(e, o);
    wait_full(s);
    CHECK(unreel_session_set_prompt(s, BOAT, UNREEL_SWITCH_CUT, 1) == 1);
    for (int i = 0; i < 6000 && stats_of(s).scene == 0; i++)
        usleep(10000);
    CHECK(pull(s, p, 0, 20) == 20);
    CHECK(p[0].scene == 1 && flagged(p, 0, 20, ~0u) == 0);
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

int main(int argc, char **argv)
{
    if (argc < 3) {
        printf("usage: test_steer_flow GOLDEN_NANO SCRATCH\n");
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
    test_too_late(e);
    test_pause(e, plain);
    test_times(e);
    test_eager(e, plain);
    unreel_engine_close(e);
    return test_end();
}
