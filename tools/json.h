/* JSON objects, one a line. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
    FILE *file;
    bool more; /* a member was written: the next needs a comma */
};

void json_open(struct json *json, FILE *file);
void json_text(struct json *json, const char *name, const char *value); /* NULL: null */
void json_integer(struct json *json, const char *name, int64_t value);
void json_number(struct json *json, const char *name, double value);
void json_flag(struct json *json, const char *name, bool value);
void json_close(struct json *json); /* ends the line and flushes */
