/* unreel_inspect: what is in a weights file. */
#include <stdio.h>
#include <string.h>

#include "unreel/diagnose.h"
#include "weights/reader.h"

#define TYPES_MAX 32

struct total {
    const char *type;
    size_t tensors, bytes;
    int64_t parameters;
};

struct inspect {
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

/* A text with its control characters replaced, cut to the buffer. */
static const char *one_line(const char *text, char *buffer, size_t size)
{
    size_t n = 0;
    for (; *text && n + 1 < size; text++)
        buffer[n++] = (unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text;
    buffer[n] = 0;
    return buffer;
}

static void list_file(struct inspect *in, const struct tensor_file *file)
{
    char name[2 * WEIGHTS_NAME_MAX], shape[128], line[2 * WEIGHTS_NAME_MAX + 256];
    for (size_t i = 0; i < file->count; i++) {
        const struct file_tensor *t = &file->list[i];
        int64_t parameters = 0;
        shape_count(t->dims, t->shape, &parameters);
        snprintf(name, sizeof name, "%s%s%s", t->set, *t->set ? "." : "", t->name);
        snprintf(line, sizeof line, "%-64s %-5s %-26s %12zu", name, t->type->name,
                 tensor_shape_text(t->dims, t->shape, shape), t->bytes);
        in->line(in->opaque, line);
        count(in, t, parameters);
    }
    for (const char **entry = file->metadata; entry && *entry; entry += 2) {
        char key[200], value[500];
        snprintf(line, sizeof line, "metadata: %s = %s", one_line(entry[0], key, sizeof key),
                 one_line(entry[1], value, sizeof value));
        in->line(in->opaque, line);
    }
}

static void print_totals(struct inspect *in)
{
    char line[256];
    struct total all = {.type = "total"};
    for (int i = 0; i <= in->types; i++) {
        const struct total *t = i < in->types ? &in->total[i] : &all;
        snprintf(line, sizeof line, "%-5s %zu tensors, %lld parameters, %zu bytes (%.2f GiB)",
                 t->type, t->tensors, (long long)t->parameters, t->bytes,
                 (double)t->bytes / 0x1p30);
        in->line(in->opaque, line);
        all.tensors += t->tensors;
        all.bytes += t->bytes;
        all.parameters += t->parameters;
    }
}

int unreel_inspect(const unreel_log *log, const char *path, unreel_line_fn line, void *opaque)
{
    struct inspect in = {.line = line, .opaque = opaque};
    struct tensor_files files;
    int code = tensor_files_open(&files, path, log);
    if (code < 0)
        return code;
    for (size_t i = 0; i < files.count; i++)
        list_file(&in, &files.file[i]);
    print_totals(&in);
    tensor_files_close(&files);
    return 0;
}
