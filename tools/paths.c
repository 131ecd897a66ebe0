#include "paths.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* From the folder of the executable: a build folder inside the source, then PREFIX/bin. */
static const char *const roots[] = {"/../..", "/../share/unreel"};

/* The folder of the running program, without links. */
static int program_folder(char *folder, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", folder, size - 1);
    if (length <= 0)
        return -1;
    folder[length] = 0;
    char *slash = strrchr(folder, '/');
    if (!slash)
        return -1;
    *slash = 0;
    return 0;
}

static char *existing(const char *root, const char *below, const char *name)
{
    char path[2 * PATH_MAX];
    int n = snprintf(path, sizeof path, "%s%s/%s", root, below, name);
    if (n < 0 || (size_t)n >= sizeof path || access(path, F_OK) < 0)
        return NULL;
    return realpath(path, NULL);
}

/* In the source that a build folder elsewhere belongs to: Meson leaves its path beside the program.
 */
static char *existing_in_source(const char *program, const char *name)
{
    char path[PATH_MAX + 32], source[PATH_MAX];
    snprintf(path, sizeof path, "%s/source_folder", program);
    FILE *file = fopen(path, "re");
    if (!file)
        return NULL;
    bool read = fgets(source, sizeof source, file) != NULL;
    fclose(file);
    if (!read)
        return NULL;
    source[strcspn(source, "\n")] = 0;
    return existing(source, "", name);
}

char *paths_find(const char *name)
{
    char folder[PATH_MAX], *found = NULL;
    if (program_folder(folder, sizeof folder) == 0) {
        for (size_t i = 0; !found && i < sizeof roots / sizeof *roots; i++)
            found = existing(folder, roots[i], name);
        if (!found)
            found = existing_in_source(folder, name);
    }
    return found ? found : existing(UNREEL_DATA_DIR, "", name);
}

char *paths_config(const char *name)
{
    static const struct {
        const char *before, *after;
    } forms[] = {{"", ""}, {"configs/", ""}, {"configs/", ".yaml"}};
    char candidate[PATH_MAX];
    char *found = access(name, F_OK) == 0 || *name == '/' ? strdup(name) : NULL;
    for (size_t i = 0; !found && i < sizeof forms / sizeof *forms; i++) {
        snprintf(candidate, sizeof candidate, "%s%s%s", forms[i].before, name, forms[i].after);
        found = paths_find(candidate);
    }
    return found ? found : strdup(name);
}
