/* Where an options object keeps its values: one text per option and layer. */
#pragma once

#include "config/options.h"
#include "config/table.h"

/* Who said it; a later one wins. */
enum option_layer {
    LAYER_DEFAULTS, /* default_config.yaml */
    LAYER_CONFIG,   /* a configuration file */
    LAYER_SET,      /* unreel_options_set */
    LAYER_COUNT,
};

/* A value at one layer. */
struct option_value {
    bool said;  /* this layer has a say: `text`, or back to the table's default */
    char *text; /* canonical, owned */
};

struct option_values {
    struct option_value *at; /* [option_count], by storage row */
};

int option_values_init(struct option_values *values);
void option_values_finish(struct option_values *values);

/* Checks `text` for table row `row` (aliases and "size" go to where they are stored) and keeps it.
 * NULL: back to the table's default. On failure nothing changes, `reason` says why and the code is
 * returned; nothing is logged. */
int option_values_put(struct option_values *values, int row, const char *text, char reason[256]);

/* Takes a value back: the layer has no say any more. */
void option_values_forget(struct option_values *values, int row);

/* Moves everything that `from` says into a layer; `from` is empty afterwards. */
void options_merge(unreel_options *options, enum option_layer layer, struct option_values *from);
