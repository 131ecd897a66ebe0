/* Named and numeric character references. */
#pragma once

#include "text/runes.h"

/* As HTML5 reads text, and Python's html.unescape: old names need no semicolon, even as the
 * start of a longer word ("&notit" is "¬it"); numbers in the C1 range mean Windows-1252. */
void html_unescape(struct runes *out, const struct runes *in);

/* Only what is beyond doubt: with a semicolon; also names that were turned to capitals
 * ("&NTILDE;"). For text that was perhaps never HTML. */
void html_unescape_strict(struct runes *out, const struct runes *in);
