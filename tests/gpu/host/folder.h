/* Folders that a test made. */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

/* Calls `run` (or nothing) for every file; how many there are. */
static inline int each_file(const char *folder, void (*run)(const char *path))
{
    DIR *dir = opendir(folder);
    int count = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[512];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        count++;
        if (run)
            run(path);
    }
    if (dir)
        closedir(dir);
    return count;
}

static inline void remove_file(const char *path)
{
    unlink(path);
}

/* A folder of files; how many there were. */
static inline int remove_folder(const char *folder)
{
    int count = each_file(folder, remove_file);
    rmdir(folder);
    return count;
}
