/* Addresses in messages and in the state. */
#pragma once

/* An address without what is secret in it: user and password, the query (SRT pass phrases) and, of
 * RTMP, the stream key, which is the last part of the path. Other texts as they are. To be freed by
 * g_free. */
char *address_public(const char *address);
