/* A running session without a model, for tests of the browser page: implements tools/live/live.h
 * with made-up pictures, paced, each with its number as a bar code, and the plain colour of its
 * prompt. */
#include <errno.h>
#include <glib-unix.h>
#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>
#include <gst/video/video.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "gst_common.h"
#include "live/live.h"
#include "web/http.h"

#define WIDTH 480
#define HEIGHT 272
#define RATE 16
#define CUSHION 0.2
#define BIT 16 /* px: side of a bar */
#define CODECS 2

struct live_subscription {
    struct encoder *encoder;
    live_unit_fn receive;
    void *opaque;
    bool begun; /* has had its first key picture */
};

struct encoder {
    struct live *live;
    enum live_codec codec;
    GstElement *pipeline;
    GstAppSrc *source;
    GPtrArray *subscriptions;
};

struct change {
    int64_t number, seed;
    char *who, *what, *prompt, *how;
};

struct live {
    struct console *console;
    const unreel_options *options;
    GMainLoop *loop;
    GstClock *clock;
    GstClockTime base;
    GThread *thread;
    bool no_h264, silent;
    gint stopping;
    GMutex lock; /* for all below */
    struct encoder encoders[CODECS];
    GPtrArray *history; /* struct change */
    char *prompt, *how;
    int64_t seed, scene, shown;
    bool paused, recording;
    int viewers;
};

/* ---- pictures -------------------------------------------------------------------------------- */

static guint colour(const char *prompt)
{
    return g_str_hash(prompt) * 2654435761u;
}

static void draw(guint8 *data, int64_t number, const char *prompt)
{
    guint hue = colour(prompt);
    guint8 *u = data + WIDTH * HEIGHT, *v = u + WIDTH * HEIGHT / 4;
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            data[y * WIDTH + x] = (guint8)(60 + (((x + number * 4) / 60 + y / 60) % 2) * 60);
    memset(u, 64 + (int)(hue >> 8 & 127), WIDTH * HEIGHT / 4);
    memset(v, 64 + (int)(hue >> 16 & 127), WIDTH * HEIGHT / 4);
    for (int bit = 0; bit < 24; bit++)
        for (int y = 0; y < 2 * BIT; y++) {
            bool on = (number >> (23 - bit) & 1) ^ (y >= BIT);
            memset(data + y * WIDTH + bit * BIT, on ? 235 : 16, BIT);
        }
    for (int y = 0; y < BIT; y++) { /* no colour under the bars */
        memset(u + y * WIDTH / 2, 128, 24 * BIT / 2);
        memset(v + y * WIDTH / 2, 128, 24 * BIT / 2);
    }
}

static GstClockTime running(struct live *live)
{
    return gst_clock_get_time(live->clock) - live->base;
}

static void make_picture(struct live *live, int64_t number)
{
    GstBuffer *buffer = gst_buffer_new_allocate(NULL, WIDTH * HEIGHT * 3 / 2, NULL);
    GstMapInfo map;
    gst_buffer_map(buffer, &map, GST_MAP_WRITE);
    draw(map.data, number, live->prompt);
    gst_buffer_unmap(buffer, &map);
    GST_BUFFER_PTS(buffer) = (GstClockTime)(((double)number / RATE + CUSHION) * GST_SECOND);
    GST_BUFFER_DURATION(buffer) = GST_SECOND / RATE;
    for (int i = 0; i < CODECS; i++)
        if (live->encoders[i].source)
            gst_app_src_push_buffer(live->encoders[i].source, gst_buffer_ref(buffer));
    gst_buffer_unref(buffer);
    live->shown++;
}

static gpointer generate(gpointer data)
{
    struct live *live = data;
    for (int64_t n = 0; !g_atomic_int_get(&live->stopping); n++) {
        GstClockTime due = (GstClockTime)(((double)n / RATE + CUSHION) * GST_SECOND);
        GstClockTime now = running(live);
        if (due > now)
            g_usleep((due - now) / 1000);
        g_mutex_lock(&live->lock);
        if (!live->silent && !live->paused)
            make_picture(live, n);
        g_mutex_unlock(&live->lock);
    }
    return NULL;
}

static GstFlowReturn on_unit(GstAppSink *sink, gpointer data)
{
    struct encoder *encoder = data;
    GstSample *sample = gst_app_sink_pull_sample(sink);
    if (!sample)
        return GST_FLOW_EOS;
    GstBuffer *buffer = gst_buffer_copy(gst_sample_get_buffer(sample));
    bool key = !GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT);
    GST_BUFFER_PTS(buffer) = gst_segment_to_running_time(gst_sample_get_segment(sample),
                                                         GST_FORMAT_TIME, GST_BUFFER_PTS(buffer));
    GST_BUFFER_DTS(buffer) = GST_CLOCK_TIME_NONE;
    GstSample *unit = gst_sample_new(buffer, gst_sample_get_caps(sample), NULL, NULL);
    g_mutex_lock(&encoder->live->lock);
    for (guint i = 0; i < encoder->subscriptions->len; i++) {
        struct live_subscription *s = encoder->subscriptions->pdata[i];
        s->begun = s->begun || key;
        if (s->begun)
            s->receive(s->opaque, unit, key);
    }
    g_mutex_unlock(&encoder->live->lock);
    gst_sample_unref(unit);
    gst_sample_unref(sample);
    gst_buffer_unref(buffer);
    return GST_FLOW_OK;
}

static void start_encoder(struct encoder *encoder)
{
    char *text = g_strdup_printf(
        "appsrc name=in format=time is-live=true max-bytes=0 max-buffers=16 leaky-type=downstream "
        "caps=video/x-raw,format=I420,width=%d,height=%d,framerate=%d/1,colorimetry=bt709 ! %s "
        "! appsink name=out sync=false",
        WIDTH, HEIGHT, RATE,
        encoder->codec == LIVE_VP8
            ? "vp8enc name=enc deadline=1 cpu-used=16 target-bitrate=800000 keyframe-max-dist=32 "
              "lag-in-frames=0 end-usage=cbr"
            : "x264enc name=enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max=32 "
              "bframes=0 bitrate=800 ! video/x-h264,profile=constrained-baseline "
              "! h264parse config-interval=-1 ! "
              "video/x-h264,stream-format=byte-stream,alignment=au");
    encoder->pipeline = gst_parse_launch(text, NULL);
    g_free(text);
    gst_pipeline_use_clock(GST_PIPELINE(encoder->pipeline), encoder->live->clock);
    gst_element_set_start_time(encoder->pipeline, GST_CLOCK_TIME_NONE);
    gst_element_set_base_time(encoder->pipeline, encoder->live->base);
    encoder->source = GST_APP_SRC(gst_bin_get_by_name(GST_BIN(encoder->pipeline), "in"));
    GstElement *sink = gst_bin_get_by_name(GST_BIN(encoder->pipeline), "out");
    GstAppSinkCallbacks callbacks = {.new_sample = on_unit};
    gst_app_sink_set_callbacks(GST_APP_SINK(sink), &callbacks, encoder, NULL);
    gst_object_unref(sink);
    gst_element_set_state(encoder->pipeline, GST_STATE_PLAYING);
}

struct live_subscription *live_subscribe(struct live *live, enum live_pacing pacing,
                                         enum live_codec codec, live_unit_fn receive, void *opaque)
{
    if (codec == LIVE_H264 && live->no_h264) {
        console_error(live->console, "no encoder for H.264");
        return NULL;
    }
    struct live_subscription *subscription = g_new0(struct live_subscription, 1);
    struct encoder *encoder = &live->encoders[codec];
    *subscription = (struct live_subscription){encoder, receive, opaque, false};
    g_mutex_lock(&live->lock);
    g_ptr_array_add(encoder->subscriptions, subscription);
    if (!encoder->pipeline)
        start_encoder(encoder);
    g_mutex_unlock(&live->lock);
    live_request_key(subscription);
    return subscription;
}

void live_request_key(struct live_subscription *subscription)
{
    GstElement *encoder = gst_bin_get_by_name(GST_BIN(subscription->encoder->pipeline), "enc");
    GstPad *pad = gst_element_get_static_pad(encoder, "src");
    gst_pad_send_event(pad,
                       gst_video_event_new_upstream_force_key_unit(GST_CLOCK_TIME_NONE, TRUE, 0));
    gst_object_unref(pad);
    gst_object_unref(encoder);
}

void live_unsubscribe(struct live_subscription *subscription)
{
    g_mutex_lock(&subscription->encoder->live->lock);
    g_ptr_array_remove(subscription->encoder->subscriptions, subscription);
    g_mutex_unlock(&subscription->encoder->live->lock);
    g_free(subscription);
}

GstClock *live_clock(struct live *live)
{
    return gst_object_ref(live->clock);
}

GstClockTime live_base_time(struct live *live)
{
    return live->base;
}

/* ---- control --------------------------------------------------------------------------------- */

static int64_t note(struct live *live, const char *who, const char *what, const char *prompt,
                    const char *how)
{
    struct change *change = g_new(struct change, 1);
    *change = (struct change){++live->scene,  live->seed,       g_strdup(who),
                              g_strdup(what), g_strdup(prompt), g_strdup(how)};
    g_ptr_array_add(live->history, change);
    fprintf(stderr, "standin: %s %s %s: %.60s\n", who, what, how ? how : "", prompt ? prompt : "");
    return change->number;
}

int64_t live_prompt(struct live *live, const char *who, const char *prompt, enum unreel_switch how)
{
    static const char *const names[] = {"blend", "blend", "recache", "cut"};
    g_mutex_lock(&live->lock);
    g_free(live->prompt);
    live->prompt = g_strdup(prompt);
    live->how = (char *)names[how];
    int64_t number = note(live, who, "prompt", prompt, names[how]);
    g_mutex_unlock(&live->lock);
    return number;
}

int64_t live_seed(struct live *live, const char *who, int64_t seed)
{
    g_mutex_lock(&live->lock);
    live->seed = seed;
    int64_t number = note(live, who, "seed", NULL, NULL);
    g_mutex_unlock(&live->lock);
    return number;
}

int64_t live_reset(struct live *live, const char *who)
{
    g_mutex_lock(&live->lock);
    int64_t number = note(live, who, "reset", NULL, NULL);
    g_mutex_unlock(&live->lock);
    return number;
}

void live_pause(struct live *live, const char *who, bool paused)
{
    live->paused = paused;
}

void live_stop(struct live *live)
{
    g_main_loop_quit(live->loop);
}

char *live_snapshot(struct live *live, const char *path)
{
    static const char png[] = "\x89PNG\r\n\x1a\nstand-in";
    char *name = g_strdup(path ? path : "unreel-standin.png");
    if (!g_file_set_contents(name, png, sizeof png - 1, NULL))
        g_clear_pointer(&name, g_free);
    return name;
}

char *live_record_start(struct live *live)
{
    if (live->recording)
        return NULL;
    live->recording = true;
    return g_strdup("unreel-standin.mp4");
}

int live_record_stop(struct live *live)
{
    bool was = live->recording;
    live->recording = false;
    return !was ? LIVE_ENONE : getenv("STANDIN_FULL_DISK") ? LIVE_EBROKEN : 0;
}

/* ---- state ----------------------------------------------------------------------------------- */

static void put_text(GString *json, const char *name, const char *value)
{
    g_string_append_printf(json, ", \"%s\": ", name);
    json_quote(json, value);
}

enum live_pacing live_pacing_of(struct live *live, const struct live_output_class *class)
{
    return class->pacing;
}

static void put_history(GString *json, struct live *live)
{
    g_string_append(json, ", \"history\": [");
    for (guint i = 0; i < live->history->len; i++) {
        const struct change *change = live->history->pdata[i];
        g_string_append_printf(json, "%s{\"number\": %" G_GINT64_FORMAT, i ? ", " : "",
                               change->number);
        put_text(json, "who", change->who);
        put_text(json, "what", change->what);
        if (change->prompt) {
            put_text(json, "prompt", change->prompt);
            put_text(json, "how", change->how);
        }
        if (!strcmp(change->what, "seed"))
            g_string_append_printf(json, ", \"seed\": %" G_GINT64_FORMAT, change->seed);
        g_string_append_c(json, '}');
    }
    g_string_append(json, "]");
}

/* As of `unreel live`, docs/live.md. */
char *live_state_json(struct live *live)
{
    g_mutex_lock(&live->lock);
    double wave = sin((double)live->shown / 40);
    GString *json = g_string_new("{\"version\": \"stand-in\", \"phase\": \"running\"");
    g_string_append_printf(json,
                           ", \"paused\": %s, \"recording\": %s, \"seed\": %" G_GINT64_FORMAT
                           ", \"scene\": %" G_GINT64_FORMAT ", \"scene_asked\": %" G_GINT64_FORMAT,
                           live->paused ? "true" : "false", live->recording ? "true" : "false",
                           live->seed, live->scene, live->scene);
    g_string_append_printf(
        json,
        ", \"width\": %d, \"height\": %d, \"fps\": %d, \"pictures\": %" G_GINT64_FORMAT
        ", \"shown\": %" G_GINT64_FORMAT ", \"chunks\": %" G_GINT64_FORMAT
        ", \"pictures_per_second\": %g"
        ", \"cushion\": %g, \"buffered\": %g, \"viewers\": %d",
        WIDTH, HEIGHT, RATE, live->shown, live->shown, live->shown / 12, RATE + wave, CUSHION,
        0.6 + 0.3 * wave, live->viewers);
    g_string_append_printf(json, ", \"stages\": {\"denoise\": %g, \"cache\": %g, \"decode\": %g}",
                           0.34 + 0.03 * wave, 0.08, 0.13 - 0.02 * wave);
    put_text(json, "prompt", live->prompt);
    put_text(json, "how", live->how);
    put_text(json, "prompt_switch", unreel_options_get(live->options, "prompt_switch"));
    put_history(json, live);
    g_string_append_c(json, '}');
    g_mutex_unlock(&live->lock);
    return g_string_free(json, FALSE);
}

void live_state(struct live *live, struct live_state *state)
{
    *state = (struct live_state){.pictures_per_second = live->paused ? 0 : RATE,
                                 .cushion = CUSHION,
                                 .buffered = 0.4,
                                 .shown = live->shown,
                                 .recording = live->recording,
                                 .viewers = live->viewers};
    state->stats.pictures = live->shown;
    state->stats.paused = live->paused;
    state->stats.fps = RATE;
}

void live_set_viewers(struct live *live, int viewers)
{
    live->viewers = viewers;
}

void live_watch(struct live *live, void (*changed)(void *opaque), void *opaque)
{
}

/* ---- main ------------------------------------------------------------------------------------ */

static gboolean on_signal(gpointer data)
{
    g_main_loop_quit(data);
    return G_SOURCE_CONTINUE;
}

static void live_init(struct live *live, struct console *console)
{
    *live = (struct live){.console = console, .how = (char *)"blend"};
    live->loop = g_main_loop_new(NULL, FALSE);
    live->clock = gst_system_clock_obtain();
    live->base = gst_clock_get_time(live->clock);
    live->prompt = g_strdup("a red sailboat drifts left on a calm sea");
    live->history = g_ptr_array_new();
    live->no_h264 = getenv("STANDIN_NO_H264");
    live->silent = getenv("STANDIN_SILENT");
    for (int i = 0; i < CODECS; i++) {
        live->encoders[i] = (struct encoder){.live = live, .codec = (enum live_codec)i};
        live->encoders[i].subscriptions = g_ptr_array_new();
    }
    g_mutex_init(&live->lock);
}

static void live_finish(struct live *live)
{
    for (int i = 0; i < CODECS; i++) {
        struct encoder *encoder = &live->encoders[i];
        if (encoder->pipeline)
            gst_element_set_state(encoder->pipeline, GST_STATE_NULL);
        gst_clear_object(&encoder->source);
        gst_clear_object(&encoder->pipeline);
        g_ptr_array_unref(encoder->subscriptions);
    }
    for (guint i = 0; i < live->history->len; i++) {
        struct change *change = live->history->pdata[i];
        g_free(change->who);
        g_free(change->what);
        g_free(change->prompt);
        g_free(change->how);
        g_free(change);
    }
    g_ptr_array_unref(live->history);
    g_free(live->prompt);
    gst_object_unref(live->clock);
    g_main_loop_unref(live->loop);
    g_mutex_clear(&live->lock);
}

int main(int argc, char **argv)
{
    struct console console;
    struct arguments arguments;
    struct live live;
    struct live_output *output;
    console_init(&console);
    console.verbose = true;
    if (gst_start(&console) < 0)
        return 1;
    int status = arguments_parse(&arguments, &console, argc - 1, argv + 1);
    if (status)
        return status;
    live_init(&live, &console);
    live.options = arguments.options;
    g_unix_signal_add(SIGINT, on_signal, live.loop);
    g_unix_signal_add(SIGTERM, on_signal, live.loop);
    status = live_webrtc.open(&output, &live, &console, arguments.options);
    if (status < 0) {
        live_finish(&live);
        arguments_finish(&arguments);
        return status == LIVE_EUSAGE ? EXIT_USAGE : EXIT_ERROR;
    }
    live.thread = g_thread_new("pictures", generate, &live);
    g_main_loop_run(live.loop);
    live_webrtc.close(output);
    g_atomic_int_set(&live.stopping, 1);
    g_thread_join(live.thread);
    live_finish(&live);
    arguments_finish(&arguments);
    return 0;
}
