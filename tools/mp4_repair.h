/* What an error (a full disk) left of a fragmented MP4 is made playable.
 *
 * The muxer writes "ftyp", "free", then "mdat" boxes with pictures, each followed by the "moov" or
 * "moof" that tells what is in it. At the end it makes one big "mdat" of it all, by changing the
 * first one's size, and appends a "moov" for the whole. Two things can go wrong: a torn box at the
 * file's end makes some players refuse the file, and without room for the last "moov" nothing at
 * all can be played, unless the first size is put back. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define MP4_HEADER_BYTES 64

struct mp4_header {
    uint8_t bytes[MP4_HEADER_BYTES]; /* the file's start while it is fragmented */
    bool kept;
};

/* Keeps the start of a file that begins with a whole fragment; else does nothing. */
void mp4_header_keep(struct mp4_header *header, const char *path);

/* Puts the start back, cuts the file after its last whole fragment. A file without one stays as it
 * is. 0, or -1 and errno. */
int mp4_repair(const struct mp4_header *header, const char *path);
