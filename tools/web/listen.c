#include "listen.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>

#include "live/live.h"

static const char *const busy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
                                "Content-Length: 0\r\nConnection: close\r\n\r\n";

/* ---- connections ----------------------------------------------------------------------------- */

static void on_gone(gpointer data, GObject *connection)
{
    g_ptr_array_remove_fast(((struct listen *)data)->connections, connection);
}

static void hand_over(struct listen *listen, GIOStream *stream, GSocketConnection *connection)
{
    GSocketAddress *local = g_socket_connection_get_local_address(connection, NULL);
    GSocketAddress *remote = g_socket_connection_get_remote_address(connection, NULL);
    if (local && remote) /* else it is gone already */
        soup_server_accept_iostream(listen->server, stream, local, remote, NULL);
    g_clear_object(&local);
    g_clear_object(&remote);
}

static gboolean drop(gpointer data)
{
    return G_SOURCE_REMOVE;
}

struct handshake {
    struct listen *listen;
    GSocketConnection *connection;
    GIOStream *tls; /* made by the thread: that takes its time */
};

static void free_handshake(gpointer data)
{
    struct handshake *handshake = data;
    g_clear_object(&handshake->tls);
    g_object_unref(handshake->connection);
    g_free(handshake);
}

static gboolean on_handshake(gpointer data)
{
    struct handshake *handshake = data;
    if (!g_cancellable_is_cancelled(handshake->listen->closing))
        hand_over(handshake->listen, handshake->tls, handshake->connection);
    return G_SOURCE_REMOVE;
}

/* In a thread of `handshakes`: may wait for the other side. */
static void shake_hands(gpointer data, gpointer opaque)
{
    struct handshake *handshake = data;
    struct listen *listen = opaque;
    GSocket *socket = g_socket_connection_get_socket(handshake->connection);
    GIOStream *plain = G_IO_STREAM(handshake->connection);
    handshake->tls = g_tls_server_connection_new(plain, listen->certificate, NULL);
    bool good = handshake->tls &&
                g_tls_connection_handshake(G_TLS_CONNECTION(handshake->tls), listen->closing, NULL);
    g_socket_set_timeout(socket, LISTEN_IDLE_SECONDS);
    /* Also what failed goes there: connections are counted in that thread. */
    g_main_context_invoke_full(listen->context, G_PRIORITY_DEFAULT, good ? on_handshake : drop,
                               handshake, free_handshake);
}

/* The other side has begun to speak: only then a thread is spent on it. */
static gboolean on_hello(GSocket *socket, GIOCondition condition, gpointer data)
{
    struct handshake *handshake = data;
    struct listen *listen = handshake->listen;
    if (!g_cancellable_is_cancelled(listen->closing) &&
        (g_socket_condition_check(socket, G_IO_IN) & G_IO_IN))
        g_thread_pool_push(listen->handshakes, handshake, NULL);
    else
        free_handshake(handshake);
    return G_SOURCE_REMOVE;
}

static void await_hello(struct handshake *handshake)
{
    GSocket *socket = g_socket_connection_get_socket(handshake->connection);
    g_socket_set_timeout(socket, LISTEN_HANDSHAKE_SECONDS);
    GSource *source = g_socket_create_source(socket, G_IO_IN, handshake->listen->closing);
    g_source_set_callback(source, G_SOURCE_FUNC(on_hello), handshake, NULL);
    g_source_attach(source, handshake->listen->context);
    g_source_unref(source);
}

static gboolean on_incoming(GSocketService *service, GSocketConnection *connection, GObject *source,
                            gpointer data)
{
    struct listen *listen = data;
    GSocket *socket = g_socket_connection_get_socket(connection);
    if (listen_count(listen) >= LISTEN_CONNECTIONS_MAX) {
        g_socket_set_blocking(socket, FALSE);
        if (!listen->certificate)
            g_socket_send(socket, busy, strlen(busy), NULL, NULL);
        return TRUE; /* closes it */
    }
    g_ptr_array_add(listen->connections, connection);
    g_object_weak_ref(G_OBJECT(connection), on_gone, listen);
    g_socket_set_timeout(socket, LISTEN_IDLE_SECONDS);
    if (!listen->certificate) {
        hand_over(listen, G_IO_STREAM(connection), connection);
        return TRUE;
    }
    struct handshake *handshake = g_new(struct handshake, 1);
    *handshake = (struct handshake){listen, g_object_ref(connection), NULL};
    await_hello(handshake);
    return TRUE;
}

/* ---- address --------------------------------------------------------------------------------- */

static int split_address(struct listen *listen, const char *address)
{
    const char *colon = strrchr(address, ':');
    guint64 port;
    if (!g_ascii_string_to_unsigned(colon ? colon + 1 : address, 10, 0, 65535, &port, NULL)) {
        console_error(listen->console, "webrtc: %s: no [HOST:]PORT", address);
        return LIVE_EUSAGE;
    }
    listen->port = (int)port;
    if (!colon) {
        listen->host = g_strdup("127.0.0.1");
        return 0;
    }
    bool brackets = *address == '[' && colon > address && colon[-1] == ']';
    listen->host = brackets ? g_strndup(address + 1, (size_t)(colon - address) - 2)
                            : g_strndup(address, (size_t)(colon - address));
    if (!*listen->host || (!brackets && strchr(listen->host, ':'))) {
        console_error(listen->console, "webrtc: %s: no [HOST:]PORT (an IPv6 address goes into [])",
                      address);
        return LIVE_EUSAGE;
    }
    return 0;
}

static int bind_one(struct listen *listen, GInetAddress *inet)
{
    GError *error = NULL;
    GSocketAddress *address = g_inet_socket_address_new(inet, (guint16)listen->port);
    GSocketAddress *bound = NULL;
    gboolean good = g_socket_listener_add_address(G_SOCKET_LISTENER(listen->service), address,
                                                  G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_TCP, NULL,
                                                  &bound, &error);
    g_object_unref(address);
    if (!good) {
        console_error(listen->console, "webrtc: %s port %d: %s", listen->host, listen->port,
                      g_error_matches(error, G_IO_ERROR, G_IO_ERROR_ADDRESS_IN_USE)
                          ? "another program uses it"
                          : error->message);
        g_error_free(error);
        return -1;
    }
    listen->port = g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(bound));
    listen->loopback = listen->loopback && g_inet_address_get_is_loopback(inet);
    g_object_unref(bound);
    return 0;
}

static int bind_all(struct listen *listen)
{
    GError *error = NULL;
    GResolver *resolver = g_resolver_get_default();
    GList *addresses = g_resolver_lookup_by_name(resolver, listen->host, NULL, &error);
    g_object_unref(resolver);
    if (!addresses) {
        console_error(listen->console, "webrtc: %s: %s", listen->host, error->message);
        g_error_free(error);
        return -1;
    }
    int status = 0;
    for (GList *a = addresses; a && status == 0; a = a->next)
        status = bind_one(listen, a->data);
    g_resolver_free_addresses(addresses);
    return status;
}

static int load_certificate(struct listen *listen, const char *certificate, const char *key)
{
    GError *error = NULL;
    if (!certificate && !key)
        return 0;
    if (!certificate || !key) {
        console_error(listen->console, "webrtc: --tls-cert and --tls-key belong together");
        return LIVE_EUSAGE;
    }
    if (!g_tls_backend_supports_tls(g_tls_backend_get_default())) {
        console_error(listen->console, "webrtc: TLS needs the Debian package glib-networking");
        return -1;
    }
    listen->certificate = g_tls_certificate_new_from_files(certificate, key, &error);
    if (listen->certificate)
        return 0;
    console_error(listen->console, "webrtc: %s and %s: %s", certificate, key, error->message);
    g_error_free(error);
    return -1;
}

int listen_open(struct listen *listen, struct console *console, SoupServer *server,
                const char *address, const char *certificate_file, const char *key_file)
{
    *listen = (struct listen){.console = console, .server = server, .loopback = true};
    listen->service = g_socket_service_new();
    g_socket_listener_set_backlog(G_SOCKET_LISTENER(listen->service), LISTEN_CONNECTIONS_MAX);
    listen->closing = g_cancellable_new();
    listen->context = g_main_context_ref_thread_default();
    listen->handshakes = g_thread_pool_new(shake_hands, listen, LISTEN_HANDSHAKES, FALSE, NULL);
    listen->connections = g_ptr_array_new();
    g_signal_connect(listen->service, "incoming", G_CALLBACK(on_incoming), listen);
    int status = load_certificate(listen, certificate_file, key_file);
    if (status == 0)
        status = split_address(listen, address);
    if (status == 0)
        status = bind_all(listen);
    if (status < 0) {
        listen_close(listen);
        listen_finish(listen);
        return status;
    }
    g_socket_service_start(listen->service);
    return 0;
}

void listen_close(struct listen *listen)
{
    if (listen->service) {
        g_cancellable_cancel(listen->closing);
        g_socket_service_stop(listen->service);
        g_socket_listener_close(G_SOCKET_LISTENER(listen->service));
    }
}

void listen_finish(struct listen *listen)
{
    if (listen->handshakes)
        g_thread_pool_free(listen->handshakes, FALSE, TRUE);
    listen->handshakes = NULL;
    while (listen->context && g_main_context_iteration(listen->context, FALSE))
        ;
    g_clear_pointer(&listen->context, g_main_context_unref);
    for (guint i = 0; listen->connections && i < listen->connections->len; i++)
        g_object_weak_unref(listen->connections->pdata[i], on_gone, listen);
    g_clear_pointer(&listen->connections, g_ptr_array_unref);
    g_clear_object(&listen->service);
    g_clear_object(&listen->certificate);
    g_clear_object(&listen->closing);
    g_clear_pointer(&listen->host, g_free);
}

static bool same_address(GSocketAddress *a, GSocketAddress *b)
{
    return G_IS_INET_SOCKET_ADDRESS(a) && G_IS_INET_SOCKET_ADDRESS(b) &&
           g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(a)) ==
               g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(b)) &&
           g_inet_address_equal(g_inet_socket_address_get_address(G_INET_SOCKET_ADDRESS(a)),
                                g_inet_socket_address_get_address(G_INET_SOCKET_ADDRESS(b)));
}

void listen_cut(struct listen *listen, GSocketAddress *remote)
{
    for (guint i = 0; i < listen->connections->len; i++) {
        GSocketConnection *connection = listen->connections->pdata[i];
        GSocketAddress *address = g_socket_connection_get_remote_address(connection, NULL);
        if (same_address(address, remote))
            g_socket_shutdown(g_socket_connection_get_socket(connection), TRUE, TRUE, NULL);
        g_clear_object(&address);
    }
}

int listen_count(const struct listen *listen)
{
    return (int)listen->connections->len;
}

/* An address of this machine that others may know it by; NULL if there is none. To be freed. */
static char *outer_address(int family)
{
    struct ifaddrs *all, *a;
    char text[INET6_ADDRSTRLEN] = "";
    if (getifaddrs(&all))
        return NULL;
    for (a = all; a && !*text; a = a->ifa_next) {
        if (!a->ifa_addr || a->ifa_addr->sa_family != family || (a->ifa_flags & IFF_LOOPBACK))
            continue;
        if (family == AF_INET) {
            inet_ntop(family, &((struct sockaddr_in *)a->ifa_addr)->sin_addr, text, sizeof text);
        } else {
            struct sockaddr_in6 *six = (struct sockaddr_in6 *)a->ifa_addr;
            if (!IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr))
                inet_ntop(family, &six->sin6_addr, text, sizeof text);
        }
    }
    freeifaddrs(all);
    return *text ? g_strdup(text) : NULL;
}

char *listen_url(const struct listen *listen)
{
    char *host = NULL;
    if (!strcmp(listen->host, "0.0.0.0"))
        host = outer_address(AF_INET);
    else if (!strcmp(listen->host, "::"))
        host = outer_address(AF_INET6);
    if (!host)
        host = g_strdup(listen->host);
    bool brackets = strchr(host, ':');
    char *url = g_strdup_printf("%s://%s%s%s:%d/", listen->certificate ? "https" : "http",
                                brackets ? "[" : "", host, brackets ? "]" : "", listen->port);
    g_free(host);
    return url;
}
