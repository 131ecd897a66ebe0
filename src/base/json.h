/* JSON: a strict reader that builds a tree, and a writer.
 *
 * The reader accepts RFC 8259 only: UTF-8 without a byte order mark, no comments, no trailing
 * commas. Beyond that it refuses what would be ambiguous: duplicate keys, NUL inside strings,
 * integers outside 64 bits, reals that overflow. Depth and number of values are limited. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/log.h"

#define JSON_DEPTH_MAX 64
#define JSON_VALUES_MAX (1u << 21)

struct json;

/* Parses all of text[0, size). `name` says in messages what it is: "NAME: line 3, column 7: ...".
 * The tree does not refer to the text afterwards. UNREEL_EFORMAT or UNREEL_ENOMEM on failure. */
int json_parse(struct json **root, const char *text, size_t size, const char *name,
               const unreel_log *log);
void json_free(struct json *root); /* the whole tree; NULL is fine */

/* All of these accept NULL and values of any kind. */
bool json_is_object(const struct json *value);
bool json_is_array(const struct json *value);
const struct json *json_get(const struct json *object, const char *key); /* NULL: absent */
size_t json_length(const struct json *value); /* of arrays and objects; else 0 */
const struct json *json_at(const struct json *value, size_t index); /* element or member value */
const char *json_key(const struct json *object, size_t index);      /* in the order of the file */
const char *json_text(const struct json *value); /* NULL: no string. A string has no NUL inside. */
bool json_int(const struct json *value, int64_t *number); /* written without fraction or exponent */
bool json_double(const struct json *value, double *number); /* any number */
bool json_bool(const struct json *value, bool *flag);

/* ---- writer ---------------------------------------------------------------------------------- */

/* Out of memory is remembered; finish then gives NULL. `key` is NULL inside arrays and at the
 * top. */
struct json_writer {
    char *text;
    size_t length, capacity;
    int indent; /* spaces a level; 0: all on one line */
    int depth;
    bool filled[JSON_DEPTH_MAX + 1]; /* this level holds a value already */
    bool array[JSON_DEPTH_MAX + 1];
    bool failed;
};

void json_writer_init(struct json_writer *writer, int indent);
char *json_writer_finish(struct json_writer *writer); /* the text, to be freed; NULL on failure */

void json_put_object(struct json_writer *writer, const char *key); /* ends with json_put_end */
void json_put_array(struct json_writer *writer, const char *key);  /* ends with json_put_end */
void json_put_end(struct json_writer *writer);
void json_put_text(struct json_writer *writer, const char *key, const char *text); /* NULL: null */
void json_put_int(struct json_writer *writer, const char *key, int64_t value);
/* The shortest form that reads back equal; null if not finite. */
void json_put_double(struct json_writer *writer, const char *key, double value);
/* With this many digits after the point, for figures that people read. */
void json_put_fixed(struct json_writer *writer, const char *key, double value, int digits);
void json_put_bool(struct json_writer *writer, const char *key, bool value);
void json_put_null(struct json_writer *writer, const char *key);
