#include "weights/save.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

/* The JSON header, NUL-terminated; NULL: out of memory. */
static char *make_header(const struct weight *list, size_t count, const char *const *metadata)
{
    struct json_writer w;
    size_t offset = 0;
    json_writer_init(&w, 0);
    json_put_object(&w, NULL);
    if (metadata && *metadata) {
        json_put_object(&w, "__metadata__");
        for (; metadata[0] && metadata[1]; metadata += 2)
            json_put_text(&w, metadata[0], metadata[1]);
        json_put_end(&w);
    }
    for (size_t i = 0; i < count; i++) {
        const struct tensor *t = &list[i].tensor;
        size_t bytes = tensor_bytes(t);
        json_put_object(&w, list[i].name);
        json_put_text(&w, "dtype", tensor_type_name(t->type));
        json_put_array(&w, "shape");
        for (int d = 0; d < t->dims; d++)
            json_put_int(&w, NULL, t->shape[d]);
        json_put_end(&w);
        json_put_array(&w, "data_offsets");
        json_put_int(&w, NULL, (int64_t)offset);
        json_put_int(&w, NULL, (int64_t)(offset + bytes));
        json_put_end(&w);
        json_put_end(&w);
        offset += bytes;
    }
    json_put_end(&w);
    return json_writer_finish(&w);
}

int safetensors_begin(struct new_file *file, const char *path, const struct weight *list,
                      size_t count, const char *const *metadata, const unreel_log *log)
{
    uint8_t length[8];
    *file = (struct new_file){0};
    char *header = make_header(list, count, metadata);
    if (!header)
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    size_t size = strlen(header),
           padded = (size + 7) / 8 * 8; /* the format advises to align the data */
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)padded >> 8 * i);
    int code = new_file_open(file, path, log);
    if (code == 0)
        code = new_file_write(file, length, sizeof length);
    if (code == 0)
        code = new_file_write(file, header, size);
    if (code == 0)
        code = new_file_write(file, "        ", padded - size);
    free(header);
    return code < 0 ? new_file_close(file, code) : 0;
}

int weights_save(const char *path, const struct weight *list, size_t count,
                 const char *const *metadata, const unreel_log *log)
{
    struct new_file file;
    struct weight *sorted = malloc((count + 1) * sizeof *sorted);
    size_t n = 0;
    if (!sorted)
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    for (size_t size = 4; size >= 2; size /= 2) {
        for (size_t i = 0; i < count; i++) {
            if (tensor_type_size(list[i].tensor.type) == size)
                sorted[n++] = list[i];
        }
    }
    int code = safetensors_begin(&file, path, sorted, n, metadata, log);
    for (size_t i = 0; code == 0 && i < n; i++)
        code = new_file_write(&file, sorted[i].tensor.data, tensor_bytes(&sorted[i].tensor));
    free(sorted);
    return new_file_close(&file, code);
}
