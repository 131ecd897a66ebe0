/* The page as it is sent, made from page/ by page.py. */
#pragma once

#include <stddef.h>

extern const char page_html[];
extern const size_t page_html_size;
extern const char page_tag[];    /* for ETag: changes with the content */
extern const char page_policy[]; /* Content-Security-Policy: this script and style, nothing else */
