/* File names made of prompts. */
#pragma once

#include <stddef.h>

/* Longest stem in bytes: 255 less "-", ten digits of the sample, "." and eight of the extension,
 * and
 * ".part". */
#define NAMING_STEM_MAX (255 - 1 - 10 - 1 - 8 - 5)

/* Makes the stems of all prompts (UTF-8): the first 100 characters, safe as a file name, no two
 * equal. stems[i] (the caller's to free, each and the list) depends on names[0..i] only.
 * NULL without memory. */
char **naming_stems(const char *const *names, size_t count);

/* Frees a list of strings; NULL is fine. */
void free_strings(char **strings, size_t count);
