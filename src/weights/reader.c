#include "weights/reader.h"

#include <stdlib.h>
#include <string.h>

bool shape_count(int dims, const int64_t *shape, int64_t *count)
{
    *count = 1;
    for (int i = 0; i < dims; i++) {
        if (shape[i] == 0) {
            *count = 0;
            return true;
        }
    }
    for (int i = 0; i < dims; i++) {
        if (__builtin_mul_overflow(*count, shape[i], count) || *count > INT64_MAX / 16)
            return false;
    }
    return true;
}

int file_tensors_add(struct file_tensors *tensors, const struct file_tensor *tensor)
{
    struct file_tensors *t = tensors;
    int code = 0;
    if (strlen(tensor->name) >= WEIGHTS_NAME_MAX)
        code = log_error(t->log, UNREEL_EFORMAT, "%s: a tensor's name is too long", t->path);
    else if (t->count == WEIGHTS_TENSORS_MAX)
        code = log_error(t->log, UNREEL_EFORMAT, "%s: more than %d tensors", t->path,
                         WEIGHTS_TENSORS_MAX);
    if (code == 0 && t->count == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 256;
        struct file_tensor *list = realloc(t->list, capacity * sizeof *list);
        if (list) {
            t->list = list;
            t->capacity = capacity;
        } else {
            code = log_error(t->log, UNREEL_ENOMEM, "%s: out of memory", t->path);
        }
    }
    if (code < 0) {
        free(tensor->name);
        return code;
    }
    t->list[t->count++] = *tensor;
    return 0;
}

void file_tensors_free(struct file_tensors *tensors)
{
    for (size_t i = 0; i < tensors->count; i++)
        free(tensors->list[i].name);
    for (char **entry = tensors->metadata; entry && (entry[0] || entry[1]); entry += 2) {
        free(entry[0]);
        free(entry[1]);
    }
    free(tensors->metadata);
    free(tensors->list);
    file_unmap(&tensors->file);
    *tensors = (struct file_tensors){0};
}

int file_tensors_open(struct file_tensors *tensors, const char *path, const unreel_log *log)
{
    *tensors = (struct file_tensors){.path = path, .log = log};
    int code = file_map(&tensors->file, path, log);
    if (code < 0)
        return code;
    code = torch_is(&tensors->file) ? torch_read(tensors) : safetensors_read(tensors);
    if (code < 0)
        file_tensors_free(tensors);
    return code;
}
