/* A picture that a video starts from: PNG, JPEG, WebP, or the first picture of a video. */
#pragma once

#include <unreel/unreel.h>

#include "console.h"

/* Loads a file as RGB, turned upright if it says how. 0, or -1 with one line printed. */
int image_load(unreel_clip *clip, struct console *console, const char *path);
void image_free(unreel_clip *clip);
