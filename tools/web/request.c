#include "request.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "web/flat_json.h"

static const struct {
    const char *name;
    enum request_kind kind;
    const char *members; /* that it may have, besides "do" and "id" */
} kinds[] = {
    {"prompt", REQUEST_PROMPT, "prompt how"},
    {"seed", REQUEST_SEED, "seed"},
    {"pause", REQUEST_PAUSE, "on"},
    {"reset", REQUEST_RESET, ""},
    {"record", REQUEST_RECORD, "on"},
    {"snapshot", REQUEST_SNAPSHOT, ""},
    {"claim", REQUEST_CLAIM, "on"},
    {"release", REQUEST_RELEASE, ""},
    {"ping", REQUEST_PING, "at"},
};

static const char *const switches[] = {
    [UNREEL_SWITCH_DEFAULT] = "default",
    [UNREEL_SWITCH_BLEND] = "blend",
    [UNREEL_SWITCH_RECACHE] = "recache",
    [UNREEL_SWITCH_CUT] = "cut",
};

static bool fail(char *error, const char *text)
{
    snprintf(error, REQUEST_ERROR_MAX, "%s", text);
    return false;
}

static bool only_spaces(const char *text)
{
    for (; *text; text = g_utf8_next_char(text))
        if (!g_unichar_isspace(g_utf8_get_char(text)))
            return false;
    return true;
}

static bool read_prompt(struct request *request, const struct flat_json *json, char *error)
{
    const struct flat_member *prompt = flat_get(json, "prompt"), *how = flat_get(json, "how");
    if (!prompt || prompt->kind != FLAT_TEXT)
        return fail(error, "\"prompt\" must be a string");
    if (strlen(prompt->text) > UNREEL_PROMPT_MAX) {
        snprintf(error, REQUEST_ERROR_MAX, "the prompt has %zu bytes, at most %d are allowed",
                 strlen(prompt->text), UNREEL_PROMPT_MAX);
        return false;
    }
    if (only_spaces(prompt->text))
        return fail(error, "the prompt is empty");
    request->how = UNREEL_SWITCH_DEFAULT;
    if (how) {
        size_t i = 0;
        while (i < G_N_ELEMENTS(switches) &&
               (how->kind != FLAT_TEXT || strcmp(how->text, switches[i])))
            i++;
        if (i == G_N_ELEMENTS(switches))
            return fail(error, "\"how\" must be blend, recache, cut or default");
        request->how = (enum unreel_switch)i;
    }
    request->prompt = g_strdup(prompt->text);
    return true;
}

/* Also as a string: scripts of a browser cannot hold every 64-bit number. */
static bool read_seed(struct request *request, const struct flat_json *json, char *error)
{
    const struct flat_member *seed = flat_get(json, "seed");
    guint64 number = 0;
    bool good =
        seed && ((seed->kind == FLAT_INT && seed->integer >= 0) ||
                 (seed->kind == FLAT_TEXT &&
                  g_ascii_string_to_unsigned(seed->text, 10, 0, G_MAXINT64, &number, NULL)));
    if (!good)
        return fail(error, "\"seed\" must be a whole number from 0 to 9223372036854775807");
    request->seed = seed->kind == FLAT_INT ? seed->integer : (int64_t)number;
    return true;
}

static bool read_flag(struct request *request, const struct flat_json *json, bool needed,
                      char *error)
{
    const struct flat_member *on = flat_get(json, "on");
    if (on ? on->kind != FLAT_BOOL : needed)
        return fail(error, "\"on\" must be true or false");
    request->on = on && on->flag;
    return true;
}

static bool in_words(const char *words, const char *word)
{
    char **list = g_strsplit(words, " ", -1);
    bool found = g_strv_contains((const gchar *const *)list, word);
    g_strfreev(list);
    return found;
}

/* A misspelt member would otherwise do nothing, silently. */
static bool known_members(const struct flat_json *json, const char *members, char *error)
{
    for (int i = 0; i < json->count; i++) {
        const char *key = json->members[i].key;
        if (!strcmp(key, "do") || !strcmp(key, "id") || in_words(members, key))
            continue;
        snprintf(error, REQUEST_ERROR_MAX, "unknown member \"%.60s\"", key);
        return false;
    }
    return true;
}

static bool read_request(struct request *request, const struct flat_json *json,
                         const char *fallback, char *error)
{
    const struct flat_member *what = flat_get(json, "do"), *id = flat_get(json, "id");
    const char *name = what && what->kind == FLAT_TEXT ? what->text : what ? NULL : fallback;
    if (id && (id->kind != FLAT_INT || id->integer < 0))
        return fail(error, "\"id\" must be a whole number");
    request->id = id ? id->integer : -1;
    if (!name)
        return fail(error, "\"do\" must say what to do");
    size_t i = 0;
    while (i < G_N_ELEMENTS(kinds) && strcmp(kinds[i].name, name))
        i++;
    if (i == G_N_ELEMENTS(kinds)) {
        snprintf(error, REQUEST_ERROR_MAX, "there is no \"%.60s\" to do", name);
        return false;
    }
    if (!known_members(json, kinds[i].members, error))
        return false;
    request->kind = kinds[i].kind;
    switch (request->kind) {
    case REQUEST_PROMPT:
        return read_prompt(request, json, error);
    case REQUEST_SEED:
        return read_seed(request, json, error);
    case REQUEST_PAUSE:
    case REQUEST_RECORD:
        return read_flag(request, json, true, error);
    case REQUEST_CLAIM:
        return read_flag(request, json, false, error);
    case REQUEST_PING: {
        const struct flat_member *at = flat_get(json, "at");
        request->at = at ? at->real : 0;
        return true;
    }
    default:
        return true;
    }
}

bool request_parse(struct request *request, const char *text, size_t size, const char *fallback,
                   char error[REQUEST_ERROR_MAX])
{
    struct flat_json json;
    *request = (struct request){.id = -1};
    const char *problem = flat_parse(&json, text, size);
    if (problem)
        return fail(error, problem);
    bool good = read_request(request, &json, fallback, error);
    flat_finish(&json);
    return good;
}

void request_finish(struct request *request)
{
    g_free(request->prompt);
    request->prompt = NULL;
}

bool request_steers(const struct request *request)
{
    return request->kind < REQUEST_CLAIM;
}
