/* The encoders: which there are, which works here, how it is set up. */
#pragma once

#include "live.h"

struct encoder_settings {
    const char *wanted; /* of the option "encoder": a name or "auto" */
    int kilobits;       /* a second */
    int key_pictures;   /* longest way between key pictures */
};

struct encoder {
    const char *name; /* of the GStreamer element */
    enum live_codec codec;
    /* Properties in the syntax of gst-launch for a constant rate without delay, and for constant
     * quality with little delay; how they are filled in is known in encoder.c. */
    const char *live, *quality;
    int rate_unit; /* bits/s that the rate property counts in */
};

/* The first that works; NULL with the error printed, which names the package. */
const struct encoder *encoder_find(struct console *console, enum live_codec codec,
                                   const char *wanted);

/* "x264enc name=encoder ... ! h264parse ! caps": raw pictures in, units of live_subscribe out. To
 * be freed by g_free. Recordings (LIVE_CONTENT) are encoded at constant quality. */
char *encoder_launch(const struct encoder *encoder, const struct encoder_settings *settings,
                     enum live_pacing pacing);

/* Whether all elements are there (a NULL-terminated list); else prints which package has the first
 * that is missing. `who` is the option that needs them. */
bool encoder_elements(struct console *console, const char *who, const char *const *names);
