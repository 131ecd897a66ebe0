/* What the parts that use GStreamer share. */
#pragma once

#include <gst/gst.h>

#include "console.h"

/* Starts GStreamer, once. 0, or -1 with the error printed. */
int gst_start(struct console *console);

/* Prints "NAME: reason" for an error message of a pipeline and releases it. */
void gst_print_error(struct console *console, const char *name, GstMessage *message);
