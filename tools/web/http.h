/* Answers, and who asks. */
#pragma once

#include <libsoup/soup.h>

#include "web/access.h"

struct web;

/* JSON text; `json` is taken over. */
void http_reply_json(SoupServerMessage *message, unsigned status, GString *json);

/* {"error": "..."} */
void http_error(SoupServerMessage *message, unsigned status, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

/* "text" with quotes and escapes, valid UTF-8 whatever `text` is. */
void json_quote(GString *json, const char *text);

struct access_rights http_rights(const struct web *web, SoupServerMessage *message);

/* Answers 401, 403 or 421 unless `allowed`. */
bool http_allowed(SoupServerMessage *message, const struct access_rights *rights, bool allowed);

/* The other side's address as text; valid as long as the message. */
const char *http_who(SoupServerMessage *message);

/* The media type without parameters is this one. */
bool http_has_type(SoupServerMessage *message, const char *type);

/* The routes and limits of the server. */
void http_install(struct web *web, SoupServer *server);
