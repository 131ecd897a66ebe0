#include "flat_json.h"

#include <errno.h>
#include <glib.h>
#include <math.h>
#include <string.h>

struct reader {
    const char *at, *end;
    const char *error;
};

static bool fail(struct reader *reader, const char *error)
{
    if (!reader->error)
        reader->error = error;
    return false;
}

static void skip_space(struct reader *reader)
{
    while (reader->at < reader->end && strchr(" \t\r\n", *reader->at) && *reader->at)
        reader->at++;
}

static bool accept(struct reader *reader, char c)
{
    skip_space(reader);
    if (reader->at >= reader->end || *reader->at != c)
        return false;
    reader->at++;
    return true;
}

/* Four hexadecimal digits; -1 if they are not there. */
static int read_unit(struct reader *reader)
{
    int unit = 0;
    if (reader->end - reader->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = g_ascii_xdigit_value(*reader->at++);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

static bool read_escaped_rune(struct reader *reader, GString *text)
{
    int unit = read_unit(reader);
    if (unit < 0)
        return fail(reader, "\\u needs four hexadecimal digits");
    if (unit == 0)
        return fail(reader, "a string has a NUL inside");
    gunichar rune = (gunichar)unit;
    if (unit >= 0xd800 && unit < 0xdc00) {
        if (reader->end - reader->at < 6 || reader->at[0] != '\\' || reader->at[1] != 'u')
            return fail(reader, "half a surrogate pair");
        reader->at += 2;
        int low = read_unit(reader);
        if (low < 0xdc00 || low > 0xdfff)
            return fail(reader, "half a surrogate pair");
        rune = 0x10000 + (((gunichar)unit - 0xd800) << 10) + ((gunichar)low - 0xdc00);
    } else if (unit >= 0xdc00 && unit < 0xe000) {
        return fail(reader, "half a surrogate pair");
    }
    g_string_append_unichar(text, rune);
    return true;
}

static bool read_escape(struct reader *reader, GString *text)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (reader->at >= reader->end)
        return fail(reader, "a string does not end");
    char c = *reader->at++;
    if (c == 'u')
        return read_escaped_rune(reader, text);
    const char *found = c ? strchr(from, c) : NULL;
    if (!found)
        return fail(reader, "an unknown escape in a string");
    g_string_append_c(text, to[found - from]);
    return true;
}

/* The text after the opening quote, to be freed; NULL on error. */
static char *read_text(struct reader *reader)
{
    GString *text = g_string_new(NULL);
    bool good = true;
    while (good) {
        if (reader->at >= reader->end) {
            good = fail(reader, "a string does not end");
            break;
        }
        char c = *reader->at++;
        if (c == '"')
            break;
        if (c == '\\')
            good = read_escape(reader, text);
        else if ((unsigned char)c < 0x20)
            good = fail(reader, "a control character in a string");
        else
            g_string_append_c(text, c);
    }
    return g_string_free(text, !good);
}

/* Length of a JSON number at the text's start, 0: none. */
static size_t number_length(const char *at, const char *end, bool *integer)
{
    const char *start = at;
    *integer = true;
    if (at < end && *at == '-')
        at++;
    const char *digits = at;
    while (at < end && g_ascii_isdigit(*at))
        at++;
    if (at == digits || (*digits == '0' && at - digits > 1))
        return 0;
    if (at < end && *at == '.') {
        *integer = false;
        for (digits = ++at; at < end && g_ascii_isdigit(*at);)
            at++;
        if (at == digits)
            return 0;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        *integer = false;
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        for (digits = at; at < end && g_ascii_isdigit(*at);)
            at++;
        if (at == digits)
            return 0;
    }
    return (size_t)(at - start);
}

static bool read_number(struct reader *reader, struct flat_member *member)
{
    bool integer;
    char digits[64];
    size_t length = number_length(reader->at, reader->end, &integer);
    if (length == 0)
        return fail(reader, "a value is missing or no JSON");
    if (length >= sizeof digits)
        return fail(reader, "a number is too long");
    memcpy(digits, reader->at, length);
    digits[length] = '\0';
    reader->at += length;
    member->real = g_ascii_strtod(digits, NULL);
    if (!isfinite(member->real))
        return fail(reader, "a number is too large");
    member->kind = FLAT_REAL;
    if (integer) {
        errno = 0;
        member->integer = g_ascii_strtoll(digits, NULL, 10);
        if (errno)
            return fail(reader, "a number is too large");
        member->kind = FLAT_INT;
    }
    return true;
}

static bool read_word(struct reader *reader, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, word, length))
        return false;
    reader->at += length;
    return true;
}

static bool read_value(struct reader *reader, struct flat_member *member)
{
    skip_space(reader);
    if (accept(reader, '"')) {
        member->kind = FLAT_TEXT;
        member->text = read_text(reader);
        return member->text;
    }
    if (reader->at < reader->end && (*reader->at == '{' || *reader->at == '['))
        return fail(reader, "objects and lists inside are not expected");
    if (read_word(reader, "null")) {
        member->kind = FLAT_NULL;
    } else if (read_word(reader, "true") || read_word(reader, "false")) {
        member->kind = FLAT_BOOL;
        member->flag = reader->at[-2] == 'u';
    } else {
        return read_number(reader, member);
    }
    return true;
}

static bool read_member(struct reader *reader, struct flat_json *json)
{
    if (json->count == FLAT_MEMBERS_MAX)
        return fail(reader, "too many members");
    if (!accept(reader, '"'))
        return fail(reader, "a key is missing");
    char *key = read_text(reader);
    if (!key)
        return false;
    if (flat_get(json, key)) {
        g_free(key);
        return fail(reader, "a key comes twice");
    }
    struct flat_member *member = &json->members[json->count++];
    *member = (struct flat_member){.key = key};
    if (!accept(reader, ':'))
        return fail(reader, "a colon is missing");
    return read_value(reader, member);
}

static bool read_object(struct reader *reader, struct flat_json *json)
{
    if (!accept(reader, '{'))
        return fail(reader, "this is no JSON object");
    if (!accept(reader, '}')) {
        do {
            if (!read_member(reader, json))
                return false;
        } while (accept(reader, ','));
        if (!accept(reader, '}'))
            return fail(reader, "a comma or closing brace is missing");
    }
    skip_space(reader);
    return reader->at == reader->end || fail(reader, "something follows the object");
}

const char *flat_parse(struct flat_json *json, const char *text, size_t size)
{
    struct reader reader = {.at = text, .end = text + size};
    *json = (struct flat_json){0};
    if (!g_utf8_validate_len(text, size, NULL)) /* a NUL is invalid too */
        return "this is no UTF-8";
    if (read_object(&reader, json))
        return NULL;
    flat_finish(json);
    return reader.error;
}

void flat_finish(struct flat_json *json)
{
    for (int i = 0; i < json->count; i++) {
        g_free(json->members[i].key);
        g_free(json->members[i].text);
    }
    json->count = 0;
}

const struct flat_member *flat_get(const struct flat_json *json, const char *key)
{
    for (int i = 0; i < json->count; i++)
        if (!strcmp(json->members[i].key, key))
            return &json->members[i];
    return NULL;
}
