#include "access.h"

#include <string.h>
#include <sys/random.h>

#define TOKEN_BYTES 16

/* From the kernel: GLib's generator can be foretold. */
static char *random_token(void)
{
    unsigned char bytes[TOKEN_BYTES];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        g_error("no random numbers from the kernel"); /* cannot happen for so few bytes */
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < sizeof bytes; i++)
        g_string_append_printf(text, "%02x", bytes[i]);
    return g_string_free(text, FALSE);
}

static void add_name(GPtrArray *names, const char *name)
{
    char *lower = g_ascii_strdown(name, -1);
    g_strstrip(lower);
    if (*lower)
        g_ptr_array_add(names, lower);
    else
        g_free(lower);
}

void access_init(struct access *access, const char *token, bool viewers_open, const char *names,
                 const char *bound_host)
{
    GPtrArray *hosts = g_ptr_array_new();
    char **listed = g_strsplit(names ? names : "", ",", -1);
    for (char **name = listed; *name; name++)
        add_name(hosts, *name);
    g_strfreev(listed);
    add_name(hosts, bound_host);
    add_name(hosts, g_get_host_name());
    char *local = g_strconcat(g_get_host_name(), ".local", NULL);
    add_name(hosts, local);
    g_free(local);
    g_ptr_array_add(hosts, NULL);
    *access = (struct access){.token = token ? g_strdup(token) : random_token(),
                              .viewers_open = viewers_open,
                              .proxied = names && *names,
                              .hosts = (char **)g_ptr_array_free(hosts, FALSE)};
}

void access_finish(struct access *access)
{
    g_free(access->token);
    g_strfreev(access->hosts);
    *access = (struct access){0};
}

/* "name:8080" -> "name", "[::1]:8080" -> "::1"; NULL if it is neither. To be freed. */
static char *host_name(const char *host)
{
    size_t length;
    if (*host == '[') {
        length = strcspn(++host, "]");
        const char *rest = host + length + (host[length] == ']');
        if (host[length] != ']' || (*rest && *rest != ':'))
            return NULL;
    } else {
        length = strcspn(host, ":");
    }
    if (!length)
        return NULL;
    char *name = g_ascii_strdown(host, (gssize)length);
    size_t n = strlen(name);
    if (n > 1 && name[n - 1] == '.') /* the full form of a name */
        name[n - 1] = '\0';
    return name;
}

static bool names_loopback(const char *name)
{
    GInetAddress *address = g_inet_address_new_from_string(name);
    if (!address)
        return !strcmp(name, "localhost") || g_str_has_suffix(name, ".localhost");
    bool loopback = g_inet_address_get_is_loopback(address);
    g_object_unref(address);
    return loopback;
}

/* Addresses are safe: a foreign page cannot have one of ours for its name. */
static bool names_us(const struct access *access, const char *name)
{
    return names_loopback(name) || g_hostname_is_ip_address(name) ||
           g_strv_contains((const gchar *const *)access->hosts, name);
}

/* Only host and port are compared: behind a proxy with TLS our scheme is another one. */
static bool same_origin(const char *origin, const char *host)
{
    const char *authority = strstr(origin, "://");
    return authority && !g_ascii_strcasecmp(authority + 3, host);
}

/* "none": typed, or opened from elsewhere than a page. */
static bool is_foreign(const char *site)
{
    return site && strcmp(site, "same-origin") && strcmp(site, "none");
}

/* Takes the same time wherever the first difference is. */
static bool same_token(const char *shown, const char *token)
{
    size_t length = strlen(token);
    if (strlen(shown) != length)
        return false;
    volatile unsigned char difference = 0;
    for (size_t i = 0; i < length; i++)
        difference = (unsigned char)(difference | (shown[i] ^ token[i]));
    return !difference;
}

struct access_rights access_judge(const struct access *access, const struct access_request *request)
{
    struct access_rights rights = {0};
    char *name = request->host ? host_name(request->host) : NULL;
    if (!name)
        return rights;
    rights.known_host = names_us(access, name);
    rights.own_origin =
        request->origin ? same_origin(request->origin, request->host) : !is_foreign(request->site);
    rights.local =
        request->loopback && !request->forwarded && !access->proxied && names_loopback(name);
    rights.token = request->token && same_token(request->token, access->token);
    g_free(name);
    if (!rights.known_host)
        return rights;
    rights.steer = rights.own_origin && (rights.token || rights.local);
    rights.view = rights.steer || rights.token || access->viewers_open;
    return rights;
}
