/* Repairing text: what ftfy.fix_text does to prompts in the original program. */
#pragma once

#include "text/runes.h"

/* Line by line, until nothing changes: unescapes HTML (up to the first line with a '<'), undoes
 * mojibake, takes ligatures and wide forms apart, straightens quotes, unifies line breaks, removes
 * terminal escapes and control characters, composes (NFC). */
void text_repair(struct runes *text);
