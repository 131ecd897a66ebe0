/* Shared by the readers of the weights folder. */
#pragma once

#include "base/file.h"
#include "weights/weights.h"

/* What a file may hold before it is refused as hostile. */
#define WEIGHTS_TENSORS_MAX 100000
#define WEIGHTS_NAME_MAX 512         /* bytes */
#define WEIGHTS_HEADER_MAX (64 << 20) /* bytes of a safetensors header or a pickle */

/* A tensor type of a file, bindable (tensor_type) or not. */
struct file_type {
    const char *name;        /* as inspect prints it */
    int size;                /* bytes an element */
    enum tensor_type type;   /* if bindable */
    bool bindable;
};

/* A tensor as a file describes it, before sets and prefixes. */
struct file_tensor {
    char *name; /* nested keys joined by '.' */
    const struct file_type *type;
    int dims;
    int64_t shape[TENSOR_DIMS];
    int64_t stride[TENSOR_DIMS]; /* elements */
    size_t offset, bytes;        /* of its storage's used part in the file */
    int set;                     /* length of the set's part of the name, 0: none */
};

struct file_tensors {
    const char *path;
    const unreel_log *log;
    struct file file;
    struct file_tensor *list;
    size_t count, capacity;
    char **metadata; /* key, value, ..., NULL, NULL; or NULL */
};

void file_tensors_free(struct file_tensors *tensors); /* unmaps, too */

/* Adds one; takes over name, also on failure. Refuses names that are too long, counts too high. */
int file_tensors_add(struct file_tensors *tensors, const struct file_tensor *tensor);

/* Reads what `tensors->file` holds: the file is mapped, path and log are set. */
int safetensors_read(struct file_tensors *tensors);
int torch_read(struct file_tensors *tensors);
bool torch_is(const struct file *file);

/* Maps and reads a file of either format. */
int file_tensors_open(struct file_tensors *tensors, const char *path, const unreel_log *log);

/* Elements of a shape; false if there are too many to address. Zero-length dimensions are fine. */
bool shape_count(int dims, const int64_t *shape, int64_t *count);

/* The path of a shard beside its index, the caller's to free; NULL if the name would lead elsewhere. */
char *weights_shard_path(const char *beside, const char *name);
