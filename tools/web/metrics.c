#include "metrics.h"

#include "web/web.h"

#define STALLED_SECONDS 30 /* and five times what a chunk takes */
#define STALLED_CHUNKS 5

static void put(GString *text, const char *name, const char *type, const char *help, double value)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    g_ascii_dtostr(number, sizeof number, value);
    g_string_append_printf(text, "# HELP unreel_%s %s\n# TYPE unreel_%s %s\nunreel_%s %s\n", name,
                           help, name, type, name, number);
}

static void put_stages(GString *text, const unreel_stats *stats)
{
    const struct {
        const char *name;
        double seconds;
    } stages[] = {
        {"text", stats->seconds_text},
        {"denoise", stats->seconds_denoise},
        {"cache", stats->seconds_cache},
        {"decode", stats->seconds_decode},
    };
    g_string_append(text, "# HELP unreel_stage_seconds_total Computing time by stage.\n"
                          "# TYPE unreel_stage_seconds_total counter\n");
    for (size_t i = 0; i < G_N_ELEMENTS(stages); i++) {
        char number[G_ASCII_DTOSTR_BUF_SIZE];
        g_ascii_dtostr(number, sizeof number, stages[i].seconds);
        g_string_append_printf(text, "unreel_stage_seconds_total{stage=\"%s\"} %s\n",
                               stages[i].name, number);
    }
}

static void put_chunks(GString *text, const unreel_stats *stats)
{
    char p50[G_ASCII_DTOSTR_BUF_SIZE], p99[G_ASCII_DTOSTR_BUF_SIZE];
    g_ascii_dtostr(p50, sizeof p50, stats->chunk_p50);
    g_ascii_dtostr(p99, sizeof p99, stats->chunk_p99);
    g_string_append_printf(text,
                           "# HELP unreel_chunk_seconds Time a chunk takes, of the last 512.\n"
                           "# TYPE unreel_chunk_seconds gauge\n"
                           "unreel_chunk_seconds{quantile=\"0.5\"} %s\n"
                           "unreel_chunk_seconds{quantile=\"0.99\"} %s\n",
                           p50, p99);
}

GString *metrics_text(struct web *web)
{
    struct live_state state;
    int64_t sent, dropped;
    live_state(web->live, &state);
    whep_counts(&web->whep, &sent, &dropped);
    const unreel_stats *stats = &state.stats;
    GString *text = g_string_new(NULL);
    put(text, "pictures_total", "counter", "Pictures generated.", (double)stats->pictures);
    put(text, "chunks_total", "counter", "Chunks finished.", (double)stats->chunks);
    put(text, "pictures_shown_total", "counter", "Paced pictures handed to outputs.",
        (double)state.shown);
    put(text, "pictures_late_total", "counter", "Of these after their time.", (double)state.late);
    put(text, "pictures_dropped_total", "counter", "Pictures made and dropped after a prompt.",
        (double)state.dropped);
    put(text, "pictures_per_second", "gauge", "Pictures generated a second, over the last 5 s.",
        state.pictures_per_second);
    put(text, "video_rate", "gauge", "Pictures a second at which the video plays.", stats->fps);
    put(text, "buffered_seconds", "gauge", "Video made and not yet due.", state.buffered);
    put(text, "cushion_seconds", "gauge", "Time that pictures wait to play evenly.", state.cushion);
    put(text, "change_seconds", "gauge", "From the newest change to its first picture.",
        stats->seconds_change);
    put(text, "scene", "gauge", "Number of the change in effect.", (double)stats->scene);
    put(text, "paused", "gauge", "1 while the session is paused.", stats->paused ? 1 : 0);
    put(text, "recording", "gauge", "1 while a recording by the page runs.", state.recording);
    put_stages(text, stats);
    put_chunks(text, stats);
    put(text, "memory_bytes", "gauge", "Memory on the device.",
        (double)(stats->bytes_weights + stats->bytes_cache + stats->bytes_work));
    put(text, "viewers", "gauge", "Connected browsers.", web->whep.connected);
    put(text, "viewer_pictures_total", "counter", "Pictures sent, over all viewers.", (double)sent);
    put(text, "viewer_pictures_dropped_total", "counter", "Pictures a slow viewer did not get.",
        (double)dropped);
    put(text, "control_clients", "gauge", "Open /control connections.", web->control.clients->len);
    put(text, "connections", "gauge", "Open HTTP connections.", listen_count(&web->listen));
    return text;
}

bool metrics_healthy(struct web *web, const char **health)
{
    struct live_state state;
    live_state(web->live, &state);
    gint64 now = g_get_monotonic_time();
    if (!web->watched_since || state.stats.pictures != web->watched_pictures ||
        state.stats.paused) {
        web->watched_pictures = state.stats.pictures;
        web->watched_since = now;
    }
    double patience = MAX(STALLED_SECONDS, STALLED_CHUNKS * state.stats.chunk_p99);
    bool stalled = (double)(now - web->watched_since) / G_USEC_PER_SEC > patience;
    if (state.stats.pictures == 0)
        *health = "starting";
    else if (state.stats.paused)
        *health = "paused";
    else
        *health = stalled ? "stalled" : "ok";
    return !stalled || state.stats.pictures == 0;
}
