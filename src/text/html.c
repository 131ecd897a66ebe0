#include "text/html.h"

#include <stdlib.h>
#include <string.h>

#include "text/windows1252.h"

#define NAME_MAX_LENGTH 32 /* characters looked at after the ampersand */
#define STRICT_MAX_LENGTH 24
#define RUNE_MAX 0x10ffff

struct entity {
    const char *name;
    uint32_t first, second; /* second 0: none */
    bool legacy;            /* known without a semicolon too */
};

static const struct entity entities[] = {
#include "text/html_entities.inc"
};

static int compare(const void *name, const void *entity)
{
    return strcmp(name, ((const struct entity *)entity)->name);
}

static const struct entity *find(const char *name)
{
    return bsearch(name, entities, sizeof entities / sizeof *entities, sizeof *entities, compare);
}

/* The longest old name that `name` starts with; its length in *length. */
static const struct entity *find_legacy(const char *name, size_t *length)
{
    char head[NAME_MAX_LENGTH + 1];
    for (*length = strlen(name); *length >= 2; --*length) {
        memcpy(head, name, *length);
        head[*length] = 0;
        const struct entity *entity = find(head);
        if (entity && entity->legacy)
            return entity;
    }
    return NULL;
}

static void push_entity(struct runes *out, const struct entity *entity)
{
    runes_push(out, entity->first);
    if (entity->second)
        runes_push(out, entity->second);
}

static bool is_digit(uint32_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int hex_digit(uint32_t c)
{
    uint32_t lower = c | 0x20;
    return is_digit(c) ? (int)c - '0' : lower >= 'a' && lower <= 'f' ? (int)lower - 'a' + 10 : -1;
}

/* Code points that no reference may stand for: they vanish. */
static bool is_refused(uint32_t c)
{
    return (c >= 1 && c <= 8) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f ||
           (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
}

static void push_number(struct runes *out, uint32_t c)
{
    if (!c || (c >= 0xd800 && c <= 0xdfff) || c > RUNE_MAX)
        runes_push(out, 0xfffd);
    else if (c >= 0x80 && c <= 0x9f)
        runes_push(out, windows1252_rune((uint8_t)c));
    else if (!is_refused(c))
        runes_push(out, c);
}

/* "&#..." at `at`: its value and where it ends, a semicolon included; 0 if it is none. */
static size_t read_number(const struct runes *in, size_t at, uint32_t *value)
{
    size_t i = at + 2;
    bool hex = i < in->count && (in->at[i] | 0x20) == 'x';
    size_t digits = i += hex;
    *value = 0;
    for (; i < in->count && (hex ? hex_digit(in->at[i]) >= 0 : is_digit(in->at[i])); i++) {
        if (*value <= RUNE_MAX)
            *value = *value * (hex ? 16 : 10) + (uint32_t)hex_digit(in->at[i]);
    }
    if (i == digits)
        return 0;
    return i + (i < in->count && in->at[i] == ';');
}

static bool is_number(const struct runes *in, size_t at)
{
    return at + 1 < in->count && in->at[at + 1] == '#';
}

/* ASCII letters and digits after the ampersand at `at`, up to `max`. */
static size_t read_name(const struct runes *in, size_t at, size_t max, char *name)
{
    size_t length = 0;
    while (length < max && at + 1 + length < in->count &&
           (is_letter(in->at[at + 1 + length]) || is_digit(in->at[at + 1 + length]))) {
        name[length] = (char)in->at[at + 1 + length];
        length++;
    }
    name[length] = 0;
    return length;
}

/* Reads the reference at `at`, if there is one, and returns where text goes on. */
static size_t unescape_at(struct runes *out, const struct runes *in, size_t at)
{
    char name[NAME_MAX_LENGTH + 1];
    uint32_t value;
    if (is_number(in, at)) {
        size_t end = read_number(in, at, &value);
        if (end) {
            push_number(out, value);
            return end;
        }
    } else {
        size_t length = read_name(in, at, NAME_MAX_LENGTH, name), end = at + 1 + length;
        bool closed = end < in->count && in->at[end] == ';';
        const struct entity *entity = closed ? find(name) : NULL;
        if (entity) {
            push_entity(out, entity);
            return end + 1;
        }
        if ((entity = find_legacy(name, &length))) {
            push_entity(out, entity);
            return at + 1 + length;
        }
    }
    runes_push(out, '&');
    return at + 1;
}

static void unescape(struct runes *out, const struct runes *in,
                     size_t (*reference)(struct runes *, const struct runes *, size_t))
{
    for (size_t i = 0; i < in->count;) {
        if (in->at[i] == '&')
            i = reference(out, in, i);
        else
            runes_push(out, in->at[i++]);
    }
}

void html_unescape(struct runes *out, const struct runes *in)
{
    unescape(out, in, unescape_at);
}

/* ---- strict ---------------------------------------------------------------------------------- */

#ifdef UNREEL_TEXT

#include <utf8proc.h>

static void push_upper(struct runes *out, uint32_t c)
{
    static const struct {
        uint32_t rune;
        const char *upper;
    } several[] = {{0xdf, "SS"},   {0xfb00, "FF"},  {0xfb01, "FI"},
                   {0xfb02, "FL"}, {0xfb03, "FFI"}, {0xfb04, "FFL"}};
    for (size_t i = 0; i < sizeof several / sizeof *several; i++) {
        if (several[i].rune == c) {
            runes_append_ascii(out, several[i].upper);
            return;
        }
    }
    if (c == 0x149) /* n with apostrophe: the capital is two code points */
        runes_push(out, 0x2bc);
    runes_push(out, c == 0x149 ? 'N' : (uint32_t)utf8proc_toupper((utf8proc_int32_t)c));
}

/* A name of small letters, written in capitals throughout. */
static const struct entity *find_capitals(const char *name)
{
    char small[STRICT_MAX_LENGTH + 1];
    size_t length;
    for (length = 0; name[length]; length++) {
        if (name[length] >= 'a' && name[length] <= 'z')
            return NULL;
        small[length] = (char)(is_letter((unsigned char)name[length]) ? name[length] | 0x20
                                                                      : name[length]);
    }
    small[length] = 0;
    return find_legacy(name, &length) ? NULL : find(small);
}

static size_t unescape_strict_at(struct runes *out, const struct runes *in, size_t at)
{
    char name[STRICT_MAX_LENGTH + 1];
    bool number = is_number(in, at);
    size_t length = read_name(in, at + number, STRICT_MAX_LENGTH, name);
    size_t end = at + 1 + number + length;
    uint32_t value;
    const struct entity *entity;
    if (!length || end == in->count || in->at[end] != ';') {
        runes_push(out, '&');
        return at + 1;
    }
    /* "&#59;" stays: the one number that stands for a semicolon would look half read. */
    if (number && read_number(in, at, &value) == end + 1 && value != ';') {
        push_number(out, value);
        return end + 1;
    }
    if (!number && (entity = find(name))) {
        push_entity(out, entity);
        return end + 1;
    }
    if (!number && (entity = find_capitals(name))) {
        push_upper(out, entity->first);
        if (entity->second)
            push_upper(out, entity->second);
        return end + 1;
    }
    runes_push(out, '&');
    return at + 1;
}

void html_unescape_strict(struct runes *out, const struct runes *in)
{
    unescape(out, in, unescape_strict_at);
}

#endif
