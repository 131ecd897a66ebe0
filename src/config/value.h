/* Option values: text in, canonical text out. */
#pragma once

#include "config/table.h"

#define VALUE_REASON_MAX 256

/* Checks `text` against kind, limits and choices. Returns the canonical text (malloc) or NULL with
 * `reason` saying what was expected; "out of memory" is a reason too. */
char *value_parse(const struct option *option, const char *text, char reason[VALUE_REASON_MAX]);

/* Reading canonical text; these do not check. None depends on the locale. */
int64_t value_int(const char *text);
double value_float(const char *text);
int value_ints(const char *text, int *values, int max);
void value_size(const char *text, int *width, int *height);

/* The word for a kind in messages: "int", "list of ints". */
const char *value_kind_name(enum unreel_option_kind kind);
