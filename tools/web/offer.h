/* A viewer's session description: what it can receive. */
#pragma once

#include <gst/sdp/sdp.h>
#include <stddef.h>

#define OFFER_MEDIA_MAX 8

struct offer {
    GstSDPMessage *sdp;
    int h264, vp8;     /* payload types, -1: not offered */
    char *h264_format; /* parameters that the offer gives for that type, or NULL */
    char *ufrag, *mid; /* of the video */
};

/* NULL, or what is wrong, a static text; then nothing is to be freed. Everything that webrtcbin
 * takes for granted is checked here. */
const char *offer_parse(struct offer *offer, const char *text, size_t size);
void offer_finish(struct offer *offer);
