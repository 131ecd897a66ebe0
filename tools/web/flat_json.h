/* Reads what remote controls send: one JSON object without objects or lists inside.
 *
 * As strict as RFC 8259: UTF-8 only, no comments, no trailing commas; further no key twice and no
 * NUL in strings. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLAT_MEMBERS_MAX 16

enum flat_kind {
    FLAT_NULL,
    FLAT_BOOL,
    FLAT_INT, /* without fraction and exponent, within 64 bits */
    FLAT_REAL,
    FLAT_TEXT,
};

struct flat_member {
    char *key;
    enum flat_kind kind;
    bool flag;
    int64_t integer;
    double real; /* of FLAT_INT too */
    char *text;
};

struct flat_json {
    struct flat_member members[FLAT_MEMBERS_MAX];
    int count;
};

/* NULL, or what is wrong, a static text; then nothing is to be freed. */
const char *flat_parse(struct flat_json *json, const char *text, size_t size);
void flat_finish(struct flat_json *json);

const struct flat_member *flat_get(const struct flat_json *json,
                                   const char *key); /* NULL: absent */
