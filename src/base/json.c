#include "base/json.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_NULL, KIND_FALSE, KIND_TRUE, KIND_INT, KIND_DOUBLE, KIND_STRING, KIND_ARRAY, KIND_OBJECT };

struct json {
    enum kind kind;
    int64_t integer;
    double real;
    char *text;        /* strings */
    size_t length;     /* arrays, objects */
    size_t capacity;
    char **keys;       /* objects */
    struct json **at;  /* arrays, objects */
    size_t *index;     /* objects: positions sorted by key */
};

struct parser {
    const char *name;
    const unreel_log *log;
    const char *text, *end, *at;
    int depth;
    int code;
    locale_t locale; /* "C": numbers have points, whatever the program's locale */
};

static struct json *parse_value(struct parser *p);

/* ---- errors ---------------------------------------------------------------------------------- */

static void *fail(struct parser *p, const char *reason)
{
    int line = 1;
    for (const char *c = p->text; c < p->at && c < p->end; c++)
        line += *c == '\n';
    if (!p->code)
        p->code = log_error(p->log, UNREEL_EFORMAT, "%s: line %d: %s", p->name, line, reason);
    return NULL;
}

static void *fail_memory(struct parser *p)
{
    if (!p->code)
        p->code = log_error(p->log, UNREEL_ENOMEM, "%s: out of memory", p->name);
    return NULL;
}

/* ---- values ---------------------------------------------------------------------------------- */

void json_free(struct json *root)
{
    if (!root)
        return;
    for (size_t i = 0; i < root->length; i++) {
        json_free(root->at[i]);
        if (root->keys)
            free(root->keys[i]);
    }
    free(root->at);
    free(root->keys);
    free(root->index);
    free(root->text);
    free(root);
}

static struct json *new_value(struct parser *p, enum kind kind)
{
    struct json *value = calloc(1, sizeof *value);
    if (!value)
        return fail_memory(p);
    value->kind = kind;
    return value;
}

static void skip_space(struct parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
        p->at++;
}

static bool accept(struct parser *p, char c)
{
    skip_space(p);
    if (p->at == p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

/* Takes over key (may be NULL, for arrays) and item, also on failure. */
static bool append(struct parser *p, struct json *list, char *key, struct json *item)
{
    if (list->length == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 8;
        struct json **at = realloc(list->at, capacity * sizeof *at);
        char **keys = NULL;
        if (at)
            list->at = at;
        if (key && (keys = realloc(list->keys, capacity * sizeof *keys)))
            list->keys = keys;
        if (!at || (key && !keys)) {
            free(key);
            json_free(item);
            fail_memory(p);
            return false;
        }
        list->capacity = capacity;
    }
    if (key)
        list->keys[list->length] = key;
    list->at[list->length++] = item;
    return true;
}

/* ---- strings --------------------------------------------------------------------------------- */

static int hex4(struct parser *p)
{
    int code = 0;
    if (p->end - p->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = *p->at++;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        code = code * 16 + digit;
    }
    return code;
}

static char *put_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 63));
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    }
    return to;
}

/* Bytes of the UTF-8 character at `at`, 0 if there is none (overlong forms and surrogates included). */
static int utf8_length(const char *at, const char *end)
{
    const unsigned char *c = (const unsigned char *)at;
    int length = *c < 0x80 ? 1 : *c >= 0xc2 && *c < 0xe0 ? 2 : *c >= 0xe0 && *c < 0xf0 ? 3 : *c >= 0xf0 && *c < 0xf5 ? 4 : 0;
    if (!length || end - at < length)
        return 0;
    for (int i = 1; i < length; i++) {
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] >= 0xa0) ||
        (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] >= 0x90))
        return 0;
    return length;
}

/* After the backslash. The character written, or NULL. */
static char *parse_escape(struct parser *p, char *to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    if (p->at == p->end)
        return fail(p, "unfinished escape");
    char c = *p->at++;
    const char *known = c ? strchr(from, c) : NULL;
    if (known) {
        *to++ = into[known - from];
        return to;
    }
    if (c != 'u')
        return fail(p, "unknown escape");
    int code = hex4(p);
    if (code >= 0xd800 && code < 0xdc00 && p->end - p->at >= 2 && p->at[0] == '\\' && p->at[1] == 'u') {
        p->at += 2;
        int low = hex4(p);
        if (low < 0xdc00 || low > 0xdfff)
            return fail(p, "half of a surrogate pair");
        return put_utf8(to, 0x10000 + ((uint32_t)(code - 0xd800) << 10) + (uint32_t)(low - 0xdc00));
    }
    if (code <= 0 || (code >= 0xd800 && code < 0xe000))
        return fail(p, "a \\u escape of no character");
    return put_utf8(to, (uint32_t)code);
}

/* After the opening quote. An escape is never shorter than what it stands for. */
static char *parse_string(struct parser *p)
{
    const char *close = p->at;
    while (close < p->end && *close != '"')
        close += *close == '\\' ? 2 : 1;
    if (close >= p->end)
        return fail(p, "unfinished string");
    char *text = malloc((size_t)(close - p->at) + 1), *to = text;
    if (!text)
        return fail_memory(p);
    while (*p->at != '"') {
        if (*p->at == '\\') {
            p->at++;
            if (!(to = parse_escape(p, to)))
                break;
            continue;
        }
        int length = (unsigned char)*p->at < 0x20 ? 0 : utf8_length(p->at, p->end);
        if (!length) {
            to = fail(p, "a string with a control character or bad UTF-8");
            break;
        }
        memcpy(to, p->at, (size_t)length);
        to += length;
        p->at += length;
    }
    if (!to) {
        free(text);
        return NULL;
    }
    p->at++;
    *to = 0;
    return text;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static bool digits(struct parser *p)
{
    const char *begin = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
        p->at++;
    return p->at > begin;
}

static struct json *parse_number(struct parser *p)
{
    const char *begin = p->at;
    bool whole = true;
    if (*p->at == '-')
        p->at++;
    const char *first = p->at;
    if (!digits(p) || (*first == '0' && p->at - first > 1))
        return fail(p, "not a number");
    if (p->at < p->end && *p->at == '.') {
        whole = false;
        p->at++;
        if (!digits(p))
            return fail(p, "not a number");
    }
    if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        whole = false;
        p->at++;
        if (p->at < p->end && (*p->at == '+' || *p->at == '-'))
            p->at++;
        if (!digits(p))
            return fail(p, "not a number");
    }
    char text[64];
    if ((size_t)(p->at - begin) >= sizeof text)
        return fail(p, "a number with too many digits");
    memcpy(text, begin, (size_t)(p->at - begin));
    text[p->at - begin] = 0;
    struct json *value = new_value(p, whole ? KIND_INT : KIND_DOUBLE);
    if (!value)
        return NULL;
    errno = 0;
    if (whole)
        value->integer = strtoll(text, NULL, 10);
    bool range = whole && errno == ERANGE;
    value->real = whole ? (double)value->integer : strtod_l(text, NULL, p->locale);
    if (range || !isfinite(value->real)) {
        json_free(value);
        return fail(p, "a number out of range");
    }
    return value;
}

/* ---- lists ----------------------------------------------------------------------------------- */

static struct json *parse_array(struct parser *p)
{
    struct json *list = new_value(p, KIND_ARRAY);
    if (!list || accept(p, ']'))
        return list;
    do {
        struct json *item = parse_value(p);
        if (!item || !append(p, list, NULL, item)) {
            json_free(list);
            return NULL;
        }
    } while (accept(p, ','));
    if (accept(p, ']'))
        return list;
    json_free(list);
    return fail(p, "an array without an end");
}

static int compare_keys(const void *a, const void *b, void *keys)
{
    return strcmp(((char **)keys)[*(const size_t *)a], ((char **)keys)[*(const size_t *)b]);
}

/* Sorts the keys for lookup; equal ones then stand side by side. */
static bool index_keys(struct parser *p, struct json *object)
{
    object->index = malloc((object->length + 1) * sizeof *object->index);
    if (!object->index) {
        fail_memory(p);
        return false;
    }
    for (size_t i = 0; i < object->length; i++)
        object->index[i] = i;
    qsort_r(object->index, object->length, sizeof *object->index, compare_keys, object->keys);
    for (size_t i = 1; i < object->length; i++) {
        if (!compare_keys(&object->index[i - 1], &object->index[i], object->keys)) {
            fail(p, "the same key twice");
            return false;
        }
    }
    return true;
}

static bool parse_member(struct parser *p, struct json *object)
{
    if (!accept(p, '"')) {
        fail(p, "a key expected");
        return false;
    }
    char *key = parse_string(p);
    if (!key)
        return false;
    struct json *item = accept(p, ':') ? parse_value(p) : fail(p, "':' expected");
    if (!item) {
        free(key);
        return false;
    }
    return append(p, object, key, item);
}

static struct json *parse_object(struct parser *p)
{
    struct json *object = new_value(p, KIND_OBJECT);
    if (!object)
        return NULL;
    bool good = true;
    if (!accept(p, '}')) {
        do {
            good = parse_member(p, object);
        } while (good && accept(p, ','));
        if (good && !accept(p, '}'))
            good = fail(p, "an object without an end") != NULL;
    }
    if (good && index_keys(p, object))
        return object;
    json_free(object);
    return NULL;
}

static struct json *parse_word(struct parser *p)
{
    static const struct {
        const char *text;
        enum kind kind;
    } words[] = {{"null", KIND_NULL}, {"false", KIND_FALSE}, {"true", KIND_TRUE}};
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(words[i].text);
        if ((size_t)(p->end - p->at) >= length && !memcmp(p->at, words[i].text, length)) {
            p->at += length;
            return new_value(p, words[i].kind);
        }
    }
    return fail(p, "not JSON");
}

static struct json *parse_value(struct parser *p)
{
    skip_space(p);
    if (p->at == p->end)
        return fail(p, "ends too early");
    if (p->depth == JSON_DEPTH_MAX)
        return fail(p, "nested too deep");
    p->depth++;
    struct json *value = NULL;
    char c = *p->at;
    if (c == '{' || c == '[' || c == '"')
        p->at++;
    if (c == '{') {
        value = parse_object(p);
    } else if (c == '[') {
        value = parse_array(p);
    } else if (c == '"') {
        char *text = parse_string(p);
        value = text ? new_value(p, KIND_STRING) : NULL;
        if (value)
            value->text = text;
        else
            free(text);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        value = parse_number(p);
    } else {
        value = parse_word(p);
    }
    p->depth--;
    return value;
}

int json_parse(struct json **root, const char *text, size_t size, const char *name,
               const unreel_log *log)
{
    struct parser p = {.name = name, .log = log, .text = text, .end = text + size, .at = text};
    *root = NULL;
    p.locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (!p.locale) {
        fail_memory(&p);
        return p.code;
    }
    *root = parse_value(&p);
    freelocale(p.locale);
    if (!*root)
        return p.code;
    skip_space(&p);
    if (p.at != p.end) {
        fail(&p, "more text after the end");
        json_free(*root);
        *root = NULL;
    }
    return p.code;
}

/* ---- reading --------------------------------------------------------------------------------- */

bool json_is_object(const struct json *value)
{
    return value && value->kind == KIND_OBJECT;
}

bool json_is_array(const struct json *value)
{
    return value && value->kind == KIND_ARRAY;
}

const struct json *json_get(const struct json *object, const char *key)
{
    if (!json_is_object(object))
        return NULL;
    size_t low = 0, high = object->length;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(key, object->keys[object->index[middle]]);
        if (order == 0)
            return object->at[object->index[middle]];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

size_t json_length(const struct json *value)
{
    return value ? value->length : 0;
}

const struct json *json_at(const struct json *value, size_t index)
{
    return index < json_length(value) ? value->at[index] : NULL;
}

const char *json_key(const struct json *object, size_t index)
{
    return json_is_object(object) && index < object->length ? object->keys[index] : NULL;
}

const char *json_text(const struct json *value)
{
    return value && value->kind == KIND_STRING ? value->text : NULL;
}

bool json_int(const struct json *value, int64_t *number)
{
    if (!value || value->kind != KIND_INT)
        return false;
    *number = value->integer;
    return true;
}

bool json_double(const struct json *value, double *number)
{
    if (!value || (value->kind != KIND_INT && value->kind != KIND_DOUBLE))
        return false;
    *number = value->real;
    return true;
}

bool json_bool(const struct json *value, bool *flag)
{
    if (!value || (value->kind != KIND_FALSE && value->kind != KIND_TRUE))
        return false;
    *flag = value->kind == KIND_TRUE;
    return true;
}

/* ---- writing --------------------------------------------------------------------------------- */

char *json_quote(const char *text, char *buffer, size_t size)
{
    const char *end = text + strlen(text);
    size_t n = 0;
    if (size < 3) {
        if (size)
            *buffer = 0;
        return buffer;
    }
    buffer[n++] = '"';
    while (text < end) {
        char escaped[8];
        int length = utf8_length(text, end), bytes = length;
        if (!length)
            bytes = snprintf(escaped, sizeof escaped, "\\ufffd");
        else if (*text == '"' || *text == '\\')
            bytes = snprintf(escaped, sizeof escaped, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            bytes = snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)*text);
        else
            memcpy(escaped, text, (size_t)length);
        if (n + (size_t)bytes + 2 > size)
            break;
        memcpy(buffer + n, escaped, (size_t)bytes);
        n += (size_t)bytes;
        text += length ? length : 1;
    }
    buffer[n++] = '"';
    buffer[n] = 0;
    return buffer;
}
