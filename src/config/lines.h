/* Text files with a prompt a line. */
#pragma once

#include <stddef.h>
#include <unreel/unreel.h>

struct lines {
    char *buffer; /* the whole file */
    char **at;    /* [count], into the buffer */
    size_t count;
};

/* Reads a UTF-8 file. Lines end like Python's: LF, CRLF or CR; the white space at their end goes
 * (all that Unicode has), so do a byte order mark and the empty lines at the end of the file. Other
 * empty lines stay and are warned of. Files without lines, not in UTF-8 or with NUL characters are
 * errors, logged as "PATH:LINE: reason". */
int lines_read(struct lines *lines, const char *path, const unreel_log *log);
void lines_finish(struct lines *lines);
