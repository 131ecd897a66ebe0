/* PyTorch checkpoints (torch.save since 1.6): a zip file with NAME/data.pkl, which describes the
 * tensors, and NAME/data/KEY, which hold their storages. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weights/pickle.h"
#include "weights/reader.h"
#include "weights/zip.h"

#define NESTING_MAX 16
#define VISITS_MAX 1000000 /* nodes of the unfolded tree: shared dictionaries may repeat */

bool torch_is(const struct file *file)
{
    return file->size >= 4 && !memcmp(file->data, "PK\3\4", 4);
}

struct walk {
    struct file_tensors *out;
    const struct zip *zip;
    const char *root; /* NAME/ */
    size_t root_length;
    int visits;
    char name[WEIGHTS_NAME_MAX];
};

static int refuse(const struct walk *w, const char *why)
{
    return log_error(w->out->log, UNREEL_EFORMAT, "%s: tensor %.200s: %s", w->out->path, w->name, why);
}

/* The storage's bytes in the file. */
static const struct zip_entry *find_storage(const struct walk *w, const struct pickle_value *storage)
{
    char name[WEIGHTS_NAME_MAX];
    int length = snprintf(name, sizeof name, "%.*sdata/%.*s", (int)w->root_length, w->root,
                          (int)(storage->text_length < 64 ? storage->text_length : 64),
                          storage->text);
    if (length < 0 || (size_t)length >= sizeof name)
        return NULL;
    return zip_find(w->zip, name, (size_t)length);
}

static int add_tensor(struct walk *w, const struct pickle_value *v, int set)
{
    const struct zip_entry *entry = find_storage(w, v->storage);
    size_t element = (size_t)v->storage->type->size, storage_bytes;
    struct file_tensor tensor = {.type = v->storage->type, .dims = v->dims, .set = set};
    int64_t count;
    if (!entry)
        return refuse(w, "its storage is not in the file");
    if (__builtin_mul_overflow((size_t)v->storage->elements, element, &storage_bytes) ||
        storage_bytes > entry->size)
        return refuse(w, "its storage is cut short");
    if (!shape_count(v->dims, v->shape, &count))
        return refuse(w, "an impossible size");
    memcpy(tensor.shape, v->shape, sizeof tensor.shape);
    memcpy(tensor.stride, v->stride, sizeof tensor.stride);
    tensor.offset = entry->offset + (size_t)v->offset * element;
    tensor.bytes = (size_t)count * element;
    tensor.name = strdup(w->name);
    if (!tensor.name)
        return log_error(w->out->log, UNREEL_ENOMEM, "%s: out of memory", w->out->path);
    return file_tensors_add(w->out, &tensor);
}

/* Tensors of a dictionary and of those inside it; whatever else a checkpoint holds (step counters,
 * settings) is passed over. */
static int walk_dict(struct walk *w, const struct pickle_value *dict, size_t length, int depth)
{
    int set = depth == 1 ? (int)length : 0;
    int code = 0;
    if (depth > NESTING_MAX)
        return log_error(w->out->log, UNREEL_EFORMAT, "%s: dictionaries nested too deep", w->out->path);
    for (size_t i = 0; code == 0 && i + 1 < dict->count; i += 2) {
        const struct pickle_value *key = dict->item[i], *value = dict->item[i + 1];
        if (key->kind != PICKLE_TEXT ||
            (value->kind != PICKLE_TENSOR && value->kind != PICKLE_DICT))
            continue;
        if (++w->visits > VISITS_MAX)
            return log_error(w->out->log, UNREEL_EFORMAT, "%s: too many entries", w->out->path);
        int added = snprintf(w->name + length, sizeof w->name - length, "%s%.*s", length ? "." : "",
                             (int)(key->text_length < WEIGHTS_NAME_MAX ? key->text_length
                                                                       : WEIGHTS_NAME_MAX),
                             key->text);
        if (added < 0 || length + (size_t)added >= sizeof w->name ||
            memchr(key->text, 0, key->text_length))
            return log_error(w->out->log, UNREEL_EFORMAT, "%s: a name that is too long", w->out->path);
        if (value->kind == PICKLE_TENSOR)
            code = add_tensor(w, value, depth == 0 ? 0 : set ? set : (int)strcspn(w->name, "."));
        else
            code = walk_dict(w, value, length + (size_t)added, depth + 1);
        w->name[length] = 0;
    }
    return code;
}

/* The entry NAME/data.pkl; NAME may be anything. */
static const struct zip_entry *find_pickle(const struct zip *zip)
{
    static const char suffix[] = "/data.pkl";
    size_t length = sizeof suffix - 1;
    for (size_t i = 0; i < zip->count; i++) {
        const struct zip_entry *e = &zip->entry[i];
        if (e->name_length > length && !memcmp(e->name + e->name_length - length, suffix, length))
            return e;
    }
    return NULL;
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

static int read_pickle(struct file_tensors *t, const struct zip *zip, const struct zip_entry *entry)
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
    if (pickle.root && pickle.root->kind == PICKLE_DICT)
        code = walk_dict(&w, pickle.root, 0, 0);
    else
        code = log_error(t->log, UNREEL_EFORMAT, "%s: holds no dictionary of tensors", t->path);
    pickle_finish(&pickle);
    return code;
}

int torch_read(struct file_tensors *t)
{
    struct zip zip;
    int code = zip_read(&zip, &t->file, t->path, t->log);
    if (code < 0)
        return code;
    const struct zip_entry *entry = find_pickle(&zip);
    code = entry ? read_pickle(t, &zip, entry)
                 : log_error(t->log, UNREEL_EFORMAT, "%s: a zip file, but no PyTorch checkpoint: no "
                                                     "data.pkl in it", t->path);
    zip_finish(&zip);
    return code;
}
