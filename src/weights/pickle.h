/* A pickle machine that can build containers, strings, numbers and descriptions of tensors, and
 * nothing else: no name in a pickle is ever looked up or called. */
#pragma once

#include "base/log.h"
#include "weights/reader.h"

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_FLOAT,
    PICKLE_TEXT,
    PICKLE_TUPLE,
    PICKLE_LIST,
    PICKLE_DICT,    /* items: key, value, key, value, ... */
    PICKLE_GLOBAL,  /* one of the few names that are known */
    PICKLE_STORAGE, /* bytes of tensors in an entry of the zip file */
    PICKLE_TENSOR,
    PICKLE_MARK,
};

struct pickle_value {
    enum pickle_kind kind;
    int64_t integer;                 /* int, bool; which global */
    const char *text;                /* text, storage key: in the pickle, not terminated */
    size_t text_length;
    struct pickle_value **item;      /* tuple, list, dict */
    size_t count, capacity;
    const struct file_type *type;    /* global (of a storage), storage */
    struct pickle_value *storage;    /* tensor */
    int64_t elements;                /* storage */
    int64_t offset;                  /* tensor: elements into the storage */
    int dims;
    int64_t shape[TENSOR_DIMS], stride[TENSOR_DIMS];
    struct pickle_value *next;       /* all values of the machine */
};

struct pickle {
    struct pickle_value *all, *root;
};

/* Runs data[0, size). Unknown names, opcodes that call or build objects, and exhausted limits are
 * refused by one line that names `path` and what it was. */
int pickle_read(struct pickle *pickle, const uint8_t *data, size_t size, const char *path,
                const unreel_log *log);
void pickle_finish(struct pickle *pickle);
