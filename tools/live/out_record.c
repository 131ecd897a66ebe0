/* --record: fragmented MP4 under its own name, an ordinary MP4 after its end.
 *
 * A fragment is playable as soon as it is on disk; a killed program loses what is in the encoder
 * (four pictures) and one fragment. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "encoder.h"
#include "mp4_repair.h"
#include "output.h"
#include "pipe.h"

#define FRAGMENT_MS 250 /* of video; a fragment ends with the first picture after it */

struct live_output {
    struct console *console;
    struct live_pipe *pipe;
    char *path;
    struct mp4_header header;
};

/* When the end of the stream reaches the muxer, before it rewrites the file's start. */
static GstPadProbeReturn keep_header(GstPad *pad, GstPadProbeInfo *info, gpointer opaque)
{
    struct live_output *o = opaque;
    if (GST_EVENT_TYPE(GST_PAD_PROBE_INFO_EVENT(info)) == GST_EVENT_EOS)
        mp4_header_keep(&o->header, o->path);
    return GST_PAD_PROBE_OK;
}

static void setup(void *opaque, GstElement *pipeline)
{
    struct live_output *o = opaque;
    GstElement *parser = gst_bin_get_by_name(GST_BIN(pipeline), "parse");
    GstElement *file = gst_bin_get_by_name(GST_BIN(pipeline), "sink");
    GstElement *muxer = gst_bin_get_by_name(GST_BIN(pipeline), "mux");
    GstPad *pad = gst_element_get_static_pad(parser, "src");
    char made_by[64];
    snprintf(made_by, sizeof made_by, "unreel %s", unreel_version());
    gst_tag_setter_add_tags(GST_TAG_SETTER(muxer), GST_TAG_MERGE_REPLACE, GST_TAG_ENCODER, made_by,
                            NULL);
    gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, keep_header, o, NULL);
    g_object_set(file, "location", o->path, NULL);
    gst_object_unref(pad);
    gst_object_unref(muxer);
    gst_object_unref(file);
    gst_object_unref(parser);
}

static int check(struct console *console, const char *path, const unreel_options *options)
{
    static const char *const elements[] = {"h264parse", "mp4mux", "filesink", NULL};
    const char *overwrite = unreel_options_get(options, "overwrite");
    struct stat st;
    if (output_kind_of(path) != OUTPUT_MP4) {
        console_error(console, "--record %s: recordings are MP4, the name must end in .mp4", path);
        return LIVE_EUSAGE;
    }
    if (output_check(console, path) < 0)
        return -1;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        console_error(console, "%s: a recording needs a regular file", path);
        return -1;
    }
    if (stat(path, &st) == 0 && (!overwrite || strcmp(overwrite, "true"))) {
        console_error(console, "%s: is there already (--overwrite replaces it)", path);
        return -1;
    }
    return encoder_elements(console, "record", elements) ? 0 : -1;
}

/* What opening made, if no picture ever came. */
static void remove_empty(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0)
        unlink(path);
}

static int record_open(struct live_output **output, struct live *live, struct console *console,
                       const unreel_options *options)
{
    const char *path = unreel_options_get(options, "record");
    int code = check(console, path, options);
    if (code < 0)
        return code;
    char launch[256];
    snprintf(launch, sizeof launch,
             "appsrc name=in ! h264parse name=parse ! mp4mux name=mux fragment-duration=%d "
             "fragment-mode=first-moov-then-finalise ! "
             "filesink name=sink buffer-mode=unbuffered async=false sync=false",
             FRAGMENT_MS);
    struct live_output *o = g_new0(struct live_output, 1);
    o->console = console;
    o->path = g_strdup(path);
    const struct live_pipe_settings settings = {
        .name = path,
        .launch = launch,
        .pacing = live_pacing_of(live, &live_record),
        .codec = LIVE_H264,
        .setup = setup,
        .opaque = o,
    };
    o->pipe = live_pipe_open(live, console, &settings);
    if (!o->pipe) {
        remove_empty(o->path);
        g_free(o->path);
        g_free(o);
        return -1;
    }
    *output = o;
    return 0;
}

static void record_status(struct live_output *o, char *text, size_t size)
{
    live_pipe_status(o->pipe, text, size);
}

static void record_counts(struct live_output *o, int64_t *pictures, int64_t *dropped)
{
    live_pipe_counts(o->pipe, pictures, dropped);
}

static int record_close(struct live_output *o)
{
    int code = live_pipe_close(o->pipe);
    if (code < 0) {
        if (mp4_repair(&o->header, o->path) < 0)
            console_warning(o->console, "%s: may not be playable: %s", o->path, strerror(errno));
    } else {
        remove_empty(o->path);
    }
    g_free(o->path);
    g_free(o);
    return code;
}

const struct live_output_class live_record = {
    .name = "record",
    .option = "record",
    .pacing = LIVE_CONTENT,
    .open = record_open,
    .status = record_status,
    .counts = record_counts,
    .close = record_close,
};
