/* safetensors: 8 bytes of header length, a JSON header, the tensors' bytes without holes. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "weights/reader.h"

static int refuse(const struct tensor_file *t, const char *name, const char *why)
{
    return log_error(t->log, UNREEL_EFORMAT, "%s: tensor %.200s: %s", t->path, name, why);
}

/* shape and contiguous strides. */
static int read_shape(const struct tensor_file *t, struct file_tensor *tensor,
                      const struct json *shape)
{
    int64_t count;
    if (!json_is_array(shape) || json_length(shape) > TENSOR_DIMS)
        return refuse(t, tensor->name, "no shape of up to 6 dimensions");
    tensor->dims = (int)json_length(shape);
    for (int i = 0; i < tensor->dims; i++) {
        if (!json_int(json_at(shape, (size_t)i), &tensor->shape[i]) || tensor->shape[i] < 0)
            return refuse(t, tensor->name, "a dimension that is no length");
    }
    if (tensor->dims == 0) { /* a scalar */
        tensor->dims = 1;
        tensor->shape[0] = 1;
    }
    if (!shape_count(tensor->dims, tensor->shape, &count) ||
        __builtin_mul_overflow((size_t)count, (size_t)tensor->type->size, &tensor->bytes))
        return refuse(t, tensor->name, "an impossible size");
    int64_t stride = 1;
    for (int i = tensor->dims - 1; i >= 0; i--) {
        tensor->stride[i] = stride;
        stride *= tensor->shape[i] ? tensor->shape[i] : 1;
    }
    return 0;
}

/* Only the three keys of the format: another one might mean that the bytes are to be read
 * otherwise. */
static bool has_keys(const struct json *entry)
{
    return json_length(entry) == 3 && json_get(entry, "dtype") && json_get(entry, "shape") &&
           json_get(entry, "data_offsets");
}

static int read_tensor(struct tensor_file *t, const char *name, const struct json *entry,
                       size_t begin)
{
    struct file_tensor tensor = {.set = "", .name = name};
    const struct json *offsets = json_get(entry, "data_offsets");
    int64_t first, last;
    if (!has_keys(entry))
        return refuse(t, name, "needs dtype, shape, data_offsets, and nothing else");
    tensor.type = file_type_find(json_text(json_get(entry, "dtype")));
    if (!tensor.type)
        return refuse(t, name, "an unknown dtype");
    int code = read_shape(t, &tensor, json_get(entry, "shape"));
    if (code < 0)
        return code;
    if (!json_is_array(offsets) || json_length(offsets) != 2 ||
        !json_int(json_at(offsets, 0), &first) || !json_int(json_at(offsets, 1), &last) ||
        first < 0 || last < first)
        return refuse(t, name, "impossible data_offsets");
    if ((uint64_t)last > t->file.size - begin)
        return refuse(t, name, "reaches past the end of the file");
    if ((uint64_t)(last - first) != tensor.bytes)
        return refuse(t, name, "its bytes do not match its shape");
    tensor.offset = begin + (size_t)first;
    return tensor_file_add(t, &tensor);
}

static int read_metadata(struct tensor_file *t, const struct json *entry)
{
    size_t count = json_length(entry);
    if (!json_is_object(entry))
        return log_error(t->log, UNREEL_EFORMAT, "%s: __metadata__ is no object", t->path);
    t->metadata = pool_array(&t->pool, 2 * count + 1, sizeof *t->metadata);
    for (size_t i = 0; t->metadata && i < count; i++) {
        const char *key = json_key(entry, i), *value = json_text(json_at(entry, i));
        if (!value)
            return log_error(t->log, UNREEL_EFORMAT, "%s: __metadata__: a value is no string",
                             t->path);
        t->metadata[2 * i] = pool_text(&t->pool, key, strlen(key));
        t->metadata[2 * i + 1] = pool_text(&t->pool, value, strlen(value));
        if (!t->metadata[2 * i] || !t->metadata[2 * i + 1])
            return tensor_file_no_memory(t);
    }
    return t->metadata ? 0 : tensor_file_no_memory(t);
}

static int compare_offsets(const void *a, const void *b)
{
    const struct file_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The format allows neither overlaps nor holes: every byte belongs to one tensor. */
static int check_layout(struct tensor_file *t, size_t begin)
{
    size_t at = begin;
    if (t->count)
        qsort(t->list, t->count, sizeof *t->list, compare_offsets);
    for (size_t i = 0; i < t->count; i++) {
        if (t->list[i].offset < at)
            return refuse(t, t->list[i].name, "overlaps another tensor");
        if (t->list[i].offset > at)
            return refuse(t, t->list[i].name, "has unused bytes before it");
        at += t->list[i].bytes;
    }
    if (at != t->file.size)
        return log_error(t->log, UNREEL_EFORMAT, "%s: %zu bytes after the last tensor", t->path,
                         t->file.size - at);
    return 0;
}

int safetensors_read(struct tensor_file *t)
{
    uint64_t length = 0;
    for (int i = 0; i < 8; i++)
        length |= (uint64_t)t->file.data[i] << 8 * i;
    if (length > t->file.size - 8)
        return log_error(t->log, UNREEL_EFORMAT,
                         "%s: not a weights file, or cut short: a header of %llu bytes", t->path,
                         (unsigned long long)length);
    if (length > WEIGHTS_HEADER_MAX)
        return log_error(t->log, UNREEL_EFORMAT, "%s: a header of %llu bytes", t->path,
                         (unsigned long long)length);
    struct json *root;
    size_t begin = 8 + (size_t)length;
    int code = json_parse(&root, (const char *)t->file.data + 8, (size_t)length, t->path, t->log);
    if (code == 0 && !json_is_object(root))
        code = log_error(t->log, UNREEL_EFORMAT, "%s: the header is no object", t->path);
    for (size_t i = 0; code == 0 && i < json_length(root); i++) {
        if (!strcmp(json_key(root, i), "__metadata__"))
            code = read_metadata(t, json_at(root, i));
        else
            code = read_tensor(t, json_key(root, i), json_at(root, i), begin);
    }
    json_free(root);
    return code < 0 ? code : check_layout(t, begin);
}
