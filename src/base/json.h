/* JSON as a tree (RFC 8259, strict) and a writer's string escape. Input is hostile: depth and size are
 * limited, duplicate keys, bad UTF-8 and numbers out of range are refused. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

#define JSON_DEPTH_MAX 64

struct json;

/* Parses all of text[0, size). On failure logs "NAME: line N: reason" and returns UNREEL_EFORMAT (or
 * UNREEL_ENOMEM). */
int json_parse(struct json **root, const char *text, size_t size, const char *name,
               const unreel_log *log);
void json_free(struct json *root); /* NULL is fine */

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

/* `text` quoted and escaped into a buffer, cut at a whole character if it does not fit. Returns the
 * buffer. */
char *json_quote(const char *text, char *buffer, size_t size);
