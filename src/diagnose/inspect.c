/* unreel_inspect: what is in a weights file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "unreel/diagnose.h"
#include "weights/reader.h"

#define TYPES_MAX 32
#define INDEX_BYTES_MAX (64 << 20)

struct total {
    const char *type;
    size_t tensors, bytes;
    int64_t parameters;
};

struct inspect {
    const unreel_log *log;
    unreel_line_fn line;
    void *opaque;
    struct total total[TYPES_MAX];
    int types;
};

static void count(struct inspect *in, const struct file_tensor *t, int64_t parameters)
{
    int i = 0;
    while (i < in->types && strcmp(in->total[i].type, t->type->name))
        i++;
    if (i == TYPES_MAX)
        return;
    if (i == in->types)
        in->total[in->types++] = (struct total){.type = t->type->name};
    in->total[i].tensors++;
    in->total[i].bytes += t->bytes;
    in->total[i].parameters += parameters;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct file_tensor *)a)->name, ((const struct file_tensor *)b)->name);
}

static int list_file(struct inspect *in, const char *path)
{
    struct file_tensors file;
    char shape[128], line[WEIGHTS_NAME_MAX + 256];
    int code = file_tensors_open(&file, path, in->log);
    if (code < 0)
        return code;
    if (file.count)
        qsort(file.list, file.count, sizeof *file.list, compare_names);
    for (size_t i = 0; i < file.count; i++) {
        const struct file_tensor *t = &file.list[i];
        int64_t parameters = 0;
        shape_count(t->dims, t->shape, &parameters);
        snprintf(line, sizeof line, "%-64s %-5s %-26s %12zu", t->name, t->type->name,
                 tensor_shape_text(t->dims, t->shape, shape), t->bytes);
        in->line(in->opaque, line);
        count(in, t, parameters);
    }
    for (char **entry = file.metadata; entry && *entry; entry += 2) {
        snprintf(line, sizeof line, "metadata: %.200s = %.400s", entry[0], entry[1]);
        in->line(in->opaque, line);
    }
    file_tensors_free(&file);
    return 0;
}

/* An index JSON: every shard it names, once, in the order of first mention. */
static int list_shards(struct inspect *in, const char *path)
{
    char *text;
    size_t size;
    struct json *root = NULL;
    int code = file_read_text(&text, &size, path, INDEX_BYTES_MAX, in->log);
    if (code < 0)
        return code;
    code = json_parse(&root, text, size, path, in->log);
    free(text);
    const struct json *map = json_get(root, "weight_map");
    if (code == 0 && !json_is_object(map))
        code = log_error(in->log, UNREEL_EFORMAT, "%s: no weight_map in this index", path);
    for (size_t i = 0; code == 0 && i < json_length(map); i++) {
        const char *shard = json_text(json_at(map, i));
        bool seen = false;
        for (size_t j = 0; shard && j < i && !seen; j++)
            seen = !strcmp(shard, json_text(json_at(map, j)));
        if (seen)
            continue;
        char *file = shard ? weights_shard_path(path, shard) : NULL;
        code = file ? list_file(in, file)
                    : log_error(in->log, UNREEL_EFORMAT, "%s: %.200s: not the name of a shard", path,
                                json_key(map, i));
        free(file);
    }
    json_free(root);
    return code;
}

static void print_totals(struct inspect *in)
{
    char line[256];
    struct total all = {.type = "total"};
    for (int i = 0; i <= in->types; i++) {
        const struct total *t = i < in->types ? &in->total[i] : &all;
        snprintf(line, sizeof line, "%-5s %zu tensors, %lld parameters, %zu bytes (%.2f GiB)", t->type,
                 t->tensors, (long long)t->parameters, t->bytes, (double)t->bytes / 0x1p30);
        in->line(in->opaque, line);
        all.tensors += t->tensors;
        all.bytes += t->bytes;
        all.parameters += t->parameters;
    }
}

int unreel_inspect(const unreel_log *log, const char *path, unreel_line_fn line, void *opaque)
{
    struct inspect in = {.log = log, .line = line, .opaque = opaque};
    size_t length = strlen(path);
    bool index = length > 5 && !strcmp(path + length - 5, ".json");
    int code = index ? list_shards(&in, path) : list_file(&in, path);
    if (code == 0)
        print_totals(&in);
    return code;
}
