#include "image.h"

#include <stdlib.h>

#ifdef HAVE_GSTREAMER
#include <errno.h>
#include <fcntl.h>
#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <gst/video/video.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gst_common.h"

#define TIMEOUT_SECONDS 60
#define SIDE_MAX 32768 /* px */

enum file_kind {
    KIND_OTHER,
    KIND_JPEG,
    KIND_DEEP_PNG, /* 16 bits a colour */
};

/* By the first bytes; negative with the error printed if there are none to read. */
static int look_at_file(struct console *console, const char *path)
{
    uint8_t b[26] = {0};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 || fstat(fd, &st) < 0 ? -1 : 0;
    bool regular = size == 0 && S_ISREG(st.st_mode);
    if (regular)
        size = read(fd, b, sizeof b);
    if (size < 0)
        console_error(console, "%s: %s", path, strerror(errno));
    else if (!regular)
        console_error(console, "%s: not a regular file", path);
    else if (size == 0)
        console_error(console, "%s: the file is empty", path);
    if (fd >= 0)
        close(fd);
    if (size <= 0)
        return -1;
    if (b[0] == 0xff && b[1] == 0xd8)
        return KIND_JPEG;
    /* IHDR: depth at 24, colour type at 25, of which bit 1 means colour. */
    return !memcmp(b, "\x89PNG", 4) && b[24] == 16 && b[25] & 2 ? KIND_DEEP_PNG : KIND_OTHER;
}

static int copy_picture(unreel_clip *clip, struct console *console, const char *path,
                        GstSample *sample)
{
    GstVideoInfo info;
    GstVideoFrame frame;
    if (!gst_video_info_from_caps(&info, gst_sample_get_caps(sample)) ||
        GST_VIDEO_INFO_WIDTH(&info) > SIDE_MAX || GST_VIDEO_INFO_HEIGHT(&info) > SIDE_MAX ||
        !gst_video_frame_map(&frame, &info, gst_sample_get_buffer(sample), GST_MAP_READ)) {
        console_error(console, "%s: not a picture that can be used", path);
        return -1;
    }
    int width = GST_VIDEO_INFO_WIDTH(&info), height = GST_VIDEO_INFO_HEIGHT(&info);
    size_t stride = 3 * (size_t)width;
    uint8_t *rgb = malloc(stride * (size_t)height);
    for (int y = 0; rgb && y < height; y++)
        memcpy(rgb + (size_t)y * stride,
               (const uint8_t *)GST_VIDEO_FRAME_PLANE_DATA(&frame, 0) +
                   (size_t)y * (size_t)GST_VIDEO_FRAME_PLANE_STRIDE(&frame, 0),
               stride);
    gst_video_frame_unmap(&frame);
    if (!rgb) {
        console_error(console, "%s: out of memory", path);
        return -1;
    }
    *clip = (unreel_clip){.rgb = rgb,
                          .stride = stride,
                          .frames_stride = stride * (size_t)height,
                          .frames = 1,
                          .width = width,
                          .height = height};
    return 0;
}

/* GStreamer's words say which part of it gave up; what helps is another kind of picture. */
static void tell(struct console *console, const char *path, GstMessage *message)
{
    GError *error = NULL;
    gst_message_parse_error(message, &error, NULL);
    if (g_error_matches(error, GST_STREAM_ERROR, GST_STREAM_ERROR_TYPE_NOT_FOUND))
        console_error(console, "%s: neither a picture nor a video", path);
    else
        console_error(console, "%s: cannot be read (%.*s): damaged, or to be converted to PNG or JPEG in RGB", path,
                      (int)strcspn(error->message, "."), error->message);
    g_error_free(error);
}

/* The first picture, NULL with the error printed. A file without pictures (a song) never gives a
 * sample, and the decoder may only warn about it. */
static GstSample *pull_first(struct console *console, const char *path, GstElement *pipeline,
                             GstAppSink *sink)
{
    GstSample *sample = NULL;
    GstBus *bus = gst_element_get_bus(pipeline);
    gint64 end = g_get_monotonic_time() + TIMEOUT_SECONDS * G_USEC_PER_SEC;
    const char *reason = "takes too long to decode";
    while (!sample && g_get_monotonic_time() < end) {
        sample = gst_app_sink_try_pull_sample(sink, 50 * GST_MSECOND);
        GstMessage *message =
            sample ? NULL
                   : gst_bus_pop_filtered(bus, GST_MESSAGE_ERROR | GST_MESSAGE_WARNING |
                                                   GST_MESSAGE_EOS);
        if (!message)
            continue;
        GstMessageType type = GST_MESSAGE_TYPE(message);
        if (type == GST_MESSAGE_WARNING) {
            gst_message_unref(message);
            continue;
        }
        reason = type == GST_MESSAGE_ERROR ? NULL : "no picture in it";
        if (!reason)
            tell(console, path, message);
        gst_message_unref(message);
        break;
    }
    gst_object_unref(bus);
    if (!sample && reason)
        console_error(console, "%s: %s", path, reason);
    return sample;
}

/* Only jpegparse tells how a telephone was held, and decodebin does not use it. */
static GstElement *make_pipeline(struct console *console, const char *path, int kind)
{
    GError *error = NULL;
    GstElementFactory *parser = gst_element_factory_find("jpegparse");
    bool jpeg = kind == KIND_JPEG && parser;
    char *launch = g_strdup_printf("filesrc name=file ! %s ! videoconvert ! "
                                   "videoflip video-direction=auto ! videoconvert ! "
                                   "video/x-raw,format=RGB ! appsink name=sink sync=false "
                                   "max-buffers=1",
                                   jpeg ? "jpegparse ! jpegdec" : "decodebin");
    GstElement *pipeline = gst_parse_launch(launch, &error);
    g_free(launch);
    if (parser)
        gst_object_unref(parser);
    if (error) {
        console_error(console, "%s: GStreamer cannot load pictures here: %s", path, error->message);
        g_error_free(error);
        g_clear_object(&pipeline);
        return NULL;
    }
    GstElement *file = gst_bin_get_by_name(GST_BIN(pipeline), "file");
    g_object_set(file, "location", path, NULL);
    gst_object_unref(file);
    return pipeline;
}

int image_load(unreel_clip *clip, struct console *console, const char *path)
{
    *clip = (unreel_clip){0};
    int kind = look_at_file(console, path);
    if (kind == KIND_DEEP_PNG) /* pngdec 1.22 mixes up bytes and channels */
        console_error(console, "%s: colour PNG with 16 bits cannot be read: convert it to 8", path);
    if (kind < 0 || kind == KIND_DEEP_PNG || gst_start(console) < 0)
        return -1;
    GstElement *pipeline = make_pipeline(console, path, kind);
    if (!pipeline)
        return -1;
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    GstSample *sample = pull_first(console, path, pipeline, GST_APP_SINK(sink));
    int code = sample ? copy_picture(clip, console, path, sample) : -1;
    gst_element_set_state(pipeline, GST_STATE_NULL);
    if (sample)
        gst_sample_unref(sample);
    gst_object_unref(sink);
    gst_object_unref(pipeline);
    return code;
}
#else
int image_load(unreel_clip *clip, struct console *console, const char *path)
{
    *clip = (unreel_clip){0};
    console_error(console, "%s: this build has no GStreamer and cannot load pictures", path);
    return -1;
}
#endif

void image_free(unreel_clip *clip)
{
    free((void *)(uintptr_t)clip->rgb);
    *clip = (unreel_clip){0};
}
