/* Configuration files: which are read and where they stand among the layers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "config/store.h"
#include "config/yaml.h"

#define DEFAULT_NAME "default_config.yaml"
#define MODEL_NAME "unreel.yaml" /* what a model folder says of itself */

/* Reads a whole file before any of it counts. */
static int load_layer(unreel_options *options, enum option_layer layer, const char *path)
{
    const unreel_log *log = options_log(options);
    struct option_values values;
    char *text = NULL;
    size_t size;
    if (!yaml_supported())
        return log_error(log, UNREEL_EUNSUPPORTED,
                         "%s: this build cannot read YAML (libyaml was missing)", path);
    int code = file_read_text(&text, &size, path, YAML_SIZE_MAX, log);
    if (code < 0)
        return code;
    if (option_values_init(&values) < 0)
        code = log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    if (code == 0)
        code = yaml_read_options(&values, path, text, size, log);
    if (code == 0)
        options_merge(options, layer, &values);
    option_values_finish(&values);
    free(text);
    return code;
}

int unreel_options_load(unreel_options *options, const char *path)
{
    return load_layer(options, LAYER_CONFIG, path);
}

/* "FOLDER/default_config.yaml" of the file's own folder; NULL without memory. */
static char *beside(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
    char *name = malloc(folder + sizeof DEFAULT_NAME);
    if (name) {
        memcpy(name, path, folder);
        memcpy(name + folder, DEFAULT_NAME, sizeof DEFAULT_NAME);
    }
    return name;
}

/* The model folder's own configuration into *path, NULL if it has none. */
static int of_model(const unreel_options *options, char **path)
{
    const char *model = unreel_options_get(options, "model");
    *path = NULL;
    if (!model)
        return 0;
    size_t size = strlen(model) + sizeof MODEL_NAME + 1;
    *path = malloc(size);
    if (!*path)
        return log_error(options_log(options), UNREEL_ENOMEM, "%s: out of memory", model);
    snprintf(*path, size, "%s/%s", model, MODEL_NAME);
    bool there = access(*path, F_OK) == 0;
    if (there && !yaml_supported())
        log_warning(options_log(options),
                    "%s: is not read, since this build cannot read YAML (libyaml was missing)",
                    *path);
    if (!there || !yaml_supported()) {
        free(*path);
        *path = NULL;
    }
    return 0;
}

/* `path` over the defaults beside it, else over `fallback`. */
static int load_over(unreel_options *options, const char *path, const char *fallback)
{
    char *neighbour = NULL;
    int code = 0;
    if (path && !(neighbour = beside(path)))
        return log_error(options_log(options), UNREEL_ENOMEM, "%s: out of memory", path);
    bool is_default = path && !strcmp(neighbour, path);
    if (neighbour && access(neighbour, F_OK) == 0)
        fallback = neighbour;
    if (fallback && !is_default && (path || yaml_supported()))
        code = load_layer(options, LAYER_DEFAULTS, fallback);
    if (code == 0 && path)
        code = load_layer(options, LAYER_CONFIG, path);
    free(neighbour);
    return code;
}

int unreel_options_load_config(unreel_options *options, const char *path, const char *fallback)
{
    char *own = NULL;
    int code = path ? 0 : of_model(options, &own);
    if (code == 0)
        code = load_over(options, path ? path : own, fallback);
    free(own);
    return code;
}
