#include "weights/zip.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define END_SIZE 22        /* end of central directory, without its comment */
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

/* Whether [offset, offset + size) lies in the file. */
static bool inside(const struct reader *r, uint64_t offset, uint64_t size)
{
    return offset <= r->file->size && size <= r->file->size - offset;
}

struct directory {
    uint64_t offset, size, count;
};

static int find_directory(const struct reader *r, struct directory *directory)
{
    const uint8_t *data = r->file->data;
    size_t size = r->file->size, at = size >= END_SIZE ? size - END_SIZE : 0;
    size_t last = at > COMMENT_MAX ? at - COMMENT_MAX : 0;
    while (size >= END_SIZE && at > last && memcmp(data + at, "PK\5\6", 4))
        at--;
    if (size < END_SIZE || memcmp(data + at, "PK\5\6", 4))
        return refuse(r, "no directory, the file may be cut short");
    *directory = (struct directory){.count = little(data + at + 10, 2),
                                    .size = little(data + at + 12, 4),
                                    .offset = little(data + at + 16, 4)};
    if (directory->count == 0xffff || directory->size == 0xffffffff ||
        directory->offset == 0xffffffff) {
        if (at < LOCATOR64_SIZE || memcmp(data + at - LOCATOR64_SIZE, "PK\6\7", 4))
            return refuse(r, "no ZIP64 directory");
        uint64_t end64 = little(data + at - LOCATOR64_SIZE + 8, 8);
        if (!inside(r, end64, END64_SIZE) || memcmp(data + end64, "PK\6\6", 4))
            return refuse(r, "no ZIP64 directory");
        directory->count = little(data + end64 + 32, 8);
        directory->size = little(data + end64 + 40, 8);
        directory->offset = little(data + end64 + 48, 8);
    }
    if (!inside(r, directory->offset, directory->size))
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

/* One entry of the directory at *at, which moves on. */
static int read_entry(const struct reader *r, struct zip_entry *entry, uint64_t *at, uint64_t end)
{
    const uint8_t *c = r->file->data + *at;
    if (end - *at < CENTRAL_SIZE || memcmp(c, "PK\1\2", 4))
        return refuse(r, "a directory entry is cut short");
    uint64_t packed = little(c + 20, 4), size = little(c + 24, 4), offset = little(c + 42, 4);
    size_t name = (size_t)little(c + 28, 2), extra = (size_t)little(c + 30, 2);
    size_t comment = (size_t)little(c + 32, 2);
    if (end - *at - CENTRAL_SIZE < name + extra + comment)
        return refuse(r, "a directory entry is cut short");
    if (little(c + 10, 2) || little(c + 8, 2) & 1)
        return refuse(r, "compressed or encrypted entries, which PyTorch never writes");
    if (!read_extra(c + CENTRAL_SIZE + name, extra, &size, &packed, &offset) || size != packed)
        return refuse(r, "an entry without sizes");
    if (!inside(r, offset, LOCAL_SIZE) || memcmp(r->file->data + offset, "PK\3\4", 4))
        return refuse(r, "an entry lies outside the file");
    const uint8_t *local = r->file->data + offset;
    uint64_t content = offset + LOCAL_SIZE + little(local + 26, 2) + little(local + 28, 2);
    if (!inside(r, content, size))
        return refuse(r, "an entry reaches past the end of the file");
    *entry = (struct zip_entry){.name = (const char *)c + CENTRAL_SIZE,
                                .name_length = name,
                                .offset = (size_t)content,
                                .size = (size_t)size};
    *at += CENTRAL_SIZE + name + extra + comment;
    return 0;
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
    uint64_t at = directory.offset, end = at + directory.size;
    while (code == 0 && zip->count < directory.count)
        code = read_entry(&r, &zip->entry[zip->count++], &at, end);
    if (code == 0)
        qsort(zip->entry, zip->count, sizeof *zip->entry, compare_entries);
    for (size_t i = 1; code == 0 && i < zip->count; i++) {
        if (!compare_entries(&zip->entry[i - 1], &zip->entry[i]))
            code = refuse(&r, "two entries of one name");
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
