#include "image.h"

#include <stdlib.h>

#ifdef HAVE_GSTREAMER
#include <errno.h>
#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <gst/video/video.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gst_common.h"

#define TIMEOUT_SECONDS 60
#define SIDE_MAX 32768 /* px */

static int check_file(struct console *console, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0 || access(path, R_OK) < 0)
        console_error(console, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        console_error(console, "%s: not a regular file", path);
    else if (st.st_size == 0)
        console_error(console, "%s: the file is empty", path);
    else
        return 0;
    return -1;
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
        GstMessage *message = sample ? NULL : gst_bus_pop_filtered(bus, GST_MESSAGE_ERROR |
                                                                            GST_MESSAGE_WARNING |
                                                                            GST_MESSAGE_EOS);
        if (!message)
            continue;
        GstMessageType type = GST_MESSAGE_TYPE(message);
        if (type == GST_MESSAGE_WARNING) {
            gst_message_unref(message);
            continue;
        }
        if (type == GST_MESSAGE_ERROR) {
            gst_print_error(console, path, message);
            reason = NULL;
        } else {
            gst_message_unref(message);
            reason = "no picture in it";
        }
        break;
    }
    gst_object_unref(bus);
    if (!sample && reason)
        console_error(console, "%s: %s", path, reason);
    return sample;
}

int image_load(unreel_clip *clip, struct console *console, const char *path)
{
    *clip = (unreel_clip){0};
    if (check_file(console, path) < 0 || gst_start(console) < 0)
        return -1;
    GError *error = NULL;
    GstElement *pipeline = gst_parse_launch(
        "filesrc name=file ! decodebin ! videoconvert ! videoflip method=automatic ! "
        "videoconvert ! video/x-raw,format=RGB ! appsink name=sink sync=false max-buffers=1",
        &error);
    if (error) {
        console_error(console, "%s: GStreamer cannot load pictures here: %s", path, error->message);
        g_error_free(error);
        if (pipeline)
            gst_object_unref(pipeline);
        return -1;
    }
    GstElement *file = gst_bin_get_by_name(GST_BIN(pipeline), "file");
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    g_object_set(file, "location", path, NULL);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    GstSample *sample = pull_first(console, path, pipeline, GST_APP_SINK(sink));
    int code = sample ? copy_picture(clip, console, path, sample) : -1;
    gst_element_set_state(pipeline, GST_STATE_NULL);
    if (sample)
        gst_sample_unref(sample);
    gst_object_unref(file);
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
