#include "encoder.h"

#include <stdio.h>
#include <string.h>

/* One slice a picture and no delay with x264: threads=1, since zerolatency means sliced threads.
 * For constant quality a short look-ahead: four pictures wait in the encoder. $K: key interval in
 * pictures, $B: rate in rate_unit. */
static const struct encoder encoders[] = {
    {"nvh264enc", LIVE_H264,
     "preset=low-latency-hq rc-mode=cbr zerolatency=true bframes=0 gop-size=$K bitrate=$B",
     "preset=hq rc-mode=constqp qp-const=20 bframes=0 gop-size=$K", 1000},
    {"x264enc", LIVE_H264,
     "tune=zerolatency speed-preset=superfast threads=1 bframes=0 key-int-max=$K bitrate=$B "
     "vbv-buf-capacity=1000",
     "pass=qual quantizer=20 vbv-buf-capacity=0 speed-preset=veryfast rc-lookahead=4 "
     "sync-lookahead=0 bframes=0 threads=2 key-int-max=$K",
     1000},
    {"openh264enc", LIVE_H264, "complexity=low rate-control=bitrate gop-size=$K bitrate=$B",
     "complexity=high rate-control=quality qp-min=12 qp-max=28 gop-size=$K", 1},
    {"vp8enc", LIVE_VP8,
     "deadline=1 cpu-used=8 lag-in-frames=0 end-usage=cbr threads=2 keyframe-max-dist=$K "
     "target-bitrate=$B",
     "deadline=1 cpu-used=4 lag-in-frames=0 end-usage=cq cq-level=10 min-quantizer=4 threads=2 "
     "keyframe-max-dist=$K target-bitrate=$B",
     1},
};

static const struct {
    const char *element, *package;
} packages[] = {
    {"x264enc", "gstreamer1.0-plugins-ugly"},    {"vp8enc", "gstreamer1.0-plugins-good"},
    {"openh264enc", "gstreamer1.0-plugins-bad"}, {"mp4mux", "gstreamer1.0-plugins-good"},
    {"flvmux", "gstreamer1.0-plugins-good"},     {"v4l2sink", "gstreamer1.0-plugins-good"},
    {"pngenc", "gstreamer1.0-plugins-good"},     {"rtph264pay", "gstreamer1.0-plugins-good"},
    {"rtpvp8pay", "gstreamer1.0-plugins-good"},  {"videoconvert", "gstreamer1.0-plugins-base"},
    {"nicesink", "gstreamer1.0-nice"},           {"appsrc", "gstreamer1.0-plugins-base"},
    {"appsink", "gstreamer1.0-plugins-base"},    {"filesink", "libgstreamer1.0-0"},
};

static const char *package_of(const char *element)
{
    for (size_t i = 0; i < G_N_ELEMENTS(packages); i++)
        if (!strcmp(packages[i].element, element))
            return packages[i].package;
    return "gstreamer1.0-plugins-bad"; /* h264parse, rtmp2sink, srtsink, hlssink2, webrtcbin, ... */
}

static bool is_there(const char *element)
{
    GstElementFactory *factory = gst_element_factory_find(element);
    if (factory)
        gst_object_unref(factory);
    return factory != NULL;
}

bool encoder_elements(struct console *console, const char *who, const char *const *names)
{
    for (; *names; names++) {
        if (!is_there(*names)) {
            console_error(console, "--%s needs GStreamer's %s: install %s", who, *names,
                          package_of(*names));
            return false;
        }
    }
    return true;
}

/* Some encoders exist but find no hardware or codec when they start. */
static bool works(const char *name)
{
    GstElement *element = is_there(name) ? gst_element_factory_make(name, NULL) : NULL;
    if (!element)
        return false;
    gst_object_ref_sink(element);
    bool good = gst_element_set_state(element, GST_STATE_READY) != GST_STATE_CHANGE_FAILURE;
    gst_element_set_state(element, GST_STATE_NULL);
    gst_object_unref(element);
    return good;
}

static const struct encoder *by_name(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(encoders); i++)
        if (!strcmp(encoders[i].name, name))
            return &encoders[i];
    return NULL;
}

const struct encoder *encoder_find(struct console *console, enum live_codec codec,
                                   const char *wanted)
{
    static const char *const codecs[] = {[LIVE_H264] = "H.264", [LIVE_VP8] = "VP8"};
    const struct encoder *named = by_name(wanted);
    if (named && named->codec == codec) {
        if (works(wanted))
            return named;
        console_error(console, "--encoder %s does not work here: %s", wanted,
                      is_there(wanted) ? "it finds no hardware or library"
                                       : "GStreamer does not have it");
        return NULL;
    }
    if (named && named->codec == LIVE_VP8) {
        console_error(console, "--encoder %s: an output needs H.264, which it does not make",
                      wanted);
        return NULL;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(encoders); i++)
        if (encoders[i].codec == codec && works(encoders[i].name))
            return &encoders[i];
    console_error(console, "no %s encoder in GStreamer here: install %s", codecs[codec],
                  codec == LIVE_H264 ? "gstreamer1.0-plugins-ugly (x264enc)"
                                     : "gstreamer1.0-plugins-good (vp8enc)");
    return NULL;
}

/* Replaces $K and $B. */
static char *fill_in(const char *text, int key, int rate)
{
    GString *out = g_string_new(NULL);
    for (const char *c = text; *c; c++) {
        if (c[0] == '$' && (c[1] == 'K' || c[1] == 'B')) {
            g_string_append_printf(out, "%d", c[1] == 'K' ? key : rate);
            c++;
        } else {
            g_string_append_c(out, *c);
        }
    }
    return g_string_free(out, FALSE);
}

char *encoder_launch(const struct encoder *encoder, const struct encoder_settings *settings,
                     enum live_pacing pacing)
{
    /* What browsers say they decode, what every streaming service takes, what files are best in. */
    static const char *const profiles[] = {
        [LIVE_STRETCH] = "constrained-baseline", [LIVE_HOLD] = "main", [LIVE_CONTENT] = "high"};
    char *properties =
        fill_in(pacing == LIVE_CONTENT ? encoder->quality : encoder->live, settings->key_pictures,
                (int)(settings->kilobits * 1000LL / encoder->rate_unit));
    char *launch;
    if (encoder->codec == LIVE_VP8)
        launch = g_strdup_printf("%s name=encoder %s", encoder->name, properties);
    else
        launch =
            g_strdup_printf("%s name=encoder %s%s%s ! h264parse config-interval=-1 ! "
                            "video/x-h264,stream-format=byte-stream,alignment=au",
                            encoder->name, properties,
                            strcmp(encoder->name, "openh264enc") ? " ! video/x-h264,profile=" : "",
                            strcmp(encoder->name, "openh264enc") ? profiles[pacing] : "");
    g_free(properties);
    return launch;
}
