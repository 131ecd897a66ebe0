#include "base/json.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "base/utf8.h"

#define POOL_MAX ((size_t)512 << 20)
#define NUMBER_MAX 400 /* characters of a real; a double written out in full has 340 */

enum kind { KIND_NULL, KIND_BOOL, KIND_INT, KIND_DOUBLE, KIND_STRING, KIND_ARRAY, KIND_OBJECT };

struct json {
    enum kind kind;
    const char *key; /* of a member of an object */
    union {
        bool flag;
        int64_t integer;
        double real;
        const char *text;
        struct { /* arrays, objects: in the order of the file */
            struct json *items;
            size_t count;
            uint32_t *by_key; /* objects: indices of the items, sorted by key */
        };
    };
};

struct document {
    struct json root; /* first, so that the root stands for the document */
    struct pool pool;
};

struct parser {
    struct document *document;
    const char *name;
    const uint8_t *start, *at, *end;
    struct json *stack; /* finished values whose container is still open */
    size_t count, capacity;
    size_t values;
    int depth;
    locale_t c_locale; /* numbers have points, whatever the program's locale */
    const unreel_log *log;
};

static int parse_value(struct parser *p, struct json *value);

static int fail(struct parser *p, const char *what)
{
    size_t line = 1;
    const uint8_t *begin = p->start;
    for (const uint8_t *c = p->start; c < p->at; c++) {
        if (*c == '\n') {
            line++;
            begin = c + 1;
        }
    }
    return log_error(p->log, UNREEL_EFORMAT, "%s: line %zu, column %zu: %s", p->name, line,
                     (size_t)(p->at - begin) + 1, what);
}

static int out_of_memory(struct parser *p)
{
    return log_error(p->log, UNREEL_ENOMEM, "%s: out of memory", p->name);
}

static void skip_space(struct parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\r' || *p->at == '\t'))
        p->at++;
}

static bool take(struct parser *p, char c)
{
    if (p->at == p->end || *p->at != (uint8_t)c)
        return false;
    p->at++;
    return true;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static bool digits(struct parser *p)
{
    const uint8_t *first = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
        p->at++;
    return p->at > first;
}

static int parse_number(struct parser *p, struct json *value)
{
    const uint8_t *first = p->at;
    bool real = false;
    take(p, '-');
    bool zero = take(p, '0');
    if (!zero && !digits(p))
        return fail(p, "a value is expected");
    if (take(p, '.')) {
        real = true;
        if (!digits(p))
            return fail(p, "a digit is expected");
    }
    if (take(p, 'e') || take(p, 'E')) {
        real = true;
        if (!take(p, '+'))
            take(p, '-');
        if (!digits(p))
            return fail(p, "a digit is expected");
    }
    char text[NUMBER_MAX + 1];
    size_t length = (size_t)(p->at - first);
    if (length > NUMBER_MAX)
        return fail(p, "a number is too long");
    memcpy(text, first, length);
    text[length] = 0;
    if (real) {
        *value = (struct json){.kind = KIND_DOUBLE, .real = strtod_l(text, NULL, p->c_locale)};
        return isfinite(value->real) ? 0 : fail(p, "a number is too large");
    }
    errno = 0;
    *value = (struct json){.kind = KIND_INT, .integer = strtoll(text, NULL, 10)};
    return errno ? fail(p, "an integer does not fit 64 bits") : 0;
}

/* ---- strings --------------------------------------------------------------------------------- */

/* The four hexadecimal digits of \uXXXX, or -1. */
static int32_t hex4(struct parser *p)
{
    int32_t c = 0;
    if (p->end - p->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        uint8_t d = p->at[i];
        int v = d >= '0' && d <= '9'   ? d - '0'
                : d >= 'a' && d <= 'f' ? d - 'a' + 10
                : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                       : -1;
        if (v < 0)
            return -1;
        c = c << 4 | v;
    }
    p->at += 4;
    return c;
}

/* What follows a backslash; gives the number of bytes written, or an error. */
static int parse_escape(struct parser *p, char *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *simple = p->at < p->end && *p->at ? strchr(from, *p->at) : NULL;
    if (simple) {
        p->at++;
        *out = to[simple - from];
        return 1;
    }
    if (!take(p, 'u'))
        return fail(p, "unknown escape");
    int32_t c = hex4(p);
    if (c < 0)
        return fail(p, "four hexadecimal digits are expected");
    if (c == 0)
        return fail(p, "NUL in a string");
    if (c >= 0xd800 && c < 0xdc00) {
        int32_t low = take(p, '\\') && take(p, 'u') ? hex4(p) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return fail(p, "half of a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c < 0xe000) {
        return fail(p, "half of a surrogate pair");
    }
    return (int)(utf8_put(out, (uint32_t)c) - out);
}

/* The bytes up to the closing quote, escapes included. */
static size_t raw_length(const struct parser *p)
{
    const uint8_t *c = p->at;
    while (c < p->end && *c != '"')
        c += *c == '\\' && c + 1 < p->end ? 2 : 1;
    return (size_t)(c - p->at);
}

static int parse_string(struct parser *p, const char **text)
{
    if (!take(p, '"'))
        return fail(p, "a string is expected");
    size_t raw = raw_length(p);
    char *out = pool_alloc(&p->document->pool, raw + 1); /* escapes only ever shrink */
    if (!out)
        return out_of_memory(p);
    size_t n = 0;
    for (;;) {
        if (p->at == p->end)
            return fail(p, "a string does not end");
        if (take(p, '"'))
            break;
        if (take(p, '\\')) {
            int written = parse_escape(p, out + n);
            if (written < 0)
                return written;
            n += (size_t)written;
            continue;
        }
        if (*p->at < 0x20)
            return fail(p, "a control character in a string");
        size_t bytes = utf8_length((const char *)p->at, (size_t)(p->end - p->at));
        if (!bytes)
            return fail(p, "not UTF-8");
        memcpy(out + n, p->at, bytes);
        n += bytes;
        p->at += bytes;
    }
    out[n] = 0;
    *text = out;
    return 0;
}

/* ---- containers ------------------------------------------------------------------------------ */

static int push(struct parser *p, const struct json *value)
{
    if (p->count == p->capacity) {
        size_t capacity = p->capacity ? p->capacity * 2 : 32;
        struct json *grown = realloc(p->stack, capacity * sizeof *grown);
        if (!grown)
            return out_of_memory(p);
        p->stack = grown;
        p->capacity = capacity;
    }
    p->stack[p->count++] = *value;
    return 0;
}

static int compare_keys(const void *a, const void *b, void *items)
{
    const struct json *list = items;
    return strcmp(list[*(const uint32_t *)a].key, list[*(const uint32_t *)b].key);
}

static int index_keys(struct parser *p, struct json *object)
{
    uint32_t *order = pool_array(&p->document->pool, object->count, sizeof *order);
    if (!order)
        return out_of_memory(p);
    for (size_t i = 0; i < object->count; i++)
        order[i] = (uint32_t)i;
    qsort_r(order, object->count, sizeof *order, compare_keys, object->items);
    for (size_t i = 1; i < object->count; i++)
        if (!compare_keys(&order[i - 1], &order[i], object->items))
            return log_error(p->log, UNREEL_EFORMAT, "%s: the key '%.200s' appears twice", p->name,
                             object->items[order[i]].key);
    object->by_key = order;
    return 0;
}

/* Moves the values since `base` from the stack into the container. */
static int close_container(struct parser *p, struct json *value, enum kind kind, size_t base)
{
    size_t count = p->count - base;
    struct json *items = pool_array(&p->document->pool, count, sizeof *items);
    if (!items)
        return out_of_memory(p);
    if (count)
        memcpy(items, p->stack + base, count * sizeof *items);
    p->count = base;
    *value = (struct json){.kind = kind, .items = items, .count = count};
    return kind == KIND_OBJECT ? index_keys(p, value) : 0;
}

static int parse_member(struct parser *p, enum kind kind)
{
    struct json item;
    const char *key = NULL;
    int code;
    skip_space(p);
    if (kind == KIND_OBJECT) {
        if ((code = parse_string(p, &key)) < 0)
            return code;
        skip_space(p);
        if (!take(p, ':'))
            return fail(p, "':' is expected");
    }
    if ((code = parse_value(p, &item)) < 0)
        return code;
    item.key = key;
    return push(p, &item);
}

static int parse_container(struct parser *p, struct json *value, enum kind kind, char close)
{
    size_t base = p->count;
    if (++p->depth > JSON_DEPTH_MAX)
        return fail(p, "nested too deeply");
    p->at++;
    skip_space(p);
    if (!take(p, close)) {
        for (;;) {
            int code = parse_member(p, kind);
            if (code < 0)
                return code;
            skip_space(p);
            if (take(p, close))
                break;
            if (!take(p, ','))
                return fail(p, kind == KIND_OBJECT ? "',' or '}' is expected"
                                                   : "',' or ']' is expected");
        }
    }
    p->depth--;
    return close_container(p, value, kind, base);
}

static int parse_word(struct parser *p, struct json *value)
{
    static const struct {
        const char *word;
        struct json value;
    } words[] = {
        {"null", {.kind = KIND_NULL}},
        {"true", {.kind = KIND_BOOL, .flag = true}},
        {"false", {.kind = KIND_BOOL}},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = strlen(words[i].word);
        if ((size_t)(p->end - p->at) >= length && !memcmp(p->at, words[i].word, length)) {
            p->at += length;
            *value = words[i].value;
            return 0;
        }
    }
    return fail(p, "a value is expected");
}

static int parse_value(struct parser *p, struct json *value)
{
    skip_space(p);
    if (p->at == p->end)
        return fail(p, "a value is expected");
    if (++p->values > JSON_VALUES_MAX)
        return fail(p, "too many values");
    *value = (struct json){0};
    switch (*p->at) {
    case '{':
        return parse_container(p, value, KIND_OBJECT, '}');
    case '[':
        return parse_container(p, value, KIND_ARRAY, ']');
    case '"':
        value->kind = KIND_STRING;
        return parse_string(p, &value->text);
    case '-':
    case '0' ... '9':
        return parse_number(p, value);
    default:
        return parse_word(p, value);
    }
}

int json_parse(struct json **root, const char *text, size_t size, const char *name,
               const unreel_log *log)
{
    struct parser p = {.name = name, .log = log};
    *root = NULL;
    p.start = p.at = (const uint8_t *)text;
    p.end = p.start + size;
    p.document = calloc(1, sizeof *p.document);
    p.c_locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (!p.document || !p.c_locale) {
        free(p.document);
        if (p.c_locale)
            freelocale(p.c_locale);
        return out_of_memory(&p);
    }
    p.document->pool.limit = POOL_MAX;
    int code = parse_value(&p, &p.document->root);
    if (code == 0) {
        skip_space(&p);
        if (p.at < p.end)
            code = fail(&p, "something follows the end");
    }
    freelocale(p.c_locale);
    free(p.stack);
    if (code < 0)
        json_free(&p.document->root);
    else
        *root = &p.document->root;
    return code;
}

void json_free(struct json *root)
{
    struct document *document = (struct document *)root;
    if (!document)
        return;
    pool_free(&document->pool);
    free(document);
}

/* ---- access ---------------------------------------------------------------------------------- */

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
    size_t low = 0, high = object->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct json *item = &object->items[object->by_key[middle]];
        int order = strcmp(item->key, key);
        if (order == 0)
            return item;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

size_t json_length(const struct json *value)
{
    return json_is_array(value) || json_is_object(value) ? value->count : 0;
}

const struct json *json_at(const struct json *value, size_t index)
{
    return index < json_length(value) ? &value->items[index] : NULL;
}

const char *json_key(const struct json *object, size_t index)
{
    return json_is_object(object) && index < object->count ? object->items[index].key : NULL;
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
    *number = value->kind == KIND_INT ? (double)value->integer : value->real;
    return true;
}

bool json_bool(const struct json *value, bool *flag)
{
    if (!value || value->kind != KIND_BOOL)
        return false;
    *flag = value->flag;
    return true;
}
