/* From a browser's offer to the answer, with webrtcbin. */
#define GST_USE_UNSTABLE_API
#include "web/viewer_parts.h"

#include <gst/webrtc/webrtc.h>
#include <string.h>

#define PICTURE_SECONDS 5  /* a session that makes pictures has made one */
#define START_SECONDS 10   /* from there to webrtcbin: on a busy machine */
#define ANSWER_SECONDS 4   /* more than gathering takes without a STUN server that is dead */
#define CONNECT_SECONDS 20 /* from the answer to the connection */

/* The text of the description with the H.264 parameters as they were offered: GStreamer 1.22 leaves
 * profile-level-id out, which then means a profile nobody asked for. */
static char *answer_text(const struct viewer *viewer, const GstSDPMessage *sdp)
{
    char *text = gst_sdp_message_as_text(sdp);
    if (viewer->codec != LIVE_H264 || !viewer->offer.h264_format)
        return text;
    char *start = g_strdup_printf("a=fmtp:%d ", viewer->offer.h264);
    GString *fixed = g_string_new(NULL);
    char **lines = g_strsplit(text, "\r\n", -1);
    for (char **line = lines; *line; line++) {
        if (!**line)
            continue;
        if (g_str_has_prefix(*line, start))
            g_string_append_printf(fixed, "%s%s\r\n", start, viewer->offer.h264_format);
        else
            g_string_append_printf(fixed, "%s\r\n", *line);
    }
    g_strfreev(lines);
    g_free(start);
    g_free(text);
    return g_string_free(fixed, FALSE);
}

static gboolean on_connect_timeout(gpointer data)
{
    viewer_give_up(data, "it did not connect", false);
    return G_SOURCE_REMOVE;
}

static void reply(struct viewer *viewer)
{
    GstWebRTCSessionDescription *description = NULL;
    g_object_get(viewer->rtc, "local-description", &description, NULL);
    if (!description) {
        viewer_give_up(viewer, "no answer to this offer can be made", false);
        return;
    }
    char *text = answer_text(viewer, description->sdp);
    gst_webrtc_session_description_free(description);
    viewer->replied = true;
    if (!viewer->connected)
        viewer_set_deadline(viewer, CONNECT_SECONDS, on_connect_timeout);
    viewer->place.answered(viewer->place.opaque, viewer, text, NULL, false);
    g_free(text);
}

static gboolean on_gathering(gpointer data)
{
    struct viewer *viewer = data;
    GstWebRTCICEGatheringState state;
    if (viewer->closed || viewer->replied || !viewer->asked)
        return G_SOURCE_REMOVE;
    g_object_get(viewer->rtc, "ice-gathering-state", &state, NULL);
    if (state == GST_WEBRTC_ICE_GATHERING_STATE_COMPLETE)
        reply(viewer);
    return G_SOURCE_REMOVE;
}

/* A STUN server that does not answer: the candidates so far have to do. */
static gboolean on_answer_timeout(gpointer data)
{
    struct viewer *viewer = data;
    if (!viewer->replied)
        reply(viewer);
    return G_SOURCE_REMOVE;
}

static gboolean on_no_answer(gpointer data)
{
    viewer_give_up(data, "no answer to this offer can be made", false);
    return G_SOURCE_REMOVE;
}

static void on_answer(GstPromise *promise, gpointer data)
{
    struct viewer *viewer = data;
    const GstStructure *reply_structure = gst_promise_get_reply(promise);
    GstWebRTCSessionDescription *answer = NULL;
    if (reply_structure)
        gst_structure_get(reply_structure, "answer", GST_TYPE_WEBRTC_SESSION_DESCRIPTION, &answer,
                          NULL);
    if (answer && viewer->rtc) {
        GstPromise *set = gst_promise_new();
        g_signal_emit_by_name(viewer->rtc, "set-local-description", answer, set);
        gst_promise_interrupt(set);
        gst_promise_unref(set);
        gst_webrtc_session_description_free(answer);
    } else {
        viewer_call(viewer, on_no_answer);
    }
    gst_promise_unref(promise);
}

static void try_answer(struct viewer *viewer)
{
    if (viewer->closed || viewer->asked || !viewer->remote_set || !viewer->caps_set)
        return;
    viewer->asked = true;
    viewer_set_deadline(viewer, ANSWER_SECONDS, on_answer_timeout);
    g_signal_emit_by_name(
        viewer->rtc, "create-answer", NULL,
        gst_promise_new_with_change_func(on_answer, viewer_ref(viewer), viewer_unref));
}

static gboolean on_remote_done(gpointer data)
{
    struct viewer *viewer = data;
    viewer->remote_set = true;
    try_answer(viewer);
    return G_SOURCE_REMOVE;
}

static void on_remote_set(GstPromise *promise, gpointer data)
{
    const GstStructure *structure = gst_promise_get_reply(promise);
    bool refused = structure && gst_structure_has_field(structure, "error");
    gst_promise_unref(promise);
    viewer_call(data, refused ? on_no_answer : on_remote_done);
}

static gboolean on_caps_done(gpointer data)
{
    struct viewer *viewer = data;
    viewer->caps_set = true;
    try_answer(viewer);
    return G_SOURCE_REMOVE;
}

/* The payloader's caps have reached webrtcbin. */
static void on_sink_caps(GstPad *pad, GParamSpec *unused, gpointer data)
{
    GstCaps *caps = gst_pad_get_current_caps(pad);
    if (caps && gst_structure_has_field(gst_caps_get_structure(caps, 0), "ssrc"))
        viewer_call(data, on_caps_done);
    gst_clear_caps(&caps);
}

static gboolean on_stuck(gpointer data)
{
    viewer_give_up(data, "the stream does not start", true);
    return G_SOURCE_REMOVE;
}

gboolean viewer_on_primed(gpointer data)
{
    struct viewer *viewer = data;
    if (!viewer->closed && !viewer->asked)
        viewer_set_deadline(viewer, START_SECONDS, on_stuck);
    return G_SOURCE_REMOVE;
}

static gboolean on_no_picture(gpointer data)
{
    viewer_give_up(data, "there is no picture yet", true);
    return G_SOURCE_REMOVE;
}

static void on_gathering_state(GObject *rtc, GParamSpec *unused, gpointer data)
{
    viewer_call(data, on_gathering);
}

void viewer_watch_signalling(struct viewer *viewer)
{
    g_signal_connect_data(viewer->rtc, "notify::ice-gathering-state",
                          G_CALLBACK(on_gathering_state), viewer_ref(viewer),
                          (GClosureNotify)(void (*)(void))viewer_unref, 0);
    GstPad *sink = gst_element_get_static_pad(viewer->rtc, "sink_0");
    g_signal_connect_data(sink, "notify::caps", G_CALLBACK(on_sink_caps), viewer_ref(viewer),
                          (GClosureNotify)(void (*)(void))viewer_unref, 0);
    gst_object_unref(sink);
}

void viewer_take_offer(struct viewer *viewer)
{
    GstSDPMessage *sdp;
    gst_sdp_message_copy(viewer->offer.sdp, &sdp);
    GstWebRTCSessionDescription *offer =
        gst_webrtc_session_description_new(GST_WEBRTC_SDP_TYPE_OFFER, sdp);
    g_signal_emit_by_name(
        viewer->rtc, "set-remote-description", offer,
        gst_promise_new_with_change_func(on_remote_set, viewer_ref(viewer), viewer_unref));
    gst_webrtc_session_description_free(offer);
    viewer_set_deadline(viewer, PICTURE_SECONDS, on_no_picture);
}
