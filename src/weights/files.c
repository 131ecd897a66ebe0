/* Which files a path stands for, and of what format they are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "weights/reader.h"

#define SHARDS_MAX 1000
#define INDEX_BYTES_MAX (64 << 20)

/* ---- one file -------------------------------------------------------------------------------- */

static bool begins(const struct file *file, const char *magic, size_t size)
{
    return file->size >= size && !memcmp(file->data, magic, size);
}

static bool is_zip(const struct file *file)
{
    return begins(file, "PK\3\4", 4) || begins(file, "PK\5\6", 4);
}

/* A header of at most WEIGHTS_HEADER_MAX bytes has zeros in the upper half of its length. */
static bool is_safetensors(const struct file *file)
{
    return file->size > 8 && !memcmp(file->data + 4, "\0\0\0\0", 4);
}

static bool is_index(const struct file *file)
{
    size_t i = 0;
    while (i < file->size && file->data[i] && strchr(" \t\r\n", file->data[i]))
        i++;
    return i < file->size && file->data[i] == '{' && !is_safetensors(file);
}

static int compare_tensors(const void *a, const void *b)
{
    const struct file_tensor *x = a, *y = b;
    int order = strcmp(x->set, y->set);
    return order ? order : strcmp(x->name, y->name);
}

static int read_format(struct tensor_file *t)
{
    if (is_zip(&t->file))
        return torch_read(t);
    if (is_safetensors(&t->file) || (t->file.size > 8 && t->file.data[8] == '{'))
        return safetensors_read(t);
    if (begins(&t->file, "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14))
        return log_error(
            t->log, UNREEL_EUNSUPPORTED,
            "%s: in the format of PyTorch before 1.6: load it and save it again with a "
            "newer one",
            t->path);
    if (begins(&t->file, "\x80", 1))
        return log_error(t->log, UNREEL_EFORMAT,
                         "%s: a pickle, not a PyTorch checkpoint, which is a zip file", t->path);
    if (t->file.size < 9)
        return log_error(t->log, UNREEL_EFORMAT, "%s: too short for a weights file", t->path);
    return log_error(t->log, UNREEL_EFORMAT,
                     "%s: neither a safetensors nor a PyTorch file, or damaged", t->path);
}

/* The file is mapped or borrowed; on failure the caller frees it, too. */
static int read_file(struct tensor_file *t)
{
    int code = read_format(t);
    if (code < 0)
        return code;
    if (t->count)
        qsort(t->list, t->count, sizeof *t->list, compare_tensors);
    for (size_t i = 1; i < t->count; i++) {
        if (!compare_tensors(&t->list[i - 1], &t->list[i]))
            return log_error(t->log, UNREEL_EFORMAT, "%s: two tensors named %s", t->path,
                             t->list[i].name);
    }
    return 0;
}

static void free_file(struct tensor_file *t)
{
    if (!t->borrowed)
        file_unmap(&t->file);
    free(t->list);
    pool_free(&t->pool);
    *t = (struct tensor_file){0};
}

/* ---- index and shards ------------------------------------------------------------------------ */

/* The path of a shard beside its index; NULL: out of memory. */
static char *beside(const char *index, const char *name)
{
    const char *slash = strrchr(index, '/');
    int folder = slash ? (int)(slash - index) + 1 : 0;
    size_t size = (size_t)folder + strlen(name) + 1;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%.*s%s", folder, index, name);
    return path;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct file names of a weight_map, sorted, the caller's to free. */
static int list_shards(const struct json *map, const char ***names, size_t *count, const char *path,
                       const unreel_log *log)
{
    size_t length = json_length(map), distinct = 0;
    const char **list = malloc((length + 1) * sizeof *list);
    *names = list;
    *count = 0;
    if (!list)
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    for (size_t i = 0; i < length; i++) {
        list[i] = json_text(json_at(map, i));
        if (!list[i] || !*list[i] || *list[i] == '.' || strchr(list[i], '/'))
            return log_error(log, UNREEL_EFORMAT,
                             "%s: %.200s: a shard must be named by a file beside the index", path,
                             json_key(map, i));
    }
    qsort(list, length, sizeof *list, compare_texts);
    for (size_t i = 0; i < length; i++) {
        if (!i || strcmp(list[i], list[i - 1]))
            list[distinct++] = list[i];
    }
    *count = distinct;
    return distinct <= SHARDS_MAX
               ? 0
               : log_error(log, UNREEL_EFORMAT, "%s: more than %d shards", path, SHARDS_MAX);
}

static int open_mapped(struct tensor_files *files, char *path, const unreel_log *log)
{
    struct tensor_file *t = &files->file[files->count];
    if (!path)
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", files->path);
    *t = (struct tensor_file){.log = log};
    t->path = pool_text(&t->pool, path, strlen(path));
    files->count++;
    int code = t->path ? file_map(&t->file, path, log)
                       : log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    return code < 0 ? code : read_file(t);
}

/* Every tensor of the index must be in the shard that is named for it. */
static int check_map(const struct tensor_files *files, const struct json *map,
                     const char *const *names, const unreel_log *log)
{
    for (size_t i = 0; i < json_length(map); i++) {
        const struct file_tensor key = {.set = "", .name = json_key(map, i)};
        const char *shard = json_text(json_at(map, i));
        const char *const *found =
            bsearch(&shard, names, files->count, sizeof *names, compare_texts);
        const struct tensor_file *t = &files->file[found - names];
        if (!t->count || !bsearch(&key, t->list, t->count, sizeof key, compare_tensors))
            return log_error(log, UNREEL_EFORMAT, "%s: tensor %.200s is not in %.200s", files->path,
                             key.name, shard);
    }
    return 0;
}

static int open_map(struct tensor_files *files, const struct json *map, const unreel_log *log)
{
    const char **names = NULL;
    size_t count = 0;
    int code = list_shards(map, &names, &count, files->path, log);
    if (code == 0 && !(files->file = calloc(count, sizeof *files->file)))
        code = log_error(log, UNREEL_ENOMEM, "%s: out of memory", files->path);
    for (size_t i = 0; code == 0 && i < count; i++) {
        char *path = beside(files->path, names[i]);
        code = open_mapped(files, path, log);
        free(path);
    }
    if (code == 0)
        code = check_map(files, map, names, log);
    free(names);
    return code;
}

/* {"weight_map": {tensor: shard, ...}} */
static int open_index(struct tensor_files *files, const unreel_log *log)
{
    char *text;
    size_t size;
    struct json *root = NULL;
    int code = file_read_text(&text, &size, files->path, INDEX_BYTES_MAX, log);
    if (code < 0)
        return code;
    code = json_parse(&root, text, size, files->path, log);
    free(text);
    const struct json *map = json_get(root, "weight_map");
    if (code == 0 && (!json_is_object(map) || !json_length(map)))
        code = log_error(log, UNREEL_EFORMAT, "%s: no weight_map in this index", files->path);
    if (code == 0)
        code = open_map(files, map, log);
    json_free(root);
    return code;
}

/* ---- paths ----------------------------------------------------------------------------------- */

/* A folder stands for the transformer file in it. The result is the caller's to free. */
static int resolve(char **result, const char *path, const unreel_log *log)
{
    static const char *const names[] = {"diffusion_pytorch_model.safetensors",
                                        "diffusion_pytorch_model.safetensors.index.json"};
    size_t size = strlen(path) + 64;
    struct stat st;
    int found = 0;
    char *file = malloc(size);
    *result = file;
    if (!file)
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    snprintf(file, size, "%s", path);
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return 0;
    for (int i = 1; i >= 0; i--) { /* the index may stay in `file` only if it is alone */
        snprintf(file, size, "%s/%s", path, names[i]);
        found += stat(file, &st) == 0 ? 1 << i : 0;
    }
    if (found == 2)
        snprintf(file, size, "%s/%s", path, names[1]);
    if (found == 1 || found == 2)
        return 0;
    return log_error(log, UNREEL_EIO,
                     found ? "%s: holds both %s and its index" : "%s: a folder without %s", path,
                     names[0]);
}

static int open_single(struct tensor_files *files, const unreel_log *log)
{
    files->file = calloc(1, sizeof *files->file);
    if (!files->file)
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", files->path);
    return open_mapped(files, files->path, log);
}

int tensor_files_open(struct tensor_files *files, const char *path, const unreel_log *log)
{
    struct file file = {0};
    *files = (struct tensor_files){0};
    int code = resolve(&files->path, path, log);
    if (code == 0)
        code = file_map(&file, files->path, log);
    bool index = code == 0 && is_index(&file);
    file_unmap(&file);
    if (code == 0)
        code = index ? open_index(files, log) : open_single(files, log);
    if (code < 0)
        tensor_files_close(files);
    return code;
}

int tensor_files_from_memory(struct tensor_files *files, const char *name, const void *data,
                             size_t size, const unreel_log *log)
{
    *files = (struct tensor_files){.path = strdup(name), .file = calloc(1, sizeof *files->file)};
    int code = UNREEL_ENOMEM;
    if (files->path && files->file) {
        files->file[0] = (struct tensor_file){.path = files->path,
                                              .log = log,
                                              .borrowed = true,
                                              .file = {.data = data, .size = size}};
        files->count = 1;
        code = read_file(&files->file[0]);
    }
    if (code < 0)
        tensor_files_close(files);
    return code;
}

void tensor_files_close(struct tensor_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        free_file(&files->file[i]);
    free(files->file);
    free(files->path);
    *files = (struct tensor_files){0};
}
