/* What measured fastest, kept from run to run: one small file a choice in a folder. Keys are text
 * that says everything a choice depends on (library version, device, shape); a file holds its key,
 * so a collision of names or an old file is no choice at all. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/log.h"

struct choices;

/* Makes the folder if need be. NULL: it cannot be written, which is logged as information. */
struct choices *choices_open(const char *folder, const unreel_log *log);
void choices_close(struct choices *choices); /* NULL is fine */

/* What was stored under a key, to be freed; NULL: nothing, or choices is NULL. */
void *choices_load(const struct choices *choices, const char *key, size_t *size);

/* Failing is no error: the choice is then made again next time. */
void choices_store(const struct choices *choices, const char *key, const void *data, size_t size);
