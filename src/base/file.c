#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int file_map(struct file *file, const char *path, const unreel_log *log)
{
    *file = (struct file){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return log_error(log, UNREEL_EIO, "%s: %s", path, strerror(errno));
    struct stat st;
    int code = 0;
    if (fstat(fd, &st) < 0) {
        code = log_error(log, UNREEL_EIO, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        code = log_error(log, UNREEL_EIO, "%s: not a regular file", path);
    } else if (st.st_size > 0) {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            code = log_error(log, UNREEL_EIO, "%s: cannot map: %s", path, strerror(errno));
        } else {
            file->data = data;
            file->size = (size_t)st.st_size;
        }
    }
    close(fd);
    return code;
}

void file_unmap(struct file *file)
{
    if (file->data)
        munmap((void *)(uintptr_t)file->data, file->size);
    *file = (struct file){0};
}

int file_read_text(char **text, size_t *size, const char *path, size_t max, const unreel_log *log)
{
    struct file file;
    int code = file_map(&file, path, log);
    if (code < 0)
        return code;
    if (file.size > max)
        code = log_error(log, UNREEL_EFORMAT, "%s: %zu bytes, at most %zu expected", path,
                         file.size, max);
    else if (!(*text = malloc(file.size + 1)))
        code = log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    if (code == 0) {
        if (file.size)
            memcpy(*text, file.data, file.size);
        (*text)[file.size] = 0;
        if (size)
            *size = file.size;
    }
    file_unmap(&file);
    return code;
}

void file_drop_pages(const void *data, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)data + page - 1) & ~(page - 1);
    uintptr_t last = ((uintptr_t)data + size) & ~(page - 1);
    if (first < last)
        madvise((void *)first, last - first, MADV_DONTNEED);
}
