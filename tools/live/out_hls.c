/* --hls: segments and a playlist in a folder. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "encoder.h"
#include "output.h"
#include "pipe.h"

#define PLAYLIST "live.m3u8"
#define SEGMENT "segment%05d.ts"

struct live_output {
    struct live_pipe *pipe;
    char *folder;
    int segments; /* to keep, 0: all */
    int seconds;  /* a segment */
};

static void setup(void *opaque, GstElement *pipeline)
{
    struct live_output *o = opaque;
    GstElement *sink = gst_bin_get_by_name(GST_BIN(pipeline), "hls");
    char *segment = g_build_filename(o->folder, SEGMENT, NULL);
    char *playlist = g_build_filename(o->folder, PLAYLIST, NULL);
    /* Files stay a little longer than their lines in the playlist: somebody may be reading them. */
    g_object_set(sink, "location", segment, "playlist-location", playlist, "target-duration",
                 (guint)o->seconds, "playlist-length", (guint)o->segments, "max-files",
                 (guint)(o->segments ? o->segments + 3 : 0), "send-keyframe-requests", FALSE, NULL);
    g_free(segment);
    g_free(playlist);
    gst_object_unref(sink);
}

static bool flag(const unreel_options *options, const char *name)
{
    const char *value = unreel_options_get(options, name);
    return value && !strcmp(value, "true");
}

static int check(struct console *console, const char *folder, const unreel_options *options)
{
    static const char *const elements[] = {"h264parse", "mpegtsmux", "hlssink2", NULL};
    static const char *const sound[] = {"voaacenc", "aacparse", NULL};
    if (!encoder_elements(console, "hls", elements) ||
        (flag(options, "silent_audio") && !encoder_elements(console, "silent-audio", sound)))
        return -1;
    if (output_make_folder(console, folder) < 0)
        return -1;
    if (access(folder, W_OK | X_OK) < 0) {
        console_error(console, "%s: cannot write there: %s", folder, strerror(errno));
        return -1;
    }
    char *playlist = g_build_filename(folder, PLAYLIST, NULL);
    bool taken = g_file_test(playlist, G_FILE_TEST_EXISTS) && !flag(options, "overwrite");
    if (taken)
        console_error(console, "%s: is there already (--overwrite replaces it)", playlist);
    g_free(playlist);
    return taken ? -1 : 0;
}

static int hls_open(struct live_output **output, struct live *live, struct console *console,
                    const unreel_options *options)
{
    const char *folder = unreel_options_get(options, "hls");
    const char *interval = unreel_options_get(options, "key_interval");
    if (check(console, folder, options) < 0)
        return -1;
    struct live_output *o = g_new0(struct live_output, 1);
    o->folder = g_strdup(folder);
    o->segments = atoi(unreel_options_get(options, "hls_segments"));
    o->seconds = MAX(1, (int)(atof(interval) + 0.5));
    const struct live_pipe_settings settings = {
        .name = folder,
        .launch = flag(options, "silent_audio")
                      ? "appsrc name=in ! h264parse ! hlssink2 name=hls "
                        "appsrc name=audio ! voaacenc bitrate=64000 ! aacparse ! hls.audio"
                      : "appsrc name=in ! h264parse ! hlssink2 name=hls",
        .pacing = live_pacing_of(live, &live_hls),
        .codec = LIVE_H264,
        .setup = setup,
        .opaque = o,
    };
    o->pipe = live_pipe_open(live, console, &settings);
    if (!o->pipe) {
        g_free(o->folder);
        g_free(o);
        return -1;
    }
    *output = o;
    return 0;
}

static void hls_status(struct live_output *o, char *text, size_t size)
{
    live_pipe_status(o->pipe, text, size);
}

static void hls_counts(struct live_output *o, int64_t *pictures, int64_t *dropped)
{
    live_pipe_counts(o->pipe, pictures, dropped);
}

static int hls_close(struct live_output *o)
{
    int code = live_pipe_close(o->pipe);
    g_free(o->folder);
    g_free(o);
    return code;
}

const struct live_output_class live_hls = {
    .name = "hls",
    .option = "hls",
    .pacing = LIVE_HOLD,
    .open = hls_open,
    .status = hls_status,
    .counts = hls_counts,
    .close = hls_close,
};
