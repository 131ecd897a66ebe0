/* File format: "unreel choice 1\n", key, "\n", CRC-32 of the data in 8 hexadecimal digits, "\n",
 * data. */
#include "choices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32.h"

#define MAGIC "unreel choice 1\n"
#define BYTES_MAX ((size_t)64 << 20)

struct choices {
    unreel_log log;
    struct crc32 crc;
    char folder[];
};

/* The folder and those above it. */
static bool make_folders(char *path)
{
    for (char *at = path + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = 0;
        int failed = mkdir(path, 0700) && errno != EEXIST;
        *at = '/';
        if (failed)
            return false;
    }
    return !mkdir(path, 0700) || errno == EEXIST;
}

struct choices *choices_open(const char *folder, const unreel_log *log)
{
    size_t size = strlen(folder) + 1;
    struct choices *choices = malloc(sizeof *choices + size);
    if (!choices || size < 2) {
        free(choices);
        return NULL;
    }
    choices->log = log ? *log : (unreel_log){0};
    crc32_init(&choices->crc);
    memcpy(choices->folder, folder, size);
    if (!make_folders(choices->folder) || access(folder, R_OK | W_OK | X_OK)) {
        log_info(log, "%s: %s; algorithms are measured again each time", folder, strerror(errno));
        free(choices);
        return NULL;
    }
    return choices;
}

void choices_close(struct choices *choices)
{
    free(choices);
}

/* FNV-1a, for names only. */
static uint64_t hash(const char *key)
{
    uint64_t h = 0xcbf29ce484222325;
    for (; *key; key++)
        h = (h ^ (uint8_t)*key) * 0x100000001b3;
    return h;
}

static char *path_of(const struct choices *choices, const char *key, const char *suffix)
{
    size_t size = strlen(choices->folder) + strlen(suffix) + 32;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%s/%016llx%s", choices->folder, (unsigned long long)hash(key),
                 suffix);
    return path;
}

/* What comes before the data, to be freed. */
static char *header_of(const struct choices *choices, const char *key, const void *data,
                       size_t size)
{
    size_t bytes = strlen(MAGIC) + strlen(key) + 16;
    char *header = malloc(bytes);
    if (header)
        snprintf(header, bytes, MAGIC "%s\n%08x\n", key,
                 (unsigned)crc32_update(&choices->crc, 0, data, size));
    return header;
}

static char *read_all(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rbe");
    struct stat info;
    char *data = NULL;
    if (file && !fstat(fileno(file), &info) && S_ISREG(info.st_mode) && info.st_size > 0 &&
        (size_t)info.st_size < BYTES_MAX && (data = malloc((size_t)info.st_size + 1)))
        *size = fread(data, 1, (size_t)info.st_size, file);
    if (file)
        fclose(file);
    if (data)
        data[*size] = 0;
    return data;
}

void *choices_load(const struct choices *choices, const char *key, size_t *size)
{
    if (!choices)
        return NULL;
    char *path = path_of(choices, key, ""), *header = NULL;
    size_t bytes = 0, start = strlen(MAGIC) + strlen(key) + 10;
    char *file = path ? read_all(path, &bytes) : NULL;
    free(path);
    bool good = false;
    if (file && bytes > start) {
        header = header_of(choices, key, file + start, bytes - start);
        good = header && !memcmp(file, header, start);
    }
    free(header);
    if (!good) {
        free(file);
        return NULL;
    }
    *size = bytes - start;
    memmove(file, file + start, *size);
    return file;
}

void choices_store(const struct choices *choices, const char *key, const void *data, size_t size)
{
    if (!choices || !size)
        return;
    char suffix[32];
    snprintf(suffix, sizeof suffix, ".%ld.part", (long)getpid()); /* others may write the same */
    char *path = path_of(choices, key, ""), *part = path_of(choices, key, suffix);
    char *header = header_of(choices, key, data, size);
    FILE *file = path && part && header ? fopen(part, "wbe") : NULL;
    if (file) {
        bool good =
            fwrite(header, strlen(header), 1, file) == 1 && fwrite(data, size, 1, file) == 1;
        if (fclose(file) || !good || rename(part, path))
            unlink(part);
    }
    free(path);
    free(part);
    free(header);
}
