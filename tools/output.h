/* Where a video goes: one file, written picture by picture while later ones are being computed.
 *
 * A file is written as PATH.part and renamed to PATH when it is complete. What an interrupted,
 * killed or failed run leaves is a playable PATH.part. "-" and things that are no regular files
 * (pipes, devices) are written directly. */
#pragma once

#include <stdbool.h>
#include <unreel/unreel.h>

#include "console.h"

struct output;

enum output_kind {
    OUTPUT_UNKNOWN,
    OUTPUT_MP4,
    OUTPUT_Y4M,
};

struct output_settings {
    const char *path; /* "-": standard output */
    int width, height;
    double fps;
    const char *title, *prompt, *comment; /* tags of an MP4, NULL: none */
};

/* By the path's ending; "-" is Y4M. */
enum output_kind output_kind_of(const char *path);

/* Before any work: can this kind be written here, is the path no folder, is its folder there and
 * writable? Creates nothing. 0, or the error printed. */
int output_check(struct console *console, const char *path);

/* Makes a folder and those above it. */
int output_make_folder(struct console *console, const char *path);

/* All below: 0, or -1 with one line printed. OUTPUT_BUSY: another run is writing this file. */
#define OUTPUT_BUSY (-2)
int output_open(struct output **output, struct console *console,
                const struct output_settings *settings);

/* Appends an I420 picture. Waits while the encoder is behind. */
int output_write(struct output *output, const unreel_frame *frame);

/* "H.264 by x264enc", "YUV4MPEG2": what is being written. */
const char *output_format(const struct output *output);

/* Completes the file, renames it, frees the output. */
int output_finish(struct output *output);

/* Ends the file as it is, leaves it as PATH.part (removed if it holds no picture), frees the
 * output. NULL is fine. */
void output_abort(struct output *output);
