/* Telling whether text was read in the wrong code page. */
#pragma once

#include "text/runes.h"

/* Whether some neighbours in it are unlikely enough. */
bool is_garbled(const struct runes *text);
