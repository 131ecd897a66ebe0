/* A pickle machine that can build containers, strings, numbers and descriptions of tensors, and
 * nothing else: no name in a pickle is ever looked up or called. */
#pragma once

#include "base/log.h"
#include "base/pool.h"
#include "weights/reader.h"

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_FLOAT,
    PICKLE_TEXT,
    PICKLE_BYTES,
    PICKLE_TUPLE,
    PICKLE_LIST,
    PICKLE_DICT,    /* items: key, value, key, value, ... */
    PICKLE_GLOBAL,  /* one of the few names that are known */
    PICKLE_STORAGE, /* bytes of tensors in an entry of the zip file */
    PICKLE_TENSOR,
    PICKLE_MARK,
};

struct pickle_storage {
    const struct file_type *type;
    const char *key; /* in the pickle, not terminated */
    size_t key_length;
    int64_t elements;
};

/* Every element lies in the storage. */
struct pickle_tensor {
    const struct pickle_storage *storage;
    int64_t offset; /* elements into the storage */
    int dims;       /* at least 1: a scalar is [1] */
    int64_t shape[TENSOR_DIMS], stride[TENSOR_DIMS];
};

struct pickle_value {
    enum pickle_kind kind;
    int global; /* GLOBAL: which */
    union {
        int64_t integer;              /* BOOL, INT */
        const struct file_type *type; /* GLOBAL: of a storage, else NULL */
        struct {                      /* TEXT, BYTES: in the pickle, not terminated */
            const char *text;
            size_t text_length;
        };
        struct { /* TUPLE, LIST, DICT */
            struct pickle_value **item;
            size_t count, capacity;
        };
        const struct pickle_storage *storage;
        const struct pickle_tensor *tensor;
    };
};

struct pickle {
    struct pool pool; /* everything */
    const struct pickle_value *root;
};

/* Runs data[0, size), which must outlive the result. Unknown names, opcodes that call or build
 * objects, and exhausted limits are refused by one line that names `path` and what it was. */
int pickle_read(struct pickle *pickle, const uint8_t *data, size_t size, const char *path,
                const unreel_log *log);
void pickle_finish(struct pickle *pickle);
