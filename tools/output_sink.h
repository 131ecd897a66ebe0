/* One kind of file behind output.h. */
#pragma once

#include "output.h"

struct output_sink;

struct output_sink_class {
    /* `file` is what is written, settings->path what it is for. */
    int (*open)(struct output_sink **sink, struct console *console, const char *file,
                const struct output_settings *settings);
    int (*write)(struct output_sink *sink, const unreel_frame *frame);
    /* Ends the file, also after an error: then what is there is left readable. 0 if the file is
     * whole. Frees the sink. */
    int (*close)(struct output_sink *sink);
    const char *(*format)(const struct output_sink *sink);
};

extern const struct output_sink_class output_y4m;
extern const struct output_sink_class output_mp4;

/* The rate as a fraction with a denominator of 1 or 1001 where that is what is meant. */
void output_rate(double fps, int *numerator, int *denominator);
