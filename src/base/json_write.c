#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static void put(struct json_writer *w, const char *text, size_t length)
{
    if (w->failed)
        return;
    if (length >= w->capacity - w->length) {
        size_t capacity = (w->length + length + 1) * 2;
        char *grown = realloc(w->text, capacity);
        if (!grown) {
            w->failed = true;
            return;
        }
        w->text = grown;
        w->capacity = capacity;
    }
    memcpy(w->text + w->length, text, length);
    w->length += length;
    w->text[w->length] = 0;
}

static void new_line(struct json_writer *w)
{
    if (!w->indent)
        return;
    put(w, "\n", 1);
    for (int i = 0; i < w->depth * w->indent; i++)
        put(w, " ", 1);
}

/* Control characters are escaped, all else stays as it is. */
static void put_quoted(struct json_writer *w, const char *text)
{
    put(w, "\"", 1);
    for (const char *c = text; *c; c++) {
        char escape[8];
        if (*c == '"' || *c == '\\')
            put(w, escape, (size_t)snprintf(escape, sizeof escape, "\\%c", *c));
        else if (*c == '\n')
            put(w, "\\n", 2);
        else if (*c == '\t')
            put(w, "\\t", 2);
        else if ((unsigned char)*c < 0x20 || *c == 0x7f)
            put(w, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)*c));
        else
            put(w, c, 1);
    }
    put(w, "\"", 1);
}

/* What goes before a value: comma, line, key. */
static void begin_value(struct json_writer *w, const char *key)
{
    if (w->filled[w->depth])
        put(w, w->indent ? "," : ", ", w->indent ? 1 : 2);
    w->filled[w->depth] = true;
    if (w->depth)
        new_line(w);
    if (key) {
        put_quoted(w, key);
        put(w, ": ", 2);
    }
}

static void open_level(struct json_writer *w, const char *key, bool array)
{
    begin_value(w, key);
    put(w, array ? "[" : "{", 1);
    if (w->depth == JSON_DEPTH_MAX) {
        w->failed = true;
        return;
    }
    w->depth++;
    w->filled[w->depth] = false;
    w->array[w->depth] = array;
}

void json_writer_init(struct json_writer *w, int indent)
{
    *w = (struct json_writer){.indent = indent};
}

char *json_writer_finish(struct json_writer *w)
{
    char *text = w->text;
    if (w->failed || w->depth) {
        free(text);
        text = NULL;
    }
    *w = (struct json_writer){0};
    return text;
}

void json_put_object(struct json_writer *w, const char *key)
{
    open_level(w, key, false);
}

void json_put_array(struct json_writer *w, const char *key)
{
    open_level(w, key, true);
}

void json_put_end(struct json_writer *w)
{
    if (w->depth == 0) {
        w->failed = true;
        return;
    }
    bool array = w->array[w->depth], filled = w->filled[w->depth];
    w->depth--;
    if (filled)
        new_line(w);
    put(w, array ? "]" : "}", 1);
}

void json_put_text(struct json_writer *w, const char *key, const char *text)
{
    if (!text) {
        json_put_null(w, key);
        return;
    }
    begin_value(w, key);
    put_quoted(w, text);
}

void json_put_int(struct json_writer *w, const char *key, int64_t value)
{
    char text[32];
    begin_value(w, key);
    put(w, text, (size_t)snprintf(text, sizeof text, "%" PRId64, value));
}

/* snprintf of one double in the C locale, whatever the program has set. */
static size_t format_real(char *text, size_t size, const char *format, int digits, double value)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    locale_t old = c ? uselocale(c) : (locale_t)0;
    size_t length = (size_t)snprintf(text, size, format, digits, value);
    if (c) {
        uselocale(old);
        freelocale(c);
    }
    return length;
}

void json_put_double(struct json_writer *w, const char *key, double value)
{
    char text[40];
    if (!isfinite(value)) {
        json_put_null(w, key);
        return;
    }
    size_t length = 0;
    for (int digits = 15; digits <= 17; digits++) {
        struct json *read;
        double back = 0;
        length = format_real(text, sizeof text - 2, "%.*g", digits, value);
        if (!strpbrk(text, ".e")) { /* stays a real when read back */
            memcpy(text + length, ".0", 3);
            length += 2;
        }
        bool same = json_parse(&read, text, length, "", NULL) == 0 && json_double(read, &back) &&
                    back == value;
        json_free(read);
        if (same)
            break;
    }
    begin_value(w, key);
    put(w, text, length);
}

void json_put_fixed(struct json_writer *w, const char *key, double value, int digits)
{
    char text[360];
    if (!isfinite(value) || digits < 0 || digits > 20) {
        json_put_null(w, key);
        return;
    }
    begin_value(w, key);
    put(w, text, format_real(text, sizeof text, "%.*f", digits, value));
}

void json_put_bool(struct json_writer *w, const char *key, bool value)
{
    begin_value(w, key);
    put(w, value ? "true" : "false", value ? 4 : 5);
}

void json_put_null(struct json_writer *w, const char *key)
{
    begin_value(w, key);
    put(w, "null", 4);
}
