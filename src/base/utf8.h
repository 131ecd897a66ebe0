/* UTF-8, strict: no overlong forms, no surrogates, nothing past U+10FFFF. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character at *at, which moves behind it; -1 if there is none before `end`, or it is malformed. */
int32_t utf8_next(const char **at, const char *end);

/* The bytes of the first character of text[0, size), 0 if it is malformed or size is 0. */
size_t utf8_length(const char *text, size_t size);

/* Whether text[0, size) is UTF-8; if not, *line (may be NULL) is the line of the first bad byte, from 1. */
bool utf8_valid(const char *text, size_t size, int *line);

/* Writes a character of up to 4 bytes; returns the end. */
char *utf8_put(char *to, uint32_t code);
