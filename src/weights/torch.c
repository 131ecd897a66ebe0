/* PyTorch checkpoints (torch.save since 1.6): a zip file with NAME/data.pkl, which describes the
 * tensors, and NAME/data/KEY, which hold their storages. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weights/pickle.h"
#include "weights/reader.h"
#include "weights/zip.h"

#define NESTING_MAX 16
#define VISITS_MAX 1000000 /* items of the unfolded tree: shared dictionaries may repeat */

struct walk {
    struct tensor_file *out;
    const struct zip *zip;
    const char *root; /* NAME/ */
    size_t root_length;
    int visits;
    char set[WEIGHTS_NAME_MAX]; /* the dictionary we are in */
};

static int refuse(const struct walk *w, const char *name, const char *why)
{
    return log_error(w->out->log, UNREEL_EFORMAT, "%s: tensor %s%s%.200s: %s", w->out->path, w->set,
                     *w->set ? "." : "", name, why);
}

/* The storage's bytes in the file. */
static const struct zip_entry *find_storage(const struct walk *w,
                                            const struct pickle_storage *storage)
{
    char name[WEIGHTS_NAME_MAX];
    if (storage->key_length > 64)
        return NULL;
    int length = snprintf(name, sizeof name, "%.*sdata/%.*s", (int)w->root_length, w->root,
                          (int)storage->key_length, storage->key);
    return length > 0 && (size_t)length < sizeof name ? zip_find(w->zip, name, (size_t)length)
                                                      : NULL;
}

static int add_tensor(struct walk *w, const char *name, const struct pickle_tensor *p)
{
    const struct pickle_storage *storage = p->storage;
    const struct zip_entry *entry = find_storage(w, storage);
    size_t element = (size_t)storage->type->size, storage_bytes;
    struct file_tensor tensor = {
        .set = w->set, .name = name, .type = storage->type, .dims = p->dims};
    int64_t count;
    if (!entry)
        return refuse(w, name, "its storage is not in the file");
    if (__builtin_mul_overflow((size_t)storage->elements, element, &storage_bytes) ||
        storage_bytes > entry->size)
        return refuse(w, name, "its storage is cut short");
    if (!shape_count(p->dims, p->shape, &count))
        return refuse(w, name, "an impossible size");
    memcpy(tensor.shape, p->shape, sizeof tensor.shape);
    memcpy(tensor.stride, p->stride, sizeof tensor.stride);
    if (count > storage->elements)
        return refuse(w, name, "repeats elements of its storage");
    tensor.offset = entry->offset + (count ? (size_t)p->offset * element : 0);
    tensor.bytes = (size_t)count * element;
    return tensor_file_add(w->out, &tensor);
}

static int walk_dict(struct walk *w, const struct pickle_value *dict, int depth);

/* A dictionary inside another one: its key becomes part of the set's name. */
static int walk_inner(struct walk *w, const char *name, const struct pickle_value *dict, int depth)
{
    size_t length = strlen(w->set), size = sizeof w->set - length;
    if (depth == NESTING_MAX)
        return log_error(w->out->log, UNREEL_EFORMAT, "%s: dictionaries nested too deep",
                         w->out->path);
    int added = snprintf(w->set + length, size, "%s%s", length ? "." : "", name);
    int code =
        added < 0 || (size_t)added >= size
            ? log_error(w->out->log, UNREEL_EFORMAT, "%s: a name that is too long", w->out->path)
            : walk_dict(w, dict, depth + 1);
    w->set[length] = 0;
    return code;
}

/* Tensors of a dictionary and of those inside it; whatever else a checkpoint holds (step counters,
 * settings, lists) is passed over. */
static int walk_dict(struct walk *w, const struct pickle_value *dict, int depth)
{
    char name[WEIGHTS_NAME_MAX];
    int code = 0;
    for (size_t i = 0; code == 0 && i + 1 < dict->count; i += 2) {
        const struct pickle_value *key = dict->item[i], *value = dict->item[i + 1];
        if (++w->visits > VISITS_MAX)
            return log_error(w->out->log, UNREEL_EFORMAT, "%s: too many entries", w->out->path);
        if (key->kind != PICKLE_TEXT ||
            (value->kind != PICKLE_TENSOR && value->kind != PICKLE_DICT))
            continue;
        if (key->text_length >= sizeof name || memchr(key->text, 0, key->text_length))
            return log_error(w->out->log, UNREEL_EFORMAT, "%s: a key that is no name",
                             w->out->path);
        memcpy(name, key->text, key->text_length);
        name[key->text_length] = 0;
        code = value->kind == PICKLE_TENSOR ? add_tensor(w, name, value->tensor)
                                            : walk_inner(w, name, value, depth);
    }
    return code;
}

/* The entry NAME/data.pkl; NAME may be anything, but there is one. */
static const struct zip_entry *find_pickle(const struct zip *zip)
{
    static const char suffix[] = "/data.pkl";
    size_t length = sizeof suffix - 1;
    const struct zip_entry *found = NULL;
    for (size_t i = 0; i < zip->count; i++) {
        const struct zip_entry *e = &zip->entry[i];
        if (e->name_length > length && !memcmp(e->name + e->name_length - length, suffix, length)) {
            if (found)
                return NULL;
            found = e;
        }
    }
    return found;
}

static int check_byte_order(const struct walk *w)
{
    char name[WEIGHTS_NAME_MAX];
    int length = snprintf(name, sizeof name, "%.*sbyteorder", (int)w->root_length, w->root);
    const struct zip_entry *e = zip_find(w->zip, name, (size_t)length);
    if (e && (e->size != 6 || memcmp(w->out->file.data + e->offset, "little", 6)))
        return log_error(w->out->log, UNREEL_EUNSUPPORTED, "%s: not written in little-endian order",
                         w->out->path);
    return 0;
}

static int read_pickle(struct tensor_file *t, const struct zip *zip, const struct zip_entry *entry)
{
    struct pickle pickle;
    struct walk w = {.out = t, .zip = zip, .root = entry->name};
    w.root_length = entry->name_length - strlen("data.pkl");
    if (w.root_length > WEIGHTS_NAME_MAX / 2 || entry->size > WEIGHTS_HEADER_MAX)
        return log_error(t->log, UNREEL_EFORMAT, "%s: data.pkl is too large", t->path);
    int code = check_byte_order(&w);
    if (code == 0)
        code = pickle_read(&pickle, t->file.data + entry->offset, entry->size, t->path, t->log);
    if (code < 0)
        return code;
    if (pickle.root->kind == PICKLE_DICT)
        code = walk_dict(&w, pickle.root, 0);
    else
        code = log_error(t->log, UNREEL_EFORMAT, "%s: holds no dictionary of tensors", t->path);
    pickle_finish(&pickle);
    return code;
}

int torch_read(struct tensor_file *t)
{
    struct zip zip;
    int code = zip_read(&zip, &t->file, t->path, t->log);
    if (code < 0)
        return code;
    const struct zip_entry *entry = find_pickle(&zip);
    code = entry ? read_pickle(t, &zip, entry)
                 : log_error(t->log, UNREEL_EFORMAT,
                             "%s: a zip file, but no PyTorch checkpoint: it "
                             "has not one data.pkl",
                             t->path);
    zip_finish(&zip);
    return code;
}
