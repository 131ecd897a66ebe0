/* The state of the session for people and programs, and who is told when it changes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core.h"

static double seconds_now(const struct live *live)
{
    return (double)(gst_clock_get_time(live->clock) - live->base_time) / 1e9;
}

/* ---- history --------------------------------------------------------------------------------- */

static void change_free(gpointer opaque)
{
    struct live_change *change = opaque;
    g_free(change->who);
    g_free(change->what);
    g_free(change->prompt);
    g_free(change);
}

void live_free_history(struct live *live)
{
    g_queue_clear_full(&live->history, change_free);
}

void live_note_change(struct live *live, int64_t number, const char *who, const char *what,
                      const char *prompt, enum unreel_switch how, int64_t seed)
{
    struct live_change *change = g_new0(struct live_change, 1);
    *change = (struct live_change){
        number, seconds_now(live), g_strdup(who), g_strdup(what), g_strdup(prompt), how, seed, -1,
        0};
    g_mutex_lock(&live->lock);
    if (number <= live->made_scene) /* made before whoever asked came to note it */
        change->picture = live->made_picture;
    g_queue_push_tail(&live->history, change);
    if (live->history.length > HISTORY_MAX)
        change_free(g_queue_pop_head(&live->history));
    if (prompt) {
        g_free(live->prompt);
        live->prompt = g_strdup(prompt);
        live->how = how;
    }
    if (seed >= 0)
        live->seed = seed;
    g_mutex_unlock(&live->lock);
}

/* The first picture of a scene: all changes up to it are in effect. */
void live_note_made(struct live *live, int64_t scene, int64_t picture)
{
    g_mutex_lock(&live->lock);
    live->made_scene = scene;
    live->made_picture = picture;
    for (GList *l = live->history.tail; l; l = l->prev) {
        struct live_change *change = l->data;
        if (change->number <= scene && change->picture >= 0)
            break;
        if (change->number <= scene)
            change->picture = picture;
    }
    g_mutex_unlock(&live->lock);
}

/* A picture that is due now. */
void live_note_shown(struct live *live, int64_t picture)
{
    double now = seconds_now(live);
    g_mutex_lock(&live->lock);
    for (GList *l = live->history.tail; l; l = l->prev) {
        struct live_change *change = l->data;
        if (change->shown > 0)
            break;
        if (change->picture >= 0 && change->picture <= picture)
            change->shown = now - change->seconds;
    }
    g_mutex_unlock(&live->lock);
}

/* ---- watching -------------------------------------------------------------------------------- */

void live_changed(struct live *live)
{
    g_mutex_lock(&live->lock);
    live->news = true;
    g_cond_broadcast(&live->wake);
    g_mutex_unlock(&live->lock);
}

void live_set_phase(struct live *live, const char *phase)
{
    g_mutex_lock(&live->lock);
    live->phase = phase;
    g_mutex_unlock(&live->lock);
    live_changed(live);
}

void live_watch(struct live *live, void (*changed)(void *opaque), void *opaque)
{
    g_mutex_lock(&live->watch_lock);
    live->changed = changed;
    live->changed_opaque = opaque;
    g_mutex_unlock(&live->watch_lock);
}

void live_refresh(struct live *live, unreel_stats *stats)
{
    g_mutex_lock(&live->session_lock);
    bool runs = live->session != NULL;
    if (runs)
        unreel_session_stats(live->session, stats);
    bool paused = live->paused;
    g_mutex_unlock(&live->session_lock);
    g_mutex_lock(&live->lock);
    if (runs)
        live->stats = *stats;
    live->stats.paused = paused; /* resting between chunks is no pause */
    *stats = live->stats;
    g_mutex_unlock(&live->lock);
}

/* Once a second, for rates. */
static void sample(struct live *live)
{
    unreel_stats stats;
    live_refresh(live, &stats);
    g_mutex_lock(&live->lock);
    memmove(live->before + 1, live->before, RATE_SECONDS * sizeof *live->before);
    memmove(live->before_time + 1, live->before_time, RATE_SECONDS * sizeof *live->before_time);
    live->before[0] = live->stats;
    live->before_time[0] = seconds_now(live);
    live->before_count = MIN(live->before_count + 1, RATE_SECONDS + 1);
    g_mutex_unlock(&live->lock);
}

gpointer live_run_ticker(gpointer opaque)
{
    struct live *live = opaque;
    gint64 next = g_get_monotonic_time() + G_TIME_SPAN_SECOND;
    for (;;) {
        g_mutex_lock(&live->lock);
        while (!live->news && !live->ticker_ends &&
               g_cond_wait_until(&live->wake, &live->lock, next))
            ;
        bool ends = live->ticker_ends;
        live->news = false;
        g_mutex_unlock(&live->lock);
        if (ends)
            return NULL;
        if (g_get_monotonic_time() >= next) {
            sample(live);
            next += G_TIME_SPAN_SECOND;
        }
        g_mutex_lock(&live->watch_lock);
        if (live->changed)
            live->changed(live->changed_opaque);
        g_mutex_unlock(&live->watch_lock);
    }
}

/* ---- numbers --------------------------------------------------------------------------------- */

char *live_prompt_text(struct live *live)
{
    g_mutex_lock(&live->lock);
    char *prompt = g_strdup(live->prompt);
    g_mutex_unlock(&live->lock);
    return prompt;
}

void live_set_viewers(struct live *live, int viewers)
{
    g_mutex_lock(&live->lock);
    live->viewers = viewers;
    g_mutex_unlock(&live->lock);
}

static double rate(const struct live *live, double now, double before)
{
    double span = live->before_count > 1
                      ? live->before_time[0] - live->before_time[live->before_count - 1]
                      : 0;
    return span > 0 ? (now - before) / span : 0;
}

/* Seconds a chunk of the last chunks. */
static double per_chunk(const struct live *live, size_t offset)
{
    const unreel_stats *new = &live->before[0],
                       *old = &live->before[MAX(0, live->before_count - 1)];
    const double *a = (const double *)((const char *)new + offset);
    const double *b = (const double *)((const char *)old + offset);
    if (new->chunks > old->chunks)
        return (*a - *b) / (double)(new->chunks - old->chunks);
    return new->chunks ? *a / (double)new->chunks : 0;
}

/* With the lock. */
static void fill_state(struct live *live, struct live_state *state,
                       const struct player_numbers *player)
{
    const unreel_stats *old = &live->before[MAX(0, live->before_count - 1)];
    *state = (struct live_state){
        .stats = live->stats,
        .pictures_per_second = rate(live, (double)live->before[0].pictures, (double)old->pictures),
        .cushion = (double)live->cushion / 1e9,
        .buffered = (player->waiting + live->stats.pictures_waiting) / live->fps,
        .shown = player->shown,
        .late = player->late,
        .dropped = live->stats.pictures_dropped + live->eager_dropped,
        .recording = live->page_recording != NULL,
        .viewers = live->viewers,
    };
}

void live_state(struct live *live, struct live_state *state)
{
    struct player_numbers player;
    unreel_stats stats;
    live_refresh(live, &stats);
    player_numbers(live->player, &player);
    g_mutex_lock(&live->lock);
    fill_state(live, state, &player);
    g_mutex_unlock(&live->lock);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void put_name(GString *json, const char *name)
{
    char last = json->len ? json->str[json->len - 1] : 0;
    if (last && last != '{' && last != '[')
        g_string_append(json, ", ");
    if (name)
        g_string_append_printf(json, "\"%s\": ", name);
}

static void put_text(GString *json, const char *name, const char *text)
{
    put_name(json, name);
    if (!text) {
        g_string_append(json, "null");
        return;
    }
    char *valid = g_utf8_make_valid(text, -1);
    g_string_append_c(json, '"');
    for (const char *c = valid; *c; c++) {
        if (*c == '"' || *c == '\\')
            g_string_append_printf(json, "\\%c", *c);
        else if ((unsigned char)*c < 0x20 || *c == 0x7f)
            g_string_append_printf(json, "\\u%04x", *c);
        else
            g_string_append_c(json, *c);
    }
    g_string_append_c(json, '"');
    g_free(valid);
}

static void put_int(GString *json, const char *name, int64_t value)
{
    put_name(json, name);
    g_string_append_printf(json, "%" G_GINT64_FORMAT, value);
}

static void put_number(GString *json, const char *name, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    put_name(json, name);
    g_string_append(json,
                    isfinite(value) ? g_ascii_formatd(text, sizeof text, "%.6g", value) : "null");
}

static void put_flag(GString *json, const char *name, bool value)
{
    put_name(json, name);
    g_string_append(json, value ? "true" : "false");
}

static const char *how_text(const struct live *live, enum unreel_switch how)
{
    static const char *const names[] = {NULL, "blend", "recache", "cut"};
    const char *usual = unreel_options_get(live->options, "prompt_switch");
    return how == UNREEL_SWITCH_DEFAULT ? usual : names[how];
}

static const char *const pacing_names[] = {"stretch", "hold", "content"};

static void put_stages(GString *json, const struct live *live)
{
    put_name(json, "stages");
    g_string_append_c(json, '{');
    put_number(json, "text", live->stats.seconds_text);
    put_number(json, "denoise", per_chunk(live, offsetof(unreel_stats, seconds_denoise)));
    put_number(json, "cache", per_chunk(live, offsetof(unreel_stats, seconds_cache)));
    put_number(json, "decode", per_chunk(live, offsetof(unreel_stats, seconds_decode)));
    put_number(json, "chunk_p50", live->stats.chunk_p50);
    put_number(json, "chunk_p99", live->stats.chunk_p99);
    put_number(json, "chunk_first", live->stats.chunk_first);
    put_number(json, "first", live->stats.seconds_first);
    g_string_append_c(json, '}');
}

static void put_encoders(GString *json, const struct live *live)
{
    static const char *const codecs[] = {"h264", "vp8"};
    put_name(json, "encoders");
    g_string_append_c(json, '[');
    for (int pacing = 0; pacing < PACINGS; pacing++) {
        for (int codec = 0; codec < 2; codec++) {
            const struct encoder *encoder = stream_encoder(live->streams[pacing][codec]);
            if (!encoder)
                continue;
            put_name(json, NULL);
            g_string_append_c(json, '{');
            put_text(json, "pacing", pacing_names[pacing]);
            put_text(json, "codec", codecs[codec]);
            put_text(json, "encoder", encoder->name);
            g_string_append_c(json, '}');
        }
    }
    g_string_append_c(json, ']');
}

static void put_outputs(GString *json, const struct live *live)
{
    put_name(json, "outputs");
    g_string_append_c(json, '[');
    for (guint i = 0; i < live->outputs->len; i++) {
        struct live_open_output *o = &g_array_index(live->outputs, struct live_open_output, i);
        int64_t pictures = 0, dropped = 0;
        char status[128] = "";
        o->class->status(o->output, status, sizeof status);
        o->class->counts(o->output, &pictures, &dropped);
        put_name(json, NULL);
        g_string_append_c(json, '{');
        put_text(json, "name", o->class->name);
        put_text(json, "target", o->target);
        put_text(json, "pacing", pacing_names[o->pacing]);
        put_text(json, "status", status);
        put_int(json, "pictures", pictures);
        put_int(json, "dropped", dropped);
        g_string_append_c(json, '}');
    }
    g_string_append_c(json, ']');
}

static void put_history(GString *json, const struct live *live)
{
    put_name(json, "history");
    g_string_append_c(json, '[');
    for (GList *l = live->history.head; l; l = l->next) {
        const struct live_change *c = l->data;
        put_name(json, NULL);
        g_string_append_c(json, '{');
        put_int(json, "number", c->number);
        put_number(json, "seconds", c->seconds);
        put_text(json, "who", c->who);
        put_text(json, "what", c->what);
        if (c->prompt) {
            put_text(json, "prompt", c->prompt);
            put_text(json, "how", how_text(live, c->how));
        }
        if (c->seed >= 0)
            put_int(json, "seed", c->seed);
        if (c->picture >= 0)
            put_int(json, "picture", c->picture);
        if (c->shown > 0)
            put_number(json, "shown", c->shown);
        g_string_append_c(json, '}');
    }
    g_string_append_c(json, ']');
}

static void put_numbers(GString *json, const struct live *live, const struct live_state *state,
                        const struct player_numbers *player)
{
    const unreel_stats *s = &state->stats;
    put_int(json, "width", GST_VIDEO_INFO_WIDTH(&live->info));
    put_int(json, "height", GST_VIDEO_INFO_HEIGHT(&live->info));
    put_number(json, "fps", live->fps);
    put_number(json, "seconds", seconds_now(live));
    put_int(json, "pictures", s->pictures);
    put_int(json, "pictures_total", s->pictures_total);
    put_int(json, "chunks", s->chunks);
    put_int(json, "shown", state->shown);
    put_int(json, "late", state->late);
    put_int(json, "dropped", state->dropped);
    put_number(json, "pictures_per_second", state->pictures_per_second);
    put_number(json, "cushion", state->cushion);
    put_number(json, "buffered", state->buffered);
    put_number(json, "latency", player->latency);
    put_number(json, "change_seconds", s->seconds_change);
}

char *live_state_json(struct live *live)
{
    struct player_numbers player;
    struct live_state state;
    GString *json = g_string_new("{");
    unreel_stats stats;
    live_refresh(live, &stats);
    player_numbers(live->player, &player);
    g_mutex_lock(&live->lock);
    fill_state(live, &state, &player);
    put_text(json, "version", unreel_version());
    put_text(json, "phase", live->phase);
    put_flag(json, "paused", state.stats.paused);
    put_text(json, "prompt", live->prompt);
    put_text(json, "how", how_text(live, live->how));
    put_int(json, "seed", live->seed);
    put_text(json, "prompt_switch", unreel_options_get(live->options, "prompt_switch"));
    put_int(json, "scene", state.stats.scene);
    put_int(json, "scene_asked", state.stats.scene_asked);
    put_numbers(json, live, &state, &player);
    put_stages(json, live);
    put_name(json, "bytes");
    g_string_append_printf(json,
                           "{\"weights\": %" G_GUINT64_FORMAT ", \"cache\": %" G_GUINT64_FORMAT
                           ", \"work\": %" G_GUINT64_FORMAT "}",
                           state.stats.bytes_weights, state.stats.bytes_cache,
                           state.stats.bytes_work);
    put_encoders(json, live);
    put_outputs(json, live);
    put_flag(json, "recording", state.recording);
    put_int(json, "viewers", state.viewers);
    put_history(json, live);
    g_mutex_unlock(&live->lock);
    g_string_append_c(json, '}');
    return g_string_free(json, FALSE);
}
