/* The WebSocket /control: requests of the page (request.h) and their answers, and twice a second
 * what the session does. All messages are JSON text; docs/web.md describes them. */
#pragma once

#include <libsoup/soup.h>

#include "web/access.h"
#include "web/steer.h"

#define CONTROL_MAX 64        /* connections */
#define CONTROL_PERIOD_MS 500 /* between two messages about the state */

struct control {
    struct live *live;
    struct steer *steer;
    GMainContext *context;
    GSource *timer;
    GPtrArray *clients; /* struct control_client */
    int64_t named;      /* clients so far: their names */
    char *run;          /* random: tells a page that comes back whether this is another server */
};

void control_init(struct control *control, struct live *live, struct steer *steer,
                  GMainContext *context);
void control_finish(struct control *control); /* tells the clients that the server goes */

void control_accept(struct control *control, SoupWebsocketConnection *connection, const char *who,
                    const struct access_rights *rights);

/* Shows a change at once instead of with the next period. */
void control_announce(struct control *control);
