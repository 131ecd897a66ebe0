#include "stream.h"

#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>
#include <gst/video/video.h>
#include <stdio.h>

#define QUEUE_MAX 24      /* raw pictures that wait for the encoder */
#define END_SECONDS 10    /* longest wait for what is in an encoder */
#define FULL_WAIT_US 4000 /* between looks whether the encoder has caught up */

struct live_subscription {
    gatomicrefcount references; /* the list, and who hands out */
    struct stream *stream;
    live_unit_fn receive;
    void *opaque;
    bool started; /* its first key picture came; belongs to who hands out */
    GMutex busy;  /* held while it receives: that may take as long as a disk does */
    bool ended;   /* with busy: receives no more */
};

struct stream {
    struct console *console;
    enum live_pacing pacing;
    enum live_codec codec;
    struct encoder_settings settings;
    GstCaps *caps;
    GMutex control; /* subscribing: starts and stops the encoder */

    GMutex lock; /* of all below; not held while subscribers receive */
    GCond ended_cond;
    GPtrArray *subscribers;
    const struct encoder *encoder;
    GstElement *pipeline;
    GstAppSrc *src; /* NULL: no encoder runs */
    bool failed, ended;
};

struct stream *stream_open(struct console *console, enum live_pacing pacing, enum live_codec codec,
                           const struct encoder_settings *settings, GstCaps *caps)
{
    struct stream *s = g_new0(struct stream, 1);
    s->console = console;
    s->pacing = pacing;
    s->codec = codec;
    s->settings = *settings;
    s->caps = gst_caps_ref(caps);
    s->subscribers = g_ptr_array_new();
    g_mutex_init(&s->control);
    g_mutex_init(&s->lock);
    g_cond_init(&s->ended_cond);
    return s;
}

/* ---- handing out ----------------------------------------------------------------------------- */

static void subscription_unref(gpointer opaque)
{
    struct live_subscription *subscription = opaque;
    if (!g_atomic_ref_count_dec(&subscription->references))
        return;
    g_mutex_clear(&subscription->busy);
    g_free(subscription);
}

/* The subscribers now, a reference each. */
static GPtrArray *list_subscribers(struct stream *s)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(subscription_unref);
    g_mutex_lock(&s->lock);
    for (guint i = 0; i < s->subscribers->len; i++) {
        struct live_subscription *to = g_ptr_array_index(s->subscribers, i);
        g_atomic_ref_count_inc(&to->references);
        g_ptr_array_add(list, to);
    }
    g_mutex_unlock(&s->lock);
    return list;
}

/* From one thread at a time. */
static void hand_out(struct stream *s, GstSample *sample)
{
    bool key = !GST_BUFFER_FLAG_IS_SET(gst_sample_get_buffer(sample), GST_BUFFER_FLAG_DELTA_UNIT);
    GPtrArray *list = list_subscribers(s);
    for (guint i = 0; i < list->len; i++) {
        struct live_subscription *to = g_ptr_array_index(list, i);
        if (key)
            to->started = true;
        g_mutex_lock(&to->busy);
        if (to->started && !to->ended)
            to->receive(to->opaque, sample, key);
        g_mutex_unlock(&to->busy);
    }
    g_ptr_array_free(list, TRUE);
}

/* x264enc moves times and segment by 1000 hours: only the running time is what was put in. */
static GstSample *with_running_time(GstSample *sample)
{
    const GstSegment *segment = gst_sample_get_segment(sample);
    GstBuffer *buffer = gst_buffer_copy(gst_sample_get_buffer(sample)); /* the memory is shared */
    GstClockTime dts = GST_BUFFER_DTS(buffer);
    GST_BUFFER_PTS(buffer) =
        gst_segment_to_running_time(segment, GST_FORMAT_TIME, GST_BUFFER_PTS(buffer));
    /* Without B-pictures decoding follows showing. */
    GST_BUFFER_DTS(buffer) = GST_CLOCK_TIME_IS_VALID(dts) ? GST_BUFFER_PTS(buffer) : dts;
    GstSample *out = gst_sample_new(buffer, gst_sample_get_caps(sample), NULL, NULL);
    gst_buffer_unref(buffer);
    return out;
}

static GstFlowReturn on_unit(GstAppSink *sink, gpointer opaque)
{
    struct stream *s = opaque;
    GstSample *sample = gst_app_sink_pull_sample(sink);
    if (!sample)
        return GST_FLOW_EOS;
    GstSample *unit = with_running_time(sample);
    gst_sample_unref(sample);
    hand_out(s, unit);
    gst_sample_unref(unit);
    return GST_FLOW_OK;
}

static void on_end(GstAppSink *sink, gpointer opaque)
{
    struct stream *s = opaque;
    g_mutex_lock(&s->lock);
    s->ended = true;
    g_cond_broadcast(&s->ended_cond);
    g_mutex_unlock(&s->lock);
}

/* From whatever thread posts it. */
static GstBusSyncReply on_message(GstBus *bus, GstMessage *message, gpointer opaque)
{
    struct stream *s = opaque;
    GError *error = NULL;
    if (GST_MESSAGE_TYPE(message) != GST_MESSAGE_ERROR)
        return GST_BUS_DROP;
    gst_message_parse_error(message, &error, NULL);
    console_error(s->console, "%s: %s", s->encoder->name, error->message);
    g_error_free(error);
    g_mutex_lock(&s->lock);
    s->failed = s->ended = true;
    g_cond_broadcast(&s->ended_cond);
    g_mutex_unlock(&s->lock);
    return GST_BUS_DROP;
}

/* ---- the encoder ----------------------------------------------------------------------------- */

static void announce(struct stream *s)
{
    static const char *const pacings[] = {"stretched", "at a constant rate", "by content time"};
    char rate[32] = "constant quality";
    if (s->pacing != LIVE_CONTENT)
        snprintf(rate, sizeof rate, "%d kbit/s", s->settings.kilobits);
    console_info(s->console, "%s by %s, %s, %s, a key picture every %d pictures",
                 s->codec == LIVE_VP8 ? "VP8" : "H.264", s->encoder->name, pacings[s->pacing], rate,
                 s->settings.key_pictures);
}

static GstElement *make_pipeline(struct stream *s, const struct encoder *encoder)
{
    static GstAppSinkCallbacks callbacks = {.new_sample = on_unit, .eos = on_end};
    GError *error = NULL;
    char *encode = encoder_launch(encoder, &s->settings, s->pacing);
    char *launch = g_strdup_printf("appsrc name=in format=time max-bytes=0 max-buffers=0 ! "
                                   "videoconvert ! %s ! appsink name=out sync=false async=false",
                                   encode);
    GstElement *pipeline = gst_parse_launch_full(launch, NULL, GST_PARSE_FLAG_FATAL_ERRORS, &error);
    g_free(launch);
    g_free(encode);
    if (!pipeline) {
        console_error(s->console, "%s cannot be used here: %s", encoder->name, error->message);
        g_error_free(error);
        return NULL;
    }
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "out");
    gst_app_sink_set_callbacks(GST_APP_SINK(sink), &callbacks, s, NULL);
    gst_object_unref(sink);
    GstBus *bus = gst_element_get_bus(pipeline);
    gst_bus_set_sync_handler(bus, on_message, s, NULL);
    gst_object_unref(bus);
    return pipeline;
}

/* With `control`. */
static int start_encoder(struct stream *s)
{
    const struct encoder *encoder = encoder_find(s->console, s->codec, s->settings.wanted);
    GstElement *pipeline = encoder ? make_pipeline(s, encoder) : NULL;
    if (!pipeline)
        return -1;
    GstAppSrc *src = GST_APP_SRC(gst_bin_get_by_name(GST_BIN(pipeline), "in"));
    gst_app_src_set_caps(src, s->caps);
    s->encoder = encoder;
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    g_mutex_lock(&s->lock);
    bool failed = s->failed;
    s->pipeline = pipeline;
    s->src = src;
    s->ended = false;
    g_mutex_unlock(&s->lock);
    if (!failed)
        announce(s);
    return failed ? -1 : 0;
}

/* With `control`. */
static void stop_encoder(struct stream *s)
{
    g_mutex_lock(&s->lock);
    GstElement *pipeline = s->pipeline;
    GstAppSrc *src = s->src;
    s->pipeline = NULL;
    s->src = NULL;
    g_mutex_unlock(&s->lock);
    if (!pipeline)
        return;
    gst_element_set_state(pipeline, GST_STATE_NULL);
    g_mutex_lock(&s->lock);
    s->encoder = NULL;
    s->failed = false;
    g_mutex_unlock(&s->lock);
    gst_object_unref(src);
    gst_object_unref(pipeline);
}

void stream_feed(struct stream *s, GstBuffer *picture)
{
    if (s->codec == LIVE_RAW) {
        GstSample *sample = gst_sample_new(picture, s->caps, NULL, NULL);
        hand_out(s, sample);
        gst_sample_unref(sample);
    }
    g_mutex_lock(&s->lock);
    GstAppSrc *src = s->src ? gst_object_ref(s->src) : NULL;
    while (src && s->src == src && !s->failed &&
           gst_app_src_get_current_level_buffers(src) >= QUEUE_MAX) {
        g_mutex_unlock(&s->lock);
        g_usleep(FULL_WAIT_US);
        g_mutex_lock(&s->lock);
    }
    g_mutex_unlock(&s->lock);
    if (!src)
        return;
    gst_app_src_push_buffer(src, gst_buffer_ref(picture));
    gst_object_unref(src);
}

/* ---- subscribers ----------------------------------------------------------------------------- */

static void ask_for_key(struct stream *s)
{
    g_mutex_lock(&s->lock);
    GstElement *encoder = s->pipeline ? gst_bin_get_by_name(GST_BIN(s->pipeline), "encoder") : NULL;
    g_mutex_unlock(&s->lock);
    if (!encoder)
        return;
    GstPad *pad = gst_element_get_static_pad(encoder, "src");
    gst_pad_send_event(pad,
                       gst_video_event_new_upstream_force_key_unit(GST_CLOCK_TIME_NONE, TRUE, 0));
    gst_object_unref(pad);
    gst_object_unref(encoder);
}

struct live_subscription *stream_subscribe(struct stream *s, live_unit_fn receive, void *opaque)
{
    struct live_subscription *subscription = g_new0(struct live_subscription, 1);
    *subscription = (struct live_subscription){.stream = s, .receive = receive, .opaque = opaque};
    g_atomic_ref_count_init(&subscription->references);
    g_mutex_init(&subscription->busy);
    g_mutex_lock(&s->control);
    if (s->codec != LIVE_RAW && !s->pipeline && start_encoder(s) < 0) {
        stop_encoder(s);
        g_mutex_unlock(&s->control);
        subscription_unref(subscription);
        return NULL;
    }
    g_mutex_lock(&s->lock);
    g_ptr_array_add(s->subscribers, subscription);
    g_mutex_unlock(&s->lock);
    ask_for_key(s);
    g_mutex_unlock(&s->control);
    return subscription;
}

void stream_request_key(struct live_subscription *subscription)
{
    ask_for_key(subscription->stream);
}

void stream_unsubscribe(struct live_subscription *subscription)
{
    struct stream *s = subscription->stream;
    g_mutex_lock(&s->control);
    g_mutex_lock(&s->lock);
    g_ptr_array_remove(s->subscribers, subscription);
    bool last = s->subscribers->len == 0;
    g_mutex_unlock(&s->lock);
    g_mutex_lock(&subscription->busy); /* a call that is under way */
    subscription->ended = true;
    g_mutex_unlock(&subscription->busy);
    if (last)
        stop_encoder(s);
    g_mutex_unlock(&s->control);
    subscription_unref(subscription);
}

/* ---- the end --------------------------------------------------------------------------------- */

void stream_end(struct stream *s)
{
    gint64 until = g_get_monotonic_time() + END_SECONDS * G_TIME_SPAN_SECOND;
    g_mutex_lock(&s->lock);
    if (s->src)
        gst_app_src_end_of_stream(s->src);
    while (s->src && !s->ended && g_cond_wait_until(&s->ended_cond, &s->lock, until))
        ;
    g_mutex_unlock(&s->lock);
}

void stream_close(struct stream *s)
{
    g_mutex_lock(&s->control);
    stop_encoder(s);
    g_mutex_unlock(&s->control);
    g_ptr_array_free(s->subscribers, TRUE);
    gst_caps_unref(s->caps);
    g_mutex_clear(&s->control);
    g_mutex_clear(&s->lock);
    g_cond_clear(&s->ended_cond);
    g_free(s);
}

const struct encoder *stream_encoder(struct stream *s)
{
    g_mutex_lock(&s->lock);
    const struct encoder *encoder = s->encoder;
    g_mutex_unlock(&s->lock);
    return encoder;
}

bool stream_has_failed(struct stream *s)
{
    g_mutex_lock(&s->lock);
    bool failed = s->failed;
    g_mutex_unlock(&s->lock);
    return failed;
}
