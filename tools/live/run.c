/* `unreel live`: options, the order of opening and closing, stdin, signals. */
#include <errno.h>
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "core.h"
#include "image.h"
#include "interrupt.h"
#include "model_default.h"
#include "paths.h"
#include "picture.h"

#define LOOK_MS 50 /* how often signals and the end are looked for */

/* In the order of --help. What was not built in says so when it is asked for. */
static const struct live_output_class *const classes[] = {
#ifdef HAVE_SDL2
    &live_preview,
#endif
    &live_rtmp,    &live_srt, &live_hls, &live_record,
#ifdef HAVE_SOUP
    &live_webrtc,
#endif
    &live_v4l2,    NULL,
};

static const struct {
    const char *option, *package;
} absent[] = {
#ifndef HAVE_SDL2
    {"preview", "SDL2 (libsdl2-dev libsdl2-ttf-dev libfontconfig-dev)"},
#endif
#ifndef HAVE_SOUP
    {"webrtc", "libsoup (libsoup-3.0-dev) or GStreamer's WebRTC (libgstreamer-plugins-bad1.0-dev)"},
#endif
    {NULL, NULL},
};

struct run {
    struct console *console;
    const struct arguments *arguments;
    unreel_options *options;
    struct schedule *schedule;
    struct live *live;
    unreel_engine *engine;
    unreel_session *session;
    GThread *loader; /* NULL: it has come back */
    gint loaded, load_code;
    GMainLoop *loop;
    GString *typed; /* of stdin: the line so far */
    bool too_long;  /* it is longer than any prompt: its rest is skipped */
    guint stdin_source;
    int signal;
    bool dead; /* no output takes pictures any more */
    gint64 next_json;
};

static const char *option(const struct run *r, const char *name)
{
    const char *value = unreel_options_get(r->options, name);
    return value && *value ? value : NULL;
}

/* ---- options --------------------------------------------------------------------------------- */

static bool is_wanted(const struct run *r, const char *name)
{
    return option(r, name) && strcmp(option(r, name), "false");
}

static int check_outputs(struct run *r)
{
    bool any = false;
    for (size_t i = 0; absent[i].option; i++) {
        if (is_wanted(r, absent[i].option)) {
            console_error(r->console, "--%s is not in this build: %s was missing", absent[i].option,
                          absent[i].package);
            return EXIT_ERROR;
        }
    }
    for (size_t i = 0; classes[i]; i++)
        any = any || is_wanted(r, classes[i]->option);
    if (any)
        return 0;
    console_error(r->console, "where should the video go? --preview, --rtmp URL, --srt URI, --hls "
                              "FOLDER, --record FILE, --webrtc [HOST:]PORT or --v4l2 DEVICE, any "
                              "number of them");
    return EXIT_USAGE;
}

static bool is_pacing(const char *output, const char *pacing)
{
    for (size_t i = 0; classes[i]; i++) {
        if (strcmp(classes[i]->name, output))
            continue;
        bool file = !strcmp(output, "record") || !strcmp(output, "hls");
        return !strcmp(pacing, "stretch") || !strcmp(pacing, "hold") ||
               (file && !strcmp(pacing, "content"));
    }
    return false;
}

static int check_pacing(struct run *r)
{
    int code = 0;
    char **entries = g_strsplit(option(r, "pacing") ? option(r, "pacing") : "", ",", 0);
    for (char **entry = entries; code == 0 && *entry; entry++) {
        char *equals = strchr(*entry, '=');
        if (equals)
            *equals = 0;
        if (!equals || !is_pacing(*entry, equals + 1)) {
            console_error(r->console,
                          "--pacing %s: expected OUTPUT=stretch or OUTPUT=hold, for record "
                          "and hls also content, separated by commas",
                          option(r, "pacing"));
            code = EXIT_USAGE;
        }
    }
    g_strfreev(entries);
    return code;
}

static int check_stamp(struct run *r)
{
    if (!is_wanted(r, "stamp") || arguments_int(r->arguments, "width") >= STAMP_WIDTH_MIN)
        return 0;
    console_error(r->console, "--stamp: pictures must be at least %d wide for it", STAMP_WIDTH_MIN);
    return EXIT_USAGE;
}

/* The configuration: the one asked for, else the model's own; what a video without end needs from
 * the bundled one, where neither says anything about it. */
static int load_config(struct run *r)
{
    static const char *const policy[] = {"model_kwargs.local_attn_size", "model_kwargs.sink_size",
                                         "rotary", NULL};
    char *fallback = paths_find("configs/default_config.yaml");
    char *path = option(r, "config_path") ? paths_config(option(r, "config_path")) : NULL;
    char *endless = paths_find("configs/endless.yaml");
    int code = unreel_options_load_config(r->options, path, fallback);
    unreel_log log = console_log(r->console);
    unreel_options *usual = endless ? unreel_options_create(&log) : NULL;
    if (code == 0 && usual && !unreel_options_is_set(r->options, policy[0]))
        code = unreel_options_load_config(usual, endless, NULL);
    for (int i = 0; code == 0 && usual && policy[i]; i++)
        if (unreel_options_is_set(usual, policy[i]) &&
            !unreel_options_is_set(r->options, policy[i]))
            code = unreel_options_set(r->options, policy[i], unreel_options_get(usual, policy[i]));
    if (code == 0 && !unreel_options_is_set(r->options, "num_output_frames"))
        code = unreel_options_set(r->options, "num_output_frames", "0");
    if (code == 0)
        code = unreel_options_set(r->options, "format", "i420");
    unreel_options_destroy(usual);
    free(path);
    free(fallback);
    free(endless);
    return code < 0 ? EXIT_ERROR : 0;
}

/* The prompt to begin with: asked for, or the schedule's at time 0. */
static int find_prompt(struct run *r)
{
    if (option(r, "schedule") && schedule_load(&r->schedule, r->console, option(r, "schedule")) < 0)
        return EXIT_ERROR;
    if (option(r, "prompt"))
        return 0;
    const char *first = r->schedule ? schedule_first(r->schedule) : NULL;
    if (!first) {
        console_error(r->console,
                      "what should it show? --prompt TEXT, or a --schedule that begins at "
                      "time 0");
        return EXIT_USAGE;
    }
    schedule_skip_first(r->schedule);
    return unreel_options_set(r->options, "prompt", first) < 0 ? EXIT_ERROR : 0;
}

static int prepare(struct run *r)
{
    if (r->arguments->name_count) {
        console_error(r->console, "unexpected '%s': prompts are given as --prompt TEXT",
                      r->arguments->names[0]);
        return EXIT_USAGE;
    }
    int code = check_outputs(r);
    if (code == 0)
        code = check_pacing(r);
    if (code == 0)
        code = model_default_apply(r->options, r->console);
    if (code == 0)
        code = load_config(r);
    if (code == 0)
        code = cache_default_apply(r->options, r->console);
    if (code == 0)
        code = find_prompt(r);
    if (code == 0)
        code = check_stamp(r);
    return code;
}

/* ---- stdin ----------------------------------------------------------------------------------- */

static void take_line(struct run *r)
{
    g_strstrip(r->typed->str);
    if (r->too_long)
        console_error(r->console, "stdin: a prompt longer than %d bytes is not used",
                      UNREEL_PROMPT_MAX);
    else if (*r->typed->str)
        live_prompt(r->live, "stdin", r->typed->str, UNREEL_SWITCH_DEFAULT);
    g_string_truncate(r->typed, 0);
    r->too_long = false;
}

static void take_byte(struct run *r, char c)
{
    if (c == '\n') {
        take_line(r);
    } else if (r->typed->len > UNREEL_PROMPT_MAX) {
        r->too_long = true;
    } else if (c) {
        g_string_append_c(r->typed, c);
    }
}

/* The end of stdin ends nothing else. */
static gboolean on_stdin(gint fd, GIOCondition condition, gpointer opaque)
{
    struct run *r = opaque;
    char bytes[4096];
    ssize_t size = read(fd, bytes, sizeof bytes);
    if (size < 0 && (errno == EINTR || errno == EAGAIN))
        return G_SOURCE_CONTINUE;
    for (ssize_t i = 0; i < size; i++)
        take_byte(r, bytes[i]);
    if (size > 0)
        return G_SOURCE_CONTINUE;
    take_line(r);
    r->stdin_source = 0;
    return G_SOURCE_REMOVE;
}

/* Not from a terminal that belongs to another job: reading would stop the program. */
static void watch_stdin(struct run *r)
{
    if (isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) != getpgrp())
        return;
    r->stdin_source = g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP | G_IO_ERR, on_stdin, r);
}

/* ---- running --------------------------------------------------------------------------------- */

static void print_json(struct run *r)
{
    char *json = live_state_json(r->live);
    printf("%s\n", json);
    fflush(stdout);
    g_free(json);
}

static int open_session(struct run *r)
{
    unreel_clip clip = {0};
    if (option(r, "image") && image_load(&clip, r->console, option(r, "image")) < 0)
        return EXIT_ERROR;
    int code = unreel_engine_open(&r->engine, r->options);
    if (code == 0)
        code = unreel_session_open(&r->session, r->engine, r->options, clip.rgb ? &clip : NULL);
    image_free(&clip);
    return code < 0 ? EXIT_ERROR : 0;
}

/* Loading takes a while: a page is served and signals are seen meanwhile. */
static gpointer run_loader(gpointer opaque)
{
    struct run *r = opaque;
    int code = open_session(r);
    g_atomic_int_set(&r->load_code, code);
    g_atomic_int_set(&r->loaded, 1);
    return NULL;
}

static void announce(struct run *r)
{
    unreel_stats stats;
    struct live_state state;
    live_state(r->live, &state);
    stats = state.stats;
    console_info(r->console, "%dx%d, %g pictures/s, cushion %.2f s%s", stats.width, stats.height,
                 stats.fps, state.cushion,
                 r->stdin_source ? "; a line on stdin is a new prompt" : "");
}

/* The session is there. */
static void begin(struct run *r)
{
    g_thread_join(r->loader);
    r->loader = NULL;
    if (r->load_code) {
        g_main_loop_quit(r->loop);
        return;
    }
    live_set_schedule(r->live, r->schedule);
    live_start(r->live, r->session, option(r, "prompt"), arguments_int(r->arguments, "seed"));
    watch_stdin(r);
    announce(r);
}

static gboolean look(gpointer opaque)
{
    struct run *r = opaque;
    gint64 now = g_get_monotonic_time();
    if (r->loader && g_atomic_int_get(&r->loaded))
        begin(r);
    if (is_wanted(r, "json") && now >= r->next_json) {
        print_json(r);
        r->next_json = now + G_TIME_SPAN_SECOND;
    }
    r->signal = interrupt_signal();
    r->dead = live_is_dead(r->live);
    if (r->signal || r->dead || live_is_stopping(r->live))
        g_main_loop_quit(r->loop);
    return G_SOURCE_CONTINUE;
}

/* Outputs are open: until the video ends or is ended. */
static void run_loop(struct run *r)
{
    r->loader = g_thread_new("loader", run_loader, r);
    guint timer = g_timeout_add(LOOK_MS, look, r);
    g_main_loop_run(r->loop);
    g_source_remove(timer);
    if (r->stdin_source)
        g_source_remove(r->stdin_source);
    if (r->dead)
        console_error(r->console, "no output can go on: stopped");
}

static void print_counts(struct run *r)
{
    struct live_state s;
    live_state(r->live, &s);
    console_info(r->console, "%lld pictures made, %lld shown, %lld of them late",
                 (long long)s.stats.pictures, (long long)s.shown, (long long)s.late);
}

static int run_live_open(struct run *r)
{
    int code = live_open_outputs(r->live, classes);
    if (code == 0)
        run_loop(r);
    if (is_wanted(r, "json") && code == 0) {
        live_drain(r->live);
        print_json(r);
    }
    int end = live_finish(r->live);
    if (r->loader) { /* it cannot be stopped, and there is nothing left to lose */
        fflush(stdout);
        _exit(r->dead || end ? EXIT_ERROR : r->signal ? 128 + r->signal : EXIT_OK);
    }
    if (code == 0 && r->session)
        print_counts(r);
    if (code == 0)
        code = r->load_code ? r->load_code : r->dead ? EXIT_ERROR : end;
    return code == 0 && r->signal ? 128 + r->signal : code;
}

int run_live(struct console *console, const struct arguments *arguments)
{
    struct run r = {.console = console, .arguments = arguments, .options = arguments->options};
    int code = prepare(&r);
    if (code == 0) {
        r.live = live_open(console, r.options);
        code = r.live ? 0 : EXIT_ERROR;
    }
    if (code == 0) {
        r.loop = g_main_loop_new(NULL, FALSE);
        r.typed = g_string_new(NULL);
        interrupt_defer(true);
        code = run_live_open(&r);
        interrupt_defer(false);
        live_close(r.live);
        unreel_engine_close(r.engine);
        g_main_loop_unref(r.loop);
        g_string_free(r.typed, TRUE);
    }
    schedule_free(r.schedule);
    return code;
}
