/* The golden folders given on the command line and by UNREEL_GOLDEN: each holds some; those without a
 * model folder or of another kind are passed over. */
#pragma once

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN_PATH_MAX 4096

struct golden {
    char name[256];
    char expected[GOLDEN_PATH_MAX]; /* folder */
    char spiece[GOLDEN_PATH_MAX], encoder[GOLDEN_PATH_MAX];
};

/* First entry of a folder that does not start with a dot. */
static inline bool golden_only_entry(const char *folder, char *name, size_t size)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    *name = 0;
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.')
            snprintf(name, size, "%s", entry->d_name);
    }
    if (dir)
        closedir(dir);
    return *name;
}

static inline bool golden_find(struct golden *golden, const char *root, const char *name)
{
    char models[2048], model[256];
    snprintf(golden->name, sizeof golden->name, "%s", name);
    snprintf(models, sizeof models, "%s/%s/wan_models", root, name);
    snprintf(golden->expected, sizeof golden->expected, "%s/%s/expected", root, name);
    if (!golden_only_entry(models, model, sizeof model))
        return false;
    snprintf(golden->spiece, sizeof golden->spiece, "%s/%s/google/umt5-xxl/spiece.model", models,
             model);
    snprintf(golden->encoder, sizeof golden->encoder,
             "%s/%s/models_t5_umt5-xxl-enc-bf16.pth", models, model);
    return true;
}

static inline int golden_each_in(const char *root, void (*test)(const struct golden *))
{
    DIR *dir = opendir(root);
    struct dirent *entry;
    struct golden golden;
    int found = 0;
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.' && golden_find(&golden, root, entry->d_name)) {
            test(&golden);
            found++;
        }
    }
    if (dir)
        closedir(dir);
    return found;
}

/* Calls `test` for every golden folder; how many there were. */
static inline int golden_each(int count, char **roots, void (*test)(const struct golden *))
{
    const char *more = getenv("UNREEL_GOLDEN");
    int found = more && *more ? golden_each_in(more, test) : 0;
    for (int i = 1; i < count; i++)
        found += golden_each_in(roots[i], test);
    return found;
}
