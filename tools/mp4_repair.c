#include "mp4_repair.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t read_be(const uint8_t *bytes, int count)
{
    uint64_t value = 0;
    for (int i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* Reads the box at `offset`: its whole size, 0 if it is none or reaches past `end`. */
static uint64_t read_box(int fd, uint64_t offset, uint64_t end, char type[4])
{
    uint8_t box[16] = {0};
    if (pread(fd, box, sizeof box, (off_t)offset) < 8)
        return 0;
    uint64_t size = read_be(box, 4);
    memcpy(type, box + 4, 4);
    if (size == 1)
        size = read_be(box + 8, 8);
    return size >= 8 && size <= end - offset ? size : 0;
}

void mp4_header_keep(struct mp4_header *header, const char *path)
{
    struct stat st;
    char type[4] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    header->kept = false;
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && pread(fd, header->bytes, MP4_HEADER_BYTES, 0) == MP4_HEADER_BYTES) {
        uint64_t offset = 0, size;
        while ((size = read_box(fd, offset, (uint64_t)st.st_size, type)) && memcmp(type, "mdat", 4))
            offset += size;
        header->kept = size && offset + 16 <= MP4_HEADER_BYTES &&
                       read_box(fd, offset + size, (uint64_t)st.st_size, type) &&
                       !memcmp(type, "moov", 4);
    }
    close(fd);
}

/* End of the last whole fragment. */
static uint64_t end_of_fragments(int fd, uint64_t file_size)
{
    uint64_t offset = 0, end = 0, size;
    char type[4];
    bool begun = false;
    while ((size = read_box(fd, offset, file_size, type))) {
        bool moov = !memcmp(type, "moov", 4);
        if (moov && begun) /* the last one: what it says is not true of fragments */
            break;
        begun = begun || moov;
        offset += size;
        if (moov || !memcmp(type, "moof", 4))
            end = offset;
    }
    return end;
}

int mp4_repair(const struct mp4_header *header, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int code = fstat(fd, &st);
    if (code == 0 && header->kept && pwrite(fd, header->bytes, MP4_HEADER_BYTES, 0) < 0)
        code = -1;
    uint64_t end = code == 0 ? end_of_fragments(fd, (uint64_t)st.st_size) : 0;
    if (end > 0)
        code = ftruncate(fd, (off_t)end);
    close(fd);
    return code;
}
