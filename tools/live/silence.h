/* A silent audio track, in step with the pictures: many services want one. */
#pragma once

#include <gst/app/gstappsrc.h>

struct silence;

/* Takes the reference. */
struct silence *silence_open(GstAppSrc *src);

/* Sound up to this time of the pipeline, and a little more: a muxer waits for whichever track is
 * behind. */
void silence_fill(struct silence *silence, GstClockTime end);
void silence_end(struct silence *silence);
void silence_close(struct silence *silence); /* NULL is fine */
