/* H.264 in MP4, by GStreamer: appsrc -> encoder -> parser -> muxer -> file.
 *
 * The muxer writes fragments, each playable when it is on disk, and at the end turns the file into
 * an ordinary MP4 (fragment-mode first-moov-then-finalise). A killed run loses at most what is in
 * the encoder and one fragment.
 *
 * The encoder works at constant quality with one B-picture and a look-ahead of four: what waits in
 * it is 6 pictures, the files are as small as with the default look-ahead of 40. Its mode without
 * delay (tune=zerolatency) makes still scenes up to five times as large. */
#include "output_sink.h"

#include <errno.h>
#include <gst/app/gstappsrc.h>
#include <gst/gst.h>
#include <gst/video/video.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gst_common.h"
#include "mp4_repair.h"

#define QUEUE_MAX 24    /* raw pictures that wait for the encoder */
#define FRAGMENT_MS 250 /* of video */
#define KEY_SECONDS 2   /* longest way between key pictures: seeking */

struct output_sink {
    struct console *console;
    char *file;
    char format[64];
    GstElement *pipeline;
    GstAppSrc *src;
    GstBus *bus;
    GstVideoInfo info;
    int64_t pictures;
    struct mp4_header header;
    bool failed;
};

struct encoder {
    const char *name;
    const char *settings; /* of gst_parse_launch; %d: longest key interval in pictures */
};

/* The first that works on this machine is taken. NVENC last: fast, but larger files. */
static const struct encoder encoders[] = {
    {"x264enc", "pass=qual quantizer=18 vbv-buf-capacity=0 speed-preset=fast rc-lookahead=4 "
                "sync-lookahead=0 bframes=1 threads=2 key-int-max=%d"},
    {"openh264enc", "rate-control=quality complexity=high qp-min=12 qp-max=28 bitrate=12000000 "
                    "gop-size=%d"},
    {"nvh264enc", "rc-mode=constqp qp-const=20 gop-size=%d"},
};

/* Some encoders exist but find no hardware or codec when they start. */
static bool encoder_works(const char *name)
{
    GstElement *element = gst_element_factory_make(name, NULL);
    if (!element)
        return false;
    gst_object_ref_sink(element);
    bool works = gst_element_set_state(element, GST_STATE_READY) != GST_STATE_CHANGE_FAILURE;
    gst_element_set_state(element, GST_STATE_NULL);
    gst_object_unref(element);
    return works;
}

static const struct encoder *find_encoder(struct console *console)
{
    char names[128] = "";
    for (size_t i = 0; i < G_N_ELEMENTS(encoders); i++) {
        if (encoder_works(encoders[i].name))
            return &encoders[i];
        g_strlcat(names, i ? ", " : "", sizeof names);
        g_strlcat(names, encoders[i].name, sizeof names);
    }
    console_error(console,
                  "no H.264 encoder in GStreamer here (%s): install "
                  "gstreamer1.0-plugins-ugly or write .y4m",
                  names);
    return NULL;
}

static void set_tag(GstTagSetter *setter, const char *tag, const char *text)
{
    if (text && *text && g_utf8_validate(text, -1, NULL))
        gst_tag_setter_add_tags(setter, GST_TAG_MERGE_REPLACE, tag, text, NULL);
}

static void set_tags(GstElement *muxer, const struct encoder *encoder,
                     const struct output_settings *settings)
{
    GstTagSetter *setter = GST_TAG_SETTER(muxer);
    char made_by[64];
    snprintf(made_by, sizeof made_by, "unreel %s (%s)", unreel_version(), encoder->name);
    set_tag(setter, GST_TAG_ENCODER, made_by);
    set_tag(setter, GST_TAG_TITLE, settings->title);
    set_tag(setter, GST_TAG_DESCRIPTION, settings->prompt);
    set_tag(setter, GST_TAG_COMMENT, settings->comment);
}

static void set_caps(struct output_sink *s, const struct output_settings *settings)
{
    int numerator, denominator;
    output_rate(settings->fps, &numerator, &denominator);
    gst_video_info_set_format(&s->info, GST_VIDEO_FORMAT_I420, (guint)settings->width,
                              (guint)settings->height);
    GST_VIDEO_INFO_FPS_N(&s->info) = numerator;
    GST_VIDEO_INFO_FPS_D(&s->info) = denominator;
    gst_video_colorimetry_from_string(&s->info.colorimetry, GST_VIDEO_COLORIMETRY_BT709);
    s->info.chroma_site = GST_VIDEO_CHROMA_SITE_JPEG; /* chroma is the mean of 2x2 */
    GstCaps *caps = gst_video_info_to_caps(&s->info);
    gst_app_src_set_caps(s->src, caps);
    gst_caps_unref(caps);
}

/* When the end of the stream reaches the muxer, before it rewrites the file's start. */
static GstPadProbeReturn keep_header(GstPad *pad, GstPadProbeInfo *info, gpointer opaque)
{
    struct output_sink *s = opaque;
    if (GST_EVENT_TYPE(GST_PAD_PROBE_INFO_EVENT(info)) == GST_EVENT_EOS)
        mp4_header_keep(&s->header, s->file);
    return GST_PAD_PROBE_OK;
}

static int make_pipeline(struct output_sink *s, const struct encoder *encoder,
                         const struct output_settings *settings)
{
    GError *error = NULL;
    int key = (int)(settings->fps * KEY_SECONDS + 0.5);
    char *properties = g_strdup_printf(encoder->settings, key < 1 ? 1 : key);
    char *launch = g_strdup_printf(
        "appsrc name=src format=time max-bytes=0 ! videoconvert ! %s %s ! h264parse name=parse ! "
        "mp4mux name=mux fragment-duration=%d fragment-mode=first-moov-then-finalise ! "
        "filesink name=file buffer-mode=unbuffered",
        encoder->name, properties, FRAGMENT_MS);
    s->pipeline = gst_parse_launch(launch, &error);
    g_free(properties);
    g_free(launch);
    if (error) {
        console_error(s->console, "%s: GStreamer cannot write MP4 here: %s", s->file,
                      error->message);
        g_error_free(error);
        return -1;
    }
    s->src = GST_APP_SRC(gst_bin_get_by_name(GST_BIN(s->pipeline), "src"));
    s->bus = gst_element_get_bus(s->pipeline);
    GstElement *muxer = gst_bin_get_by_name(GST_BIN(s->pipeline), "mux");
    GstElement *file = gst_bin_get_by_name(GST_BIN(s->pipeline), "file");
    g_object_set(file, "location", s->file, NULL);
    set_tags(muxer, encoder, settings);
    set_caps(s, settings);
    GstElement *parser = gst_bin_get_by_name(GST_BIN(s->pipeline), "parse");
    GstPad *pad = gst_element_get_static_pad(parser, "src");
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, keep_header, s, NULL);
    gst_object_unref(pad);
    gst_object_unref(parser);
    gst_object_unref(muxer);
    gst_object_unref(file);
    return 0;
}

/* Looks for an error on the bus for up to `wait`; prints it. */
static bool has_failed(struct output_sink *s, GstClockTime wait)
{
    if (s->failed)
        return true;
    GstMessage *message = gst_bus_timed_pop_filtered(s->bus, wait, GST_MESSAGE_ERROR);
    if (!message)
        return false;
    s->failed = true;
    gst_print_error(s->console, s->file, message);
    return true;
}

static void mp4_free(struct output_sink *s)
{
    if (s->pipeline) {
        gst_element_set_state(s->pipeline, GST_STATE_NULL);
        gst_object_unref(s->pipeline);
    }
    if (s->src)
        gst_object_unref(s->src);
    if (s->bus)
        gst_object_unref(s->bus);
    free(s->file);
    free(s);
}

static int mp4_open(struct output_sink **sink, struct console *console, const char *file,
                    const struct output_settings *settings)
{
    struct stat st;
    if (stat(file, &st) == 0 && !S_ISREG(st.st_mode)) {
        console_error(console, "%s: MP4 needs a regular file: use .y4m or -", file);
        return -1;
    }
    if (gst_start(console) < 0)
        return -1;
    const struct encoder *encoder = find_encoder(console);
    if (!encoder)
        return -1;
    struct output_sink *s = calloc(1, sizeof *s);
    s->console = console;
    s->file = strdup(file);
    snprintf(s->format, sizeof s->format, "H.264 by %s", encoder->name);
    int code = make_pipeline(s, encoder, settings);
    if (code == 0 &&
        gst_element_set_state(s->pipeline, GST_STATE_PLAYING) == GST_STATE_CHANGE_FAILURE) {
        if (!has_failed(s, GST_SECOND))
            console_error(console, "%s: the GStreamer pipeline does not start", file);
        code = -1;
    }
    if (code < 0) {
        mp4_free(s);
        return -1;
    }
    *sink = s;
    return 0;
}

static GstBuffer *wrap_picture(const GstVideoInfo *info, const unreel_frame *frame)
{
    GstMapInfo map;
    GstBuffer *buffer = gst_buffer_new_allocate(NULL, GST_VIDEO_INFO_SIZE(info), NULL);
    if (!buffer || !gst_buffer_map(buffer, &map, GST_MAP_WRITE))
        g_error("out of memory");
    for (guint plane = 0; plane < 3; plane++) {
        guint8 *to = map.data + GST_VIDEO_INFO_PLANE_OFFSET(info, plane);
        for (int y = 0; y < GST_VIDEO_INFO_COMP_HEIGHT(info, plane); y++) {
            memcpy(to, frame->data[plane] + (size_t)y * frame->stride[plane],
                   (size_t)GST_VIDEO_INFO_COMP_WIDTH(info, plane));
            to += GST_VIDEO_INFO_PLANE_STRIDE(info, plane);
        }
    }
    gst_buffer_unmap(buffer, &map);
    return buffer;
}

/* appsrc's own block=true never returns once something downstream has failed; so the wait for a
 * place in the queue is here, on the bus. */
static int mp4_write(struct output_sink *s, const unreel_frame *frame)
{
    GstClockTime wait = 0;
    do {
        if (has_failed(s, wait))
            return -1;
        wait = 5 * GST_MSECOND;
    } while (gst_app_src_get_current_level_buffers(s->src) >= QUEUE_MAX);
    guint64 n = (guint64)GST_VIDEO_INFO_FPS_N(&s->info),
            d = (guint64)GST_VIDEO_INFO_FPS_D(&s->info);
    guint64 index = (guint64)s->pictures;
    GstBuffer *buffer = wrap_picture(&s->info, frame);
    GST_BUFFER_PTS(buffer) = gst_util_uint64_scale(index, GST_SECOND * d, n);
    GST_BUFFER_DURATION(buffer) =
        gst_util_uint64_scale(index + 1, GST_SECOND * d, n) - GST_BUFFER_PTS(buffer);
    if (gst_app_src_push_buffer(s->src, buffer) != GST_FLOW_OK) {
        if (!has_failed(s, GST_SECOND))
            console_error(s->console, "%s: the GStreamer pipeline has stopped", s->file);
        s->failed = true;
        return -1;
    }
    s->pictures++;
    return 0;
}

static int mp4_close(struct output_sink *s)
{
    if (!s->failed && s->pictures) {
        gst_app_src_end_of_stream(s->src);
        GstMessage *message = gst_bus_timed_pop_filtered(s->bus, GST_CLOCK_TIME_NONE,
                                                         GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
        if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
            gst_print_error(s->console, s->file, message);
            s->failed = true;
        } else {
            gst_message_unref(message);
        }
    }
    gst_element_set_state(s->pipeline, GST_STATE_NULL);
    if (s->failed && mp4_repair(&s->header, s->file) < 0)
        console_warning(s->console, "%s: may not be playable: %s", s->file, strerror(errno));
    int code = s->failed ? -1 : 0;
    mp4_free(s);
    return code;
}

static const char *mp4_format(const struct output_sink *sink)
{
    return sink->format;
}

const struct output_sink_class output_mp4 = {mp4_open, mp4_write, mp4_close, mp4_format};
