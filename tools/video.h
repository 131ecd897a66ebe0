/* One video of a batch: a session's pictures into an output. */
#pragma once

#include <stdbool.h>
#include <unreel/batch.h>
#include <unreel/unreel.h>

#include "console.h"
#include "progress.h"

struct video_job {
    const unreel_prompt *prompt;
    size_t index; /* of the prompt in the list */
    int sample;
    char *path; /* of the output */
};

enum video_end {
    VIDEO_COMPLETE,
    VIDEO_INTERRUPTED, /* by a signal */
    VIDEO_FAILED,      /* this one: its picture cannot be loaded, another run writes it; the next may work */
    VIDEO_STOPPED,     /* the batch cannot go on: out of memory, full disk */
};

/* All failures are printed. `statistics` may be NULL. */
enum video_end video_make(const struct video_job *job, unreel_engine *engine,
                          const unreel_options *options, struct console *console,
                          struct progress *progress, unreel_stats *statistics);

/* The job's own options: prompt, noise stream. NULL with the error printed. */
unreel_options *video_options(const struct video_job *job, const unreel_options *options,
                              struct console *console);

/* "prompt=...; seed=0; model=NAME; ...": everything that makes the video what it is and differs
 * from the defaults. To be freed. */
char *video_comment(const unreel_options *options);
