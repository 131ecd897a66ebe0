/* Files as read-only mappings. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include "base/log.h"

struct file {
    const uint8_t *data; /* NULL if the file is empty */
    size_t size;         /* bytes */
};

/* Maps a regular file. On failure logs "PATH: reason" and returns UNREEL_EIO. */
int file_map(struct file *file, const char *path, const unreel_log *log);
void file_unmap(struct file *file);

/* Reads a small text file whole, NUL-terminated, at most `max` bytes; *text is the caller's to free.
 * Larger files are refused (UNREEL_EFORMAT). */
int file_read_text(char **text, size_t *size, const char *path, size_t max, const unreel_log *log);

/* Tells the system that the pages wholly inside [data, data + size), part of a mapping, are not
 * needed any more: they leave the resident set and come back from the file if touched again. */
void file_drop_pages(const void *data, size_t size);
