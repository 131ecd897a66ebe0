#include "weights/zip.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define END_SIZE 22 /* end of central directory, without its comment */
#define END64_SIZE 56
#define LOCATOR64_SIZE 20
#define CENTRAL_SIZE 46
#define LOCAL_SIZE 30
#define COMMENT_MAX 65535
#define ENTRIES_MAX 1000000

struct reader {
    const struct file *file;
    const char *path;
    const unreel_log *log;
};

static int refuse(const struct reader *r, const char *why)
{
    return log_error(r->log, UNREEL_EFORMAT, "%s: broken zip file: %s", r->path, why);
}

static uint64_t little(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << 8 * i;
    return value;
}

struct directory {
    uint64_t offset, size, count;
};

/* The end record: the last whose comment fills the file exactly. */
static int find_end(const struct reader *r, size_t *end)
{
    const uint8_t *data = r->file->data;
    size_t size = r->file->size;
    for (size_t comment = 0; size >= END_SIZE && comment <= size - END_SIZE; comment++) {
        size_t at = size - END_SIZE - comment;
        if (comment > COMMENT_MAX)
            break;
        if (!memcmp(data + at, "PK\5\6", 4) && little(data + at + 20, 2) == comment) {
            *end = at;
            return 0;
        }
    }
    return refuse(r, "no directory, the file may be cut short");
}

/* The ZIP64 end record in front of the end record at *end, which then stands for it. */
static int read_end64(const struct reader *r, struct directory *directory, size_t *end)
{
    const uint8_t *data = r->file->data;
    if (*end < LOCATOR64_SIZE || memcmp(data + *end - LOCATOR64_SIZE, "PK\6\7", 4))
        return refuse(r, "no ZIP64 directory");
    uint64_t end64 = little(data + *end - LOCATOR64_SIZE + 8, 8);
    size_t room = *end - LOCATOR64_SIZE;
    if (end64 > room || room - end64 < END64_SIZE || memcmp(data + end64, "PK\6\6", 4))
        return refuse(r, "no ZIP64 directory");
    if (little(data + end64 + 16, 4) || little(data + end64 + 20, 4) ||
        little(data + end64 + 24, 8) != little(data + end64 + 32, 8))
        return refuse(r, "one of several disks");
    directory->count = little(data + end64 + 32, 8);
    directory->size = little(data + end64 + 40, 8);
    directory->offset = little(data + end64 + 48, 8);
    *end = (size_t)end64;
    return 0;
}

static int find_directory(const struct reader *r, struct directory *directory)
{
    const uint8_t *data = r->file->data;
    size_t end = 0;
    int code = find_end(r, &end);
    if (code < 0)
        return code;
    if (little(data + end + 4, 2) != little(data + end + 6, 2) ||
        little(data + end + 8, 2) != little(data + end + 10, 2))
        return refuse(r, "one of several disks");
    *directory = (struct directory){.count = little(data + end + 10, 2),
                                    .size = little(data + end + 12, 4),
                                    .offset = little(data + end + 16, 4)};
    if (directory->count == 0xffff || directory->size == 0xffffffff ||
        directory->offset == 0xffffffff)
        code = read_end64(r, directory, &end);
    if (code < 0)
        return code;
    if (directory->offset > end || directory->size > end - directory->offset)
        return refuse(r, "its directory lies outside the file");
    if (directory->count > ENTRIES_MAX || directory->count > directory->size / CENTRAL_SIZE)
        return refuse(r, "impossible number of entries");
    return 0;
}

/* 64-bit values of the extra field, for those that are all ones in the header, in this order. */
static bool read_extra(const uint8_t *extra, size_t length, uint64_t *size, uint64_t *packed,
                       uint64_t *offset)
{
    uint64_t *const wanted[] = {size, packed, offset};
    if (*size != 0xffffffff && *packed != 0xffffffff && *offset != 0xffffffff)
        return true;
    while (length >= 4) {
        size_t field = (size_t)little(extra + 2, 2);
        if (field > length - 4)
            return false;
        if (little(extra, 2) == 1) {
            const uint8_t *at = extra + 4;
            for (int i = 0; i < 3; i++) {
                if (*wanted[i] != 0xffffffff)
                    continue;
                if (field < 8)
                    return false;
                *wanted[i] = little(at, 8);
                at += 8;
                field -= 8;
            }
            return true;
        }
        extra += 4 + field;
        length -= 4 + field;
    }
    return false;
}

static int refuse_entry(const struct reader *r, const struct zip_entry *entry, const char *why)
{
    int length = entry->name_length < 200 ? (int)entry->name_length : 200;
    return log_error(r->log, UNREEL_EFORMAT, "%s: broken zip file: %.*s %s", r->path, length,
                     entry->name, why);
}

/* Finds the content behind the local header, which must not contradict the directory. `end` is
 * where the directory begins. */
static int read_local(const struct reader *r, struct zip_entry *entry, uint64_t offset,
                      uint64_t size, uint64_t end)
{
    if (offset > end || end - offset < LOCAL_SIZE || memcmp(r->file->data + offset, "PK\3\4", 4))
        return refuse_entry(r, entry, "has no header where the directory says");
    const uint8_t *local = r->file->data + offset;
    uint64_t name = little(local + 26, 2), extra = little(local + 28, 2);
    uint64_t room = end - offset - LOCAL_SIZE;
    if (room < name + extra || room - name - extra < size)
        return refuse_entry(r, entry, "reaches past the end of the file");
    if (name != entry->name_length || memcmp(local + LOCAL_SIZE, entry->name, name))
        return refuse_entry(r, entry, "has another name in its header");
    if (little(local + 8, 2) || little(local + 6, 2) & 1)
        return refuse_entry(r, entry, "is compressed or encrypted");
    entry->header = (size_t)offset;
    entry->offset = (size_t)(offset + LOCAL_SIZE + name + extra);
    entry->size = (size_t)size;
    return 0;
}

/* One entry of the directory at *at, which moves on. */
static int read_entry(const struct reader *r, struct zip_entry *entry, uint64_t *at,
                      const struct directory *directory)
{
    const uint8_t *c = r->file->data + *at;
    uint64_t left = directory->offset + directory->size - *at;
    if (left < CENTRAL_SIZE || memcmp(c, "PK\1\2", 4))
        return refuse(r, "a directory entry is cut short");
    uint64_t packed = little(c + 20, 4), size = little(c + 24, 4), offset = little(c + 42, 4);
    size_t name = (size_t)little(c + 28, 2), extra = (size_t)little(c + 30, 2);
    size_t comment = (size_t)little(c + 32, 2);
    if (left - CENTRAL_SIZE < name + extra + comment)
        return refuse(r, "a directory entry is cut short");
    *entry = (struct zip_entry){.name = (const char *)c + CENTRAL_SIZE, .name_length = name};
    if (little(c + 10, 2) || little(c + 8, 2) & 1)
        return refuse_entry(r, entry, "is compressed or encrypted, which PyTorch never does");
    if (!read_extra(c + CENTRAL_SIZE + name, extra, &size, &packed, &offset) || size != packed)
        return refuse_entry(r, entry, "has no sizes");
    *at += CENTRAL_SIZE + name + extra + comment;
    return read_local(r, entry, offset, size, directory->offset);
}

static int compare_offsets(const void *a, const void *b)
{
    const struct zip_entry *x = a, *y = b;
    return (x->header > y->header) - (x->header < y->header);
}

static int compare_names(const char *a, size_t a_length, const char *b, size_t b_length)
{
    int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
    return order ? order : (a_length > b_length) - (a_length < b_length);
}

static int compare_entries(const void *a, const void *b)
{
    const struct zip_entry *x = a, *y = b;
    return compare_names(x->name, x->name_length, y->name, y->name_length);
}

int zip_read(struct zip *zip, const struct file *file, const char *path, const unreel_log *log)
{
    const struct reader r = {file, path, log};
    struct directory directory = {0};
    *zip = (struct zip){0};
    int code = find_directory(&r, &directory);
    if (code < 0)
        return code;
    zip->entry = calloc((size_t)directory.count + 1, sizeof *zip->entry);
    if (!zip->entry)
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    uint64_t at = directory.offset;
    while (code == 0 && zip->count < directory.count)
        code = read_entry(&r, &zip->entry[zip->count++], &at, &directory);
    if (code == 0)
        qsort(zip->entry, zip->count, sizeof *zip->entry, compare_offsets);
    for (size_t i = 1; code == 0 && i < zip->count; i++) {
        if (zip->entry[i].header < zip->entry[i - 1].offset + zip->entry[i - 1].size)
            code = refuse_entry(&r, &zip->entry[i], "overlaps another entry");
    }
    if (code == 0)
        qsort(zip->entry, zip->count, sizeof *zip->entry, compare_entries);
    for (size_t i = 1; code == 0 && i < zip->count; i++) {
        if (!compare_entries(&zip->entry[i - 1], &zip->entry[i]))
            code = refuse_entry(&r, &zip->entry[i], "is there twice");
    }
    if (code < 0)
        zip_finish(zip);
    return code;
}

void zip_finish(struct zip *zip)
{
    free(zip->entry);
    *zip = (struct zip){0};
}

const struct zip_entry *zip_find(const struct zip *zip, const char *name, size_t length)
{
    const struct zip_entry key = {.name = name, .name_length = length};
    return zip->count ? bsearch(&key, zip->entry, zip->count, sizeof key, compare_entries) : NULL;
}
