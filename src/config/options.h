/* What engine and diagnose code reads from an options object.
 *
 * Every value was checked when it was set, so reading never fails. A name that is not in the table
 * or is of another kind is a mistake of the caller and asserts. */
#pragma once

#include <stdbool.h>
#include <unreel/unreel.h>

#define OPTIONS_INTS_MAX 64 /* longest list that a value of kind INTS can be */

bool options_bool(const unreel_options *options, const char *name);
int64_t options_int(const unreel_options *options,
                    const char *name); /* 0 without value or default */
double options_float(const unreel_options *options, const char *name);

/* Strings, paths and choices. NULL if there is neither value nor default; also for an empty path.
 * Valid until the option is set again or the object is destroyed. */
const char *options_text(const unreel_options *options, const char *name);

/* Copies at most `max` elements and returns how many there are; 0 if never set or empty. */
int options_ints(const unreel_options *options, const char *name, int *values, int max);

/* Of "size": always has a value, as width and height have defaults. */
void options_size(const unreel_options *options, const char *name, int *width, int *height);

/* Whether a configuration or unreel_options_set gave it a value; default_config.yaml does not
 * count. */
bool options_is_set(const unreel_options *options, const char *name);

const unreel_log *options_log(const unreel_options *options);
