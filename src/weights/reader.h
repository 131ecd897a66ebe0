/* Shared by the readers of the weights folder: what files hold, before a set is chosen and prefixes
 * are stripped. */
#pragma once

#include "base/file.h"
#include "base/pool.h"
#include "weights/weights.h"

/* What a file may hold before it is refused as hostile. */
#define WEIGHTS_TENSORS_MAX 100000
#define WEIGHTS_NAME_MAX 512          /* bytes */
#define WEIGHTS_HEADER_MAX (64 << 20) /* bytes of a safetensors header or a pickle */

/* A tensor type of a file, bindable (tensor_type) or not. */
struct file_type {
    const char *name;      /* as safetensors and inspect write it */
    int size;              /* bytes an element */
    enum tensor_type type; /* if bindable */
    bool bindable;
};

const struct file_type *file_type_find(const char *name); /* NULL: unknown */

/* A tensor as a file describes it. */
struct file_tensor {
    const char *set;  /* keys of the dictionaries it lies in, joined by '.'; "": the outermost */
    const char *name; /* valid UTF-8 without control characters */
    const struct file_type *type;
    int dims;
    int64_t shape[TENSOR_DIMS];
    int64_t stride[TENSOR_DIMS]; /* elements */
    size_t offset;               /* of its first element in the file */
    size_t bytes;                /* elements times their size; every element lies in the file */
};

struct tensor_file {
    const char *path;
    const unreel_log *log;
    struct file file;
    bool borrowed;            /* file is memory of the caller's */
    struct pool pool;         /* names */
    struct file_tensor *list; /* sorted by set, then name */
    size_t count, capacity;
    const char **metadata; /* key, value, ..., NULL; or NULL */
};

/* Adds one, with copies of set and name. Refuses bad names, and too many tensors. */
int tensor_file_add(struct tensor_file *file, const struct file_tensor *tensor);
int tensor_file_no_memory(const struct tensor_file *file); /* logs, gives UNREEL_ENOMEM */

/* Read what `file->file` holds; path and log are set. */
int safetensors_read(struct tensor_file *file);
int torch_read(struct tensor_file *file);

/* One file, or the shards of an index JSON. */
struct tensor_files {
    char *path; /* of the file itself if the caller named a folder */
    struct tensor_file *file;
    size_t count;
};

int tensor_files_open(struct tensor_files *files, const char *path, const unreel_log *log);
/* A file's content in memory, which must outlive it; an index is refused. */
int tensor_files_from_memory(struct tensor_files *files, const char *name, const void *data,
                             size_t size, const unreel_log *log);
void tensor_files_close(struct tensor_files *files);

/* weights_open for a file's content in memory. */
int weights_read(struct weights **weights, const char *name, const void *data, size_t size,
                 const char *set, const unreel_log *log);

/* The type's name if the file has a tensor of that name that no model can use (F64, I64, ...). */
const char *weights_unusable(const struct weights *weights, const char *name);

/* Elements of a shape; false if they, or the strides, are too many to address. Zero-length
 * dimensions are fine. */
bool shape_count(int dims, const int64_t *shape, int64_t *count);
bool file_tensor_is_contiguous(const struct file_tensor *tensor);
