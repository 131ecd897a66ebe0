#include "silence.h"

#define CAPS                                                                                       \
    "audio/x-raw,format=S16LE,layout=interleaved,rate=44100,channels=2,channel-mask=(bitmask)0x3"
#define RATE 44100
#define BLOCK 1024    /* samples a buffer: one AAC frame */
#define FRAME_BYTES 4 /* two channels of 16 bits */
#define AHEAD (GST_SECOND / 2)

struct silence {
    GstAppSrc *src;
    GstBuffer *block;
    guint64 samples;
};

struct silence *silence_open(GstAppSrc *src)
{
    struct silence *s = g_new0(struct silence, 1);
    GstCaps *caps = gst_caps_from_string(CAPS);
    s->src = src;
    gst_app_src_set_caps(src, caps);
    gst_caps_unref(caps);
    s->block = gst_buffer_new_allocate(NULL, BLOCK * FRAME_BYTES, NULL);
    gst_buffer_memset(s->block, 0, 0, BLOCK * FRAME_BYTES);
    return s;
}

static GstClockTime time_of(guint64 samples)
{
    return gst_util_uint64_scale(samples, GST_SECOND, RATE);
}

void silence_fill(struct silence *s, GstClockTime end)
{
    while (time_of(s->samples) < end + AHEAD) {
        GstBuffer *block = gst_buffer_copy(s->block);
        GST_BUFFER_PTS(block) = time_of(s->samples);
        s->samples += BLOCK;
        GST_BUFFER_DURATION(block) = time_of(s->samples) - GST_BUFFER_PTS(block);
        gst_app_src_push_buffer(s->src, block);
    }
}

void silence_end(struct silence *s)
{
    gst_app_src_end_of_stream(s->src);
}

void silence_close(struct silence *s)
{
    if (!s)
        return;
    gst_object_unref(s->src);
    gst_buffer_unref(s->block);
    g_free(s);
}
