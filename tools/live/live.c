/* The running session: pictures to players and encoders, outputs, the end. */
#include <gst/gst.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "core.h"
#include "gst_common.h"
#include "output_sink.h"
#include "picture.h"

#define PULL_MS 200
#define LATENT_PICTURES 4   /* pictures that come together */
#define BITS_PER_PIXEL 0.35 /* of the rate that is chosen when none is asked for */
#define KILOBITS_MIN 300
#define KILOBITS_MAX 12000

static double option_number(const unreel_options *options, const char *name)
{
    const char *text = unreel_options_get(options, name);
    return text ? atof(text) : 0;
}

static bool option_flag(const unreel_options *options, const char *name)
{
    const char *text = unreel_options_get(options, name);
    return text && !strcmp(text, "true");
}

/* ---- pictures -------------------------------------------------------------------------------- */

static void feed(struct live *live, enum live_pacing pacing, GstBuffer *picture)
{
    for (int codec = 0; codec < CODECS; codec++)
        stream_feed(live->streams[pacing][codec], picture);
}

static void on_due(void *opaque, enum live_pacing pacing, GstBuffer *picture)
{
    if (pacing == LIVE_STRETCH) /* once a picture, whoever looks at it */
        live_note_shown(opaque, (int64_t)GST_BUFFER_OFFSET(picture));
    feed(opaque, pacing, picture);
}

void live_apply_pause(struct live *live)
{
    if (live->session)
        unreel_session_pause(live->session, live->paused || (live->resting && !live->hurried));
}

static void on_rest(void *opaque, bool rest)
{
    struct live *live = opaque;
    g_mutex_lock(&live->session_lock);
    live->resting = rest;
    live_apply_pause(live);
    g_mutex_unlock(&live->session_lock);
}

/* In content time, to the outputs that are not paced. */
static void feed_content(struct live *live, GstBuffer *picture, int64_t index)
{
    GstBuffer *copy = gst_buffer_copy(picture);
    guint64 n = (guint64)live->rate, d = GST_SECOND * (guint64)live->per;
    GST_BUFFER_PTS(copy) = gst_util_uint64_scale((guint64)index, d, n);
    GST_BUFFER_DURATION(copy) =
        gst_util_uint64_scale((guint64)index + 1, d, n) - GST_BUFFER_PTS(copy);
    feed(live, LIVE_CONTENT, copy);
    gst_buffer_unref(copy);
}

static void take_stats(struct live *live)
{
    unreel_stats stats;
    live_refresh(live, &stats);
    if (stats.chunk_p50 <= 0)
        return;
    /* The pictures of a latent frame come together, the latent frames of a chunk evenly. */
    double last = stats.chunk_p50 - (live->chunk_pictures - LATENT_PICTURES) / live->fps;
    player_expect(live->player, stats.chunk_p50, MAX(stats.chunk_first, last),
                  live->chunk_pictures);
}

/* The first picture under a change: whoever waited for it need not any longer. */
static void take_change(struct live *live, const unreel_frame *frame)
{
    live_note_made(live, frame->scene, frame->index);
    player_made(live->player, frame->scene);
    g_mutex_lock(&live->session_lock);
    if (live->hurried && frame->scene >= live->hurried) {
        live->hurried = 0;
        live_apply_pause(live);
    }
    g_mutex_unlock(&live->session_lock);
    if (!live->eager)
        return;
    int dropped = player_drop(live->player);
    g_mutex_lock(&live->lock);
    live->eager_dropped += dropped;
    g_mutex_unlock(&live->lock);
}

static void take(struct live *live, const unreel_frame *frame)
{
    GstBuffer *picture = picture_copy(&live->info, frame);
    GST_BUFFER_OFFSET(picture) = (guint64)frame->index;
    if (live->stamp)
        picture_stamp(&live->info, picture, (uint32_t)frame->index);
    feed_content(live, picture, frame->index);
    if (frame->scene > live->scene)
        take_change(live, frame);
    live->scene = frame->scene;
    player_push(live->player, picture, frame->chunk);
}

static gpointer run_puller(gpointer opaque)
{
    struct live *live = opaque;
    unreel_frame *frame;
    int64_t chunk = -1;
    int code;
    while ((code = unreel_session_pull(live->session, &frame, PULL_MS)) == 0 ||
           code == UNREEL_EAGAIN) {
        if (code == UNREEL_EAGAIN)
            continue;
        if (frame->chunk != chunk)
            take_stats(live);
        chunk = frame->chunk;
        take(live, frame);
        if (live->schedule)
            schedule_run(live->schedule, live, frame->time + 1 / live->fps);
        unreel_frame_unref(frame);
    }
    take_stats(live);
    g_mutex_lock(&live->lock);
    live->result = code;
    live->pulled_all = true;
    g_mutex_unlock(&live->lock);
    return NULL;
}

/* ---- subscribing ----------------------------------------------------------------------------- */

struct live_subscription *live_subscribe(struct live *live, enum live_pacing pacing,
                                         enum live_codec codec, live_unit_fn receive, void *opaque)
{
    return stream_subscribe(live->streams[pacing][codec], receive, opaque);
}

void live_request_key(struct live_subscription *subscription)
{
    stream_request_key(subscription);
}

void live_unsubscribe(struct live_subscription *subscription)
{
    stream_unsubscribe(subscription);
}

GstClock *live_clock(struct live *live)
{
    return gst_object_ref(live->clock);
}

GstClockTime live_base_time(struct live *live)
{
    return live->base_time;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void read_encoder_settings(struct encoder_settings *settings, const struct live *live)
{
    const unreel_options *o = live->options;
    double pixels = (double)GST_VIDEO_INFO_WIDTH(&live->info) * GST_VIDEO_INFO_HEIGHT(&live->info);
    double chosen = CLAMP(pixels * live->fps * BITS_PER_PIXEL / 1000, KILOBITS_MIN, KILOBITS_MAX);
    int asked = (int)option_number(o, "bitrate");
    settings->wanted = unreel_options_get(o, "encoder");
    settings->kilobits = asked ? asked : (int)chosen;
    settings->key_pictures = MAX(1, (int)(option_number(o, "key_interval") * live->fps + 0.5));
}

static void open_streams(struct live *live)
{
    struct encoder_settings settings;
    read_encoder_settings(&settings, live);
    for (int pacing = 0; pacing < PACINGS; pacing++)
        for (int codec = 0; codec < CODECS; codec++)
            live->streams[pacing][codec] =
                stream_open(live->console, (enum live_pacing)pacing, (enum live_codec)codec,
                            &settings, live->caps);
}

static void open_player(struct live *live)
{
    struct player_settings settings = {
        .clock = live->clock,
        .base_time = live->base_time,
        .rate = live->rate,
        .per = live->per,
        .cushion = live->cushion,
        .emit = on_due,
        .rest = on_rest,
        .opaque = live,
    };
    live->player = player_open(&settings);
}

struct live *live_open(struct console *console, const unreel_options *options)
{
    static const char *const basics[] = {"appsrc", "appsink", "videoconvert", NULL};
    if (gst_start(console) < 0 || !encoder_elements(console, "live", basics))
        return NULL;
    struct live *live = g_new0(struct live, 1);
    live->console = console;
    live->options = options;
    g_mutex_init(&live->session_lock);
    g_mutex_init(&live->record_lock);
    g_mutex_init(&live->lock);
    g_mutex_init(&live->watch_lock);
    g_cond_init(&live->wake);
    live->outputs = g_array_new(FALSE, TRUE, sizeof(struct live_open_output));
    live->phase = "loading";
    live->clock = gst_system_clock_obtain();
    live->base_time = gst_clock_get_time(live->clock);
    live->fps = option_number(options, "fps");
    output_rate(live->fps, &live->rate, &live->per);
    picture_info(&live->info, (int)option_number(options, "width"),
                 (int)option_number(options, "height"), live->rate, live->per);
    live->caps = gst_video_info_to_caps(&live->info);
    live->cushion = (GstClockTime)(option_number(options, "latency") * 1e9);
    live->stamp = option_flag(options, "stamp");
    live->eager = option_flag(options, "eager");
    live->scene = -1;
    live->chunk_pictures =
        LATENT_PICTURES * MAX(1, (int)option_number(options, "num_frame_per_block"));
    open_streams(live);
    open_player(live);
    live->ticker = g_thread_new("ticker", live_run_ticker, live);
    return live;
}

/* ---- outputs --------------------------------------------------------------------------------- */

/* One output for one value of its option. */
static int open_output(struct live *live, const struct live_output_class *class, const char *value)
{
    struct live_open_output open = {.class = class};
    unreel_options *options = unreel_options_copy(live->options);
    int code = !options ? -1 : unreel_options_set(options, class->option, value);
    if (code == 0)
        code = class->open(&open.output, live, live->console, options);
    unreel_options_destroy(options);
    if (code < 0)
        return code == LIVE_EUSAGE ? EXIT_USAGE : EXIT_ERROR;
    open.pacing = live_pacing_of(live, class);
    open.target = strcmp(value, "true") ? address_public(value) : NULL;
    g_mutex_lock(&live->lock);
    g_array_append_val(live->outputs, open);
    g_mutex_unlock(&live->lock);
    return 0;
}

int live_open_outputs(struct live *live, const struct live_output_class *const *classes)
{
    int code = 0;
    for (; code == 0 && *classes; classes++) {
        const char *value = unreel_options_get(live->options, (*classes)->option);
        if (!value || !*value || !strcmp(value, "false"))
            continue;
        char **lines = g_strsplit(value, "\n", 0);
        for (char **line = lines; code == 0 && *line; line++)
            if (**line)
                code = open_output(live, *classes, *line);
        g_strfreev(lines);
    }
    return code;
}

/* "rtmp=stretch,record=hold" was checked before anything was opened. */
enum live_pacing live_pacing_of(struct live *live, const struct live_output_class *class)
{
    static const char *const names[] = {"stretch", "hold", "content"};
    const char *text = unreel_options_get(live->options, "pacing");
    enum live_pacing pacing = class->pacing;
    char **entries = g_strsplit(text ? text : "", ",", 0);
    for (char **entry = entries; *entry; entry++) {
        char *equals = strchr(*entry, '=');
        if (!equals || strncmp(*entry, class->name, (size_t)(equals - *entry)) ||
            class->name[equals - *entry])
            continue;
        for (int i = 0; i < PACINGS; i++)
            if (!strcmp(equals + 1, names[i]))
                pacing = (enum live_pacing)i;
    }
    g_strfreev(entries);
    return pacing;
}

bool live_is_dead(struct live *live)
{
    g_mutex_lock(&live->lock);
    bool dead = live->outputs->len > 0, broken = false;
    for (guint i = 0; i < live->outputs->len; i++) {
        struct live_open_output *o = &g_array_index(live->outputs, struct live_open_output, i);
        char status[128] = "";
        o->class->status(o->output, status, sizeof status);
        dead = dead && !strcmp(status, "failed");
    }
    g_mutex_unlock(&live->lock);
    for (int pacing = 0; pacing < PACINGS; pacing++)
        for (int codec = 0; codec < CODECS; codec++)
            broken = broken || stream_has_failed(live->streams[pacing][codec]);
    return dead || broken;
}

int live_close_output(struct live *live, struct live_open_output *open)
{
    int code = open->class->close(open->output);
    g_free(open->target);
    *open = (struct live_open_output){0};
    if (code < 0) {
        g_mutex_lock(&live->lock);
        live->file_failed = true;
        g_mutex_unlock(&live->lock);
    }
    return code;
}

static void close_outputs(struct live *live)
{
    for (;;) {
        g_mutex_lock(&live->lock);
        struct live_open_output open = {0};
        if (live->outputs->len) {
            open = g_array_index(live->outputs, struct live_open_output, 0);
            g_array_remove_index(live->outputs, 0);
        }
        g_mutex_unlock(&live->lock);
        if (!open.class)
            return;
        live_close_output(live, &open);
    }
}

/* ---- starting and ending --------------------------------------------------------------------- */

void live_set_schedule(struct live *live, struct schedule *schedule)
{
    live->schedule = schedule;
}

void live_start(struct live *live, unreel_session *session, const char *prompt, int64_t seed)
{
    live_note_change(live, 0, "command line", "prompt", prompt, UNREEL_SWITCH_CUT, seed);
    g_mutex_lock(&live->lock);
    live->seed = seed;
    live->phase = "running";
    g_mutex_unlock(&live->lock);
    g_mutex_lock(&live->session_lock);
    live->session = session;
    live_apply_pause(live);
    g_mutex_unlock(&live->session_lock);
    live->puller = g_thread_new("pictures", run_puller, live);
    live_changed(live);
}

void live_stop(struct live *live)
{
    g_mutex_lock(&live->lock);
    live->stop = true;
    g_mutex_unlock(&live->lock);
}

bool live_is_stopping(struct live *live)
{
    struct player_numbers numbers;
    player_numbers(live->player, &numbers);
    g_mutex_lock(&live->lock);
    bool stopping = live->stop || (live->pulled_all && !numbers.waiting);
    g_mutex_unlock(&live->lock);
    return stopping;
}

/* Everything that was made reaches the recordings; what is paced only with `drain`. */
static void end_pictures(struct live *live, bool drain)
{
    if (live->session && !drain)
        unreel_session_cancel(live->session);
    if (!drain)
        player_end(live->player, false);
    if (live->puller)
        g_thread_join(live->puller);
    live->puller = NULL;
    if (drain)
        player_end(live->player, true);
    for (int pacing = 0; pacing < PACINGS; pacing++)
        for (int codec = 0; codec < CODECS; codec++)
            stream_end(live->streams[pacing][codec]);
}

static void end_session(struct live *live)
{
    g_mutex_lock(&live->session_lock);
    unreel_session *session = live->session;
    live->session = NULL;
    g_mutex_unlock(&live->session_lock);
    unreel_session_close(session);
}

void live_drain(struct live *live)
{
    g_mutex_lock(&live->lock);
    bool drain = live->pulled_all && !live->stop, again = live->drained;
    live->drained = true;
    g_mutex_unlock(&live->lock);
    if (again)
        return;
    live_set_phase(live, "ending");
    end_pictures(live, drain);
}

int live_finish(struct live *live)
{
    live_drain(live);
    live_record_stop(live);
    close_outputs(live);
    end_session(live);
    live_set_phase(live, "ended");
    g_mutex_lock(&live->lock);
    bool good = live->result == 0 || live->result == UNREEL_END || live->result == UNREEL_ECANCELED;
    good = good && !live->file_failed;
    g_mutex_unlock(&live->lock);
    return good ? EXIT_OK : EXIT_ERROR;
}

void live_close(struct live *live)
{
    g_mutex_lock(&live->lock);
    live->ticker_ends = true;
    g_cond_broadcast(&live->wake);
    g_mutex_unlock(&live->lock);
    g_thread_join(live->ticker);
    for (int pacing = 0; pacing < PACINGS; pacing++)
        for (int codec = 0; codec < CODECS; codec++)
            stream_close(live->streams[pacing][codec]);
    player_close(live->player);
    live_free_history(live);
    g_array_free(live->outputs, TRUE);
    gst_caps_unref(live->caps);
    gst_object_unref(live->clock);
    g_mutex_clear(&live->session_lock);
    g_mutex_clear(&live->record_lock);
    g_mutex_clear(&live->lock);
    g_mutex_clear(&live->watch_lock);
    g_cond_clear(&live->wake);
    g_free(live->prompt);
    g_free(live);
}
