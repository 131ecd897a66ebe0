/* Zip files for tests and fuzz targets: right ones, and such as lie where a test wants them to. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct build_zip {
    uint8_t *data, *central;
    size_t size, central_size;
    int entries;
    bool zip64; /* all sizes and offsets in ZIP64 fields */
};

static inline void build_put(uint8_t **data, size_t *size, const void *bytes, size_t count)
{
    *data = realloc(*data, *size + count + 1);
    if (!*data)
        abort();
    if (count)
        memcpy(*data + *size, bytes, count);
    *size += count;
}

static inline void build_number(uint8_t **data, size_t *size, uint64_t value, int bytes)
{
    uint8_t little[8];
    for (int i = 0; i < bytes; i++)
        little[i] = (uint8_t)(value >> 8 * i);
    build_put(data, size, little, (size_t)bytes);
}

/* What both headers of an entry share, from the version to the checksum. */
static inline void build_common(uint8_t **data, size_t *size, int method)
{
    build_number(data, size, 45, 2);
    build_number(data, size, 0x0800, 2); /* names are UTF-8 */
    build_number(data, size, (uint64_t)method, 2);
    build_number(data, size, 0, 8); /* time, date, checksum: nobody looks */
}

static inline void build_zip_entry(struct build_zip *z, const char *name, const void *data,
                                   size_t size, int method)
{
    size_t length = strlen(name), offset = z->size;
    uint64_t ones = 0xffffffff;
    build_put(&z->data, &z->size, "PK\3\4", 4);
    build_common(&z->data, &z->size, method);
    build_number(&z->data, &z->size, size, 4);
    build_number(&z->data, &z->size, size, 4);
    build_number(&z->data, &z->size, length, 2);
    build_number(&z->data, &z->size, 0, 2);
    build_put(&z->data, &z->size, name, length);
    build_put(&z->data, &z->size, data, size);

    build_put(&z->central, &z->central_size, "PK\1\2", 4);
    build_number(&z->central, &z->central_size, 45, 2);
    build_common(&z->central, &z->central_size, method);
    build_number(&z->central, &z->central_size, z->zip64 ? ones : size, 4);
    build_number(&z->central, &z->central_size, z->zip64 ? ones : size, 4);
    build_number(&z->central, &z->central_size, length, 2);
    build_number(&z->central, &z->central_size, z->zip64 ? 28 : 0, 2);
    build_number(&z->central, &z->central_size, 0, 8); /* comment, disk, attributes */
    build_number(&z->central, &z->central_size, 0, 2);
    build_number(&z->central, &z->central_size, z->zip64 ? ones : offset, 4);
    build_put(&z->central, &z->central_size, name, length);
    if (z->zip64) {
        build_number(&z->central, &z->central_size, 1, 2);
        build_number(&z->central, &z->central_size, 24, 2);
        build_number(&z->central, &z->central_size, size, 8);
        build_number(&z->central, &z->central_size, size, 8);
        build_number(&z->central, &z->central_size, offset, 8);
    }
    z->entries++;
}

/* The directory and what ends it. The result is z->data, z->size. */
static inline void build_zip_end(struct build_zip *z)
{
    size_t offset = z->size, end64 = offset + z->central_size;
    uint64_t entries = (uint64_t)z->entries;
    build_put(&z->data, &z->size, z->central, z->central_size);
    if (z->zip64) {
        build_put(&z->data, &z->size, "PK\6\6", 4);
        build_number(&z->data, &z->size, 44, 8);
        build_number(&z->data, &z->size, 45 | 45 << 16, 4);
        build_number(&z->data, &z->size, 0, 8); /* disks */
        build_number(&z->data, &z->size, entries, 8);
        build_number(&z->data, &z->size, entries, 8);
        build_number(&z->data, &z->size, z->central_size, 8);
        build_number(&z->data, &z->size, offset, 8);
        build_put(&z->data, &z->size, "PK\6\7\0\0\0", 8);
        build_number(&z->data, &z->size, end64, 8);
        build_number(&z->data, &z->size, 1, 4);
        entries = 0xffff;
    }
    build_put(&z->data, &z->size, "PK\5\6\0\0\0", 8);
    build_number(&z->data, &z->size, entries, 2);
    build_number(&z->data, &z->size, entries, 2);
    build_number(&z->data, &z->size, z->zip64 ? 0xffffffff : z->central_size, 4);
    build_number(&z->data, &z->size, z->zip64 ? 0xffffffff : offset, 4);
    build_number(&z->data, &z->size, 0, 2);
    free(z->central);
    z->central = NULL;
    z->central_size = 0;
}

static inline void build_zip_free(struct build_zip *z)
{
    free(z->data);
    free(z->central);
    *z = (struct build_zip){0};
}
