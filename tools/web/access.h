/* Who may view and who may steer.
 *
 * Three things are looked at. The Host header must name this server: an address, localhost, the
 * machine's name or one the user listed; a name of somebody else's is DNS rebinding. The Origin
 * header, which browsers send along with everything that could do harm, must be this server's own
 * page; so must Sec-Fetch-Site say, for what pages embed without an Origin. And whoever does not
 * sit at this machine shows the token that was printed at the start; if names were listed nobody
 * counts as sitting here, since a proxy may stand between and not say so.
 *
 *                        token     no token, at this machine     no token, elsewhere
 *     own page, scripts  steer     steer                         view if viewers are open
 *     other origin       view      view if viewers are open      view if viewers are open
 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

struct access {
    char *token;
    bool viewers_open; /* viewing needs no token */
    bool proxied;      /* names were listed */
    char **hosts;      /* further names of this server, lower case, NULL-terminated */
};

struct access_request {
    const char *host; /* headers as they came, NULL: absent */
    const char *origin;
    const char *site;  /* Sec-Fetch-Site, where a browser says from what page it asks */
    const char *token; /* that was shown, NULL: none */
    bool loopback;     /* the connection comes from this machine ... */
    bool forwarded;    /* ... through a proxy, which may speak for anybody */
};

struct access_rights {
    bool known_host; /* else everything is refused */
    bool own_origin; /* neither Origin nor Sec-Fetch-Site, or those of the own page */
    bool local;      /* somebody at this machine */
    bool token;      /* showed the right one */
    bool view, steer;
};

/* `names`: host names separated by commas, NULL: none. `token` NULL: a random one. */
void access_init(struct access *access, const char *token, bool viewers_open, const char *names,
                 const char *bound_host);
void access_finish(struct access *access);

struct access_rights access_judge(const struct access *access,
                                  const struct access_request *request);
