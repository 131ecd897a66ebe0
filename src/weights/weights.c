/* The set of weights a model is bound to: one file, or the shards of an index. */
#include "weights/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "weights/reader.h"

#define SHARDS_MAX 1000
#define INDEX_BYTES_MAX (64 << 20)

struct weights {
    char *path;
    const unreel_log *log; /* only while opening */
    struct file_tensors *file; /* [files] */
    char **file_path;
    size_t files;
    struct weight *list; /* sorted by name; names point into the files' */
    size_t count;
    void **copies; /* of tensors that were not contiguous or aligned */
    size_t copies_count;
};

/* ---- names ----------------------------------------------------------------------------------- */

/* Prefixes that wrappers leave in front of and inside of keys. */
static void strip_prefixes(char *name)
{
    static const char *const inside = "_fsdp_wrapped_module.";
    static const char *const front[] = {"model.", "module."};
    for (char *at; (at = strstr(name, inside));)
        memmove(at, at + strlen(inside), strlen(at + strlen(inside)) + 1);
    for (bool again = true; again;) {
        again = false;
        for (int i = 0; i < 2; i++) {
            size_t length = strlen(front[i]);
            if (!strncmp(name, front[i], length) && name[length]) {
                memmove(name, name + length, strlen(name + length) + 1);
                again = true;
            }
        }
    }
}

static bool in_set(const struct file_tensor *t, const char *set)
{
    return t->set > 0 && (size_t)t->set == strlen(set) && !strncmp(t->name, set, (size_t)t->set);
}

/* Appends the distinct sets of a file to `text`, which it returns. */
static char *list_sets(const struct file_tensors *file, char *text, size_t size)
{
    size_t length = 0;
    *text = 0;
    for (size_t i = 0; i < file->count; i++) {
        const struct file_tensor *t = &file->list[i];
        bool known = false;
        for (size_t j = 0; j < i && !known; j++)
            known = file->list[j].set == t->set && !memcmp(file->list[j].name, t->name, (size_t)t->set);
        if (known || length >= size)
            continue;
        int added = t->set ? snprintf(text + length, size - length, "%s%.*s", length ? ", " : "",
                                      t->set, t->name)
                           : 0;
        length += added > 0 ? (size_t)added : 0;
    }
    return text;
}

/* Which set of a file to take: the asked one; a flat file has only itself, whatever was asked; a
 * nested one without a wish must have exactly one. *chosen NULL: the file is flat. */
static int choose_set(const struct weights *w, const struct file_tensors *file, const char *set,
                      char *chosen, size_t size)
{
    char sets[256];
    bool nested = false, several = false;
    *chosen = 0;
    for (size_t i = 0; i < file->count; i++) {
        const struct file_tensor *t = &file->list[i];
        if (!t->set)
            continue;
        if (!nested)
            snprintf(chosen, size, "%.*s", t->set, t->name);
        nested = true;
        several = several || !in_set(t, chosen);
    }
    if (!nested)
        return 0;
    if (set) {
        snprintf(chosen, size, "%s", set);
        for (size_t i = 0; i < file->count; i++) {
            if (in_set(&file->list[i], set))
                return 0;
        }
        return log_error(w->log, UNREEL_EFORMAT, "%s: no %s in this checkpoint, it has: %s", w->path,
                         set, list_sets(file, sets, sizeof sets));
    }
    if (several)
        return log_error(w->log, UNREEL_EFORMAT, "%s: several sets of weights, choose one of: %s",
                         w->path, list_sets(file, sets, sizeof sets));
    return 0;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static bool is_contiguous(const struct file_tensor *t)
{
    int64_t stride = 1;
    for (int i = t->dims - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != stride)
            return false;
        stride *= t->shape[i];
    }
    return true;
}

/* Gathers elements in order of the shape. */
static void gather(char *to, const char *from, const struct file_tensor *t)
{
    size_t element = (size_t)t->type->size;
    int64_t at[TENSOR_DIMS] = {0}, offset = 0, count = (int64_t)(t->bytes / element);
    for (int64_t i = 0; i < count; i++, to += element) {
        memcpy(to, from + (size_t)offset * element, element);
        for (int d = t->dims - 1; d >= 0; d--) { /* the next index, like an odometer */
            offset += t->stride[d];
            if (++at[d] < t->shape[d])
                break;
            offset -= at[d] * t->stride[d];
            at[d] = 0;
        }
    }
}

static int add_weight(struct weights *w, const struct file_tensors *file, struct file_tensor *t)
{
    struct weight *weight = &w->list[w->count];
    char *data = (char *)(uintptr_t)file->file.data + t->offset;
    if (!t->type->bindable || !t->bytes)
        return 0; /* counters and the like: inspect shows them, no model asks for them */
    weight->bytes = t->bytes;
    weight->mapped = true;
    if (!is_contiguous(t) || (uintptr_t)data % (size_t)t->type->size) {
        char *copy = aligned_alloc(64, (t->bytes + 63) / 64 * 64);
        if (!copy)
            return log_error(w->log, UNREEL_ENOMEM, "%s: out of memory", w->path);
        gather(copy, data, t);
        w->copies[w->copies_count++] = data = copy;
        weight->mapped = false;
    }
    weight->tensor = tensor_make(data, t->type->type, t->dims, t->shape);
    strip_prefixes(t->name + (t->set ? t->set + 1 : 0));
    weight->name = t->name + (t->set ? t->set + 1 : 0);
    w->count++;
    return 0;
}

static int add_file(struct weights *w, struct file_tensors *file, const char *set)
{
    char chosen[WEIGHTS_NAME_MAX];
    int code = choose_set(w, file, set, chosen, sizeof chosen);
    if (code < 0)
        return code;
    struct weight *list = realloc(w->list, (w->count + file->count + 1) * sizeof *list);
    void **copies = realloc(w->copies, (w->copies_count + file->count + 1) * sizeof *copies);
    if (list)
        w->list = list;
    if (copies)
        w->copies = copies;
    if (!list || !copies)
        return log_error(w->log, UNREEL_ENOMEM, "%s: out of memory", w->path);
    for (size_t i = 0; code == 0 && i < file->count; i++) {
        if (!*chosen || in_set(&file->list[i], chosen))
            code = add_weight(w, file, &file->list[i]);
    }
    return code;
}

static int compare_weights(const void *a, const void *b)
{
    return strcmp(((const struct weight *)a)->name, ((const struct weight *)b)->name);
}

static int sort_weights(struct weights *w)
{
    if (w->count)
        qsort(w->list, w->count, sizeof *w->list, compare_weights);
    for (size_t i = 1; i < w->count; i++) {
        if (!compare_weights(&w->list[i - 1], &w->list[i]))
            return log_error(w->log, UNREEL_EFORMAT, "%s: two tensors named %.200s", w->path,
                             w->list[i].name);
    }
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Takes over path. */
static int open_file(struct weights *w, char *path, const char *set)
{
    struct file_tensors *file = realloc(w->file, (w->files + 1) * sizeof *file);
    char **paths = realloc(w->file_path, (w->files + 1) * sizeof *paths);
    if (file)
        w->file = file;
    if (paths)
        w->file_path = paths;
    if (!file || !paths || !path) {
        free(path);
        return log_error(w->log, UNREEL_ENOMEM, "%s: out of memory", w->path);
    }
    int code = file_tensors_open(&w->file[w->files], path, w->log);
    if (code < 0) {
        free(path);
        return code;
    }
    w->file_path[w->files] = path;
    return add_file(w, &w->file[w->files++], set);
}

char *weights_shard_path(const char *beside, const char *name)
{
    const char *slash = strrchr(beside, '/');
    int folder = slash ? (int)(slash - beside) + 1 : 0;
    size_t size = (size_t)folder + strlen(name) + 1;
    if (strchr(name, '/') || !*name || *name == '.')
        return NULL;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%.*s%s", folder, beside, name);
    return path;
}

static bool is_open(const struct weights *w, const char *path)
{
    for (size_t i = 0; i < w->files; i++) {
        if (!strcmp(w->file_path[i], path))
            return true;
    }
    return false;
}

/* {"weight_map": {tensor: shard, ...}}: opens every shard once. */
static int open_shards(struct weights *w, const struct json *map, const char *set)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < json_length(map); i++) {
        const char *name = json_text(json_at(map, i));
        char *path = name ? weights_shard_path(w->path, name) : NULL;
        if (!path)
            return log_error(w->log, UNREEL_EFORMAT, "%s: %.200s: not the name of a shard", w->path,
                             json_key(map, i));
        if (is_open(w, path)) {
            free(path);
            continue;
        }
        if (w->files == SHARDS_MAX) {
            free(path);
            return log_error(w->log, UNREEL_EFORMAT, "%s: more than %d shards", w->path, SHARDS_MAX);
        }
        code = open_file(w, path, set);
    }
    return code;
}

/* Every name of the index must be in the shards. */
static int check_index(struct weights *w, const struct json *map)
{
    for (size_t i = 0; i < json_length(map); i++) {
        char name[WEIGHTS_NAME_MAX];
        if (snprintf(name, sizeof name, "%s", json_key(map, i)) >= (int)sizeof name)
            return log_error(w->log, UNREEL_EFORMAT, "%s: a name that is too long", w->path);
        strip_prefixes(name);
        if (!weights_find(w, name))
            return log_error(w->log, UNREEL_EFORMAT, "%s: %.200s is in none of the shards", w->path,
                             name);
    }
    return 0;
}

static int open_index(struct weights *w, const char *set)
{
    char *text;
    size_t size;
    struct json *root = NULL;
    int code = file_read_text(&text, &size, w->path, INDEX_BYTES_MAX, w->log);
    if (code < 0)
        return code;
    code = json_parse(&root, text, size, w->path, w->log);
    free(text);
    const struct json *map = json_get(root, "weight_map");
    if (code == 0 && (!json_is_object(map) || !json_length(map)))
        code = log_error(w->log, UNREEL_EFORMAT, "%s: no weight_map in this index", w->path);
    if (code == 0)
        code = open_shards(w, map, set);
    if (code == 0)
        code = sort_weights(w);
    if (code == 0)
        code = check_index(w, map);
    json_free(root);
    return code;
}

/* A folder stands for the transformer file in it. */
static char *resolve(const char *path, const unreel_log *log)
{
    static const char *const names[] = {"diffusion_pytorch_model.safetensors",
                                        "diffusion_pytorch_model.safetensors.index.json"};
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return strdup(path);
    for (int i = 0; i < 2; i++) {
        size_t size = strlen(path) + strlen(names[i]) + 2;
        char *file = malloc(size);
        if (!file)
            return NULL;
        snprintf(file, size, "%s/%s", path, names[i]);
        if (stat(file, &st) == 0)
            return file;
        free(file);
    }
    log_error(log, UNREEL_EIO, "%s: a folder without diffusion_pytorch_model.safetensors", path);
    return NULL;
}

static bool ends_with(const char *text, const char *suffix)
{
    size_t a = strlen(text), b = strlen(suffix);
    return a >= b && !strcmp(text + a - b, suffix);
}

int weights_open(struct weights **weights, const char *path, const char *set, const unreel_log *log)
{
    *weights = NULL;
    struct weights *w = calloc(1, sizeof *w);
    if (!w)
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    w->log = log;
    w->path = resolve(path, log);
    int code = w->path ? 0 : UNREEL_EIO;
    if (code == 0)
        code = ends_with(w->path, ".json") ? open_index(w, set) : open_file(w, strdup(w->path), set);
    if (code == 0)
        code = sort_weights(w);
    if (code < 0) {
        weights_close(w);
        return code;
    }
    w->log = NULL;
    *weights = w;
    return 0;
}

int weights_from_memory(struct weights **weights, const char *label, struct weight *list, size_t count,
                        void **blocks, size_t blocks_count, const unreel_log *log)
{
    struct weights *w = calloc(1, sizeof *w);
    char *path = strdup(label);
    *weights = NULL;
    if (!w || !path) {
        for (size_t i = 0; i < blocks_count; i++)
            free(blocks[i]);
        free(blocks);
        free(list);
        free(path);
        free(w);
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", label);
    }
    *w = (struct weights){.path = path, .log = log, .list = list, .count = count, .copies = blocks,
                          .copies_count = blocks_count};
    int code = sort_weights(w);
    if (code < 0) {
        weights_close(w);
        return code;
    }
    w->log = NULL;
    *weights = w;
    return 0;
}

void weights_close(struct weights *weights)
{
    if (!weights)
        return;
    for (size_t i = 0; i < weights->files; i++) {
        file_tensors_free(&weights->file[i]);
        free(weights->file_path[i]);
    }
    for (size_t i = 0; i < weights->copies_count; i++)
        free(weights->copies[i]);
    free(weights->copies);
    free(weights->file);
    free(weights->file_path);
    free(weights->list);
    free(weights->path);
    free(weights);
}

const char *weights_path(const struct weights *weights)
{
    return weights->path;
}

size_t weights_count(const struct weights *weights)
{
    return weights->count;
}

const struct weight *weights_at(const struct weights *weights, size_t index)
{
    return &weights->list[index];
}

const struct weight *weights_find(const struct weights *weights, const char *name)
{
    const struct weight key = {.name = name};
    if (!weights->count)
        return NULL;
    return bsearch(&key, weights->list, weights->count, sizeof key, compare_weights);
}

const char *weights_metadata(const struct weights *weights, const char *key)
{
    for (size_t i = 0; i < weights->files; i++) {
        char **entry = weights->file[i].metadata;
        for (; entry && *entry; entry += 2) {
            if (!strcmp(*entry, key))
                return entry[1];
        }
    }
    return NULL;
}
