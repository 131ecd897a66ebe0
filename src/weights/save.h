/* Writing safetensors a part at a time. */
#pragma once

#include "base/new_file.h"
#include "weights/weights.h"

/* Opens PATH for writing and writes the header for these tensors, whose data need not be there yet.
 * Then their bytes follow in the same order by new_file_write, and new_file_close. Types of mixed
 * sizes should be sorted by size, largest first, so that every tensor is aligned. */
int safetensors_begin(struct new_file *file, const char *path, const struct weight *list,
                      size_t count, const char *const *metadata, const unreel_log *log);
