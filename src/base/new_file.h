/* A file that appears complete or not at all: written as PATH.part, renamed at the end. */
#pragma once

#include <stddef.h>
#include <stdio.h>
#include "base/log.h"

struct new_file {
    const unreel_log *log;
    char *path, *part;
    FILE *file; /* for what is not plain appending; open for reading, too */
};

int new_file_open(struct new_file *file, const char *path, const unreel_log *log);

/* Errors are logged as "PATH: reason". */
int new_file_write(struct new_file *file, const void *data, size_t size);
int new_file_fail(const struct new_file *file); /* logs what errno says */

/* If `code` is 0, gives the file its name, else removes it. Returns code or what went wrong. */
int new_file_close(struct new_file *file, int code);
