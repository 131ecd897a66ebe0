#include "model_default.h"

#include <stdio.h>
#include <stdlib.h>

#include "paths.h"

#define BUNDLED "models/postcard"

static int set_found(unreel_options *options, const char *name, const char *path)
{
    char *found = unreel_options_is_set(options, name) ? NULL : paths_find(path);
    int code = found ? unreel_options_set(options, name, found) : 0;
    free(found);
    return code < 0 ? EXIT_ERROR : 0;
}

int model_default_apply(unreel_options *options, struct console *console)
{
    const char *folder = getenv("UNREEL_MODEL");
    int code = 0;
    if (folder && *folder && !unreel_options_is_set(options, "model"))
        code = unreel_options_set(options, "model", folder) < 0 ? EXIT_ERROR : 0;
    if (code == 0)
        code = set_found(options, "model", BUNDLED);
    if (code)
        return code;
    if (!unreel_options_is_set(options, "model")) {
        console_error(console, "no model is bundled: give --model FOLDER (the README says how to get "
                               "one)");
        return EXIT_USAGE;
    }
    return 0;
}

int cache_default_apply(unreel_options *options, struct console *console)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bool named = cache && *cache == '/'; /* others are to be ignored, says the specification */
    char *path = NULL;
    if (unreel_options_is_set(options, "device_cache") || (!named && (!home || *home != '/')))
        return 0;
    if (asprintf(&path, "%s%s/unreel", named ? cache : home, named ? "" : "/.cache") < 0) {
        console_error(console, "out of memory");
        return EXIT_ERROR;
    }
    int code = unreel_options_set(options, "device_cache", path);
    free(path);
    return code < 0 ? EXIT_ERROR : 0;
}
