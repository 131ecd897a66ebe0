/* Helpers of the tests that read weights. */
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include "test.h"
#include "weights/reader.h"

static char files_golden[4096], files_scratch[4096], files_path[8400];
static int files_messages; /* logged since files_log was last used by refused() */

static inline void files_log_write(void *opaque, int level, const char *message)
{
    test_log_write(opaque, level, message);
    files_messages++;
}

static const unreel_log files_log = {.write = files_log_write};

static inline const char *in(const char *folder, const char *name)
{
    snprintf(files_path, sizeof files_path, "%s/%s", folder, name);
    return files_path;
}

static inline void write_file(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(in(files_scratch, name), "wb");
    CHECK(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

static inline uint8_t *read_file(const char *file, size_t *size)
{
    FILE *f = fopen(file, "rb");
    struct stat st;
    uint8_t *data = NULL;
    if (f && fstat(fileno(f), &st) == 0 && (data = malloc((size_t)st.st_size + 1)))
        *size = fread(data, 1, (size_t)st.st_size, f);
    if (f)
        fclose(f);
    return data;
}

static inline void check_refused(int code, const struct weights *w, const char *what,
                                 const char *message)
{
    CHECK_MSG(code < 0 && !w && files_messages == 1 && strstr(test_message, what) &&
                  strstr(test_message, message) && !strchr(test_message, '\n'),
              "%s: code %d, %d messages, '%s', expected '%s'", what, code, files_messages,
              test_message, message);
}

/* A file must be refused by exactly one line that names it and holds `message`. */
static inline void refuse(const char *file, const char *set, const char *message)
{
    struct weights *w = NULL;
    test_message[0] = 0;
    files_messages = 0;
    check_refused(weights_open(&w, file, set, &files_log), w, file, message);
    weights_close(w);
}

/* The same for the content of a file, in a block of exactly its size so that sanitizers see reads
 * past its end. */
static inline void refuse_data(const void *data, size_t size, const char *set, const char *message)
{
    struct weights *w = NULL;
    void *copy = malloc(size ? size : 1);
    if (size)
        memcpy(copy, data, size);
    test_message[0] = 0;
    files_messages = 0;
    check_refused(weights_read(&w, "hostile", copy, size, set, &files_log), w, "hostile", message);
    weights_close(w);
    free(copy);
}

/* Reads every byte of what is accepted; whether something was. */
static inline bool try_data(const void *data, size_t size, const char *set)
{
    struct weights *w = NULL;
    volatile unsigned sum = 0;
    void *copy = malloc(size ? size : 1);
    if (size)
        memcpy(copy, data, size);
    bool good = weights_read(&w, "damaged", copy, size, set, NULL) == 0;
    for (size_t i = 0; good && i < weights_count(w); i++) {
        const struct weight *weight = weights_at(w, i);
        for (size_t k = 0; k < weight->bytes; k++)
            sum += ((const uint8_t *)weight->tensor.data)[k];
    }
    (void)sum;
    weights_close(w);
    free(copy);
    return good;
}

/* Files that a real one becomes when cut short are refused; with bytes changed they are refused or
 * read within their bounds. */
static inline void try_damaged(const char *file, const char *set)
{
    size_t size = 0;
    uint8_t *data = read_file(file, &size);
    CHECK_MSG(data && try_data(data, size, set), "%s", file);
    int accepted = 0;
    for (size_t i = 0; data && i < 64; i++)
        accepted += try_data(data, size * i / 64, set);
    CHECK_MSG(accepted == 0, "%s: %d of its heads were accepted", file, accepted);
    uint32_t random = 1;
    for (int i = 0; data && i < 100; i++) {
        random = random * 1664525 + 1013904223;
        size_t tail = size < 20000 ? size : 20000; /* where a zip file has its directory */
        size_t at = i % 2 ? size - 1 - random % tail : random % 4096 % size;
        uint8_t was = data[at];
        data[at] ^= (uint8_t)(1 + (random >> 24) % 255);
        try_data(data, size, set);
        data[at] = was;
    }
    free(data);
}

static inline void files_init(int argc, char **argv)
{
    if (argc < 3) {
        printf("usage: %s GOLDEN SCRATCH\n", argv[0]);
        exit(2);
    }
    snprintf(files_golden, sizeof files_golden, "%s", argv[1]);
    snprintf(files_scratch, sizeof files_scratch, "%s", argv[2]);
}
