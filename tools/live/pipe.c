#include "pipe.h"

#include <gst/app/gstappsrc.h>
#include <stdio.h>
#include <string.h>

#include "gst_common.h"
#include "silence.h"

#define FILE_QUEUE 64       /* units that may wait for a disk before the video does */
#define NETWORK_QUEUE_S 2   /* seconds of units that may wait for a network */
#define BACK_OFF_MIN_MS 500 /* between tries to connect, doubled up to */
#define BACK_OFF_MAX_MS 8000
#define STALL_S 15    /* a connection that takes nothing for so long is given up */
#define FILE_END_S 60 /* longest wait for a file to be completed */
#define NETWORK_END_S 3
#define LINGER_MS 250
#define LOOK_MS 100 /* how often a stall or the end is looked for */

struct live_pipe {
    struct live *live;
    struct console *console;
    struct live_pipe_settings settings;
    char *name, *launch;
    GMutex asking; /* of the subscription; taken before any other lock, never inside one */
    struct live_subscription *subscription; /* NULL: it has ended */
    GThread *keeper;                        /* builds the pipeline, watches it, builds it again */
    gint passed; /* units that reached the sink of the present pipeline; atomic */

    GMutex lock; /* of all below */
    GCond wake;
    GstElement *pipeline;
    GstAppSrc *src; /* NULL: there is nothing to push into */
    struct silence *silence;
    GstClockTime begin; /* PTS of the first unit: the pipeline's time 0 */
    GstClockTime newest;
    bool started, need_key, failed, closing, connected, told, ever; /* ever: connected once */
    int64_t pictures, dropped;
    int wait_ms; /* before the next try; 0: none */
};

/* ---- units ----------------------------------------------------------------------------------- */

/* Whether there is room, or a reason not to ask again; with the lock. */
static bool has_room(struct live_pipe *p)
{
    guint64 level = gst_app_src_get_current_level_buffers(p->src);
    if (!p->settings.network)
        return level < FILE_QUEUE;
    return level < 4 || gst_app_src_get_current_level_time(p->src) < NETWORK_QUEUE_S * GST_SECOND;
}

/* A file's turn comes when there is room. */
static void wait_for_room(struct live_pipe *p)
{
    while (p->src && !p->failed && !p->closing && !has_room(p))
        g_cond_wait_until(&p->wake, &p->lock, g_get_monotonic_time() + 4000);
}

/* The unit in the pipeline's own time. */
static GstBuffer *retimed(struct live_pipe *p, GstBuffer *unit)
{
    GstBuffer *copy = gst_buffer_copy(unit);
    if (p->begin == GST_CLOCK_TIME_NONE)
        p->begin = GST_BUFFER_PTS(unit);
    GST_BUFFER_PTS(copy) -= p->begin;
    if (GST_BUFFER_DTS_IS_VALID(copy))
        GST_BUFFER_DTS(copy) = GST_BUFFER_PTS(copy);
    return copy;
}

static void push(struct live_pipe *p, GstSample *sample)
{
    GstBuffer *unit = retimed(p, gst_sample_get_buffer(sample));
    GstClockTime end = GST_BUFFER_PTS(unit);
    if (!p->started)
        gst_app_src_set_caps(p->src, gst_sample_get_caps(sample));
    p->started = true;
    if (p->silence)
        silence_fill(p->silence, end);
    if (gst_app_src_push_buffer(p->src, unit) == GST_FLOW_OK)
        p->pictures++;
    else
        p->dropped++;
}

static void receive(void *opaque, GstSample *sample, bool key)
{
    struct live_pipe *p = opaque;
    g_mutex_lock(&p->lock);
    if (!p->settings.network)
        wait_for_room(p);
    if (!p->src || p->failed || (p->need_key && !key)) {
        p->dropped++;
    } else if (p->settings.network && !has_room(p)) {
        p->dropped++;
        p->need_key = true;
    } else {
        p->need_key = false;
        push(p, sample);
    }
    g_mutex_unlock(&p->lock);
}

/* ---- one connection -------------------------------------------------------------------------- */

static GstPadProbeReturn count_passed(GstPad *pad, GstPadProbeInfo *info, gpointer opaque)
{
    struct live_pipe *p = opaque;
    g_atomic_int_inc(&p->passed);
    return GST_PAD_PROBE_OK;
}

/* A bin of files has no such sink: then what was given to it counts. */
static void watch_sink(struct live_pipe *p, GstElement *pipeline)
{
    GstElement *element = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    GstPad *pad;
    if (element) {
        pad = gst_element_get_static_pad(element, "sink");
    } else {
        element = gst_bin_get_by_name(GST_BIN(pipeline), "in");
        pad = gst_element_get_static_pad(element, "src");
    }
    g_atomic_int_set(&p->passed, 0);
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_BUFFER_LIST, count_passed,
                      p, NULL);
    gst_object_unref(pad);
    gst_object_unref(element);
}

static GstAppSrc *app_src(GstElement *pipeline, const char *name)
{
    GstElement *src = gst_bin_get_by_name(GST_BIN(pipeline), name);
    if (src)
        g_object_set(src, "format", GST_FORMAT_TIME, "max-bytes", (guint64)0, "max-buffers",
                     (guint64)0, "max-time", (guint64)0, NULL);
    return src ? GST_APP_SRC(src) : NULL;
}

/* 0, or -1 with the error printed: a mistake in the launch text or a missing element. */
static int build(struct live_pipe *p)
{
    GError *error = NULL;
    GstElement *pipeline =
        gst_parse_launch_full(p->launch, NULL, GST_PARSE_FLAG_FATAL_ERRORS, &error);
    if (!pipeline) {
        console_error(p->console, "%s: GStreamer cannot do this here: %s", p->name, error->message);
        g_error_free(error);
        return -1;
    }
    if (p->settings.setup)
        p->settings.setup(p->settings.opaque, pipeline);
    watch_sink(p, pipeline);
    GstAppSrc *audio = app_src(pipeline, "audio");
    g_mutex_lock(&p->lock);
    p->pipeline = pipeline;
    p->src = app_src(pipeline, "in");
    p->silence = audio ? silence_open(audio) : NULL;
    p->begin = GST_CLOCK_TIME_NONE;
    p->started = p->connected = false;
    p->need_key = true;
    g_mutex_unlock(&p->lock);
    gst_element_set_state(pipeline, GST_STATE_PLAYING); /* what fails is told on the bus */
    return 0;
}

static void tear_down(struct live_pipe *p)
{
    g_mutex_lock(&p->lock);
    GstElement *pipeline = p->pipeline;
    GstAppSrc *src = p->src;
    struct silence *silence = p->silence;
    p->pipeline = NULL;
    p->src = NULL;
    p->silence = NULL;
    p->connected = false;
    if (src && p->settings.network) { /* what it had not taken yet */
        int64_t left = (int64_t)gst_app_src_get_current_level_buffers(src);
        p->pictures -= left;
        p->dropped += left;
    }
    g_cond_broadcast(&p->wake);
    g_mutex_unlock(&p->lock);
    if (!pipeline)
        return;
    gst_element_set_state(pipeline, GST_STATE_NULL);
    silence_close(silence);
    gst_object_unref(src);
    gst_object_unref(pipeline);
}

/* ---- keeping it ------------------------------------------------------------------------------ */

static void note_connected(struct live_pipe *p)
{
    g_mutex_lock(&p->lock);
    bool news = !p->connected;
    bool again = p->told;
    p->connected = true;
    p->ever = true;
    p->told = false;
    p->wait_ms = 0;
    g_mutex_unlock(&p->lock);
    if (news && p->settings.network)
        console_info(p->console, again ? "%s: connected again" : "%s: connected", p->name);
}

/* Length of the first sentence: dots within words, as of addresses, end none. */
static int sentence(const char *text)
{
    size_t n = 0;
    while (text[n] && !(text[n] == '.' && (!text[n + 1] || strchr(" \n", text[n + 1]))))
        n++;
    return (int)n;
}

/* Prints the first of a row of failures to connect. */
static void tell(struct live_pipe *p, GstMessage *message, const char *text)
{
    GError *error = NULL;
    if (message && !p->settings.network) {
        gst_print_error(p->console, p->name, message);
        return;
    }
    if (message) {
        gst_message_parse_error(message, &error, NULL);
        gst_message_unref(message);
        text = error->message;
    }
    if (!p->told)
        console_warning(p->console, "%s: %.*s; trying again", p->name, sentence(text), text);
    else
        console_debug(p->console, "%s: %.*s", p->name, sentence(text), text);
    g_clear_error(&error);
    g_mutex_lock(&p->lock);
    p->told = true;
    g_mutex_unlock(&p->lock);
}

static bool is_closing(struct live_pipe *p)
{
    g_mutex_lock(&p->lock);
    bool closing = p->closing;
    g_mutex_unlock(&p->lock);
    return closing;
}

/* A network that takes nothing although there is something to take. */
static bool is_stalled(struct live_pipe *p, gint64 *moved, int *passed)
{
    gint64 now = g_get_monotonic_time();
    int present = g_atomic_int_get(&p->passed);
    g_mutex_lock(&p->lock);
    bool waiting = p->src && gst_app_src_get_current_level_buffers(p->src) > 0;
    g_mutex_unlock(&p->lock);
    if (present != *passed || !waiting)
        *moved = now;
    *passed = present;
    return p->settings.network && now - *moved > STALL_S * G_TIME_SPAN_SECOND;
}

/* Until it fails, or the output is closed. True: it failed, and that is printed. */
static bool watch(struct live_pipe *p)
{
    gint64 moved = g_get_monotonic_time();
    int passed = 0;
    GstBus *bus = gst_element_get_bus(p->pipeline);
    bool failed = false;
    while (!failed && !is_closing(p)) {
        GstMessage *message =
            gst_bus_timed_pop_filtered(bus, LOOK_MS * GST_MSECOND, GST_MESSAGE_ERROR);
        /* The second unit arrives when the first was sent. */
        if (!message && (g_atomic_int_get(&p->passed) > 1 || p->settings.listens))
            note_connected(p);
        if (message) {
            tell(p, message, NULL);
            failed = true;
        } else if (is_stalled(p, &moved, &passed)) {
            tell(p, NULL, "the connection takes nothing any more");
            failed = true;
        }
    }
    gst_object_unref(bus);
    return failed;
}

static void back_off(struct live_pipe *p)
{
    g_mutex_lock(&p->lock);
    p->wait_ms = p->wait_ms ? MIN(2 * p->wait_ms, BACK_OFF_MAX_MS) : BACK_OFF_MIN_MS;
    gint64 until = g_get_monotonic_time() + p->wait_ms * 1000;
    while (!p->closing && g_cond_wait_until(&p->wake, &p->lock, until))
        ;
    g_mutex_unlock(&p->lock);
}

static gpointer keep(gpointer opaque)
{
    struct live_pipe *p = opaque;
    while (watch(p)) {
        tear_down(p);
        if (!p->settings.network) {
            g_mutex_lock(&p->lock);
            p->failed = true;
            g_mutex_unlock(&p->lock);
            break;
        }
        back_off(p);
        if (is_closing(p) || build(p) < 0)
            break;
        live_pipe_request_key(p);
    }
    return NULL;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static void pipe_free(struct live_pipe *p)
{
    tear_down(p);
    g_free(p->name);
    g_free(p->launch);
    g_mutex_clear(&p->asking);
    g_mutex_clear(&p->lock);
    g_cond_clear(&p->wake);
    g_free(p);
}

struct live_pipe *live_pipe_open(struct live *live, struct console *console,
                                 const struct live_pipe_settings *settings)
{
    struct live_pipe *p = g_new0(struct live_pipe, 1);
    p->live = live;
    p->console = console;
    p->settings = *settings;
    p->name = g_strdup(settings->name);
    p->launch = g_strdup(settings->launch);
    g_mutex_init(&p->asking);
    g_mutex_init(&p->lock);
    g_cond_init(&p->wake);
    if (build(p) == 0)
        p->subscription = live_subscribe(live, settings->pacing, settings->codec, receive, p);
    if (!p->subscription) {
        pipe_free(p);
        return NULL;
    }
    p->keeper = g_thread_new("output", keep, p);
    return p;
}

void live_pipe_status(struct live_pipe *p, char *text, size_t size)
{
    g_mutex_lock(&p->lock);
    if (p->failed)
        snprintf(text, size, "failed");
    else if (!p->src && p->wait_ms)
        snprintf(text, size, "waiting %.1f s to reconnect", p->wait_ms / 1000.0);
    else if (!p->connected)
        snprintf(text, size, p->settings.network ? "connecting" : "waiting for pictures");
    else
        snprintf(text, size, p->settings.network ? "connected" : "writing");
    g_mutex_unlock(&p->lock);
}

void live_pipe_counts(struct live_pipe *p, int64_t *pictures, int64_t *dropped)
{
    g_mutex_lock(&p->lock);
    *pictures = p->pictures;
    *dropped = p->dropped;
    g_mutex_unlock(&p->lock);
}

void live_pipe_request_key(struct live_pipe *p)
{
    g_mutex_lock(&p->asking);
    if (p->subscription)
        live_request_key(p->subscription);
    g_mutex_unlock(&p->asking);
}

bool live_pipe_failed(struct live_pipe *p)
{
    g_mutex_lock(&p->lock);
    bool failed = p->failed;
    g_mutex_unlock(&p->lock);
    return failed;
}

/* Lets what was pushed reach the end. */
static int drain(struct live_pipe *p)
{
    if (!p->pipeline || (p->settings.network && !p->started))
        return p->failed ? -1 : 0;
    if (!p->started) /* no picture ever came: there is no file to complete */
        return 0;
    if (p->silence)
        silence_end(p->silence);
    gst_app_src_end_of_stream(p->src);
    GstBus *bus = gst_element_get_bus(p->pipeline);
    GstMessage *message = gst_bus_timed_pop_filtered(
        bus, (p->settings.network ? NETWORK_END_S : FILE_END_S) * GST_SECOND,
        GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
    gst_object_unref(bus);
    bool whole = message && GST_MESSAGE_TYPE(message) == GST_MESSAGE_EOS;
    if (whole && p->settings.network)
        g_usleep(LINGER_MS * 1000); /* SRT drops what is on its way when it is closed */
    if (message && !whole && !p->settings.network)
        gst_print_error(p->console, p->name, message);
    else if (message)
        gst_message_unref(message);
    else if (!p->settings.network)
        console_error(p->console, "%s: could not be completed in time", p->name);
    return whole || p->settings.network ? 0 : -1;
}

int live_pipe_close(struct live_pipe *p)
{
    g_mutex_lock(&p->lock); /* first: a unit may be waiting for room */
    p->closing = true;
    g_cond_broadcast(&p->wake);
    g_mutex_unlock(&p->lock);
    g_mutex_lock(&p->asking);
    struct live_subscription *subscription = p->subscription;
    p->subscription = NULL;
    g_mutex_unlock(&p->asking);
    live_unsubscribe(subscription);
    g_thread_join(p->keeper);
    int code = drain(p);
    if (p->settings.network && !p->ever)
        console_warning(p->console, "%s: was never connected: nothing was sent", p->name);
    pipe_free(p);
    return code;
}
