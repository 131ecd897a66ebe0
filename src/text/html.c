#include "text/html.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "text/utf8.h"

#define NAME_MAX_LENGTH 32 /* characters that a name is looked for in */

struct entity {
    const char *name;
    const char *value;
};

static const struct entity entities[] = {
#include "text/entities.inc"
};

/* What 0x80 .. 0x9f stand for in references: Windows-1252. */
static const uint16_t windows_1252[32] = {
    0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160,
    0x2039, 0x152,  0x8d,   0x17d,  0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e, 0x178};

static int compare_name(const void *key, const void *entry)
{
    return strcmp(key, ((const struct entity *)entry)->name);
}

static const char *find_entity(const char *name, size_t length)
{
    char key[NAME_MAX_LENGTH + 2];
    memcpy(key, name, length);
    key[length] = 0;
    const struct entity *found =
        bsearch(key, entities, sizeof entities / sizeof *entities, sizeof *entities, compare_name);
    return found ? found->value : NULL;
}

/* Characters that no document may hold; a reference to one is dropped. */
static bool is_invalid(uint32_t code)
{
    return (code >= 1 && code <= 8) || (code >= 0xe && code <= 0x1f) ||
           (code >= 0x7f && code <= 0x9f) || (code >= 0xfdd0 && code <= 0xfdef) || code == 0xb ||
           (code & 0xfffe) == 0xfffe;
}

/* "#123;" or "#x7b;" at `at`. Moves *at behind it and *to behind what it stands for; false: none. */
static bool unescape_number(const char **at, char **to)
{
    const char *digit = *at + 1;
    bool hex = *digit == 'x' || *digit == 'X';
    uint32_t code = 0, base = hex ? 16 : 10;
    digit += hex;
    const char *first = digit;
    for (;; digit++) {
        uint32_t value = *digit >= '0' && *digit <= '9'          ? (uint32_t)(*digit - '0')
                         : hex && *digit >= 'a' && *digit <= 'f' ? (uint32_t)(*digit - 'a' + 10)
                         : hex && *digit >= 'A' && *digit <= 'F' ? (uint32_t)(*digit - 'A' + 10)
                                                                 : 99;
        if (value == 99)
            break;
        if (code <= 0x10ffff)
            code = code * base + value;
    }
    if (digit == first)
        return false;
    *at = digit + (*digit == ';');
    if (code >= 0x80 && code < 0xa0)
        *to = utf8_put(*to, windows_1252[code - 0x80]);
    else if (code == 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        *to = utf8_put(*to, 0xfffd);
    else if (!is_invalid(code))
        *to = utf8_put(*to, code);
    return true;
}

/* Bytes of the name at `at`, its semicolon included: up to 32 characters. */
static size_t name_length(const char *at)
{
    size_t length = 0;
    while (length < NAME_MAX_LENGTH && at[length] && !strchr("\t\n\f <&#;", at[length]))
        length++;
    return length + (length > 0 && at[length] == ';');
}

static bool unescape_name(const char **at, char **to)
{
    size_t length = name_length(*at);
    for (size_t tried = length; tried > 1; tried--) {
        const char *value = find_entity(*at, tried);
        if (!value)
            continue;
        size_t size = strlen(value);
        memcpy(*to, value, size);
        *to += size;
        *at += tried;
        return true;
    }
    return false;
}

char *html_unescape(const char *text)
{
    /* The worst case is "&nGt;", 5 bytes for 6. */
    char *copy = malloc(2 * strlen(text) + 1), *to = copy;
    while (copy && *text) {
        if (*text == '&') {
            const char *name = text + 1;
            if (*name == '#' ? unescape_number(&name, &to) : unescape_name(&name, &to)) {
                text = name;
                continue;
            }
        }
        *to++ = *text++;
    }
    if (copy)
        *to = 0;
    return copy;
}
