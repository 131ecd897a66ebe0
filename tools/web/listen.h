/* Accepts connections for the server: counted, with time limits, encrypted if asked. */
#pragma once

#include <libsoup/soup.h>
#include <stdbool.h>

#include "console.h"

#define LISTEN_CONNECTIONS_MAX 256
#define LISTEN_HANDSHAKES 64 /* at a time, with TLS */
#define LISTEN_HANDSHAKE_SECONDS 5
#define LISTEN_IDLE_SECONDS 30 /* a connection that says nothing so long is closed */

struct listen {
    struct console *console;
    SoupServer *server;
    GSocketService *service;
    GTlsCertificate *certificate; /* NULL: not encrypted */
    GThreadPool *handshakes;
    GMainContext *context;
    GCancellable *closing;
    char *host; /* as given, or the loopback address */
    int port;
    bool loopback;          /* nobody else's machine can connect */
    GPtrArray *connections; /* open ones, not owned */
};

/* `address` is [HOST:]PORT with [] around an IPv6 address; port 0: any that is free. Both files, or
 * none. 0, or -1 or LIVE_EUSAGE with one line printed. The thread-default main context serves it.
 */
int listen_open(struct listen *listen, struct console *console, SoupServer *server,
                const char *address, const char *certificate_file, const char *key_file);
void listen_close(struct listen *listen);  /* takes no more connections */
void listen_finish(struct listen *listen); /* after it, and the server, are gone */
/* Ends the connection from this address at once. */
void listen_cut(struct listen *listen, GSocketAddress *remote);
int listen_count(const struct listen *listen);

/* "http://127.0.0.1:8080/", to be freed. For all interfaces: an address that others can use. */
char *listen_url(const struct listen *listen);
