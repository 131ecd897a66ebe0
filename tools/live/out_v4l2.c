/* --v4l2: a video device that other programs use as a camera (v4l2loopback). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "encoder.h"
#include "pipe.h"

struct live_output {
    struct live_pipe *pipe;
    char *device;
};

static void setup(void *opaque, GstElement *pipeline)
{
    struct live_output *o = opaque;
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    g_object_set(sink, "device", o->device, NULL);
    gst_object_unref(sink);
}

static int check(struct console *console, const char *device)
{
    static const char *const elements[] = {"v4l2sink", NULL};
    struct stat st;
    if (stat(device, &st) < 0) {
        console_error(console,
                      "%s: %s (a device for this: modprobe v4l2loopback, package "
                      "v4l2loopback-dkms)",
                      device, strerror(errno));
        return -1;
    }
    if (!S_ISCHR(st.st_mode)) {
        console_error(console, "%s: is no video device", device);
        return -1;
    }
    if (access(device, W_OK) < 0) {
        console_error(console, "%s: %s", device, strerror(errno));
        return -1;
    }
    return encoder_elements(console, "v4l2", elements) ? 0 : -1;
}

static int v4l2_open(struct live_output **output, struct live *live, struct console *console,
                     const unreel_options *options)
{
    const char *device = unreel_options_get(options, "v4l2");
    if (check(console, device) < 0)
        return -1;
    struct live_output *o = g_new0(struct live_output, 1);
    o->device = g_strdup(device);
    const struct live_pipe_settings settings = {
        .name = device,
        .launch = "appsrc name=in ! videoconvert ! v4l2sink name=sink async=false sync=false",
        .pacing = live_pacing_of(live, &live_v4l2),
        .codec = LIVE_RAW,
        .network = true, /* its readers come and go; none may hold the video up */
        .setup = setup,
        .opaque = o,
    };
    o->pipe = live_pipe_open(live, console, &settings);
    if (!o->pipe) {
        g_free(o->device);
        g_free(o);
        return -1;
    }
    *output = o;
    return 0;
}

static void v4l2_status(struct live_output *o, char *text, size_t size)
{
    live_pipe_status(o->pipe, text, size);
}

static void v4l2_counts(struct live_output *o, int64_t *pictures, int64_t *dropped)
{
    live_pipe_counts(o->pipe, pictures, dropped);
}

static int v4l2_close(struct live_output *o)
{
    live_pipe_close(o->pipe);
    g_free(o->device);
    g_free(o);
    return 0;
}

const struct live_output_class live_v4l2 = {
    .name = "v4l2",
    .option = "v4l2",
    .pacing = LIVE_HOLD,
    .open = v4l2_open,
    .status = v4l2_status,
    .counts = v4l2_counts,
    .close = v4l2_close,
};
