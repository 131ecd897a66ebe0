/* The set of weights a model is bound to: one file, or the shards of an index. */
#include "weights/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weights/reader.h"

#define SETS_MAX 64 /* named in messages */

struct weights {
    char *path;
    const unreel_log *log; /* only while opening */
    struct tensor_files files;
    struct pool pool;    /* names */
    struct weight *list; /* sorted by name */
    size_t count;
    struct unusable *unusable; /* sorted by name */
    size_t unusable_count;
    void **copies;               /* of tensors that were not contiguous or aligned */
    size_t copies_count, copied; /* copied: bytes */
};

/* A tensor that no model computes with: of integers, of doubles, empty. Known so that a model that
 * does want it can say why not. */
struct unusable {
    const char *name, *type;
};

/* ---- names and sets -------------------------------------------------------------------------- */

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

struct sets {
    const char *name[SETS_MAX];
    size_t count;
    bool more;
};

/* The first distinct sets of a file, whose list is sorted by them. */
static struct sets find_sets(const struct tensor_file *file)
{
    struct sets sets = {0};
    for (size_t i = 0; i < file->count; i++) {
        if (i && !strcmp(file->list[i].set, file->list[i - 1].set))
            continue;
        if (sets.count < SETS_MAX)
            sets.name[sets.count++] = file->list[i].set;
        else
            sets.more = true;
    }
    return sets;
}

static char *sets_text(const struct sets *sets, char *text, size_t size)
{
    size_t length = 0;
    *text = 0;
    for (size_t i = 0; i < sets->count && length < size; i++)
        length += (size_t)snprintf(text + length, size - length, "%s%s", i ? ", " : "",
                                   *sets->name[i] ? sets->name[i] : "(no name)");
    if (length < size && sets->more)
        snprintf(text + length, size - length, ", ...");
    return text;
}

/* Whether "a.b.generator" is meant by "generator". */
static bool is_called(const char *set, const char *wish)
{
    size_t length = strlen(set), wanted = strlen(wish);
    return length >= wanted && !strcmp(set + length - wanted, wish) &&
           (length == wanted || set[length - wanted - 1] == '.');
}

/* *chosen: the set to take of a file. See weights_open. */
static int choose_set(const struct weights *w, const struct tensor_file *file, const char *wish,
                      const char **chosen)
{
    const struct sets sets = find_sets(file);
    char text[512];
    size_t called = 0;
    *chosen = sets.count ? sets.name[0] : "";
    if (sets.count == 0 || (sets.count == 1 && !*sets.name[0]) || (!wish && !*sets.name[0]))
        return 0;
    for (size_t i = 0; wish && i < file->count; i++) {
        const char *set = file->list[i].set;
        if ((i && !strcmp(set, file->list[i - 1].set)) || !is_called(set, wish))
            continue;
        *chosen = set;
        if (!strcmp(set, wish))
            return 0;
        called++;
    }
    if (wish && called != 1)
        return log_error(w->log, UNREEL_EFORMAT, "%s: %s '%s' in this checkpoint, it has: %s",
                         file->path, called ? "several sets" : "no set", wish,
                         sets_text(&sets, text, sizeof text));
    if (!wish && sets.count > 1)
        return log_error(w->log, UNREEL_EFORMAT, "%s: several sets of weights, choose one of: %s",
                         file->path, sets_text(&sets, text, sizeof text));
    return 0;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* Elements in order of the shape; the innermost dimension at once where it is dense. */
static void gather(char *to, const char *from, const struct file_tensor *t)
{
    size_t element = (size_t)t->type->size;
    int last = t->dims - 1;
    size_t run = t->stride[last] == 1 ? (size_t)t->shape[last] : 1;
    int64_t at[TENSOR_DIMS] = {0}, offset = 0;
    for (size_t done = 0; done < t->bytes; done += run * element) {
        memcpy(to + done, from + (size_t)offset * element, run * element);
        for (int d = run > 1 ? last - 1 : last; d >= 0;
             d--) { /* the next index, like an odometer */
            offset += t->stride[d];
            if (++at[d] < t->shape[d])
                break;
            offset -= at[d] * t->stride[d];
            at[d] = 0;
        }
    }
}

/* An aligned copy. A file in which many tensors share a storage could ask for far more memory than
 * it has bytes: twice its size is enough for all that is honest. */
static int copy_tensor(struct weights *w, const struct tensor_file *file,
                       const struct file_tensor *t, char **copy)
{
    size_t room = (t->bytes + 63) / 64 * 64, limit = 2 * file->file.size;
    if (t->bytes > limit || w->copied > limit - t->bytes)
        return log_error(w->log, UNREEL_EFORMAT, "%s: tensors share storages beyond reason",
                         file->path);
    *copy = aligned_alloc(64, room);
    if (!*copy)
        return log_error(w->log, UNREEL_ENOMEM, "%s: out of memory", file->path);
    gather(*copy, (const char *)file->file.data + t->offset, t);
    w->copies[w->copies_count++] = *copy;
    w->copied += t->bytes;
    return 0;
}

static int add_weight(struct weights *w, const struct tensor_file *file,
                      const struct file_tensor *t)
{
    char *name = pool_text(&w->pool, t->name, strlen(t->name));
    if (!name)
        return log_error(w->log, UNREEL_ENOMEM, "%s: out of memory", file->path);
    strip_prefixes(name);
    if (!t->type->bindable || !t->bytes) {
        w->unusable[w->unusable_count++] =
            (struct unusable){name, t->bytes ? t->type->name : "empty"};
        return 0;
    }
    char *data = (char *)(uintptr_t)file->file.data + t->offset;
    bool mapped = file_tensor_is_contiguous(t) && (uintptr_t)data % (size_t)t->type->size == 0;
    int code = mapped ? 0 : copy_tensor(w, file, t, &data);
    if (code < 0)
        return code;
    struct weight *weight = &w->list[w->count++];
    *weight = (struct weight){
        .name = name,
        .tensor = tensor_make(data, t->type->type, t->dims, t->shape),
        .bytes = t->bytes,
    };
    weight->tensor.mapped = mapped && !file->borrowed;
    return 0;
}

static int compare_weights(const void *a, const void *b)
{
    return strcmp(((const struct weight *)a)->name, ((const struct weight *)b)->name);
}

static int compare_unusable(const void *a, const void *b)
{
    return strcmp(((const struct unusable *)a)->name, ((const struct unusable *)b)->name);
}

static int sort_weights(struct weights *w)
{
    if (w->count)
        qsort(w->list, w->count, sizeof *w->list, compare_weights);
    if (w->unusable_count)
        qsort(w->unusable, w->unusable_count, sizeof *w->unusable, compare_unusable);
    for (size_t i = 1; i < w->count; i++) {
        if (!compare_weights(&w->list[i - 1], &w->list[i]))
            return log_error(w->log, UNREEL_EFORMAT, "%s: two tensors named %s", w->path,
                             w->list[i].name);
    }
    return 0;
}

static int add_file(struct weights *w, const struct tensor_file *file, const char *wish)
{
    const char *chosen;
    int code = choose_set(w, file, wish, &chosen);
    for (size_t i = 0; code == 0 && i < file->count; i++) {
        if (!strcmp(file->list[i].set, chosen))
            code = add_weight(w, file, &file->list[i]);
    }
    return code;
}

/* ---- open and close -------------------------------------------------------------------------- */

/* Takes over files, also on failure. */
static int make_weights(struct weights **weights, struct tensor_files *files, const char *set,
                        const unreel_log *log)
{
    size_t total = 1;
    for (size_t i = 0; i < files->count; i++)
        total += files->file[i].count;
    struct weights *w = calloc(1, sizeof *w);
    if (!w) {
        tensor_files_close(files);
        return log_error(log, UNREEL_ENOMEM, "out of memory");
    }
    *w = (struct weights){.log = log, .files = *files};
    w->path = strdup(files->path);
    w->list = calloc(total, sizeof *w->list);
    w->unusable = calloc(total, sizeof *w->unusable);
    w->copies = calloc(total, sizeof *w->copies);
    int code = 0;
    if (!w->path || !w->list || !w->unusable || !w->copies)
        code = log_error(log, UNREEL_ENOMEM, "%s: out of memory", files->path);
    for (size_t i = 0; code == 0 && i < files->count; i++)
        code = add_file(w, &w->files.file[i], set);
    if (code == 0)
        code = sort_weights(w);
    w->log = NULL;
    if (code < 0)
        weights_close(w);
    else
        *weights = w;
    return code;
}

int weights_open(struct weights **weights, const char *path, const char *set, const unreel_log *log)
{
    struct tensor_files files;
    *weights = NULL;
    int code = tensor_files_open(&files, path, log);
    return code < 0 ? code : make_weights(weights, &files, set, log);
}

int weights_read(struct weights **weights, const char *name, const void *data, size_t size,
                 const char *set, const unreel_log *log)
{
    struct tensor_files files;
    *weights = NULL;
    int code = tensor_files_from_memory(&files, name, data, size, log);
    return code < 0 ? code : make_weights(weights, &files, set, log);
}

int weights_from_memory(struct weights **weights, const char *label, struct weight *list,
                        size_t count, void **blocks, size_t blocks_count, const unreel_log *log)
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
    *w = (struct weights){.path = path,
                          .log = log,
                          .list = list,
                          .count = count,
                          .copies = blocks,
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
    tensor_files_close(&weights->files);
    for (size_t i = 0; i < weights->copies_count; i++)
        free(weights->copies[i]);
    free(weights->copies);
    free(weights->unusable);
    free(weights->list);
    free(weights->path);
    pool_free(&weights->pool);
    free(weights);
}

/* ---- access ---------------------------------------------------------------------------------- */

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

const char *weights_unusable(const struct weights *weights, const char *name)
{
    const struct unusable key = {.name = name};
    const struct unusable *found = weights->unusable_count
                                       ? bsearch(&key, weights->unusable, weights->unusable_count,
                                                 sizeof key, compare_unusable)
                                       : NULL;
    return found ? found->type : NULL;
}

const char *weights_metadata(const struct weights *weights, const char *key)
{
    for (size_t i = 0; i < weights->files.count; i++) {
        const char **entry = weights->files.file[i].metadata;
        for (; entry && *entry; entry += 2) {
            if (!strcmp(*entry, key))
                return entry[1];
        }
    }
    return NULL;
}
