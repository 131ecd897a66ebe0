/* What is used when nothing is named. */
#pragma once

#include <unreel/unreel.h>

#include "console.h"

/* Sets "model" where it is not set: to the folder in the environment's UNREEL_MODEL, else to the bundled
 * model. 0 or an exit code. */
int model_default_apply(unreel_options *options, struct console *console);

/* Sets "device_cache" where it is not set: to unreel in the environment's XDG_CACHE_HOME, else in .cache
 * of the home folder. 0 or an exit code. */
int cache_default_apply(unreel_options *options, struct console *console);
