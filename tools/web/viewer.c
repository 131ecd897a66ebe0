#define GST_USE_UNSTABLE_API
#include "web/viewer_parts.h"

#include <gst/video/video.h>
#include <gst/webrtc/webrtc.h>
#include <string.h>

#define WAITING_MAX 64         /* pictures that a slow viewer may be behind */
#define KEY_INTERVAL_US 500000 /* key pictures for one viewer: losses come in bunches */

void viewer_unref(gpointer data)
{
    struct viewer *viewer = data;
    if (!g_atomic_ref_count_dec(&viewer->references))
        return;
    offer_finish(&viewer->offer);
    g_mutex_clear(&viewer->lock);
    g_free(viewer->id);
    g_free(viewer->who);
    g_free(viewer);
}

struct viewer *viewer_ref(struct viewer *viewer)
{
    g_atomic_ref_count_inc(&viewer->references);
    return viewer;
}

void viewer_call(struct viewer *viewer, GSourceFunc step)
{
    g_main_context_invoke_full(viewer->place.context, G_PRIORITY_DEFAULT, step, viewer_ref(viewer),
                               viewer_unref);
}

void viewer_end_deadline(struct viewer *viewer)
{
    if (!viewer->deadline)
        return;
    g_source_destroy(viewer->deadline);
    g_source_unref(viewer->deadline);
    viewer->deadline = NULL;
}

void viewer_set_deadline(struct viewer *viewer, guint seconds, GSourceFunc step)
{
    viewer_end_deadline(viewer);
    viewer->deadline = g_timeout_source_new(seconds * 1000);
    g_source_set_callback(viewer->deadline, step, viewer_ref(viewer), viewer_unref);
    g_source_attach(viewer->deadline, viewer->place.context);
}

void viewer_give_up(struct viewer *viewer, const char *reason, bool retry)
{
    if (viewer->closed)
        return;
    viewer_end_deadline(viewer);
    if (!viewer->replied) {
        viewer->replied = true;
        viewer->place.answered(viewer->place.opaque, viewer, NULL, reason, retry);
    } else {
        viewer->place.gone(viewer->place.opaque, viewer, reason);
    }
}

/* ---- pictures, in a thread of the encoder ---------------------------------------------------- */

static void push(struct viewer *viewer, GstSample *sample)
{
    if (gst_app_src_push_sample(viewer->source, sample) == GST_FLOW_OK)
        viewer->pictures++;
    else
        viewer->dropped++;
}

static gboolean on_want_key(gpointer data);

static void receive(void *opaque, GstSample *sample, bool key)
{
    struct viewer *viewer = opaque;
    bool primed = false, ask = false;
    g_mutex_lock(&viewer->lock);
    switch (viewer->phase) {
    case WAIT_KEY:
        if (key) {
            push(viewer, sample);
            viewer->phase = PRIMED;
            primed = true;
        }
        break;
    case SENDING:
        if (gst_app_src_get_current_level_buffers(viewer->source) > WAITING_MAX)
            viewer->need_key = true;
        else if (key)
            viewer->need_key = false;
        if (viewer->need_key) {
            viewer->dropped++;
            ask = !key && viewer->dropped % WAITING_MAX == 0;
        } else {
            push(viewer, sample);
        }
        break;
    case PRIMED:
    case ENDED:
        break;
    }
    g_mutex_unlock(&viewer->lock);
    if (primed)
        viewer_call(viewer, viewer_on_primed);
    if (ask) /* not from here: the encoder waits for this function */
        viewer_call(viewer, on_want_key);
}

static gboolean on_want_key(gpointer data)
{
    struct viewer *viewer = data;
    if (!viewer->closed)
        live_request_key(viewer->subscription);
    return G_SOURCE_REMOVE;
}

/* The browser lost something it cannot do without. */
static GstPadProbeReturn on_upstream_event(GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
    struct viewer *viewer = data;
    if (!gst_video_event_is_force_key_unit(GST_PAD_PROBE_INFO_EVENT(info)))
        return GST_PAD_PROBE_OK;
    gint64 now = g_get_monotonic_time();
    g_mutex_lock(&viewer->lock);
    bool ask = viewer->phase == SENDING && now - viewer->key_asked > KEY_INTERVAL_US;
    if (ask)
        viewer->key_asked = now;
    g_mutex_unlock(&viewer->lock);
    if (ask)
        viewer_call(viewer, on_want_key);
    return GST_PAD_PROBE_DROP;
}

/* ---- the connection -------------------------------------------------------------------------- */

static gboolean on_connection(gpointer data)
{
    struct viewer *viewer = data;
    GstWebRTCPeerConnectionState state;
    if (viewer->closed)
        return G_SOURCE_REMOVE;
    g_object_get(viewer->rtc, "connection-state", &state, NULL);
    if (state == GST_WEBRTC_PEER_CONNECTION_STATE_CONNECTED && !viewer->connected) {
        viewer->connected = true;
        if (viewer->replied)
            viewer_end_deadline(viewer);
        g_mutex_lock(&viewer->lock);
        viewer->phase = SENDING;
        viewer->need_key = true;
        g_mutex_unlock(&viewer->lock);
        live_request_key(viewer->subscription);
        viewer->place.connected(viewer->place.opaque, viewer);
    }
    if (state == GST_WEBRTC_PEER_CONNECTION_STATE_FAILED)
        viewer_give_up(viewer, viewer->connected ? "the connection broke" : "it did not connect",
                       false);
    if (state == GST_WEBRTC_PEER_CONNECTION_STATE_CLOSED)
        viewer_give_up(viewer, "it closed the connection", false);
    return G_SOURCE_REMOVE;
}

static void on_connection_state(GObject *rtc, GParamSpec *unused, gpointer data)
{
    viewer_call(data, on_connection);
}

static gboolean on_message(GstBus *bus, GstMessage *message, gpointer data)
{
    struct viewer *viewer = data;
    if (viewer->closed)
        return G_SOURCE_REMOVE;
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_LATENCY)
        gst_bin_recalculate_latency(GST_BIN(viewer->pipeline));
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
        GError *error = NULL;
        gst_message_parse_error(message, &error, NULL);
        console_debug(viewer->place.console, "webrtc: %s: %s", viewer->who, error->message);
        g_error_free(error);
        viewer_give_up(viewer, "its stream failed", false);
    }
    return G_SOURCE_CONTINUE;
}

/* ---- open and close -------------------------------------------------------------------------- */

static void set_flag(GObject *object, const char *name, gboolean value)
{
    if (object && g_object_class_find_property(G_OBJECT_GET_CLASS(object), name))
        g_object_set(object, name, value, NULL);
}

/* Without the checks a browser that was killed counts as connected for ever. And routers are not
 * asked to open ports: that is not for a viewer to cause. */
static void set_up_ice(GstElement *rtc)
{
    GObject *ice = NULL, *agent = NULL;
    g_object_get(rtc, "ice-agent", &ice, NULL);
    if (ice && g_object_class_find_property(G_OBJECT_GET_CLASS(ice), "agent"))
        g_object_get(ice, "agent", &agent, NULL);
    set_flag(agent, "keepalive-conncheck", TRUE);
    set_flag(agent, "upnp", FALSE);
    g_clear_object(&agent);
    g_clear_object(&ice);
}

static void only_send(GstElement *rtc)
{
    GArray *transceivers = NULL;
    g_signal_emit_by_name(rtc, "get-transceivers", &transceivers);
    for (guint i = 0; transceivers && i < transceivers->len; i++)
        g_object_set(g_array_index(transceivers, GstWebRTCRTPTransceiver *, i), "direction",
                     GST_WEBRTC_RTP_TRANSCEIVER_DIRECTION_SENDONLY, "do-nack", TRUE, NULL);
    g_clear_pointer(&transceivers, g_array_unref);
}

static char *describe_pipeline(const struct viewer *viewer)
{
    bool h264 = viewer->codec == LIVE_H264;
    int type = h264 ? viewer->offer.h264 : viewer->offer.vp8;
    return g_strdup_printf(
        "appsrc name=in is-live=true format=time block=false max-bytes=0 max-buffers=0 max-time=0 "
        "! %s pt=%d timestamp-offset=0 ! application/x-rtp,media=video,encoding-name=%s,payload=%d,"
        "clock-rate=90000 ! webrtcbin name=rtc bundle-policy=max-bundle",
        h264 ? "rtph264pay config-interval=-1 aggregate-mode=zero-latency"
             : "rtpvp8pay picture-id-mode=15-bit",
        type, h264 ? "H264" : "VP8", type);
}

static bool build(struct viewer *viewer)
{
    GError *error = NULL;
    char *description = describe_pipeline(viewer);
    viewer->pipeline = gst_parse_launch(description, &error);
    g_free(description);
    if (error) { /* also of a pipeline that was built in part */
        console_error(viewer->place.console, "webrtc: %s", error->message);
        g_error_free(error);
        return false;
    }
    viewer->rtc = gst_bin_get_by_name(GST_BIN(viewer->pipeline), "rtc");
    viewer->source = GST_APP_SRC(gst_bin_get_by_name(GST_BIN(viewer->pipeline), "in"));
    if (viewer->place.stun)
        g_object_set(viewer->rtc, "stun-server", viewer->place.stun, NULL);
    if (viewer->place.turn)
        g_object_set(viewer->rtc, "turn-server", viewer->place.turn, NULL);
    only_send(viewer->rtc);
    set_up_ice(viewer->rtc);
    return true;
}

static void connect_signals(struct viewer *viewer)
{
    viewer_watch_signalling(viewer);
    g_signal_connect_data(viewer->rtc, "notify::connection-state", G_CALLBACK(on_connection_state),
                          viewer_ref(viewer), (GClosureNotify)(void (*)(void))viewer_unref, 0);
    GstPad *pad = gst_element_get_static_pad(GST_ELEMENT(viewer->source), "src");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_EVENT_UPSTREAM, on_upstream_event, viewer_ref(viewer),
                      viewer_unref);
    gst_object_unref(pad);
    GstBus *bus = gst_element_get_bus(viewer->pipeline);
    viewer->bus_watch = gst_bus_create_watch(bus);
    g_source_set_callback(viewer->bus_watch, G_SOURCE_FUNC(on_message), viewer_ref(viewer),
                          viewer_unref);
    g_source_attach(viewer->bus_watch, viewer->place.context);
    gst_object_unref(bus);
}

/* Presentation times are those of the shared clock. */
static void start(struct viewer *viewer)
{
    GstClock *clock = live_clock(viewer->place.live);
    gst_pipeline_use_clock(GST_PIPELINE(viewer->pipeline), clock);
    gst_object_unref(clock);
    gst_element_set_start_time(viewer->pipeline, GST_CLOCK_TIME_NONE);
    gst_element_set_base_time(viewer->pipeline, live_base_time(viewer->place.live));
    gst_element_set_state(viewer->pipeline, GST_STATE_PLAYING);
    viewer_take_offer(viewer);
}

static struct viewer *viewer_new(const struct viewer_place *place, struct offer *offer,
                                 const char *who)
{
    struct viewer *viewer = g_new0(struct viewer, 1);
    g_atomic_ref_count_init(&viewer->references);
    g_mutex_init(&viewer->lock);
    viewer->place = *place;
    viewer->offer = *offer;
    *offer = (struct offer){.h264 = -1, .vp8 = -1};
    viewer->id = g_uuid_string_random();
    viewer->who = g_strdup(who);
    return viewer;
}

/* A pipeline for one codec, fed. False: not with this codec. */
static bool open_codec(struct viewer *viewer, enum live_codec codec, const char **error)
{
    viewer->codec = codec;
    if (!build(viewer)) {
        *error = "a part of GStreamer is missing, see the server's messages";
        return false;
    }
    viewer->subscription =
        live_subscribe(viewer->place.live, viewer->place.pacing, codec, receive, viewer);
    if (!viewer->subscription)
        *error = "there is no encoder for what this browser plays, see the server's messages";
    return viewer->subscription;
}

static void drop_pipeline(struct viewer *viewer)
{
    if (viewer->pipeline)
        gst_element_set_state(viewer->pipeline, GST_STATE_NULL);
    if (viewer->rtc)
        g_signal_handlers_disconnect_by_data(viewer->rtc, viewer);
    gst_clear_object(&viewer->rtc);
    gst_clear_object(&viewer->source);
    gst_clear_object(&viewer->pipeline);
}

struct viewer *viewer_open(const struct viewer_place *place, struct offer *offer, const char *who,
                           const char **error)
{
    struct viewer *viewer = viewer_new(place, offer, who);
    bool open = viewer->offer.h264 >= 0 && !place->no_h264 && open_codec(viewer, LIVE_H264, error);
    if (!open && viewer->offer.vp8 >= 0) {
        drop_pipeline(viewer);
        open = open_codec(viewer, LIVE_VP8, error);
    }
    if (!open) {
        drop_pipeline(viewer);
        viewer_unref(viewer);
        return NULL;
    }
    connect_signals(viewer);
    start(viewer);
    return viewer;
}

void viewer_close(struct viewer *viewer)
{
    if (!viewer)
        return;
    viewer->closed = true;
    viewer_end_deadline(viewer);
    if (viewer->bus_watch) {
        g_source_destroy(viewer->bus_watch);
        g_clear_pointer(&viewer->bus_watch, g_source_unref);
    }
    g_mutex_lock(&viewer->lock);
    viewer->phase = ENDED;
    g_mutex_unlock(&viewer->lock);
    g_thread_pool_push(viewer->place.cleaners, viewer, NULL);
}

void viewer_clean(gpointer data, gpointer unused)
{
    struct viewer *viewer = data;
    live_unsubscribe(viewer->subscription);
    drop_pipeline(viewer);
    viewer_unref(viewer);
}

void viewer_add_candidate(struct viewer *viewer, const char *candidate)
{
    guint line = 0;
    for (guint i = 0; i < gst_sdp_message_medias_len(viewer->offer.sdp); i++) {
        const GstSDPMedia *media = gst_sdp_message_get_media(viewer->offer.sdp, i);
        if (!g_strcmp0(gst_sdp_media_get_attribute_val(media, "mid"), viewer->offer.mid))
            line = i;
    }
    g_signal_emit_by_name(viewer->rtc, "add-ice-candidate", line, candidate);
}

const char *viewer_id(const struct viewer *viewer)
{
    return viewer->id;
}

const char *viewer_who(const struct viewer *viewer)
{
    return viewer->who;
}

const char *viewer_ufrag(const struct viewer *viewer)
{
    return viewer->offer.ufrag;
}

const char *viewer_codec(const struct viewer *viewer)
{
    return viewer->codec == LIVE_H264 ? "H.264" : "VP8";
}

bool viewer_connected(const struct viewer *viewer)
{
    return viewer->connected;
}

void viewer_counts(struct viewer *viewer, int64_t *pictures, int64_t *dropped)
{
    g_mutex_lock(&viewer->lock);
    *pictures = viewer->pictures;
    *dropped = viewer->dropped;
    g_mutex_unlock(&viewer->lock);
}
