/* The table of options: names, kinds, defaults, limits, help. */
#pragma once

#include <stdbool.h>
#include <unreel/unreel.h>

#define OPTION_NAME_MAX 64 /* bytes with the NUL; longer names are unknown */

struct option {
    unreel_option_info info;
    const char *target; /* alias: the name whose value this one shares, or NULL */
    int multiple;       /* numbers and both sides of a size must be a multiple of it, if > 0 */
    bool nonzero;       /* 0 is refused although the limits would let it pass */
};

extern const struct option option_table[];
extern const int option_count;

/* Row of an option, -1 if unknown. Dashes count as underscores. */
int option_find(const char *name);

/* Row that holds the value: that of the target for an alias. */
int option_storage(int row);

/* Whether some option's name starts with "NAME." */
bool option_is_map(const char *name);

/* A key of published training configurations that has no meaning here. */
bool option_is_ignored(const char *name);

/* The known name that a mistyped one most likely stands for, or NULL. */
const char *option_nearest(const char *name);
