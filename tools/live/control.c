/* What people and scripts ask of the session while it runs. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core.h"
#include "output.h"

#define PNG_SECONDS 30 /* longest wait for a picture to be compressed: only for giving up */

static const char *const not_running = "the session does not run %s: nothing was changed";

/* With session_lock: whether there is something to ask. */
static bool is_running(struct live *live, const char *who)
{
    if (live->session)
        return true;
    g_mutex_lock(&live->lock);
    const char *when = strcmp(live->phase, "loading") ? "any more" : "yet";
    g_mutex_unlock(&live->lock);
    char reason[128];
    snprintf(reason, sizeof reason, not_running, when);
    console_error(live->console, "%s: %s", who, reason);
    return false;
}

/* With session_lock, after a change of number n was asked for: with --eager the next chunk begins
 * now, since what waits to be shown will be dropped. */
static void hurry(struct live *live, int64_t n)
{
    if (n < 0 || !live->eager)
        return;
    live->hurried = n;
    live_apply_pause(live);
}

/* After a change of number n: notes it and tells everybody, or returns the error. */
static int64_t settle(struct live *live, int64_t n, const char *who, const char *what,
                      const char *prompt, enum unreel_switch how, int64_t seed)
{
    if (n < 0)
        return n;
    player_asked(live->player, n);
    live_note_change(live, n, who, what, prompt, how, seed);
    console_info(live->console, "%s: %s %lld%s%s", who, what, (long long)n, prompt ? ": " : "",
                 prompt ? prompt : "");
    live_changed(live);
    return n;
}

int64_t live_prompt(struct live *live, const char *who, const char *prompt, enum unreel_switch how)
{
    g_mutex_lock(&live->session_lock);
    int64_t n = UNREEL_EAGAIN;
    if (is_running(live, who))
        n = unreel_session_set_prompt(live->session, prompt, how, live->eager);
    hurry(live, n);
    g_mutex_unlock(&live->session_lock);
    return settle(live, n, who, "prompt", prompt, how, -1);
}

int64_t live_seed(struct live *live, const char *who, int64_t seed)
{
    g_mutex_lock(&live->session_lock);
    int64_t n = UNREEL_EAGAIN;
    if (is_running(live, who))
        n = unreel_session_set_seed(live->session, seed);
    hurry(live, n);
    g_mutex_unlock(&live->session_lock);
    return settle(live, n, who, "seed", NULL, UNREEL_SWITCH_DEFAULT, seed);
}

int64_t live_reset(struct live *live, const char *who)
{
    g_mutex_lock(&live->session_lock);
    int64_t n = UNREEL_EAGAIN;
    if (is_running(live, who))
        n = unreel_session_reset(live->session);
    hurry(live, n);
    g_mutex_unlock(&live->session_lock);
    return settle(live, n, who, "reset", NULL, UNREEL_SWITCH_CUT, -1);
}

void live_pause(struct live *live, const char *who, bool paused)
{
    g_mutex_lock(&live->session_lock);
    bool news = live->paused != paused;
    live->paused = paused;
    live_apply_pause(live);
    g_mutex_unlock(&live->session_lock);
    if (!news)
        return;
    player_pause(live->player, paused);
    console_info(live->console, "%s: %s", who, paused ? "pause" : "goes on");
    live_changed(live);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* FOLDER/unreel-DATE-TIME.EXTENSION in "output_folder" (made if absent) or here, a name that is
 * free. NULL with the error printed. */
static char *free_name(struct live *live, const char *extension)
{
    const char *folder = unreel_options_get(live->options, "output_folder");
    time_t now = time(NULL);
    struct tm local;
    char stamp[32];
    if (folder && *folder && output_make_folder(live->console, folder) < 0)
        return NULL;
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", localtime_r(&now, &local));
    for (int i = 1;; i++) {
        char number[16] = "";
        if (i > 1)
            snprintf(number, sizeof number, "-%d", i);
        char *name = g_strdup_printf("%s%sunreel-%s%s.%s", folder && *folder ? folder : "",
                                     folder && *folder ? "/" : "", stamp, number, extension);
        if (!g_file_test(name, G_FILE_TEST_EXISTS))
            return name;
        g_free(name);
    }
}

static GstSample *to_png(struct live *live, GstBuffer *picture)
{
    static const char *const elements[] = {"pngenc", NULL};
    GError *error = NULL;
    if (!encoder_elements(live->console, "snapshot", elements))
        return NULL;
    GstSample *raw = gst_sample_new(picture, live->caps, NULL, NULL);
    GstCaps *caps = gst_caps_from_string("image/png");
    GstSample *png = gst_video_convert_sample(raw, caps, PNG_SECONDS * GST_SECOND, &error);
    if (!png)
        console_error(live->console, "snapshot: %s", error ? error->message : "no picture");
    g_clear_error(&error);
    gst_caps_unref(caps);
    gst_sample_unref(raw);
    return png;
}

static int write_sample(struct live *live, const char *path, GstSample *sample)
{
    GstMapInfo map;
    GstBuffer *buffer = gst_sample_get_buffer(sample);
    if (!gst_buffer_map(buffer, &map, GST_MAP_READ))
        return -1;
    FILE *file = fopen(path, "wbe");
    bool good = file && fwrite(map.data, 1, map.size, file) == map.size;
    if (file && fclose(file) != 0)
        good = false;
    if (!good)
        console_error(live->console, "%s: %s", path, strerror(errno));
    gst_buffer_unmap(buffer, &map);
    return good ? 0 : -1;
}

char *live_snapshot(struct live *live, const char *path)
{
    GstBuffer *picture = player_newest(live->player);
    if (!picture) {
        console_error(live->console, "snapshot: there is no picture yet");
        return NULL;
    }
    GST_BUFFER_PTS(picture) = GST_CLOCK_TIME_NONE;
    char *name = path ? g_strdup(path) : free_name(live, "png");
    GstSample *png = name ? to_png(live, picture) : NULL;
    gst_buffer_unref(picture);
    if (!png || write_sample(live, name, png) < 0)
        g_clear_pointer(&name, g_free);
    else
        console_info(live->console, "%s: saved", name);
    if (png)
        gst_sample_unref(png);
    return name;
}

/* Opens a recording; its name, NULL with the error printed. */
static char *open_recording(struct live *live, struct live_output **output)
{
    char *name = free_name(live, "mp4");
    unreel_options *options = name ? unreel_options_copy(live->options) : NULL;
    if (!options || unreel_options_set(options, "record", name) < 0 ||
        live_record.open(output, live, live->console, options) < 0)
        g_clear_pointer(&name, g_free);
    unreel_options_destroy(options);
    return name;
}

char *live_record_start(struct live *live)
{
    char *name = NULL;
    struct live_output *output;
    g_mutex_lock(&live->record_lock);
    if (live->page_recording)
        console_error(live->console, "it is being recorded already");
    else
        name = open_recording(live, &output);
    if (name) {
        struct live_open_output open = {&live_record, output, g_strdup(name),
                                        live_pacing_of(live, &live_record)};
        g_mutex_lock(&live->lock);
        live->page_recording = output;
        g_array_append_val(live->outputs, open);
        g_mutex_unlock(&live->lock);
        console_info(live->console, "%s: recording", name);
    }
    g_mutex_unlock(&live->record_lock);
    live_changed(live);
    return name;
}

int live_record_stop(struct live *live)
{
    struct live_open_output open = {0};
    int code = LIVE_ENONE;
    g_mutex_lock(&live->record_lock);
    g_mutex_lock(&live->lock);
    for (guint i = 0; live->page_recording && i < live->outputs->len; i++) {
        struct live_open_output *o = &g_array_index(live->outputs, struct live_open_output, i);
        if (o->output != live->page_recording)
            continue;
        open = *o;
        g_array_remove_index(live->outputs, i);
        break;
    }
    live->page_recording = NULL;
    g_mutex_unlock(&live->lock);
    if (open.output) {
        char *name = g_strdup(open.target);
        code = live_close_output(live, &open) < 0 ? LIVE_EBROKEN : 0;
        if (code == 0)
            console_info(live->console, "%s: recorded", name);
        g_free(name);
    }
    g_mutex_unlock(&live->record_lock);
    live_changed(live);
    return code;
}
