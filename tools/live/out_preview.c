/* --preview: a window of its own thread. Pictures come when they are due; the newest is shown. */
#include <string.h>

#include "preview.h"

#define WAIT_MS 100 /* how often the end is looked for while nothing happens */

struct live_output {
    struct preview preview;
    struct live_subscription *subscription;
    GThread *thread;
    GMutex lock; /* of all below */
    GCond opened;
    int code; /* 1: not opened yet; 0; -1 */
    bool ends, closed;
    GstSample *newest; /* not shown yet */
    int64_t shown, skipped;
    Uint32 event; /* a picture has come */
};

static void receive(void *opaque, GstSample *sample, bool key)
{
    struct live_output *o = opaque;
    g_mutex_lock(&o->lock);
    if (o->newest) {
        gst_sample_unref(o->newest);
        o->skipped++;
    }
    o->newest = gst_sample_ref(sample);
    bool closed = o->closed;
    g_mutex_unlock(&o->lock);
    SDL_Event event = {.type = o->event};
    if (!closed)
        SDL_PushEvent(&event);
}

static GstSample *take(struct live_output *o)
{
    g_mutex_lock(&o->lock);
    GstSample *sample = o->newest;
    o->newest = NULL;
    if (sample)
        o->shown++;
    g_mutex_unlock(&o->lock);
    return sample;
}

static bool ends(struct live_output *o)
{
    g_mutex_lock(&o->lock);
    bool ending = o->ends;
    g_mutex_unlock(&o->lock);
    return ending;
}

static void run_window(struct live_output *o)
{
    SDL_Event event;
    while (!o->preview.quit && !ends(o)) {
        bool draw = false;
        if (SDL_WaitEventTimeout(&event, WAIT_MS))
            do
                draw = preview_handle(&o->preview, &event) || draw;
            while (SDL_PollEvent(&event));
        GstSample *sample = take(o);
        if (sample || draw)
            preview_show(&o->preview, sample);
        if (sample)
            gst_sample_unref(sample);
    }
}

static gpointer window_thread(gpointer opaque)
{
    struct live_output *o = opaque;
    int code = preview_open(&o->preview);
    g_mutex_lock(&o->lock);
    o->event = code == 0 ? SDL_RegisterEvents(1) : 0;
    o->code = code;
    g_cond_signal(&o->opened);
    g_mutex_unlock(&o->lock);
    if (code < 0)
        return NULL;
    run_window(o);
    g_mutex_lock(&o->lock);
    o->closed = true;
    bool by_person = !o->ends;
    g_mutex_unlock(&o->lock);
    preview_close(&o->preview);
    if (by_person)
        live_stop(o->preview.live);
    return NULL;
}

static int preview_output_close(struct live_output *o)
{
    g_mutex_lock(&o->lock);
    o->ends = true;
    g_mutex_unlock(&o->lock);
    if (o->subscription)
        live_unsubscribe(o->subscription);
    g_thread_join(o->thread);
    if (o->newest)
        gst_sample_unref(o->newest);
    g_mutex_clear(&o->lock);
    g_cond_clear(&o->opened);
    g_free(o);
    return 0;
}

static int number(const unreel_options *options, const char *name)
{
    const char *text = unreel_options_get(options, name);
    return text ? (int)g_ascii_strtoll(text, NULL, 10) : 0;
}

static int preview_output_open(struct live_output **output, struct live *live, struct console *console,
                               const unreel_options *options)
{
    struct live_output *o = g_new0(struct live_output, 1);
    o->preview = (struct preview){.live = live,
                                  .console = console,
                                  .how = UNREEL_SWITCH_DEFAULT,
                                  .width = number(options, "width"),
                                  .height = number(options, "height")};
    o->code = 1;
    g_mutex_init(&o->lock);
    g_cond_init(&o->opened);
    o->thread = g_thread_new("window", window_thread, o);
    g_mutex_lock(&o->lock);
    while (o->code == 1)
        g_cond_wait(&o->opened, &o->lock);
    g_mutex_unlock(&o->lock);
    if (o->code == 0)
        o->subscription = live_subscribe(live, live_pacing_of(live, &live_preview), LIVE_RAW, receive, o);
    if (!o->subscription) {
        preview_output_close(o);
        return -1;
    }
    *output = o;
    return 0;
}

static void preview_status(struct live_output *o, char *text, size_t size)
{
    g_mutex_lock(&o->lock);
    g_strlcpy(text, o->closed ? "closed" : "open", size);
    g_mutex_unlock(&o->lock);
}

static void preview_counts(struct live_output *o, int64_t *pictures, int64_t *dropped)
{
    g_mutex_lock(&o->lock);
    *pictures = o->shown;
    *dropped = o->skipped;
    g_mutex_unlock(&o->lock);
}

const struct live_output_class live_preview = {
    .name = "preview",
    .option = "preview",
    .pacing = LIVE_STRETCH,
    .open = preview_output_open,
    .status = preview_status,
    .counts = preview_counts,
    .close = preview_output_close,
};
