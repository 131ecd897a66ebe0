#include "base/new_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int new_file_fail(const struct new_file *file)
{
    return log_error(file->log, UNREEL_EIO, "%s: %s", file->path, strerror(errno ? errno : EIO));
}

int new_file_open(struct new_file *file, const char *path, const unreel_log *log)
{
    struct stat st;
    size_t size = strlen(path) + sizeof ".part";
    *file = (struct new_file){.log = log, .path = strdup(path), .part = malloc(size)};
    int code = 0;
    if (!file->path || !file->part) {
        code = log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    } else if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        code = log_error(log, UNREEL_EIO, "%s: is a folder", path);
    } else {
        snprintf(file->part, size, "%s.part", path);
        file->file = fopen(file->part, "w+be");
        if (!file->file)
            code = new_file_fail(file);
    }
    if (code < 0) {
        free(file->path);
        free(file->part);
        *file = (struct new_file){0};
    }
    return code;
}

int new_file_write(struct new_file *file, const void *data, size_t size)
{
    errno = 0;
    return fwrite(data, 1, size, file->file) == size ? 0 : new_file_fail(file);
}

int new_file_close(struct new_file *file, int code)
{
    if (!file->file)
        return code;
    errno = 0;
    if (fclose(file->file) != 0 && code == 0)
        code = new_file_fail(file);
    if (code == 0 && rename(file->part, file->path) != 0)
        code = new_file_fail(file);
    if (code < 0)
        unlink(file->part);
    free(file->path);
    free(file->part);
    *file = (struct new_file){0};
    return code;
}
