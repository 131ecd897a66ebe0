/* HTML character references. */
#pragma once

#include <stddef.h>

/* A copy of `text` with its references replaced, once, by the rules of HTML 5 for broken input: numeric
 * ones with their Windows-1252 remapping, named ones also without semicolon where old pages do so, longest
 * name first. The caller's to free; NULL: out of memory. */
char *html_unescape(const char *text);
