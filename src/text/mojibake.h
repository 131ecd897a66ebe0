/* Text that was UTF-8, was read as Latin-1 or Windows-1252 and written as UTF-8 again. */
#pragma once

#include "text/runes.h"

/* Undoes it, where sequences of characters say clearly enough that it happened. */
void mojibake_fix(struct runes *text);

/* C1 controls become what Windows-1252 has in their place. */
void mojibake_fix_controls(struct runes *text);
