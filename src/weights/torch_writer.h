/* Writes PyTorch checkpoints as torch.save does (zip, one storage a tensor, ZIP64 where needed), a
 * part at a time, so that no tensor need be in memory as a whole. */
#pragma once

#include "base/crc32.h"
#include "base/new_file.h"
#include "weights/weights.h"

struct torch_writer {
    struct new_file out;
    struct crc32 crc32;
    char *pickle; /* the description so far */
    size_t pickle_size, pickle_capacity;
    int tensors;        /* described */
    int written;        /* of them */
    uint8_t *directory; /* central directory so far */
    size_t directory_size, directory_capacity;
    uint64_t entries, content, entry_size;
    uint32_t crc;
};

int torch_writer_open(struct torch_writer *writer, const char *path, const unreel_log *log);

/* Describes the tensors, all of them, before the first one's data. */
int torch_writer_describe(struct torch_writer *writer, const char *name, enum tensor_type type,
                          int dims, const int64_t *shape);

/* The data of the tensors, in the same order: begin, any number of parts, end. */
int torch_writer_begin(struct torch_writer *writer);
int torch_writer_data(struct torch_writer *writer, const void *data, size_t size);
int torch_writer_end(struct torch_writer *writer);

/* Finishes the file if `code` is 0, else drops it. Returns code or what went wrong. */
int torch_writer_close(struct torch_writer *writer, int code);
