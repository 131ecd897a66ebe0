/* Writing safetensors. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "weights/weights.h"

#define QUOTED_MAX 8192 /* bytes of a name or metadata value with its escapes */

/* The JSON header, padded with spaces to a multiple of 8 as the format advises. */
static void write_header(FILE *f, const struct weight *list, size_t count,
                         const char *const *metadata)
{
    char a[QUOTED_MAX], b[QUOTED_MAX];
    size_t offset = 0;
    const char *comma = "";
    fputc('{', f);
    if (metadata && *metadata) {
        fputs("\"__metadata__\":{", f);
        for (; metadata[0] && metadata[1]; metadata += 2) {
            fprintf(f, "%s%s:%s", comma, json_quote(metadata[0], a, sizeof a),
                    json_quote(metadata[1], b, sizeof b));
            comma = ",";
        }
        fputc('}', f);
        comma = ",";
    }
    for (size_t i = 0; i < count; i++) {
        const struct tensor *t = &list[i].tensor;
        size_t bytes = tensor_bytes(t);
        fprintf(f, "%s%s:{\"dtype\":\"%s\",\"shape\":[", comma, json_quote(list[i].name, a, sizeof a),
                tensor_type_name(t->type));
        for (int d = 0; d < t->dims; d++)
            fprintf(f, "%s%lld", d ? "," : "", (long long)t->shape[d]);
        fprintf(f, "],\"data_offsets\":[%zu,%zu]}", offset, offset + bytes);
        offset += bytes;
        comma = ",";
    }
    fputc('}', f);
    while (ftell(f) % 8)
        fputc(' ', f);
}

static bool write_all(FILE *f, const struct weight *list, size_t count, const char *const *metadata)
{
    uint8_t length[8] = {0};
    fwrite(length, 1, sizeof length, f);
    write_header(f, list, count, metadata);
    uint64_t header = (uint64_t)ftell(f) - sizeof length;
    for (size_t i = 0; i < count; i++)
        fwrite(list[i].tensor.data, 1, tensor_bytes(&list[i].tensor), f);
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(header >> 8 * i);
    if (fseek(f, 0, SEEK_SET) == 0)
        fwrite(length, 1, sizeof length, f);
    return !ferror(f) && fflush(f) == 0;
}

int weights_save(const char *path, const struct weight *list, size_t count,
                 const char *const *metadata, const unreel_log *log)
{
    size_t size = strlen(path) + sizeof ".part";
    char *part = malloc(size);
    if (!part)
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    snprintf(part, size, "%s.part", path);
    FILE *f = fopen(part, "wbe");
    int code = 0;
    if (!f)
        code = log_error(log, UNREEL_EIO, "%s: %s", path, strerror(errno));
    if (f) {
        bool good = write_all(f, list, count, metadata);
        int error = errno;
        if (fclose(f) != 0 && good) {
            good = false;
            error = errno;
        }
        if (good && rename(part, path) != 0) {
            good = false;
            error = errno;
        }
        if (!good) {
            unlink(part);
            code = log_error(log, UNREEL_EIO, "%s: %s", path, strerror(error));
        }
    }
    free(part);
    return code;
}
