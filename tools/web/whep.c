#include "whep.h"

#include <string.h>

#include "web/http.h"

#define OFFER_TYPE "application/sdp"
#define CANDIDATES_TYPE "application/trickle-ice-sdpfrag"
#define CANDIDATES_MAX 64

struct whep_viewer {
    struct viewer *viewer;
    SoupServerMessage *message; /* until it is answered */
};

static void free_viewer(gpointer data)
{
    struct whep_viewer *entry = data;
    viewer_close(entry->viewer);
    if (entry->message) {
        http_error(entry->message, SOUP_STATUS_SERVICE_UNAVAILABLE, "the server is closing");
        soup_server_message_unpause(entry->message);
        g_object_unref(entry->message);
    }
    g_free(entry);
}

/* ---- what viewers report --------------------------------------------------------------------- */

static void remove_viewer(struct whep *whep, struct viewer *viewer)
{
    int64_t pictures, dropped;
    viewer_counts(viewer, &pictures, &dropped);
    whep->pictures += pictures;
    whep->dropped += dropped;
    if (viewer_connected(viewer))
        live_set_viewers(whep->place.live, --whep->connected);
    g_hash_table_remove(whep->viewers, viewer_id(viewer));
}

static void set_header(SoupServerMessage *message, const char *name, const char *value)
{
    soup_message_headers_replace(soup_server_message_get_response_headers(message), name, value);
}

static void reply_answer(struct viewer *viewer, SoupServerMessage *message, const char *sdp)
{
    char *location = g_strconcat("/whep/", viewer_id(viewer), NULL);
    char *tag = g_strdup_printf("\"%s\"", viewer_id(viewer));
    set_header(message, "Location", location);
    set_header(message, "ETag", tag);
    set_header(message, "Accept-Patch", CANDIDATES_TYPE);
    soup_server_message_set_status(message, SOUP_STATUS_CREATED, NULL);
    soup_server_message_set_response(message, OFFER_TYPE, SOUP_MEMORY_COPY, sdp, strlen(sdp));
    g_free(location);
    g_free(tag);
}

static void on_answered(void *opaque, struct viewer *viewer, const char *sdp, const char *error,
                        bool retry)
{
    struct whep *whep = opaque;
    struct whep_viewer *entry = g_hash_table_lookup(whep->viewers, viewer_id(viewer));
    SoupServerMessage *message = entry->message;
    entry->message = NULL;
    if (sdp) {
        reply_answer(viewer, message, sdp);
    } else {
        if (retry)
            set_header(message, "Retry-After", "1");
        http_error(message, retry ? SOUP_STATUS_SERVICE_UNAVAILABLE : SOUP_STATUS_NOT_ACCEPTABLE,
                   "%s", error);
        remove_viewer(whep, viewer);
    }
    soup_server_message_unpause(message);
    g_object_unref(message);
}

static void on_connected(void *opaque, struct viewer *viewer)
{
    struct whep *whep = opaque;
    whep->connected++;
    live_set_viewers(whep->place.live, whep->connected);
    console_info(whep->place.console, "webrtc: %s watches (%s), %d watching", viewer_who(viewer),
                 viewer_codec(viewer), whep->connected);
}

static void on_gone(void *opaque, struct viewer *viewer, const char *reason)
{
    struct whep *whep = opaque;
    console_info(whep->place.console, "webrtc: %s is gone: %s", viewer_who(viewer), reason);
    remove_viewer(whep, viewer);
}

/* ---- requests -------------------------------------------------------------------------------- */

static const char *body(SoupServerMessage *message, size_t *size)
{
    SoupMessageBody *text = soup_server_message_get_request_body(message);
    GBytes *bytes = soup_message_body_flatten(text);
    const char *data = g_bytes_get_data(bytes, size);
    g_bytes_unref(bytes); /* the message keeps it */
    return data ? data : "";
}

static void post(struct whep *whep, SoupServerMessage *message)
{
    struct offer offer;
    size_t size;
    const char *text = body(message, &size), *error = NULL;
    if (!http_has_type(message, OFFER_TYPE)) {
        set_header(message, "Accept-Post", OFFER_TYPE);
        http_error(message, SOUP_STATUS_UNSUPPORTED_MEDIA_TYPE, "an offer is " OFFER_TYPE);
        return;
    }
    if (g_hash_table_size(whep->viewers) >= WHEP_VIEWERS_MAX) {
        set_header(message, "Retry-After", "10");
        http_error(message, SOUP_STATUS_SERVICE_UNAVAILABLE, "all %d places are taken",
                   WHEP_VIEWERS_MAX);
        return;
    }
    if ((error = offer_parse(&offer, text, size))) {
        http_error(message, SOUP_STATUS_BAD_REQUEST, "%s", error);
        return;
    }
    if (offer.h264 < 0 && offer.vp8 < 0) {
        http_error(message, SOUP_STATUS_NOT_ACCEPTABLE, "the offer has neither H.264 nor VP8");
        offer_finish(&offer);
        return;
    }
    bool h264 = offer.h264 >= 0;
    struct viewer *viewer = viewer_open(&whep->place, &offer, http_who(message), &error);
    if (!viewer) {
        http_error(message, SOUP_STATUS_INTERNAL_SERVER_ERROR, "%s", error);
        return;
    }
    if (h264 && !strcmp(viewer_codec(viewer), "VP8"))
        whep->place.no_h264 = true; /* one message about it is enough */
    struct whep_viewer *entry = g_new(struct whep_viewer, 1);
    *entry = (struct whep_viewer){.viewer = viewer, .message = g_object_ref(message)};
    g_hash_table_insert(whep->viewers, (gpointer)viewer_id(viewer), entry);
    soup_server_message_pause(message);
}

/* NULL if there is none: the message is answered then. */
static struct viewer *find(struct whep *whep, SoupServerMessage *message, const char *path)
{
    struct whep_viewer *entry = g_hash_table_lookup(whep->viewers, path + strlen("/whep/"));
    if (entry)
        return entry->viewer;
    http_error(message, SOUP_STATUS_NOT_FOUND, "this viewer is gone");
    return NULL;
}

static void delete (struct whep *whep, SoupServerMessage *message, const char *path)
{
    struct viewer *viewer = find(whep, message, path);
    if (!viewer)
        return;
    console_info(whep->place.console, "webrtc: %s has left", viewer_who(viewer));
    remove_viewer(whep, viewer);
    soup_server_message_set_status(message, SOUP_STATUS_OK, NULL);
}

static const char *line_value(const char *line, const char *name)
{
    return g_str_has_prefix(line, name) ? line + strlen(name) : NULL;
}

/* Candidates found after the offer was sent. Another ufrag asks for a restart of ICE, which a
 * browser does by a new offer. */
static void patch(struct whep *whep, SoupServerMessage *message, const char *path)
{
    struct viewer *viewer = find(whep, message, path);
    if (!viewer)
        return;
    SoupMessageHeaders *headers = soup_server_message_get_request_headers(message);
    const char *match = soup_message_headers_get_one(headers, "If-Match");
    char *tag = g_strdup_printf("\"%s\"", viewer_id(viewer));
    bool other = match && strcmp(match, "*") && strcmp(match, tag);
    g_free(tag);
    if (other) {
        http_error(message, SOUP_STATUS_PRECONDITION_FAILED, "If-Match names another session");
        return;
    }
    if (!http_has_type(message, CANDIDATES_TYPE)) {
        set_header(message, "Accept-Patch", CANDIDATES_TYPE);
        http_error(message, SOUP_STATUS_UNSUPPORTED_MEDIA_TYPE, "candidates are " CANDIDATES_TYPE);
        return;
    }
    size_t size;
    const char *text = body(message, &size);
    if (!g_utf8_validate_len(text, size, NULL)) {
        http_error(message, SOUP_STATUS_BAD_REQUEST, "this is no " CANDIDATES_TYPE);
        return;
    }
    char *whole = g_strndup(text, size);
    char **lines = g_strsplit_set(whole, "\r\n", -1);
    bool restart = false;
    int count = 0;
    for (char **line = lines; *line; line++) {
        const char *ufrag = line_value(*line, "a=ice-ufrag:");
        restart = restart || (ufrag && strcmp(ufrag, viewer_ufrag(viewer)));
    }
    for (char **line = lines; *line && !restart && count < CANDIDATES_MAX; line++)
        if (line_value(*line, "a=candidate:") && ++count)
            viewer_add_candidate(viewer, *line + strlen("a="));
    g_strfreev(lines);
    g_free(whole);
    if (restart)
        http_error(message, SOUP_STATUS_UNPROCESSABLE_ENTITY,
                   "ICE cannot be restarted: post a new offer");
    else
        soup_server_message_set_status(message, SOUP_STATUS_NO_CONTENT, NULL);
}

/* Before a page of another origin may ask. It grants nothing: the request itself is looked at. */
static void preflight(SoupServerMessage *message, const char *methods)
{
    set_header(message, "Allow", methods);
    set_header(message, "Accept-Post", OFFER_TYPE);
    set_header(message, "Accept-Patch", CANDIDATES_TYPE);
    set_header(message, "Access-Control-Allow-Methods", methods);
    set_header(message, "Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match");
    set_header(message, "Access-Control-Max-Age", "600");
    soup_server_message_set_status(message, SOUP_STATUS_NO_CONTENT, NULL);
}

void whep_handle(struct whep *whep, SoupServerMessage *message, const char *path,
                 const struct access_rights *rights)
{
    const char *method = soup_server_message_get_method(message);
    bool resource = g_str_has_prefix(path, "/whep/");
    const char *methods = resource ? "DELETE, PATCH, OPTIONS" : "POST, OPTIONS";
    set_header(message, "Access-Control-Allow-Origin", "*");
    set_header(message, "Access-Control-Expose-Headers",
               "Location, ETag, Accept-Patch, Retry-After");
    if (!strcmp(method, "OPTIONS")) {
        preflight(message, methods);
    } else if (!http_allowed(message, rights, rights->view)) {
        return;
    } else if (!resource && !strcmp(method, "POST")) {
        post(whep, message);
    } else if (resource && !strcmp(method, "DELETE")) {
        delete (whep, message, path);
    } else if (resource && !strcmp(method, "PATCH")) {
        patch(whep, message, path);
    } else {
        set_header(message, "Allow", methods);
        http_error(message, SOUP_STATUS_METHOD_NOT_ALLOWED, "%s does not know %s", path, method);
    }
}

/* ---- the whole ------------------------------------------------------------------------------- */

void whep_init(struct whep *whep, const struct viewer_place *place)
{
    *whep = (struct whep){.place = *place};
    whep->place.answered = on_answered;
    whep->place.connected = on_connected;
    whep->place.gone = on_gone;
    whep->place.opaque = whep;
    whep->viewers = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, free_viewer);
}

void whep_finish(struct whep *whep)
{
    g_clear_pointer(&whep->viewers, g_hash_table_destroy);
}

void whep_counts(struct whep *whep, int64_t *pictures, int64_t *dropped)
{
    GHashTableIter iter;
    gpointer entry;
    *pictures = whep->pictures;
    *dropped = whep->dropped;
    g_hash_table_iter_init(&iter, whep->viewers);
    while (g_hash_table_iter_next(&iter, NULL, &entry)) {
        int64_t p, d;
        viewer_counts(((struct whep_viewer *)entry)->viewer, &p, &d);
        *pictures += p;
        *dropped += d;
    }
}

/* turn://user:password@host:port -> the members of an RTCIceServer. */
static void append_turn(GString *json, const char *uri)
{
    GUri *parts = g_uri_parse(uri, G_URI_FLAGS_HAS_PASSWORD, NULL);
    if (!parts)
        return;
    char *url = g_strdup_printf("%s:%s:%d", g_uri_get_scheme(parts), g_uri_get_host(parts),
                                g_uri_get_port(parts) > 0 ? g_uri_get_port(parts) : 3478);
    g_string_append(json, "{\"urls\": ");
    json_quote(json, url);
    g_string_append(json, ", \"username\": ");
    json_quote(json, g_uri_get_user(parts) ? g_uri_get_user(parts) : "");
    g_string_append(json, ", \"credential\": ");
    json_quote(json, g_uri_get_password(parts) ? g_uri_get_password(parts) : "");
    g_string_append(json, "}");
    g_free(url);
    g_uri_unref(parts);
}

GString *whep_ice_json(const struct whep *whep)
{
    GString *json = g_string_new("{\"iceServers\": [");
    if (whep->place.stun) {
        char *url = g_strdup_printf("stun:%s", whep->place.stun + strlen("stun://"));
        g_string_append(json, "{\"urls\": ");
        json_quote(json, url);
        g_string_append(json, "}");
        g_free(url);
    }
    if (whep->place.turn) {
        g_string_append(json, whep->place.stun ? ", " : "");
        append_turn(json, whep->place.turn);
    }
    g_string_append(json, "]}");
    return json;
}
