#include "text/runes.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static bool reserve(struct runes *text, size_t more)
{
    if (text->failed)
        return false;
    if (more <= text->capacity - text->count)
        return true;
    size_t capacity = text->count + more;
    capacity = capacity < 2 * text->capacity ? 2 * text->capacity : capacity;
    capacity = capacity < 64 ? 64 : capacity;
    uint32_t *at = NULL;
    if (capacity < SIZE_MAX / sizeof *at)
        at = realloc(text->at, capacity * sizeof *at);
    if (!at) {
        text->failed = true;
        return false;
    }
    text->at = at;
    text->capacity = capacity;
    return true;
}

void runes_push(struct runes *text, uint32_t rune)
{
    if (reserve(text, 1))
        text->at[text->count++] = rune;
}

void runes_append(struct runes *text, const uint32_t *at, size_t count)
{
    if (!count || !reserve(text, count))
        return;
    memcpy(text->at + text->count, at, count * sizeof *at);
    text->count += count;
}

void runes_append_ascii(struct runes *text, const char *ascii)
{
    while (*ascii)
        runes_push(text, (unsigned char)*ascii++);
}

void runes_finish(struct runes *text)
{
    free(text->at);
    *text = (struct runes){0};
}

bool runes_append_utf8(struct runes *text, const char *utf8, size_t size)
{
    const char *at = utf8, *end = utf8 + size;
    if (!reserve(text, size))
        return true;
    while (at < end) {
        int32_t rune = utf8_next(&at, end);
        if (rune < 0)
            return false;
        text->at[text->count++] = (uint32_t)rune;
    }
    return true;
}

char *runes_to_utf8(const struct runes *text, size_t *size)
{
    char *utf8 = text->failed ? NULL : malloc(4 * text->count + 1), *end = utf8;
    if (!utf8)
        return NULL;
    for (size_t i = 0; i < text->count; i++)
        end = utf8_put(end, text->at[i]);
    *end = 0;
    if (size)
        *size = (size_t)(end - utf8);
    return utf8;
}

bool runes_equal(const struct runes *a, const struct runes *b)
{
    return a->count == b->count &&
           (!a->count || !memcmp(a->at, b->at, a->count * sizeof *a->at));
}

void runes_apply(struct runes *text, runes_fn change)
{
    struct runes out = {.failed = text->failed};
    change(&out, text);
    runes_finish(text);
    *text = out;
}

bool rune_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}
