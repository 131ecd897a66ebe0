/* The model that is used when none is named. */
#pragma once

#include <unreel/unreel.h>

#include "console.h"

/* Sets "model", and where they are not set "config_path" and "checkpoint_path": with "model" set,
 * its own unreel.yaml if it has one; without it, the folder in the environment's UNREEL_MODEL, else the
 * bundled model. 0 or an exit code. */
int model_default_apply(unreel_options *options, struct console *console);
