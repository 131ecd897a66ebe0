/* The model that is used when none is named. */
#pragma once

#include <unreel/unreel.h>

#include "console.h"

/* Sets "model" where it is not set: to the folder in the environment's UNREEL_MODEL, else to the bundled
 * model. 0 or an exit code. */
int model_default_apply(unreel_options *options, struct console *console);
