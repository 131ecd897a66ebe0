#include "offer.h"

#include <stdbool.h>
#include <string.h>

/* An attribute of the media or, where it may stand for all of them, of the session. */
static const char *attribute(const GstSDPMessage *sdp, const GstSDPMedia *media, const char *name)
{
    const char *value = gst_sdp_media_get_attribute_val(media, name);
    return value ? value : gst_sdp_message_get_attribute_val(sdp, name);
}

static const char *check_media(const GstSDPMessage *sdp, const GstSDPMedia *media)
{
    const char *setup = attribute(sdp, media, "setup");
    const char *fingerprint = attribute(sdp, media, "fingerprint");
    const char *mid = gst_sdp_media_get_attribute_val(media, "mid");
    if (!mid || !*mid)
        return "a media section has no a=mid";
    if (!attribute(sdp, media, "ice-ufrag") || !attribute(sdp, media, "ice-pwd"))
        return "a media section has no ICE credentials";
    if (!fingerprint || !strchr(fingerprint, ' '))
        return "a media section has no certificate fingerprint";
    if (!setup || (strcmp(setup, "actpass") && strcmp(setup, "active")))
        return "a media section has no a=setup:actpass";
    if (!gst_sdp_media_get_proto(media) || !strstr(gst_sdp_media_get_proto(media), "TLS"))
        return "a media section is not encrypted";
    return NULL;
}

static bool receives(const GstSDPMedia *media)
{
    return !gst_sdp_media_get_attribute_val(media, "sendonly") &&
           !gst_sdp_media_get_attribute_val(media, "inactive");
}

/* How well a payload type suits our H.264, 0: not at all. GStreamer makes "profile" out of
 * profile-level-id; baseline is what every browser decodes. */
static int rate_h264(const GstStructure *format)
{
    const char *mode = gst_structure_get_string(format, "packetization-mode");
    const char *profile = gst_structure_get_string(format, "profile");
    if (g_strcmp0(mode, "1"))
        return 0;
    if (!g_strcmp0(profile, "constrained-baseline"))
        return 3;
    return !g_strcmp0(profile, "baseline") ? 2 : 1;
}

static void choose_types(struct offer *offer, const GstSDPMedia *media)
{
    int best = 0;
    for (guint i = 0; i < gst_sdp_media_formats_len(media); i++) {
        guint64 type;
        if (!g_ascii_string_to_unsigned(gst_sdp_media_get_format(media, i), 10, 0, 127, &type,
                                        NULL))
            continue;
        GstCaps *caps = gst_sdp_media_get_caps_from_media(media, (gint)type);
        if (!caps)
            continue;
        const GstStructure *format = gst_caps_get_structure(caps, 0);
        const char *name = gst_structure_get_string(format, "encoding-name");
        int rating = name && !g_ascii_strcasecmp(name, "H264") ? rate_h264(format) : 0;
        if (rating > best) {
            best = rating;
            offer->h264 = (int)type;
        }
        if (name && !g_ascii_strcasecmp(name, "VP8") && offer->vp8 < 0)
            offer->vp8 = (int)type;
        gst_caps_unref(caps);
    }
}

static char *format_parameters(const GstSDPMedia *media, int type)
{
    for (guint i = 0; i < gst_sdp_media_attributes_len(media); i++) {
        const GstSDPAttribute *a = gst_sdp_media_get_attribute(media, i);
        char *rest;
        if (!g_strcmp0(a->key, "fmtp") && a->value &&
            g_ascii_strtoll(a->value, &rest, 10) == type && *rest == ' ')
            return g_strdup(rest + 1);
    }
    return NULL;
}

static const char *read_offer(struct offer *offer)
{
    guint count = gst_sdp_message_medias_len(offer->sdp);
    const GstSDPMedia *video = NULL;
    if (count == 0)
        return "this is no session description with media";
    if (count > OFFER_MEDIA_MAX)
        return "the offer has too many media sections";
    for (guint i = 0; i < count; i++) {
        const GstSDPMedia *media = gst_sdp_message_get_media(offer->sdp, i);
        const char *problem = check_media(offer->sdp, media);
        if (problem)
            return problem;
        if (!g_strcmp0(gst_sdp_media_get_media(media), "video") && !video)
            video = media;
    }
    if (!video)
        return "the offer has no video";
    if (!receives(video))
        return "the offer does not receive video";
    choose_types(offer, video);
    if (offer->h264 >= 0)
        offer->h264_format = format_parameters(video, offer->h264);
    offer->ufrag = g_strdup(attribute(offer->sdp, video, "ice-ufrag"));
    offer->mid = g_strdup(gst_sdp_media_get_attribute_val(video, "mid"));
    return NULL;
}

const char *offer_parse(struct offer *offer, const char *text, size_t size)
{
    *offer = (struct offer){.h264 = -1, .vp8 = -1};
    if (!g_utf8_validate_len(text, size, NULL) || size < 2 || memcmp(text, "v=", 2))
        return "this is no session description";
    gst_sdp_message_new(&offer->sdp);
    const char *problem = NULL;
    if (gst_sdp_message_parse_buffer((const guint8 *)text, (guint)size, offer->sdp) != GST_SDP_OK)
        problem = "this is no session description";
    else
        problem = read_offer(offer);
    if (problem)
        offer_finish(offer);
    return problem;
}

void offer_finish(struct offer *offer)
{
    if (offer->sdp)
        gst_sdp_message_free(offer->sdp);
    g_free(offer->h264_format);
    g_free(offer->ufrag);
    g_free(offer->mid);
    *offer = (struct offer){.h264 = -1, .vp8 = -1};
}
