/* --rtmp: to a streaming server, reconnecting. */
#include <stdio.h>
#include <string.h>

#include "address.h"
#include "encoder.h"
#include "pipe.h"

struct live_output {
    struct live_pipe *pipe;
    char *url;
};

static void setup(void *opaque, GstElement *pipeline)
{
    struct live_output *o = opaque;
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    g_object_set(sink, "location", o->url, NULL);
    gst_object_unref(sink);
}

static bool has_audio(const unreel_options *options)
{
    const char *value = unreel_options_get(options, "silent_audio");
    return value && !strcmp(value, "true");
}

static int check(struct console *console, const char *url, bool audio)
{
    static const char *const elements[] = {"h264parse", "flvmux", "rtmp2sink", NULL};
    static const char *const sound[] = {"voaacenc", "aacparse", NULL};
    GstUri *uri = gst_uri_from_string(url);
    const char *scheme = uri ? gst_uri_get_scheme(uri) : NULL;
    GList *path = uri ? gst_uri_get_path_segments(uri) : NULL;
    bool good = scheme && (!strcmp(scheme, "rtmp") || !strcmp(scheme, "rtmps")) &&
                gst_uri_get_host(uri) && *gst_uri_get_host(uri) && g_list_length(path) >= 3;
    g_list_free_full(path, g_free);
    if (uri)
        gst_uri_unref(uri);
    if (!good) {
        char *shown = address_public(url);
        console_error(console, "--rtmp %s: expected rtmp://HOST[:PORT]/APPLICATION/KEY", shown);
        g_free(shown);
        return LIVE_EUSAGE;
    }
    return encoder_elements(console, "rtmp", elements) &&
                   (!audio || encoder_elements(console, "silent-audio", sound))
               ? 0
               : -1;
}

static int rtmp_open(struct live_output **output, struct live *live, struct console *console,
                     const unreel_options *options)
{
    const char *url = unreel_options_get(options, "rtmp");
    bool audio = has_audio(options);
    int code = check(console, url, audio);
    if (code < 0)
        return code;
    struct live_output *o = g_new0(struct live_output, 1);
    o->url = g_strdup(url);
    char *name = address_public(url);
    char *launch = g_strdup_printf(
        "appsrc name=in ! h264parse ! flvmux name=mux streamable=true ! "
        "rtmp2sink name=sink async=false sync=false%s",
        audio ? " appsrc name=audio ! voaacenc bitrate=64000 ! aacparse ! queue ! mux." : "");
    const struct live_pipe_settings settings = {
        .name = name,
        .launch = launch,
        .pacing = live_pacing_of(live, &live_rtmp),
        .codec = LIVE_H264,
        .network = true,
        .setup = setup,
        .opaque = o,
    };
    o->pipe = live_pipe_open(live, console, &settings);
    g_free(launch);
    g_free(name);
    if (!o->pipe) {
        g_free(o->url);
        g_free(o);
        return -1;
    }
    *output = o;
    return 0;
}

static void rtmp_status(struct live_output *o, char *text, size_t size)
{
    live_pipe_status(o->pipe, text, size);
}

static void rtmp_counts(struct live_output *o, int64_t *pictures, int64_t *dropped)
{
    live_pipe_counts(o->pipe, pictures, dropped);
}

static int rtmp_close(struct live_output *o)
{
    live_pipe_close(o->pipe);
    g_free(o->url);
    g_free(o);
    return 0;
}

const struct live_output_class live_rtmp = {
    .name = "rtmp",
    .option = "rtmp",
    .pacing = LIVE_HOLD,
    .open = rtmp_open,
    .status = rtmp_status,
    .counts = rtmp_counts,
    .close = rtmp_close,
};
