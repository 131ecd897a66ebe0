#include "model_default.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "paths.h"

#define BUNDLED "models/postcard"
#define TEST_CONFIG "tests/golden/nano.yaml"
#define TEST_MODEL "tests/golden/nano/wan_models/Wan2.1-T2V-nano"
#define TEST_CHECKPOINT "tests/golden/nano/checkpoints/self_forcing_mini.pt"

static int set_found(unreel_options *options, const char *name, const char *path)
{
    char *found = unreel_options_is_set(options, name) ? NULL : paths_find(path);
    int code = found ? unreel_options_set(options, name, found) : 0;
    free(found);
    return code < 0 ? EXIT_ERROR : 0;
}

/* MODEL/unreel.yaml, if it is there. */
static int use_own_config(unreel_options *options)
{
    char *path = NULL;
    int code = 0;
    if (unreel_options_is_set(options, "config_path"))
        return 0;
    if (asprintf(&path, "%s/unreel.yaml", unreel_options_get(options, "model")) < 0)
        return EXIT_ERROR;
    if (access(path, R_OK) == 0)
        code = unreel_options_set(options, "config_path", path);
    free(path);
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
    if (unreel_options_is_set(options, "model"))
        return use_own_config(options);
    code = set_found(options, "model", TEST_MODEL);
    if (code == 0)
        code = set_found(options, "checkpoint_path", TEST_CHECKPOINT);
    if (code == 0)
        code = set_found(options, "config_path", TEST_CONFIG);
    if (code)
        return code;
    if (!unreel_options_is_set(options, "model")) {
        console_error(console,
                      "no model is bundled: give --model FOLDER (the README says how to get "
                      "one)");
        return EXIT_USAGE;
    }
    console_warning(console, "no model given: these are the random weights of the tests, not a "
                             "trained model, so the video will be noise (--model FOLDER)");
    return 0;
}
