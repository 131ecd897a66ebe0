#include "weights/reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static const struct file_type types[] = {
    {"F32", 4, TENSOR_F32, true},      {"F16", 2, TENSOR_F16, true},
    {"BF16", 2, TENSOR_BF16, true},    {"I32", 4, TENSOR_I32, true},
    {"F64", 8, TENSOR_F32, false},     {"I64", 8, TENSOR_F32, false},
    {"I16", 2, TENSOR_F32, false},     {"I8", 1, TENSOR_F32, false},
    {"U8", 1, TENSOR_F32, false},      {"U16", 2, TENSOR_F32, false},
    {"U32", 4, TENSOR_F32, false},     {"U64", 8, TENSOR_F32, false},
    {"C64", 8, TENSOR_F32, false},     {"C128", 16, TENSOR_F32, false},
    {"BOOL", 1, TENSOR_F32, false},    {"F8_E4M3", 1, TENSOR_F32, false},
    {"F8_E5M2", 1, TENSOR_F32, false}, {"F8_E8M0", 1, TENSOR_F32, false},
};

const struct file_type *file_type_find(const char *name)
{
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++) {
        if (!strcmp(types[i].name, name))
            return &types[i];
    }
    return NULL;
}

bool shape_count(int dims, const int64_t *shape, int64_t *count)
{
    int64_t product = 1; /* with zero lengths taken for ones: bounds all strides */
    bool empty = false;
    for (int i = 0; i < dims; i++) {
        empty = empty || shape[i] == 0;
        if (__builtin_mul_overflow(product, shape[i] ? shape[i] : 1, &product) ||
            product > INT64_MAX / 16)
            return false;
    }
    *count = empty ? 0 : product;
    return true;
}

bool file_tensor_is_contiguous(const struct file_tensor *tensor)
{
    int64_t stride = 1;
    for (int i = tensor->dims - 1; i >= 0; i--) {
        if (tensor->shape[i] != 1 && tensor->stride[i] != stride)
            return false;
        stride *= tensor->shape[i] ? tensor->shape[i] : 1;
    }
    return true;
}

int tensor_file_no_memory(const struct tensor_file *file)
{
    return log_error(file->log, UNREEL_ENOMEM, "%s: out of memory", file->path);
}

/* Names go into messages and listings of one line each. */
static bool is_name(const char *name)
{
    size_t length = strlen(name);
    for (const char *c = name; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return false;
    }
    return length && length < WEIGHTS_NAME_MAX && utf8_valid(name, length, NULL);
}

int tensor_file_add(struct tensor_file *file, const struct file_tensor *tensor)
{
    if (!is_name(tensor->name) || (*tensor->set && !is_name(tensor->set)))
        return log_error(file->log, UNREEL_EFORMAT,
                         "%s: a tensor's name is empty, too long or no text", file->path);
    if (file->count == WEIGHTS_TENSORS_MAX)
        return log_error(file->log, UNREEL_EFORMAT, "%s: more than %d tensors", file->path,
                         WEIGHTS_TENSORS_MAX);
    if (file->count == file->capacity) {
        size_t capacity = file->capacity ? 2 * file->capacity : 256;
        struct file_tensor *list = realloc(file->list, capacity * sizeof *list);
        if (!list)
            return tensor_file_no_memory(file);
        file->list = list;
        file->capacity = capacity;
    }
    struct file_tensor *added = &file->list[file->count];
    const struct file_tensor *before = file->count ? added - 1 : NULL;
    *added = *tensor;
    added->name = pool_text(&file->pool, tensor->name, strlen(tensor->name));
    added->set = before && !strcmp(before->set, tensor->set)
                     ? before->set
                     : pool_text(&file->pool, tensor->set, strlen(tensor->set));
    if (!added->name || !added->set)
        return tensor_file_no_memory(file);
    file->count++;
    return 0;
}
