/* Where the command finds what comes with it: beside itself in a build folder or an installation,
 * else in the data folder given when it was built. */
#pragma once

#include "console.h"

/* Path of an existing file or folder that belongs to unreel ("models/postcard",
 * "configs/default_config.yaml"), to be freed; NULL if it is not there. */
char *paths_find(const char *name);

/* A configuration as a user names it: a path, or the name of a bundled one with or without
 * "configs/" and ".yaml". To be freed; a copy of `name` if nothing is found. */
char *paths_config(const char *name);
