#include "address.h"

#include <glib.h>
#include <string.h>

char *address_public(const char *address)
{
    const char *host = strstr(address, "://");
    if (!host)
        return g_strdup(address);
    host += 3;
    size_t length = strcspn(host, "?#");
    const char *path = memchr(host, '/', length), *at = memchr(host, '@', length);
    GString *text = g_string_new_len(address, host - address);
    if (at && (!path || at < path)) {
        length -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    if (!strncmp(address, "rtmp", 4) && path) {
        const char *key = g_strrstr_len(host, (gssize)length, "/");
        if (key > path) /* rtmp://HOST/APPLICATION/KEY */
            length = (size_t)(key - host);
    }
    g_string_append_len(text, host, (gssize)length);
    return g_string_free(text, FALSE);
}
