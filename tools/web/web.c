#include "web.h"

#include <stdio.h>
#include <string.h>

#include "web/http.h"

#define CLEANERS 4 /* threads that close viewers' pipelines */
#define COUNT_MS 500
#define CLOSE_MS 20    /* how often it is seen whether connections have taken their last answers */
#define CLOSE_TICKS 50 /* until they are not waited for */

struct live_output {
    struct web web;
    GSource *counting;
};

/* ---- start ----------------------------------------------------------------------------------- */

static int check_elements(struct console *console)
{
    static const struct {
        const char *element, *package;
    } needed[] = {
        {"appsrc", "gstreamer1.0-plugins-base"},    {"rtph264pay", "gstreamer1.0-plugins-good"},
        {"rtpvp8pay", "gstreamer1.0-plugins-good"}, {"rtpbin", "gstreamer1.0-plugins-good"},
        {"webrtcbin", "gstreamer1.0-plugins-bad"},  {"dtlssrtpenc", "gstreamer1.0-plugins-bad"},
        {"dtlsdec", "gstreamer1.0-plugins-bad"},    {"srtpenc", "gstreamer1.0-plugins-bad"},
        {"nicesink", "gstreamer1.0-nice"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
        GstElementFactory *factory = gst_element_factory_find(needed[i].element);
        if (!factory) {
            console_error(console, "webrtc: GStreamer has no %s: install the Debian package %s",
                          needed[i].element, needed[i].package);
            return -1;
        }
        gst_object_unref(factory);
    }
    return 0;
}

static const char *text_option(const unreel_options *options, const char *name)
{
    const char *text = unreel_options_get(options, name);
    return text && *text ? text : NULL;
}

static bool flag_option(const unreel_options *options, const char *name)
{
    return !g_strcmp0(unreel_options_get(options, name), "true");
}

/* "stun:HOST:PORT" and "stun://HOST:PORT" are both in use. To be freed; NULL: not given. False with
 * the error printed. */
static bool server_option(struct console *console, const unreel_options *options, const char *name,
                          char **uri)
{
    const char *text = text_option(options, name);
    *uri = NULL;
    if (!text)
        return true;
    bool secure = !strcmp(name, "turn") && g_str_has_prefix(text, "turns:");
    char *scheme = g_strdup_printf("%s%s:", name, secure ? "s" : "");
    const char *rest = g_str_has_prefix(text, scheme) ? text + strlen(scheme) : text;
    rest += g_str_has_prefix(rest, "//") ? 2 : 0;
    *uri = g_strdup_printf("%s//%s", scheme, rest);
    g_free(scheme);
    GUri *parts = g_uri_parse(*uri, G_URI_FLAGS_HAS_PASSWORD, NULL);
    bool good = parts && g_uri_get_host(parts) && *g_uri_get_host(parts) &&
                (strcmp(name, "turn") || (g_uri_get_user(parts) && g_uri_get_password(parts)));
    g_clear_pointer(&parts, g_uri_unref);
    if (!good) {
        console_error(console, "webrtc: --%s %s: no %s", name, text,
                      strcmp(name, "turn") ? "HOST:PORT" : "USER:PASSWORD@HOST:PORT");
        g_clear_pointer(uri, g_free);
    }
    return good;
}

static void print_address(const struct web *web, bool token_known)
{
    char *url = listen_url(&web->listen);
    if (web->listen.loopback && !web->access.proxied) {
        console_info(web->console, "webrtc: %s", url);
    } else {
        /* Nobody knows a token that was made up, unless it is printed. */
        (token_known ? console_info : console_warning)(web->console, "webrtc: %s#token=%s", url,
                                                       web->access.token);
        console_info(web->console, "webrtc: %s",
                     web->access.viewers_open
                         ? "anybody may watch; steering needs the token in that address"
                         : "watching and steering need the token in that address");
        if (!web->listen.certificate && !web->listen.loopback)
            console_warning(web->console,
                            "webrtc: without --tls-cert and --tls-key the token can be "
                            "read on the way");
    }
    g_free(url);
}

static gpointer run(gpointer data)
{
    struct web *web = data;
    g_main_context_push_thread_default(web->context);
    g_main_loop_run(web->loop);
    g_main_context_pop_thread_default(web->context);
    return NULL;
}

/* For live_output_class.counts, which any thread calls. */
static gboolean on_count(gpointer data)
{
    struct web *web = data;
    int64_t pictures, dropped;
    whep_counts(&web->whep, &pictures, &dropped);
    g_mutex_lock(&web->lock);
    web->pictures = pictures;
    web->dropped = dropped;
    web->viewers = web->whep.connected;
    g_mutex_unlock(&web->lock);
    return G_SOURCE_CONTINUE;
}

/* The token stands in an address and, for browsers, among the subprotocols of a WebSocket. */
static bool check_token(struct console *console, const char *token)
{
    size_t good = token ? strspn(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                        "0123456789-._~")
                        : 0;
    if (!token || !token[good])
        return true;
    console_error(console, "webrtc: --web-token: only letters, digits and - . _ ~ can be in it, "
                           "browsers could not send others");
    return false;
}

static int start_server(struct web *web, const unreel_options *options)
{
    if (!check_token(web->console, text_option(options, "web_token")))
        return LIVE_EUSAGE;
    web->server = soup_server_new("server-header", "unreel", NULL);
    http_install(web, web->server);
    int status =
        listen_open(&web->listen, web->console, web->server, unreel_options_get(options, "webrtc"),
                    text_option(options, "tls_cert"), text_option(options, "tls_key"));
    if (status < 0)
        return status;
    access_init(&web->access, text_option(options, "web_token"),
                flag_option(options, "viewers_open"), text_option(options, "web_hosts"),
                web->listen.host);
    return 0;
}

/* GStreamer's DTLS elements share one certificate as long as one of them is there. Making it takes
 * a quarter of a second of computing: the first viewer should not wait for that. */
static gpointer make_certificate(gpointer data)
{
    struct web *web = data;
    web->certificate_holder = gst_element_factory_make("dtlsdec", NULL);
    if (web->certificate_holder)
        gst_object_ref_sink(web->certificate_holder);
    return NULL;
}

static int start_viewers(struct web *web, const unreel_options *options)
{
    struct viewer_place place = {
        .live = web->live,
        .console = web->console,
        .context = web->context,
        .pacing = live_pacing_of(web->live, &live_webrtc),
    };
    char *stun = NULL, *turn = NULL;
    if (!server_option(web->console, options, "stun", &stun) ||
        !server_option(web->console, options, "turn", &turn)) {
        g_free(stun);
        return LIVE_EUSAGE;
    }
    place.stun = stun;
    place.turn = turn;
    place.cleaners = web->cleaners = g_thread_pool_new(viewer_clean, NULL, CLEANERS, FALSE, NULL);
    whep_init(&web->whep, &place);
    return 0;
}

static void free_output(struct live_output *output)
{
    struct web *web = &output->web;
    g_clear_object(&web->server);
    access_finish(&web->access);
    g_free((char *)web->whep.place.stun);
    g_free((char *)web->whep.place.turn);
    g_clear_pointer(&web->loop, g_main_loop_unref);
    g_main_context_unref(web->context);
    g_mutex_clear(&web->lock);
    g_free(output);
}

static int web_open(struct live_output **out, struct live *live, struct console *console,
                    const unreel_options *options)
{
    if (check_elements(console) < 0)
        return -1;
    struct live_output *output = g_new0(struct live_output, 1);
    struct web *web = &output->web;
    web->live = live;
    web->console = console;
    web->context = g_main_context_new();
    g_mutex_init(&web->lock);
    /* What is opened here is served by the thread that starts at the end. */
    g_main_context_push_thread_default(web->context);
    int status = start_server(web, options);
    if (status == 0 && (status = start_viewers(web, options)) < 0) {
        listen_close(&web->listen);
        listen_finish(&web->listen);
    }
    g_main_context_pop_thread_default(web->context);
    if (status < 0) {
        free_output(output);
        return status;
    }
    steer_init(&web->steer, live);
    control_init(&web->control, live, &web->steer, web->context);
    output->counting = g_timeout_source_new(COUNT_MS);
    g_source_set_callback(output->counting, on_count, web, NULL);
    g_source_attach(output->counting, web->context);
    web->loop = g_main_loop_new(web->context, FALSE);
    web->thread = g_thread_new("web", run, web);
    web->warming = g_thread_new("certificate", make_certificate, web);
    print_address(web, text_option(options, "web_token"));
    *out = output;
    return 0;
}

/* ---- state and end --------------------------------------------------------------------------- */

static void web_status(struct live_output *output, char *text, size_t size)
{
    struct web *web = &output->web;
    g_mutex_lock(&web->lock);
    int viewers = web->viewers;
    g_mutex_unlock(&web->lock);
    snprintf(text, size, "%d watching", viewers);
}

static void web_counts(struct live_output *output, int64_t *pictures, int64_t *dropped)
{
    struct web *web = &output->web;
    g_mutex_lock(&web->lock);
    *pictures = web->pictures;
    *dropped = web->dropped;
    g_mutex_unlock(&web->lock);
}

static gboolean on_tick(gpointer data)
{
    ++*(int *)data;
    return G_SOURCE_CONTINUE;
}

/* Lets connections take their last answers, and what runs for them end. Ticks and no clock say how
 * long: a machine that stalls leaves connections none of that time. */
static void drain(struct web *web)
{
    int ticks = 0;
    GSource *timer = g_timeout_source_new(CLOSE_MS);
    g_source_set_callback(timer, on_tick, &ticks, NULL);
    g_source_attach(timer, web->context);
    while (web->steer.files || (listen_count(&web->listen) > 0 && ticks < CLOSE_TICKS)) {
        g_main_context_iteration(web->context, TRUE);
        if (ticks > CLOSE_TICKS / 4)
            soup_server_disconnect(web->server); /* who waits for nothing, or takes no answer */
    }
    g_source_destroy(timer);
    g_source_unref(timer);
}

static gboolean on_quit(gpointer data)
{
    struct web *web = data;
    g_main_loop_quit(web->loop);
    return G_SOURCE_REMOVE;
}

static int web_close(struct live_output *output)
{
    struct web *web = &output->web;
    GSource *quitting = g_idle_source_new(); /* by itself: it may not have begun yet */
    g_source_set_callback(quitting, on_quit, web, NULL);
    g_source_attach(quitting, web->context);
    g_source_unref(quitting);
    g_thread_join(web->thread);
    g_thread_join(web->warming);
    /* This thread serves the rest. Until it has the context, others run what they have for it. */
    while (!g_main_context_acquire(web->context))
        g_thread_yield();
    g_main_context_push_thread_default(web->context);
    g_source_destroy(output->counting);
    g_source_unref(output->counting);
    listen_close(&web->listen);
    control_finish(&web->control);
    whep_finish(&web->whep);
    drain(web);
    soup_server_disconnect(web->server);
    g_thread_pool_free(web->cleaners, FALSE, TRUE);
    while (g_main_context_iteration(web->context, FALSE))
        ;
    gst_clear_object(&web->certificate_holder);
    steer_finish(&web->steer);
    g_clear_object(&web->server);
    listen_finish(&web->listen);
    g_main_context_pop_thread_default(web->context);
    g_main_context_release(web->context);
    free_output(output);
    return 0;
}

const struct live_output_class live_webrtc = {
    .name = "webrtc",
    .option = "webrtc",
    .pacing = LIVE_STRETCH,
    .open = web_open,
    .status = web_status,
    .counts = web_counts,
    .close = web_close,
};
