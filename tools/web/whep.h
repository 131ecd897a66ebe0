/* WHEP: a viewer posts an offer and gets an answer (draft-ietf-wish-whep; where it is silent, its
 * twin RFC 9725). Resources are /whep and, for each viewer, /whep/ID. */
#pragma once

#include <libsoup/soup.h>

#include "web/access.h"
#include "web/viewer.h"

#define WHEP_VIEWERS_MAX 32
#define WHEP_OFFER_MAX 65536 /* bytes */

struct whep {
    struct viewer_place place;
    GHashTable *viewers; /* id -> struct whep_viewer */
    int connected;
    int64_t pictures, dropped; /* of viewers that are gone */
};

void whep_init(struct whep *whep, const struct viewer_place *place);
void whep_finish(struct whep *whep); /* the viewers too */

void whep_handle(struct whep *whep, SoupServerMessage *message, const char *path,
                 const struct access_rights *rights);

void whep_counts(struct whep *whep, int64_t *pictures, int64_t *dropped);

/* What browsers need to know of STUN and TURN: {"iceServers": [...]}. To be freed. */
GString *whep_ice_json(const struct whep *whep);
