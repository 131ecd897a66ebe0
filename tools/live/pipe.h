/* The pipeline of one output: units in, a file or a server at its end.
 *
 * A file's pipeline takes every unit; while it is behind, the video waits. If it fails, that is the
 * end of this output. A network's never holds anybody up: what does not fit is dropped up to the
 * next key picture; if it fails, it is built again after a while, and goes on with a key picture.
 */
#pragma once

#include "live.h"

struct live_pipe;

struct live_pipe_settings {
    const char *name; /* in messages and in the state: a file, or an address without secrets */
    const char
        *launch; /* "appsrc name=in ! ... ! ... name=sink", with silence "appsrc name=audio" */
    enum live_pacing pacing;
    enum live_codec codec;
    bool network;
    bool listens; /* a network output that waits for callers: connected when it runs */
    void (*setup)(void *opaque, GstElement *pipeline); /* before it starts; NULL: none */
    void *opaque;
};

/* NULL with the error printed. Texts are copied. */
struct live_pipe *live_pipe_open(struct live *live, struct console *console,
                                 const struct live_pipe_settings *settings);
void live_pipe_status(struct live_pipe *pipe, char *text, size_t size);
void live_pipe_counts(struct live_pipe *pipe, int64_t *pictures, int64_t *dropped);
void live_pipe_request_key(struct live_pipe *pipe);
bool live_pipe_failed(struct live_pipe *pipe); /* a file that takes no more */

/* Ends the stream and frees; waits until a file is complete, at most 3 s for a network. 0, or -1 if
 * a file is not whole (the error is printed). */
int live_pipe_close(struct live_pipe *pipe);
