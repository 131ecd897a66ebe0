#include "http.h"

#include <glib/gstdio.h>
#include <string.h>

#include "web/metrics.h"
#include "web/page.h"
#include "web/web.h"

#define BODY_MAX (1 << 17)      /* bytes of a request about JSON */
#define BODY_CUT_OFF (32 << 20) /* who goes on sending after this is cut off */

/* ---- answers --------------------------------------------------------------------------------- */

void json_quote(GString *json, const char *text)
{
    char *valid = g_utf8_make_valid(text, -1);
    g_string_append_c(json, '"');
    for (const char *c = valid; *c; c++) {
        if (*c == '"' || *c == '\\')
            g_string_append_printf(json, "\\%c", *c);
        else if ((unsigned char)*c < 0x20 || *c == 0x7f)
            g_string_append_printf(json, "\\u%04x", (unsigned)*c);
        else
            g_string_append_c(json, *c);
    }
    g_string_append_c(json, '"');
    g_free(valid);
}

static void set_header(SoupServerMessage *message, const char *name, const char *value)
{
    soup_message_headers_replace(soup_server_message_get_response_headers(message), name, value);
}

static const char *get_header(SoupServerMessage *message, const char *name)
{
    return soup_message_headers_get_one(soup_server_message_get_request_headers(message), name);
}

void http_reply_json(SoupServerMessage *message, unsigned status, GString *json)
{
    gsize length = json->len;
    soup_server_message_set_status(message, status, NULL);
    soup_server_message_set_response(message, "application/json", SOUP_MEMORY_TAKE,
                                     g_string_free(json, FALSE), length);
    set_header(message, "Cache-Control", "no-store");
}

void http_error(SoupServerMessage *message, unsigned status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    GString *json = g_string_new("{\"error\": ");
    json_quote(json, text);
    g_string_append(json, "}\n");
    http_reply_json(message, status, json);
    g_free(text);
}

bool http_has_type(SoupServerMessage *message, const char *type)
{
    const char *seen = soup_message_headers_get_content_type(
        soup_server_message_get_request_headers(message), NULL);
    return seen && !g_ascii_strcasecmp(seen, type);
}

/* ---- who asks -------------------------------------------------------------------------------- */

const char *http_who(SoupServerMessage *message)
{
    const char *host = soup_server_message_get_remote_host(message);
    return host ? host : "somebody";
}

static bool from_loopback(SoupServerMessage *message)
{
    GSocketAddress *address = soup_server_message_get_remote_address(message);
    return G_IS_INET_SOCKET_ADDRESS(address) &&
           g_inet_address_get_is_loopback(
               g_inet_socket_address_get_address(G_INET_SOCKET_ADDRESS(address)));
}

/* From "Authorization: Bearer TOKEN" or, where a page cannot set that, among the subprotocols of a
 * WebSocket: "unreel, token.TOKEN". To be freed; NULL: none. */
static char *shown_token(SoupServerMessage *message)
{
    const char *header = get_header(message, "Authorization");
    if (header && !g_ascii_strncasecmp(header, "Bearer ", 7))
        return g_strstrip(g_strdup(header + 7));
    header = soup_message_headers_get_list(soup_server_message_get_request_headers(message),
                                           "Sec-WebSocket-Protocol");
    char **words = g_strsplit(header ? header : "", ",", 8);
    char *token = NULL;
    for (char **word = words; *word && !token; word++)
        if (g_str_has_prefix(g_strstrip(*word), "token."))
            token = g_strdup(*word + strlen("token."));
    g_strfreev(words);
    return token;
}

struct access_rights http_rights(const struct web *web, SoupServerMessage *message)
{
    char *token = shown_token(message);
    struct access_request request = {
        .host = get_header(message, "Host"),
        .origin = get_header(message, "Origin"),
        .site = get_header(message, "Sec-Fetch-Site"),
        .token = token,
        .loopback = from_loopback(message),
        .forwarded = get_header(message, "Forwarded") || get_header(message, "X-Forwarded-For") ||
                     get_header(message, "X-Real-IP") || get_header(message, "Via"),
    };
    struct access_rights rights = access_judge(&web->access, &request);
    g_free(token);
    return rights;
}

bool http_allowed(SoupServerMessage *message, const struct access_rights *rights, bool allowed)
{
    if (!rights->known_host) {
        http_error(message, SOUP_STATUS_MISDIRECTED_REQUEST,
                   "this server is not known by that name: see --web-hosts");
        return false;
    }
    if (allowed)
        return true;
    if (!rights->own_origin) {
        http_error(message, SOUP_STATUS_FORBIDDEN, "not from a page of another site");
        return false;
    }
    set_header(message, "WWW-Authenticate", "Bearer");
    http_error(message, SOUP_STATUS_UNAUTHORIZED,
               "this needs the token that unreel printed when it started");
    return false;
}

/* ---- routes ---------------------------------------------------------------------------------- */

static void get_page(struct web *web, SoupServerMessage *message)
{
    set_header(message, "ETag", page_tag);
    set_header(message, "Cache-Control", "no-cache");
    set_header(message, "Content-Security-Policy", page_policy);
    set_header(message, "X-Frame-Options", "DENY");
    set_header(message, "Cross-Origin-Opener-Policy", "same-origin");
    if (!g_strcmp0(get_header(message, "If-None-Match"), page_tag)) {
        soup_server_message_set_status(message, SOUP_STATUS_NOT_MODIFIED, NULL);
        return;
    }
    soup_server_message_set_status(message, SOUP_STATUS_OK, NULL);
    soup_server_message_set_response(message, "text/html; charset=utf-8", SOUP_MEMORY_STATIC,
                                     page_html, page_html_size);
}

static void get_state(struct web *web, SoupServerMessage *message)
{
    char *state = live_state_json(web->live);
    http_reply_json(message, SOUP_STATUS_OK, g_string_new(state));
    g_free(state);
}

static void get_ice(struct web *web, SoupServerMessage *message)
{
    http_reply_json(message, SOUP_STATUS_OK, whep_ice_json(&web->whep));
}

static void get_metrics(struct web *web, SoupServerMessage *message)
{
    GString *text = metrics_text(web);
    gsize length = text->len;
    soup_server_message_set_status(message, SOUP_STATUS_OK, NULL);
    soup_server_message_set_response(message, "text/plain; version=0.0.4; charset=utf-8",
                                     SOUP_MEMORY_TAKE, g_string_free(text, FALSE), length);
    set_header(message, "Cache-Control", "no-store");
}

static void get_health(struct web *web, SoupServerMessage *message)
{
    const char *health;
    bool good = metrics_healthy(web, &health);
    GString *json = g_string_new(NULL);
    g_string_printf(json, "{\"status\": \"%s\"}\n", health);
    http_reply_json(message, good ? SOUP_STATUS_OK : SOUP_STATUS_SERVICE_UNAVAILABLE, json);
}

/* Scripts hold the wheel for the moment of their request only. */
static void post_prompt(struct web *web, SoupServerMessage *message)
{
    struct request request;
    char error[REQUEST_ERROR_MAX];
    if (!http_has_type(message, "application/json")) {
        http_error(message, SOUP_STATUS_UNSUPPORTED_MEDIA_TYPE,
                   "a prompt is application/json: {\"prompt\": \"a red fox\", \"how\": \"cut\"}");
        return;
    }
    SoupMessageBody *body = soup_server_message_get_request_body(message);
    GBytes *bytes = soup_message_body_flatten(body);
    gsize size;
    const char *text = g_bytes_get_data(bytes, &size);
    bool good = request_parse(&request, text ? text : "", size, "prompt", error);
    g_bytes_unref(bytes);
    if (good && request.kind != REQUEST_PROMPT) {
        request_finish(&request);
        good = false;
        g_strlcpy(error, "only prompts are taken here, all else goes through /control",
                  sizeof error);
    }
    if (!good) {
        http_error(message, SOUP_STATUS_BAD_REQUEST, "%s", error);
        return;
    }
    struct outcome outcome = steer_apply(&web->steer, message, http_who(message), false, &request);
    request_finish(&request);
    GString *json = g_string_new(NULL);
    g_string_printf(json, "{\"status\": %u%s}\n", outcome.status, outcome.json->str);
    g_string_free(outcome.json, TRUE);
    http_reply_json(message, outcome.status, json);
    control_announce(&web->control);
}

/* ---- a picture as a file --------------------------------------------------------------------- */

struct picture_request {
    struct web *web;
    SoupServerMessage *message;
    char *folder, *path;
};

static void on_picture(GObject *source, GAsyncResult *result, gpointer data)
{
    struct picture_request *request = data;
    char *name = steer_snapshot_finish(&request->web->steer, result), *png = NULL;
    gsize size;
    if (name && g_file_get_contents(name, &png, &size, NULL)) {
        soup_server_message_set_status(request->message, SOUP_STATUS_OK, NULL);
        soup_server_message_set_response(request->message, "image/png", SOUP_MEMORY_TAKE, png,
                                         size);
        set_header(request->message, "Content-Disposition", "attachment; filename=\"unreel.png\"");
        set_header(request->message, "Cache-Control", "no-store");
    } else {
        http_error(request->message, SOUP_STATUS_SERVICE_UNAVAILABLE, "there is no picture yet");
    }
    g_unlink(request->path);
    g_rmdir(request->folder);
    soup_server_message_unpause(request->message);
    g_object_unref(request->message);
    request->web->snapshot_busy = false;
    g_free(name);
    g_free(request->path);
    g_free(request->folder);
    g_free(request);
}

static void get_picture(struct web *web, SoupServerMessage *message)
{
    char *folder = web->snapshot_busy ? NULL : g_dir_make_tmp("unreel-XXXXXX", NULL);
    if (!folder) { /* one after the other: each costs memory and processor time */
        set_header(message, "Retry-After", "1");
        http_error(message, SOUP_STATUS_SERVICE_UNAVAILABLE, "another picture is being saved");
        return;
    }
    struct picture_request *request = g_new(struct picture_request, 1);
    *request = (struct picture_request){.web = web,
                                        .message = g_object_ref(message),
                                        .folder = folder,
                                        .path = g_build_filename(folder, "picture.png", NULL)};
    web->snapshot_busy = true;
    soup_server_message_pause(message);
    steer_snapshot_async(&web->steer, request->path, on_picture, request);
}

enum need { NEED_NOTHING, NEED_HOST, NEED_VIEW, NEED_STEER };

static const struct route {
    const char *path, *method;
    enum need need;
    void (*answer)(struct web *web, SoupServerMessage *message);
} routes[] = {
    {"/", "GET", NEED_HOST, get_page},
    {"/healthz", "GET", NEED_NOTHING, get_health},
    {"/metrics", "GET", NEED_VIEW, get_metrics},
    {"/api/state", "GET", NEED_VIEW, get_state},
    {"/api/ice", "GET", NEED_VIEW, get_ice},
    {"/api/picture", "GET", NEED_VIEW, get_picture},
    {"/api/prompt", "POST", NEED_STEER, post_prompt},
};

static bool method_fits(const char *method, const struct route *route)
{
    return !strcmp(method, route->method) ||
           (!strcmp(method, "HEAD") && !strcmp(route->method, "GET"));
}

static void follow_route(struct web *web, SoupServerMessage *message, const struct route *route)
{
    struct access_rights rights = http_rights(web, message);
    bool allowed = route->need == NEED_HOST || (route->need == NEED_VIEW && rights.view) ||
                   (route->need == NEED_STEER && rights.steer);
    if (!method_fits(soup_server_message_get_method(message), route)) {
        set_header(message, "Allow", route->method);
        http_error(message, SOUP_STATUS_METHOD_NOT_ALLOWED, "%s takes %s", route->path,
                   route->method);
    } else if (route->need == NEED_NOTHING || http_allowed(message, &rights, allowed)) {
        route->answer(web, message);
    }
}

static void handle(SoupServer *server, SoupServerMessage *message, const char *path,
                   GHashTable *query, gpointer data)
{
    struct web *web = data;
    for (size_t i = 0; i < G_N_ELEMENTS(routes); i++) {
        if (!strcmp(path, routes[i].path)) {
            follow_route(web, message, &routes[i]);
            return;
        }
    }
    if (!strcmp(path, "/whep") || g_str_has_prefix(path, "/whep/")) {
        struct access_rights rights = http_rights(web, message);
        whep_handle(&web->whep, message, path, &rights);
    } else {
        http_error(message, SOUP_STATUS_NOT_FOUND, "there is nothing here");
    }
}

/* ---- limits ---------------------------------------------------------------------------------- */

struct intake {
    struct listen *listen;
    goffset size, limit;
};

static void refuse_body(SoupServerMessage *message, goffset limit)
{
    soup_message_body_set_accumulate(soup_server_message_get_request_body(message), FALSE);
    set_header(message, "Connection", "close");
    http_error(message, SOUP_STATUS_REQUEST_ENTITY_TOO_LARGE,
               "at most %" G_GOFFSET_FORMAT " bytes are taken", limit);
}

/* Of a body whose length was not announced, or that was refused and comes nevertheless. */
static void on_chunk(SoupServerMessage *message, GBytes *chunk, gpointer data)
{
    struct intake *intake = data;
    intake->size += (goffset)g_bytes_get_size(chunk);
    if (intake->size > intake->limit && !soup_server_message_get_status(message))
        refuse_body(message, intake->limit);
    if (intake->size > BODY_CUT_OFF)
        listen_cut(intake->listen, soup_server_message_get_remote_address(message));
}

/* As soon as the headers are there. */
static void look_at_headers(SoupServer *server, SoupServerMessage *message, const char *path,
                            GHashTable *query, gpointer data)
{
    SoupMessageHeaders *headers = soup_server_message_get_request_headers(message);
    struct intake *intake = g_new(struct intake, 1);
    intake->listen = &((struct web *)data)->listen;
    intake->size = 0;
    intake->limit = g_str_has_prefix(path, "/whep") ? WHEP_OFFER_MAX : BODY_MAX;
    g_signal_connect_data(message, "got-chunk", G_CALLBACK(on_chunk), intake,
                          (GClosureNotify)(void (*)(void))g_free, 0);
    set_header(message, "X-Content-Type-Options", "nosniff");
    set_header(message, "Referrer-Policy", "no-referrer");
    set_header(message, "Cross-Origin-Resource-Policy", "same-origin");
    if (soup_message_headers_get_encoding(headers) == SOUP_ENCODING_CONTENT_LENGTH &&
        soup_message_headers_get_content_length(headers) > intake->limit)
        refuse_body(message, intake->limit);
}

static void look_at_control(SoupServer *server, SoupServerMessage *message, const char *path,
                            GHashTable *query, gpointer data)
{
    struct web *web = data;
    look_at_headers(server, message, path, query, data);
    struct access_rights rights = http_rights(web, message);
    if (soup_server_message_get_status(message))
        return;
    if (http_allowed(message, &rights, rights.view && rights.own_origin) &&
        web->control.clients->len >= CONTROL_MAX) {
        set_header(message, "Retry-After", "10");
        http_error(message, SOUP_STATUS_SERVICE_UNAVAILABLE, "all %d places are taken",
                   CONTROL_MAX);
    }
}

static void on_websocket(SoupServer *server, SoupServerMessage *message, const char *path,
                         SoupWebsocketConnection *connection, gpointer data)
{
    struct web *web = data;
    struct access_rights rights = http_rights(web, message);
    control_accept(&web->control, connection, http_who(message), &rights);
}

void http_install(struct web *web, SoupServer *server)
{
    char *protocols[] = {(char *)"unreel", NULL};
    soup_server_add_early_handler(server, NULL, look_at_headers, web, NULL);
    soup_server_add_handler(server, NULL, handle, web, NULL);
    soup_server_add_early_handler(server, "/control", look_at_control, web, NULL);
    soup_server_add_websocket_handler(server, "/control", NULL, protocols, on_websocket, web, NULL);
}
