#include "control.h"

#include <string.h>

#include "web/http.h"

#define MESSAGE_MAX (1 << 17) /* bytes: a prompt of which every byte is escaped */
#define KEEPALIVE_SECONDS 10
#define GOING_AWAY 1001

struct control_client {
    struct control *control;
    SoupWebsocketConnection *connection;
    char *who;  /* address */
    char *name; /* address and number: two windows of one person are two */
    bool may_steer;
    int references; /* the list and snapshots on their way */
};

static void client_unref(struct control_client *client)
{
    if (--client->references)
        return;
    g_object_unref(client->connection);
    g_free(client->who);
    g_free(client->name);
    g_free(client);
}

static void send(struct control_client *client, const char *text)
{
    if (soup_websocket_connection_get_state(client->connection) == SOUP_WEBSOCKET_STATE_OPEN)
        soup_websocket_connection_send_text(client->connection, text);
}

static double running_seconds(struct live *live)
{
    GstClock *clock = live_clock(live);
    GstClockTime now = gst_clock_get_time(clock), base = live_base_time(live);
    gst_object_unref(clock);
    return now > base ? (double)(now - base) / GST_SECOND : 0;
}

/* ---- state ----------------------------------------------------------------------------------- */

static GString *state_message(struct control *control, const struct control_client *client,
                              const char *state)
{
    GString *json = g_string_new("{\"type\": \"state\", \"may_steer\": ");
    const void *holder = steer_holder(control->steer);
    g_string_append(json, client->may_steer ? "true" : "false");
    g_string_append(json, ", \"steering\": ");
    if (!holder)
        g_string_append(json, "\"nobody\"");
    else if (holder == client)
        g_string_append(json, "\"you\"");
    else
        g_string_append(json, "\"other\"");
    g_string_append(json, ", \"steerer\": ");
    if (holder)
        json_quote(json, control->steer->name);
    else
        g_string_append(json, "null");
    g_string_append_printf(json, ", \"state\": %s}", state);
    return json;
}

static void send_state(struct control *control, struct control_client *client, const char *state)
{
    GString *json = state_message(control, client, state);
    send(client, json->str);
    g_string_free(json, TRUE);
}

void control_announce(struct control *control)
{
    if (control->clients->len == 0)
        return;
    char *state = live_state_json(control->live);
    for (guint i = 0; i < control->clients->len; i++)
        send_state(control, control->clients->pdata[i], state);
    g_free(state);
}

static gboolean on_period(gpointer data)
{
    control_announce(data);
    return G_SOURCE_CONTINUE;
}

/* ---- requests -------------------------------------------------------------------------------- */

static void answer(struct control_client *client, int64_t id, struct outcome outcome)
{
    GString *json = g_string_new(NULL);
    g_string_printf(
        json, "{\"type\": \"%s\", \"id\": ", outcome.status == SOUP_STATUS_OK ? "done" : "error");
    if (id >= 0)
        g_string_append_printf(json, "%" G_GINT64_FORMAT, (gint64)id);
    else
        g_string_append(json, "null");
    g_string_append_printf(json, ", \"status\": %u%s}", outcome.status, outcome.json->str);
    send(client, json->str);
    g_string_free(json, TRUE);
    g_string_free(outcome.json, TRUE);
}

/* An answer that comes later. */
struct pending {
    struct control_client *client;
    int64_t id;
};

static struct pending *expect(struct control_client *client, int64_t id)
{
    struct pending *pending = g_new(struct pending, 1);
    *pending = (struct pending){client, id};
    client->references++;
    return pending;
}

static void answer_late(struct pending *pending, struct outcome outcome)
{
    answer(pending->client, pending->id, outcome);
    client_unref(pending->client);
    g_free(pending);
}

static void on_snapshot(GObject *source, GAsyncResult *result, gpointer data)
{
    struct pending *pending = data;
    char *file = steer_snapshot_finish(pending->client->control->steer, result);
    struct outcome outcome = {SOUP_STATUS_OK, NULL};
    if (file) {
        outcome.json = g_string_new(", \"file\": ");
        json_quote(outcome.json, file);
    } else {
        outcome = steer_refusal(SOUP_STATUS_INTERNAL_SERVER_ERROR,
                                "the picture cannot be saved, see the server's messages");
    }
    answer_late(pending, outcome);
    g_free(file);
}

static void on_recording(GObject *source, GAsyncResult *result, gpointer data)
{
    struct pending *pending = data;
    struct control *control = pending->client->control;
    answer_late(pending, steer_record_finish(control->steer, result));
    if (control->clients)
        control_announce(control);
}

static void pong(struct control_client *client, double at)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE], now[G_ASCII_DTOSTR_BUF_SIZE];
    g_ascii_dtostr(number, sizeof number, at);
    g_ascii_formatd(now, sizeof now, "%.6f", running_seconds(client->control->live));
    char *text = g_strdup_printf("{\"type\": \"pong\", \"at\": %s, \"running\": %s}", number, now);
    send(client, text);
    g_free(text);
}

static void handle(struct control_client *client, const struct request *request)
{
    struct control *control = client->control;
    struct outcome outcome;
    if (request->kind == REQUEST_PING) {
        pong(client, request->at);
        return;
    }
    if (!client->may_steer) {
        outcome = steer_refusal(SOUP_STATUS_FORBIDDEN, "this page may only watch");
    } else {
        outcome = steer_apply(control->steer, client, client->name, true, request);
        bool picture = request->kind == REQUEST_SNAPSHOT, film = request->kind == REQUEST_RECORD;
        if (outcome.status == SOUP_STATUS_OK && (picture || film)) {
            g_string_free(outcome.json, TRUE);
            if (picture)
                steer_snapshot_async(control->steer, NULL, on_snapshot, expect(client, request->id));
            else
                steer_record_async(control->steer, request->on, on_recording,
                                   expect(client, request->id));
            return;
        }
    }
    answer(client, request->id, outcome);
    control_announce(control);
}

static void on_message(SoupWebsocketConnection *connection, gint type, GBytes *bytes, gpointer data)
{
    struct control_client *client = data;
    struct request request;
    char error[REQUEST_ERROR_MAX];
    size_t size;
    const char *text = g_bytes_get_data(bytes, &size);
    if (request_parse(&request, text ? text : "", size, NULL, error)) {
        handle(client, &request);
        request_finish(&request);
    } else {
        answer(client, request.id, steer_refusal(SOUP_STATUS_BAD_REQUEST, error));
    }
}

/* ---- connections ----------------------------------------------------------------------------- */

static void on_closed(SoupWebsocketConnection *connection, gpointer data)
{
    struct control_client *client = data;
    struct control *control = client->control;
    g_signal_handlers_disconnect_by_data(connection, client);
    steer_release(control->steer, client);
    g_ptr_array_remove_fast(control->clients, client);
    client_unref(client);
}

static void say_hello(struct control_client *client)
{
    char *state = live_state_json(client->control->live);
    GString *json = g_string_new(NULL);
    g_string_printf(json,
                    "{\"type\": \"hello\", \"version\": \"%s\", \"run\": \"%s\", "
                    "\"prompt_max\": %d, \"you\": ",
                    unreel_version(), client->control->run, UNREEL_PROMPT_MAX);
    json_quote(json, client->name);
    g_string_append_c(json, '}');
    send(client, json->str);
    g_string_free(json, TRUE);
    send_state(client->control, client, state);
    g_free(state);
}

void control_accept(struct control *control, SoupWebsocketConnection *connection, const char *who,
                    const struct access_rights *rights)
{
    if (control->clients->len >= CONTROL_MAX) {
        soup_websocket_connection_close(connection, SOUP_WEBSOCKET_CLOSE_SERVER_ERROR,
                                        "all places are taken");
        return;
    }
    struct control_client *client = g_new(struct control_client, 1);
    *client = (struct control_client){
        .control = control,
        .connection = g_object_ref(connection),
        .who = g_strdup(who),
        .name = g_strdup_printf("%s #%" G_GINT64_FORMAT, who, (gint64)++control->named),
        .may_steer = rights->steer,
        .references = 1,
    };
    g_ptr_array_add(control->clients, client);
    soup_websocket_connection_set_max_incoming_payload_size(connection, MESSAGE_MAX);
    soup_websocket_connection_set_keepalive_interval(connection, KEEPALIVE_SECONDS);
    g_signal_connect(connection, "message", G_CALLBACK(on_message), client);
    g_signal_connect(connection, "closed", G_CALLBACK(on_closed), client);
    say_hello(client);
}

void control_init(struct control *control, struct live *live, struct steer *steer,
                  GMainContext *context)
{
    *control = (struct control){.live = live, .steer = steer, .context = context};
    control->clients = g_ptr_array_new();
    control->run = g_uuid_string_random();
    control->timer = g_timeout_source_new(CONTROL_PERIOD_MS);
    g_source_set_callback(control->timer, on_period, control, NULL);
    g_source_attach(control->timer, context);
}

void control_finish(struct control *control)
{
    g_source_destroy(control->timer);
    g_clear_pointer(&control->timer, g_source_unref);
    while (control->clients->len) {
        struct control_client *client = control->clients->pdata[0];
        g_signal_handlers_disconnect_by_data(client->connection, client);
        if (soup_websocket_connection_get_state(client->connection) == SOUP_WEBSOCKET_STATE_OPEN)
            soup_websocket_connection_close(client->connection, GOING_AWAY, "unreel ends");
        g_ptr_array_remove_index_fast(control->clients, 0);
        client_unref(client);
    }
    g_clear_pointer(&control->clients, g_ptr_array_unref);
    g_clear_pointer(&control->run, g_free);
}
