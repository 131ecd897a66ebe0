/* UTF-8, one character at a time. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The character at *at, which moves behind it; -1 if there is none before `end`, or it is malformed
 * (overlong forms and surrogates included). */
int32_t utf8_next(const char **at, const char *end);

/* Writes a character of up to 4 bytes; returns the end. */
char *utf8_put(char *to, uint32_t code);
