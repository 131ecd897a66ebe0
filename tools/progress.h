/* How far a batch is: a bar on a terminal, else a line at every tenth of a video and whenever ten
 * seconds have passed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "console.h"

struct progress {
    struct console *console;
    bool shown;
    int videos, done; /* of this process: to make, made */
    double started;   /* first picture asked for, clock of progress_now() */

    char name[64];           /* of the video being made */
    int64_t pictures, total; /* total 0: a video without end */
    double video_started;
    double seconds_made; /* by videos that are done */

    int last_tenth; /* for lines */
    double last_line, last_bar;
};

/* Seconds of a monotonic clock. */
double progress_now(void);

void progress_begin(struct progress *progress, struct console *console, bool shown, int videos);

/* A video begins / a picture was written / it ended. */
void progress_video(struct progress *progress, const char *name, int64_t total);
void progress_picture(struct progress *progress);
void progress_video_end(struct progress *progress, bool complete);

/* Redraws the bar although no picture came, for the time that passes. */
void progress_tick(struct progress *progress);

void progress_end(struct progress *progress);

/* "0:07", "1:02:03". */
void progress_time_text(char *text, int size, double seconds);
