/* Checking that text is UTF-8. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Whether [text, text + size) is UTF-8 without surrogates and overlong forms; if not, *line (may be
 * NULL) is the line of the first bad byte, from 1. */
bool utf8_valid(const char *text, size_t size, int *line);
