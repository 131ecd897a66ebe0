/* The core as outputs and remote controls use it: subscribing, control, snapshots, recordings. Runs
 * in a folder of its own, with the tests' model. */
#include "test.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live/core.h"
#include "live/pipe.h"

struct counter {
    gint units, keys, late, wrong, first_key;
    GstClockTime newest;
    struct live *live;
};

static void on_unit(void *opaque, GstSample *sample, bool key)
{
    struct counter *c = opaque;
    GstClockTime pts = GST_BUFFER_PTS(gst_sample_get_buffer(sample));
    GstClock *clock = live_clock(c->live);
    GstClockTimeDiff age = GST_CLOCK_DIFF(pts, gst_clock_get_time(clock) - live_base_time(c->live));
    gst_object_unref(clock);
    if (!c->units)
        g_atomic_int_set(&c->first_key, key);
    if (c->units && pts <= c->newest)
        g_atomic_int_inc(&c->wrong);
    if (age < -20 * GST_MSECOND || age > 5 * (GstClockTimeDiff)GST_SECOND)
        g_atomic_int_inc(&c->late);
    if (!gst_sample_get_caps(sample))
        g_atomic_int_inc(&c->wrong);
    c->newest = pts;
    g_atomic_int_add(&c->keys, key);
    g_atomic_int_inc(&c->units);
}

static bool wait_units(struct counter *c, int units)
{
    for (int i = 0; i < 6000 && g_atomic_int_get(&c->units) < units; i++)
        g_usleep(10000);
    return g_atomic_int_get(&c->units) >= units;
}

static void test_streams(struct live *live)
{
    static const struct {
        enum live_pacing pacing;
        enum live_codec codec;
    } kinds[] = {{LIVE_STRETCH, LIVE_H264},
                 {LIVE_STRETCH, LIVE_VP8},
                 {LIVE_STRETCH, LIVE_RAW},
                 {LIVE_HOLD, LIVE_RAW}};
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        struct counter c = {.live = live}, d = {.live = live};
        struct live_subscription *s =
            live_subscribe(live, kinds[i].pacing, kinds[i].codec, on_unit, &c);
        CHECK(s != NULL);
        CHECK(wait_units(&c, 4));
        struct live_subscription *t =
            live_subscribe(live, kinds[i].pacing, kinds[i].codec, on_unit, &d);
        CHECK(wait_units(&d, 2)); /* it does not wait 60 s for the next key picture */
        live_unsubscribe(s);
        int units = c.units;
        CHECK(wait_units(&d, 6));
        CHECK(c.units == units);
        live_unsubscribe(t);
        CHECK_MSG(c.first_key && d.first_key, "kind %d begins without key", (int)i);
        CHECK_MSG(!c.wrong && !d.wrong, "kind %d: %d of %d", (int)i, c.wrong, c.units);
        CHECK_MSG(!c.late && !d.late, "kind %d: %d of %d", (int)i, c.late, c.units);
    }
}

/* Many come and go while pictures flow. */
static gpointer come_and_go(gpointer opaque)
{
    struct counter c = {.live = opaque};
    for (int i = 0; i < 10; i++) {
        enum live_codec codec = (enum live_codec)g_random_int_range(0, 3);
        struct live_subscription *s = live_subscribe(opaque, LIVE_STRETCH, codec, on_unit, &c);
        g_usleep((gulong)g_random_int_range(0, 60000));
        if (s)
            live_request_key(s);
        if (s)
            live_unsubscribe(s);
    }
    return NULL;
}

static void test_many(struct live *live)
{
    GThread *threads[4];
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("comer", come_and_go, live);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    struct counter c = {.live = live};
    struct live_subscription *s = live_subscribe(live, LIVE_STRETCH, LIVE_H264, on_unit, &c);
    CHECK(wait_units(&c, 3));
    live_unsubscribe(s);
}

/* Somebody who asks for a key picture whenever a unit passes, as callers of an SRT output may. */
struct asker {
    struct live_pipe *pipe; /* atomic; NULL: not opened yet */
    gint held, passed, asked; /* atomic */
};

static void ask(GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer opaque)
{
    struct asker *a = opaque;
    struct live_pipe *pipe = g_atomic_pointer_get(&a->pipe);
    if (pipe)
        live_pipe_request_key(pipe);
    g_atomic_int_add(&a->asked, pipe != NULL);
    g_atomic_int_inc(&a->passed);
    while (g_atomic_int_get(&a->held))
        g_usleep(5000);
}

static bool is_behind(struct asker *a, struct live_pipe *pipe, int units)
{
    int64_t pictures, dropped;
    live_pipe_counts(pipe, &pictures, &dropped);
    return pictures >= g_atomic_int_get(&a->passed) + units;
}

static void ask_always(void *opaque, GstElement *pipeline)
{
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    g_object_set(sink, "signal-handoffs", TRUE, "sync", FALSE, NULL);
    g_signal_connect(sink, "handoff", G_CALLBACK(ask), opaque);
    gst_object_unref(sink);
}

/* An output is asked for key pictures while what it was given still passes and it is being closed.
 */
static void test_asked_while_closing(struct live *live, struct console *console)
{
    struct asker a = {0};
    const struct live_pipe_settings settings = {
        .name = "slow",
        .launch = "appsrc name=in ! identity sleep-time=60000 ! fakesink name=sink",
        .pacing = LIVE_CONTENT,
        .codec = LIVE_H264,
        .setup = ask_always,
        .opaque = &a,
    };
    struct live_pipe *pipe = live_pipe_open(live, console, &settings);
    CHECK(pipe != NULL);
    if (!pipe)
        return;
    g_atomic_pointer_set(&a.pipe, pipe);
    for (int i = 0; i < 6000 && g_atomic_int_get(&a.asked) < 20; i++)
        g_usleep(10000);
    g_atomic_int_set(&a.held, 1); /* units pass faster than a slow machine makes them */
    for (int i = 0; i < 6000 && !is_behind(&a, pipe, 10); i++)
        g_usleep(10000);
    CHECK(is_behind(&a, pipe, 10));
    int before = g_atomic_int_get(&a.asked);
    g_atomic_int_set(&a.held, 0);
    CHECK(live_pipe_close(pipe) == 0);
    CHECK_MSG(a.asked > before, "asked %d times before and %d after", before, a.asked);
}

/* A disk that takes nothing for a while. */
struct stall {
    struct live *live;
    gint on, stuck, done; /* atomic */
};

static void stand_still(GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer opaque)
{
    struct stall *stall = opaque;
    g_atomic_int_set(&stall->stuck, 1);
    while (g_atomic_int_get(&stall->on))
        g_usleep(5000);
}

static void set_up_stall(void *opaque, GstElement *pipeline)
{
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    g_object_set(sink, "signal-handoffs", TRUE, "sync", FALSE, NULL);
    g_signal_connect(sink, "handoff", G_CALLBACK(stand_still), opaque);
    gst_object_unref(sink);
}

/* What the page's server does all the time, and an output that comes and goes. */
static gpointer look_and_leave(gpointer opaque)
{
    struct stall *stall = opaque;
    struct counter c = {.live = stall->live};
    g_free(live_state_json(stall->live));
    struct live_subscription *s = live_subscribe(stall->live, LIVE_CONTENT, LIVE_H264, on_unit, &c);
    live_request_key(s);
    live_unsubscribe(s);
    g_atomic_int_set(&stall->done, 1);
    return NULL;
}

/* An output that waits for its disk holds up nobody who asks for the state, comes or leaves. */
static void test_stalled_disk(struct live *live, struct console *console)
{
    struct stall stall = {.live = live, .on = 1};
    const struct live_pipe_settings settings = {
        .name = "still",
        .launch = "appsrc name=in ! fakesink name=sink",
        .pacing = LIVE_CONTENT,
        .codec = LIVE_H264,
        .setup = set_up_stall,
        .opaque = &stall,
    };
    struct live_pipe *pipe = live_pipe_open(live, console, &settings);
    struct live_state before, after;
    live_state(live, &before);
    after = before;
    CHECK(pipe != NULL);
    /* Until more are made than fit behind it: the queues of output and encoder. */
    for (int i = 0; i < 6000 && after.stats.pictures < before.stats.pictures + 110; i++) {
        g_usleep(10000);
        live_state(live, &after);
    }
    g_usleep(200000);
    CHECK(g_atomic_int_get(&stall.stuck));
    GThread *looker = g_thread_new("looker", look_and_leave, &stall);
    for (int i = 0; i < 6000 && !g_atomic_int_get(&stall.done); i++)
        g_usleep(10000);
    CHECK(g_atomic_int_get(&stall.done));
    g_atomic_int_set(&stall.on, 0);
    g_thread_join(looker);
    CHECK(!pipe || live_pipe_close(pipe) == 0);
}

static bool has_size(const char *path)
{
    struct stat st;
    return path && stat(path, &st) == 0 && st.st_size > 100;
}

/* Until the state's JSON holds a text, behind the first `mark`. */
static bool wait_for_text_after(struct live *live, const char *mark, const char *text)
{
    bool found = false;
    for (int i = 0; i < 6000 && !found; i++) {
        char *json = live_state_json(live), *begin = strstr(json, mark);
        found = begin && strstr(begin, text);
        g_free(json);
        g_usleep(10000);
    }
    return found;
}

static bool wait_for_text(struct live *live, const char *text)
{
    return wait_for_text_after(live, "", text);
}

static void test_files(struct live *live)
{
    char *first = live_snapshot(live, NULL), *second = live_snapshot(live, NULL);
    CHECK(has_size(first) && has_size(second) && strcmp(first, second));
    CHECK(first && g_str_has_suffix(first, ".png") && g_str_has_prefix(first, "made/"));
    char *named = live_snapshot(live, "named.png");
    CHECK(has_size("named.png"));
    CHECK(live_snapshot(live, "nowhere/x.png") == NULL);
    g_free(first);
    g_free(second);
    g_free(named);

    CHECK(live_record_stop(live) < 0);
    char *name = live_record_start(live);
    CHECK(name && live_record_start(live) == NULL);
    struct live_state state;
    live_state(live, &state);
    CHECK(state.recording);
    CHECK(wait_for_text(live, "\"status\": \"writing\""));
    CHECK(live_record_stop(live) == 0 && live_record_stop(live) < 0);
    live_state(live, &state);
    CHECK(!state.recording);
    CHECK_MSG(has_size(name), "%s", name);
    g_free(name);
}

static void on_change(void *opaque)
{
    g_atomic_int_inc((gint *)opaque);
}

static void test_control(struct live *live)
{
    struct live_state state;
    gint changes = 0;
    live_watch(live, on_change, &changes);
    int64_t a = live_prompt(live, "test \"one\"", "a blue\nfox", UNREEL_SWITCH_CUT);
    int64_t b = live_seed(live, "test", 7);
    int64_t c = live_reset(live, "test");
    CHECK(a > 0 && b == a + 1 && c == b + 1);
    char *huge = g_strnfill(UNREEL_PROMPT_MAX + 1, 'x');
    CHECK(live_prompt(live, "test", huge, UNREEL_SWITCH_DEFAULT) < 0);
    g_free(huge);
    CHECK(live_seed(live, "test", -1) < 0);
    for (int i = 0; i < 6000; i++) {
        live_state(live, &state);
        if (state.stats.scene == c && g_atomic_int_get(&changes) > 0)
            break;
        g_usleep(10000);
    }
    CHECK(state.stats.scene == c && state.stats.seed == 7 && changes > 0);
    live_watch(live, NULL, NULL);
    char *json = live_state_json(live);
    CHECK(strstr(json, "\"test \\\"one\\\"\"") && strstr(json, "a blue\\u000afox"));
    CHECK(strstr(json, "\"what\": \"seed\", \"seed\": 7"));
    g_free(json);
    /* The last of the history; behind it are only its picture and when that was shown. */
    CHECK(wait_for_text_after(live, "\"what\": \"reset\"", "\"shown\": "));

    live_pause(live, "test", true);
    live_state(live, &state);
    int64_t shown = state.shown;
    CHECK(state.stats.paused);
    g_usleep(300000);
    live_state(live, &state);
    CHECK_MSG(state.shown <= shown + 1, "%d after %d", (int)state.shown, (int)shown);
    live_pause(live, "test", false);
    for (int i = 0; i < 6000 && state.shown <= shown + 4; i++) {
        g_usleep(10000);
        live_state(live, &state);
    }
    CHECK(!state.stats.paused && state.shown > shown + 4);
}

static bool is_resting(struct live *live)
{
    g_mutex_lock(&live->session_lock);
    bool resting = live->resting;
    g_mutex_unlock(&live->session_lock);
    return resting;
}

static void wait_for_rest(struct live *live)
{
    for (int i = 0; i < 12000 && !is_resting(live); i++)
        g_usleep(5000);
    CHECK(is_resting(live));
}

/* The first picture under a change can be there before the change is noted. */
static void test_noted_late(void)
{
    struct live live = {.clock = gst_system_clock_obtain()};
    live_note_change(&live, 1, "test", "prompt", "a", UNREEL_SWITCH_DEFAULT, -1);
    live_note_made(&live, 2, 33);
    live_note_change(&live, 2, "test", "prompt", "b", UNREEL_SWITCH_DEFAULT, -1);
    live_note_change(&live, 3, "test", "prompt", "c", UNREEL_SWITCH_DEFAULT, -1);
    live_note_shown(&live, 33);
    for (guint i = 0; i < live.history.length; i++) {
        struct live_change *change = g_queue_peek_nth(&live.history, i);
        CHECK(change->picture == (i < 2 ? 33 : -1));
        CHECK((change->shown > 0) == (i < 2));
    }
    live_free_history(&live);
    g_free(live.prompt);
    gst_object_unref(live.clock);
}

/* The page's recording on a full disk is not reported as complete; nor is the run. */
static void test_broken_recording(struct live *live)
{
    struct rlimit limit, small;
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    small = limit;
    small.rlim_cur = 3000;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    char *name = live_record_start(live);
    CHECK(name && wait_for_text(live, "\"status\": \"failed\""));
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(live_record_stop(live) == LIVE_EBROKEN && live_record_stop(live) == LIVE_ENONE);
    g_free(name);
}

/* With --eager a change does not wait until what was made is nearly shown: nothing is shown here
 * while the player is paused, so it would wait for ever. */
static void test_eager(struct live *live)
{
    wait_for_rest(live); /* the player begins to count with its first picture */
    player_pause(live->player, true);
    wait_for_rest(live);
    struct live_state before, state = {0};
    live_state(live, &before);
    int64_t n = live_prompt(live, "test", "a blue fox", UNREEL_SWITCH_CUT);
    for (int i = 0; i < 30000 && state.stats.scene < n; i++) {
        g_usleep(2000);
        live_state(live, &state);
    }
    CHECK_MSG(n > 0 && state.stats.scene == n, "scene %d of %d", (int)state.stats.scene, (int)n);
    for (int i = 0; i < 30000 && state.dropped == before.dropped; i++) {
        g_usleep(2000);
        live_state(live, &state);
    }
    CHECK(state.shown == before.shown && state.dropped > before.dropped);
    player_pause(live->player, false);
}

static void test_second_run(struct console *console, unreel_engine *engine,
                            const unreel_options *usual)
{
    unreel_session *session = NULL;
    unreel_options *options = unreel_options_copy(usual);
    CHECK(unreel_options_set(options, "eager", "true") == 0);
    CHECK(unreel_options_set(options, "fps", "3") == 0); /* it rests if a chunk takes less than 4 s */
    CHECK(unreel_options_set(options, "latency", "1") == 0);
    struct live *live = live_open(console, options);
    CHECK(live && unreel_session_open(&session, engine, options, NULL) == 0);
    live_start(live, session, "a fox", 0);
    test_noted_late();
    test_eager(live);
    test_broken_recording(live);
    live_stop(live);
    CHECK(live_finish(live) == EXIT_ERROR);
    live_close(live);
    unreel_options_destroy(options);
}

/* In the source folder, which Meson names. */
static bool use_test_model(unreel_options *options)
{
    static const char *const paths[][2] = {
        {"model", "tests/golden/nano/wan_models/Wan2.1-T2V-nano"},
        {"checkpoint_path", "tests/golden/nano/checkpoints/self_forcing_mini.pt"},
        {"config_path", "tests/golden/nano.yaml"},
    };
    const char *source = getenv("SOURCE");
    bool good = source != NULL;
    for (size_t i = 0; good && i < G_N_ELEMENTS(paths); i++) {
        char *path = g_build_filename(source, paths[i][1], NULL);
        good = access(path, R_OK) == 0 && unreel_options_set(options, paths[i][0], path) == 0;
        g_free(path);
    }
    return good && unreel_options_load_config(options, unreel_options_get(options, "config_path"),
                                              NULL) == 0;
}

static int open_session(unreel_engine **engine, unreel_session **session, unreel_options *options)
{
    int code = unreel_engine_open(engine, options);
    return code < 0 ? code : unreel_session_open(session, *engine, options, NULL);
}

int main(void)
{
    struct console console;
    unreel_engine *engine = NULL;
    unreel_session *session = NULL;
    char folder[] = "/tmp/unreel-core-XXXXXX";
    console_init(&console);
    console.quiet = true;
    unreel_options *options = unreel_options_create(NULL);
    if (!mkdtemp(folder) || chdir(folder) < 0 || !use_test_model(options)) {
        printf("skipped: tests/golden is not there\n");
        return 77;
    }
    static const char *const set[][2] = {{"prompt", "a fox"},
                                         {"num_output_frames", "0"},
                                         {"fps", "24"},
                                         {"output_folder", "made"},
                                         {"key_interval", "60"}};
    for (size_t i = 0; i < G_N_ELEMENTS(set); i++)
        CHECK(unreel_options_set(options, set[i][0], set[i][1]) == 0);
    struct live *live = live_open(&console, options);
    CHECK(live && live_prompt(live, "test", "too early", UNREEL_SWITCH_CUT) == UNREEL_EAGAIN);
    CHECK(live_snapshot(live, NULL) == NULL);
    CHECK(open_session(&engine, &session, options) == 0);
    live_start(live, session, "a fox", 0);
    test_streams(live);
    test_many(live);
    test_asked_while_closing(live, &console);
    test_stalled_disk(live, &console);
    test_control(live);
    test_files(live);
    live_stop(live);
    CHECK(live_is_stopping(live) && live_finish(live) == 0);
    CHECK(live_prompt(live, "test", "too late", UNREEL_SWITCH_CUT) == UNREEL_EAGAIN);
    live_close(live);
    test_second_run(&console, engine, options);
    unreel_engine_close(engine);
    unreel_options_destroy(options);
    gst_deinit();
    char *remove = g_strdup_printf("rm -r %s", folder);
    CHECK(system(remove) == 0);
    g_free(remove);
    return test_end();
}
