/* --srt: MPEG-TS over SRT, calling a receiver or listening for any number of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "encoder.h"
#include "pipe.h"

struct live_output {
    struct live_pipe *pipe;
    char *uri;
    bool listens;
};

/* Whoever comes in need not wait for the next key picture. */
static void on_caller(GstElement *sink, int socket, GObject *address, gpointer opaque)
{
    struct live_output *o = opaque;
    if (o->pipe)
        live_pipe_request_key(o->pipe);
}

static void setup(void *opaque, GstElement *pipeline)
{
    struct live_output *o = opaque;
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    g_object_set(sink, "uri", o->uri, "wait-for-connection", FALSE, NULL);
    if (g_object_class_find_property(G_OBJECT_GET_CLASS(sink), "auto-reconnect"))
        g_object_set(sink, "auto-reconnect", FALSE, NULL); /* the pipe does that, and says so */
    g_signal_connect(sink, "caller-added", G_CALLBACK(on_caller), o);
    gst_object_unref(sink);
}

/* srt://HOST:PORT or srt://[HOST]:PORT?mode=listener. */
static bool read_uri(const char *text, bool *listens)
{
    GstUri *uri = gst_uri_from_string(text);
    if (!uri)
        return false;
    const char *host = gst_uri_get_host(uri), *mode = gst_uri_get_query_value(uri, "mode");
    const char *scheme = gst_uri_get_scheme(uri);
    bool has_host = host && *host;
    guint port = gst_uri_get_port(uri);
    bool known = !mode || !strcmp(mode, "listener") || !strcmp(mode, "caller") ||
                 !strcmp(mode, "rendezvous");
    *listens = mode ? !strcmp(mode, "listener") : !has_host;
    bool good = scheme && !strcmp(scheme, "srt") && port > 0 && port < 65536 && known &&
                (has_host || *listens);
    gst_uri_unref(uri);
    return good;
}

static int srt_open(struct live_output **output, struct live *live, struct console *console,
                    const unreel_options *options)
{
    static const char *const elements[] = {"h264parse", "mpegtsmux", "srtsink", NULL};
    const char *uri = unreel_options_get(options, "srt");
    bool listens;
    char *name = address_public(uri);
    if (!read_uri(uri, &listens)) {
        console_error(console, "--srt %s: expected srt://HOST:PORT, or srt://:PORT?mode=listener",
                      name);
        g_free(name);
        return LIVE_EUSAGE;
    }
    if (!encoder_elements(console, "srt", elements)) {
        g_free(name);
        return -1;
    }
    struct live_output *o = g_new0(struct live_output, 1);
    o->uri = g_strdup(uri);
    const struct live_pipe_settings settings = {
        .name = name,
        .launch = "appsrc name=in ! h264parse config-interval=-1 ! mpegtsmux alignment=7 ! "
                  "srtsink name=sink async=false sync=false",
        .pacing = live_pacing_of(live, &live_srt),
        .codec = LIVE_H264,
        .network = true,
        .listens = listens,
        .setup = setup,
        .opaque = o,
    };
    o->pipe = live_pipe_open(live, console, &settings);
    g_free(name);
    if (!o->pipe) {
        g_free(o->uri);
        g_free(o);
        return -1;
    }
    *output = o;
    return 0;
}

static void srt_status(struct live_output *o, char *text, size_t size)
{
    live_pipe_status(o->pipe, text, size);
}

static void srt_counts(struct live_output *o, int64_t *pictures, int64_t *dropped)
{
    live_pipe_counts(o->pipe, pictures, dropped);
}

static int srt_close(struct live_output *o)
{
    live_pipe_close(o->pipe);
    g_free(o->uri);
    g_free(o);
    return 0;
}

const struct live_output_class live_srt = {
    .name = "srt",
    .option = "srt",
    .pacing = LIVE_HOLD,
    .open = srt_open,
    .status = srt_status,
    .counts = srt_counts,
    .close = srt_close,
};
