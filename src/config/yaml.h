/* YAML text to option values. */
#pragma once

#include <stddef.h>
#include "config/store.h"

#define YAML_SIZE_MAX (1 << 20) /* bytes a configuration file may have */
#define YAML_DEPTH_MAX 32       /* maps and lists within each other, also in keys not ours */
#define YAML_KEYS_MAX 1024      /* keys that are looked at */

/* Whether configuration files can be read at all. */
bool yaml_supported(void);

/* Reads one YAML document, a map from option names. Published training keys are passed over, other
 * unknown keys are warned of, all else that is not as it should be is an error, logged as
 * "PATH:LINE: KEY: reason". Anchors are allowed, aliases and tags are not: nothing can grow beyond
 * the text, and nothing is constructed from it. On failure `values` holds part of the file. */
int yaml_read_options(struct option_values *values, const char *path, const char *text, size_t size,
                      const unreel_log *log);
