/* The element, driven by GstHarness: states, caps, time, properties while playing, events, errors,
 * end, and that nothing is left behind. Argument: folder of the nano goldens. */
#include <gst/check/gstharness.h>
#include <gst/video/video.h>
#include <string.h>

#include <unreel/unreel.h>

#include "test.h"

static char *golden;

static char *below(const char *name)
{
    return g_build_filename(golden, name, NULL);
}

/* The element with the small random model, `properties` in gst-launch form. */
static GstHarness *open_harness(const char *properties)
{
    char *model = below("wan_models/Wan2.1-T2V-nano"), *config = below("../nano.yaml");
    char *checkpoint = below("checkpoints/self_forcing_mini.pt");
    char *launch = g_strdup_printf("unreelsrc name=src model=\"%s\" checkpoint-path=\"%s\" "
                                   "config-path=\"%s\" threads=1 prompt=\"a test\" %s",
                                   model, checkpoint, config, properties);
    GstHarness *h = gst_harness_new_parse(launch);
    g_free(model);
    g_free(config);
    g_free(checkpoint);
    g_free(launch);
    return h;
}

static GstElement *element_of(GstHarness *h)
{
    return gst_harness_find_element(h, "unreelsrc");
}

static GstBuffer *next(GstHarness *h)
{
    GstBuffer *buffer = NULL;
    gst_harness_pull_until_eos(h, &buffer);
    return buffer;
}

static void test_content_time(void)
{
    GstHarness *h = open_harness("is-live=false num-output-frames=6");
    gst_harness_set_sink_caps_str(h, "video/x-raw, format=I420");
    gst_harness_play(h);
    int count = 0;
    for (GstBuffer *b; (b = next(h)); count++) {
        CHECK(GST_BUFFER_PTS(b) == gst_util_uint64_scale((guint64)count, GST_SECOND, 16));
        CHECK(GST_BUFFER_OFFSET(b) == (guint64)count);
        CHECK(GST_BUFFER_DURATION(b) == GST_SECOND / 16);
        CHECK(!GST_BUFFER_FLAG_IS_SET(b, GST_BUFFER_FLAG_MARKER));
        gst_buffer_unref(b);
    }
    CHECK(count == 21); /* 1 + 4 * 5 */
    gst_harness_teardown(h);
}

static void test_num_buffers(void)
{
    GstHarness *h = open_harness("is-live=false num-buffers=5");
    gst_harness_play(h);
    int count = 0;
    for (GstBuffer *b; (b = next(h)); count++)
        gst_buffer_unref(b);
    CHECK(count == 5);
    gst_harness_teardown(h);
}

static void test_caps(void)
{
    static const char *const formats[] = {"I420", "NV12", "RGB", "BGRx"};
    static const int sizes[][2] = {{16, 16}, {96, 64}, {32, 48}};
    for (size_t f = 0; f < G_N_ELEMENTS(formats); f++)
        for (size_t s = 0; s < G_N_ELEMENTS(sizes); s++) {
            GstVideoInfo info;
            GstVideoFrame frame;
            char *caps = g_strdup_printf("video/x-raw, format=%s, width=%d, height=%d, framerate=8/1",
                                         formats[f], sizes[s][0], sizes[s][1]);
            GstHarness *h = open_harness("is-live=false num-buffers=2");
            gst_harness_set_sink_caps_str(h, caps);
            gst_harness_play(h);
            GstBuffer *b = next(h);
            GstCaps *got = gst_pad_get_current_caps(h->sinkpad);
            CHECK(b && got && gst_video_info_from_caps(&info, got));
            CHECK(!strcmp(gst_video_format_to_string(GST_VIDEO_INFO_FORMAT(&info)), formats[f]));
            CHECK(GST_VIDEO_INFO_WIDTH(&info) == sizes[s][0]);
            CHECK(GST_VIDEO_INFO_HEIGHT(&info) == sizes[s][1]);
            CHECK(GST_BUFFER_DURATION(b) == GST_SECOND / 8);
            CHECK(b && gst_video_frame_map(&frame, &info, b, GST_MAP_READ));
            gst_video_frame_unmap(&frame);
            gst_caps_unref(got);
            gst_buffer_unref(b);
            gst_harness_teardown(h);
            g_free(caps);
        }
}

/* The size of the configuration where downstream takes any; nothing but multiples of 16. */
static void test_fixate(void)
{
    GstHarness *h = open_harness("is-live=false num-buffers=1");
    gst_harness_play(h);
    GstBuffer *b = next(h);
    GstCaps *caps = gst_pad_get_current_caps(h->sinkpad);
    const GstStructure *s = gst_caps_get_structure(caps, 0);
    int width = 0, height = 0, n = 0, d = 0;
    CHECK(gst_structure_get_int(s, "width", &width) && width == 96);
    CHECK(gst_structure_get_int(s, "height", &height) && height == 64);
    CHECK(gst_structure_get_fraction(s, "framerate", &n, &d) && n == 16 && d == 1);
    CHECK(!strcmp(gst_structure_get_string(s, "colorimetry"), "bt709"));
    gst_caps_unref(caps);
    gst_buffer_unref(b);
    gst_harness_teardown(h);
    GstElement *element = gst_element_factory_make("unreelsrc", NULL);
    GstPad *pad = gst_element_get_static_pad(element, "src");
    GstCaps *odd = gst_caps_from_string("video/x-raw, width=100"), *all = gst_pad_query_caps(pad, odd);
    CHECK(gst_caps_is_empty(all));
    gst_caps_unref(all);
    gst_caps_unref(odd);
    gst_object_unref(pad);
    gst_object_unref(element);
}

static void test_properties(void)
{
    GstElement *e = gst_element_factory_make("unreelsrc", NULL);
    char *text;
    gint64 number;
    double real;
    gboolean flag;
    g_object_set(e, "prompt", "a red ball", "seed", (gint64)7, "fps", 24.0, "size", "64x32",
                 "num-output-frames", (gint64)9, "recache-sink", TRUE, "prompt-switch", "cut", NULL);
    g_object_get(e, "prompt", &text, "seed", &number, "fps", &real, "recache-sink", &flag, NULL);
    CHECK(!strcmp(text, "a red ball") && number == 7 && real == 24 && flag);
    g_free(text);
    g_object_get(e, "width", &number, NULL);
    CHECK(number == 64);
    g_object_get(e, "prompt-switch", &text, NULL);
    CHECK(!strcmp(text, "cut"));
    g_free(text);
    g_object_set(e, "prompt", NULL, NULL);
    g_object_get(e, "prompt", &text, NULL);
    CHECK(text == NULL);
    /* Every option that is a property has its name, with dashes, and its help. */
    const unreel_option_info *info;
    int found = 0;
    for (size_t i = 0; (info = unreel_option_at(i)); i++) {
        char *name = g_strdelimit(g_strdup(info->name), "_", '-');
        GParamSpec *spec = g_object_class_find_property(G_OBJECT_GET_CLASS(e), name);
        if (spec && strcmp(name, "latency")) {
            found++;
            CHECK(strstr(g_param_spec_get_blurb(spec), info->help) == g_param_spec_get_blurb(spec));
        }
        g_free(name);
    }
    CHECK(found > 25);
    gst_object_unref(e);
}

static gint64 scene_of(GstElement *e)
{
    GstStructure *stats;
    gint64 scene = -1;
    g_object_get(e, "stats", &stats, NULL);
    gst_structure_get_int64(stats, "scene", &scene);
    gst_structure_free(stats);
    return scene;
}

/* gst_harness_pull_until_eos would also end at the EOS of a video before this one. */
static void drop(GstHarness *h, int count)
{
    for (int i = 0; i < count; i++) {
        GstBuffer *b = gst_harness_pull(h);
        CHECK(b != NULL);
        gst_clear_buffer(&b);
    }
}

/* The harness takes pictures without limit: how many were made before a change is heard of depends on
 * how busy the machine is. */
enum { MANY = 5000 };

/* Pictures until one that begins a scene. */
static gboolean meets_cut(GstHarness *h)
{
    gboolean met = FALSE;
    for (int i = 0; i < MANY && !met; i++) {
        GstBuffer *b = next(h);
        met = b && GST_BUFFER_FLAG_IS_SET(b, GST_BUFFER_FLAG_MARKER);
        gst_clear_buffer(&b);
    }
    return met;
}

static gboolean reaches_scene(GstHarness *h, GstElement *e, int scene)
{
    for (int i = 0; i < MANY && scene_of(e) < scene; i++)
        drop(h, 1);
    return scene_of(e) >= scene;
}

static void test_changes_while_playing(void)
{
    GstHarness *h = open_harness("is-live=false");
    GstElement *e = element_of(h);
    gst_harness_play(h);
    drop(h, 2);
    CHECK(scene_of(e) == 0);
    g_object_set(e, "prompt", "something else", NULL);
    CHECK(reaches_scene(h, e, 1));
    GstStructure *s = gst_structure_new("unreel-prompt", "prompt", G_TYPE_STRING, "a third", "how",
                                        G_TYPE_STRING, "cut", NULL);
    CHECK(gst_element_send_event(e, gst_event_new_custom(GST_EVENT_CUSTOM_UPSTREAM, s)));
    CHECK(meets_cut(h));
    CHECK(scene_of(e) == 2);
    s = gst_structure_new("unreel-prompt", "prompt", G_TYPE_STRING, "a fourth", NULL);
    CHECK(gst_harness_push_upstream_event(h, gst_event_new_custom(GST_EVENT_CUSTOM_UPSTREAM, s)));
    g_object_set(e, "seed", (gint64)3, NULL);
    CHECK(reaches_scene(h, e, 3));
    gst_object_unref(e);
    gst_harness_teardown(h);
}

static void test_states(void)
{
    GstHarness *h = open_harness("is-live=false num-output-frames=3");
    GstElement *e = element_of(h);
    for (int i = 0; i < 3; i++) {
        gst_harness_play(h);
        drop(h, 3);
        CHECK(gst_element_set_state(e, GST_STATE_NULL) == GST_STATE_CHANGE_SUCCESS);
        GstBuffer *left;
        while ((left = gst_harness_try_pull(h)))
            gst_buffer_unref(left);
    }
    gst_object_unref(e);
    gst_harness_teardown(h);
}

static void test_seek_and_latency(void)
{
    GstHarness *h = open_harness("");
    GstElement *e = element_of(h);
    gst_harness_use_systemclock(h);
    gst_harness_play(h);
    drop(h, 1);
    CHECK(!gst_element_seek_simple(e, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, GST_SECOND));
    GstQuery *query = gst_query_new_latency();
    gboolean live;
    GstClockTime least;
    CHECK(gst_element_query(e, query));
    gst_query_parse_latency(query, &live, &least, NULL);
    CHECK(live && least == GST_SECOND / 16);
    gst_query_unref(query);
    query = gst_query_new_seeking(GST_FORMAT_TIME);
    CHECK(gst_element_query(e, query));
    gst_query_parse_seeking(query, NULL, &live, NULL, NULL);
    CHECK(!live);
    gst_query_unref(query);
    gst_object_unref(e);
    gst_harness_teardown(h);
}

/* Pictures of a live source come when they are due on the clock, evenly. */
static void test_live(void)
{
    GstHarness *h = open_harness("is-live=true fps=50 latency=0.2");
    gst_harness_use_systemclock(h);
    gst_harness_set_sink_caps_str(h, "video/x-raw, width=16, height=16");
    gst_harness_play(h);
    GstClock *clock = gst_element_get_clock(h->element);
    GstClockTime base = gst_element_get_base_time(h->element), before = 0;
    for (int i = 0; i < 30; i++) {
        GstBuffer *b = next(h);
        CHECK(b != NULL);
        if (!b)
            break;
        GstClockTime now = gst_clock_get_time(clock) - base;
        CHECK(now + GST_MSECOND >= GST_BUFFER_PTS(b));
        CHECK(i == 0 || GST_BUFFER_PTS(b) >= before + GST_SECOND / 50);
        before = GST_BUFFER_PTS(b);
        gst_buffer_unref(b);
    }
    gst_object_unref(clock);
    gst_harness_teardown(h);
}

/* A paused generator: hold repeats the last picture at the rate. */
static void test_hold(void)
{
    GstHarness *h = open_harness("is-live=true fps=50 latency=0 underrun=hold");
    GstElement *e = element_of(h);
    gst_harness_use_systemclock(h);
    gst_harness_set_sink_caps_str(h, "video/x-raw, width=16, height=16");
    gst_harness_play(h);
    drop(h, 3);
    g_object_set(e, "paused", TRUE, NULL);
    guint64 repeated = 0;
    for (int i = 0; i < 400 && !repeated; i++) {
        GstStructure *stats;
        drop(h, 1);
        g_object_get(e, "stats", &stats, NULL);
        gst_structure_get_uint64(stats, "repeated", &repeated);
        gst_structure_free(stats);
    }
    CHECK(repeated > 0);
    gst_object_unref(e);
    gst_harness_teardown(h);
}

static void test_flush(void)
{
    GstHarness *h = open_harness("is-live=false");
    gst_harness_play(h);
    drop(h, 3);
    CHECK(gst_harness_push_upstream_event(h, gst_event_new_flush_start()));
    CHECK(gst_harness_push_upstream_event(h, gst_event_new_flush_stop(TRUE)));
    gst_harness_teardown(h);
}

/* The message of an error, NULL if the pipeline starts. To be freed. */
static char *error_of(const char *launch)
{
    GstElement *pipeline = gst_parse_launch(launch, NULL);
    GstBus *bus = gst_element_get_bus(pipeline);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    GstMessage *message =
        gst_bus_timed_pop_filtered(bus, 20 * GST_SECOND, GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
    char *text = NULL;
    if (message && GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
        GError *error;
        gst_message_parse_error(message, &error, NULL);
        text = g_strdup(error->message);
        g_error_free(error);
    }
    g_clear_pointer(&message, gst_message_unref);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(bus);
    gst_object_unref(pipeline);
    return text;
}

static void test_errors(void)
{
    char *text = error_of("unreelsrc model=/nonexistent prompt=x ! fakesink");
    CHECK(text && strstr(text, "/nonexistent"));
    g_free(text);
    char *model = below("wan_models/Wan2.1-T2V-nano"), *config = below("../nano.yaml");
    char *launch = g_strdup_printf("unreelsrc is-live=false model=\"%s\" config-path=\"%s\" window=2 "
                                   "prompt=x ! fakesink",
                                   model, config);
    text = error_of(launch); /* a window that holds no chunk */
    CHECK(text && strstr(text, "window"));
    g_free(text);
    g_free(launch);
    launch = g_strdup_printf("unreelsrc is-live=false model=\"%s\" config-path=/nonexistent.yaml "
                             "prompt=x ! fakesink",
                             model);
    text = error_of(launch);
    CHECK(text && strstr(text, "nonexistent.yaml"));
    g_free(text);
    g_free(launch);
    g_free(model);
    g_free(config);
}

static void note(gpointer gone, GObject *object)
{
    *(gboolean *)gone = TRUE;
}

static void test_nothing_left(void)
{
    gboolean gone = FALSE;
    GstHarness *h = open_harness("is-live=false num-buffers=3");
    GstElement *e = element_of(h);
    g_object_weak_ref(G_OBJECT(e), note, &gone);
    gst_harness_play(h);
    GstBuffer *kept = next(h); /* outlives the element */
    drop(h, 2);
    gst_object_unref(e);
    gst_harness_teardown(h);
    CHECK(gone);
    GstMapInfo map;
    CHECK(gst_buffer_map(kept, &map, GST_MAP_READ) && map.size > 0);
    gst_buffer_unmap(kept, &map);
    gst_buffer_unref(kept);
}

int main(int argc, char **argv)
{
    gst_init(&argc, &argv);
    golden = argv[1];
    test_properties();
    test_content_time();
    test_num_buffers();
    test_caps();
    test_fixate();
    test_changes_while_playing();
    test_states();
    test_seek_and_latency();
    test_live();
    test_hold();
    test_flush();
    test_errors();
    test_nothing_left();
    return test_end();
}
