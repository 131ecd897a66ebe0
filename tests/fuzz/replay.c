/* Runs a fuzz target over every file of a folder, and over every head of the smaller ones. */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "fuzz.h"

#define HEADS_MAX 4096 /* bytes; of larger files only the whole is run */

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    uint8_t *data = NULL;
    if (file && fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode) &&
        (data = malloc((size_t)st.st_size + 1)))
        *size = fread(data, 1, (size_t)st.st_size, file);
    if (file)
        fclose(file);
    return data;
}

/* In a block of exactly its size, so that reading past its end is seen. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        exit(1);
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static bool replay(const char *path)
{
    size_t size = 0;
    uint8_t *data = read_file(path, &size);
    if (!data)
        return false;
    for (size_t head = size <= HEADS_MAX ? 0 : size; head <= size; head++)
        run(data, head);
    free(data);
    return true;
}

int main(int count, char **arguments)
{
    int passed = 0, failed = 0;
    for (int i = 1; i < count; i++) {
        DIR *folder = opendir(arguments[i]);
        struct dirent *entry;
        char path[4096];
        while (folder && (entry = readdir(folder))) {
            if (entry->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", arguments[i], entry->d_name);
            replay(path) ? passed++ : failed++;
        }
        if (folder)
            closedir(folder);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed;
}
