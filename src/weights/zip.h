/* The directory of an uncompressed ZIP file (also ZIP64), as PyTorch writes them. */
#pragma once

#include "base/file.h"

struct zip_entry {
    const char *name; /* in the mapping, not terminated */
    size_t name_length;
    size_t header;       /* of its local header in the file */
    size_t offset, size; /* of the content in the file */
};

struct zip {
    struct zip_entry *entry; /* sorted by name */
    size_t count;
};

/* Lists a mapped file. Compressed or encrypted entries, entries that overlap, lie outside of the
 * file or contradict their local headers, several of one name, several disks are refused. Checksums
 * are not looked at: the content is never touched. `path` names the file in messages. */
int zip_read(struct zip *zip, const struct file *file, const char *path, const unreel_log *log);
void zip_finish(struct zip *zip);

const struct zip_entry *zip_find(const struct zip *zip, const char *name, size_t length);
