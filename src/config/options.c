#include "config/options.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "config/store.h"
#include "config/value.h"

struct unreel_options {
    unreel_log log;
    struct option_values layers[LAYER_COUNT];
    char size[48]; /* "size" has no value of its own: made anew whenever width or height change */
};

/* ---- values of one layer ------------------------------------------------------------------ */

int option_values_init(struct option_values *values)
{
    values->at = calloc((size_t)option_count, sizeof *values->at);
    return values->at ? 0 : UNREEL_ENOMEM;
}

void option_values_finish(struct option_values *values)
{
    for (int row = 0; values->at && row < option_count; row++)
        free(values->at[row].text);
    free(values->at);
    values->at = NULL;
}

static void keep(struct option_value *value, char *text)
{
    free(value->text);
    *value = (struct option_value){.said = true, .text = text};
}

static int put_size(struct option_values *values, const char *text)
{
    int width = 0, height = 0;
    char *texts[2] = {NULL, NULL};
    if (text) {
        value_size(text, &width, &height);
        if (asprintf(&texts[0], "%d", width) < 0)
            return UNREEL_ENOMEM;
        if (asprintf(&texts[1], "%d", height) < 0) {
            free(texts[0]);
            return UNREEL_ENOMEM;
        }
    }
    keep(&values->at[option_find("width")], texts[0]);
    keep(&values->at[option_find("height")], texts[1]);
    return 0;
}

int option_values_put(struct option_values *values, int row, const char *text, char reason[256])
{
    const struct option *option = &option_table[row];
    char *canonical = NULL;
    if (text && !(canonical = value_parse(option, text, reason)))
        return UNREEL_EINVAL;
    if (option->info.kind != UNREEL_OPTION_SIZE) {
        keep(&values->at[option_storage(row)], canonical);
        return 0;
    }
    int code = put_size(values, canonical);
    if (code < 0)
        snprintf(reason, 256, "out of memory");
    free(canonical);
    return code;
}

void option_values_forget(struct option_values *values, int row)
{
    bool size = option_table[row].info.kind == UNREEL_OPTION_SIZE;
    int rows[2] = {option_storage(size ? option_find("width") : row),
                   option_storage(size ? option_find("height") : row)};
    for (int i = 0; i < 2; i++) {
        free(values->at[rows[i]].text);
        values->at[rows[i]] = (struct option_value){0};
    }
}

/* What the highest layer that has a say says: NULL is the table's default. */
static const char *said(const unreel_options *options, int row)
{
    for (int layer = LAYER_COUNT - 1; layer >= 0; layer--)
        if (options->layers[layer].at[row].said)
            return options->layers[layer].at[row].text;
    return NULL;
}

static const char *effective(const unreel_options *options, int row)
{
    const char *text = said(options, row);
    return text ? text : option_table[row].info.fallback;
}

static void refresh_size(unreel_options *options)
{
    snprintf(options->size, sizeof options->size, "%sx%s", effective(options, option_find("width")),
             effective(options, option_find("height")));
}

void options_merge(unreel_options *options, enum option_layer layer, struct option_values *from)
{
    for (int row = 0; row < option_count; row++) {
        if (!from->at[row].said)
            continue;
        keep(&options->layers[layer].at[row], from->at[row].text);
        from->at[row] = (struct option_value){0};
    }
    refresh_size(options);
}

/* ---- the object --------------------------------------------------------------------------- */

unreel_options *unreel_options_create(const unreel_log *log)
{
    unreel_options *options = calloc(1, sizeof *options);
    if (!options)
        return NULL;
    if (log)
        options->log = *log;
    for (int layer = 0; layer < LAYER_COUNT; layer++) {
        if (option_values_init(&options->layers[layer]) < 0) {
            unreel_options_destroy(options);
            return NULL;
        }
    }
    refresh_size(options);
    return options;
}

void unreel_options_destroy(unreel_options *options)
{
    if (!options)
        return;
    for (int layer = 0; layer < LAYER_COUNT; layer++)
        option_values_finish(&options->layers[layer]);
    free(options);
}

unreel_options *unreel_options_copy(const unreel_options *options)
{
    unreel_options *copy = unreel_options_create(&options->log);
    for (int layer = 0; copy && layer < LAYER_COUNT; layer++) {
        for (int row = 0; copy && row < option_count; row++) {
            const struct option_value *value = &options->layers[layer].at[row];
            char *text = value->text ? strdup(value->text) : NULL;
            if (value->text && !text) {
                unreel_options_destroy(copy);
                copy = NULL;
            } else {
                copy->layers[layer].at[row] =
                    (struct option_value){.said = value->said, .text = text};
            }
        }
    }
    if (copy)
        refresh_size(copy);
    return copy;
}

static int log_unknown(const unreel_log *log, const char *name)
{
    const char *nearest = option_nearest(name);
    if (nearest)
        return log_error(log, UNREEL_EINVAL, "unknown option '%.80s', did you mean '%s'?", name,
                         nearest);
    return log_error(log, UNREEL_EINVAL, "unknown option '%.80s'", name);
}

int unreel_options_set(unreel_options *options, const char *name, const char *value)
{
    char reason[VALUE_REASON_MAX];
    int row = option_find(name);
    if (row < 0)
        return log_unknown(&options->log, name);
    struct option_values *set = &options->layers[LAYER_SET];
    if (!value)
        option_values_forget(set, row);
    int code = value ? option_values_put(set, row, value, reason) : 0;
    if (code < 0)
        return log_error(&options->log, code, "%s: %s", option_table[row].info.name, reason);
    refresh_size(options);
    return 0;
}

const char *unreel_options_get(const unreel_options *options, const char *name)
{
    int row = option_find(name);
    if (row < 0)
        return NULL;
    if (option_table[row].info.kind != UNREEL_OPTION_SIZE)
        return effective(options, option_storage(row));
    return options->size;
}

/* Whether a layer above the defaults gives a value. */
static bool is_set(const unreel_options *options, int row)
{
    for (int layer = LAYER_COUNT - 1; layer > LAYER_DEFAULTS; layer--)
        if (options->layers[layer].at[row].said)
            return options->layers[layer].at[row].text;
    return false;
}

int unreel_options_is_set(const unreel_options *options, const char *name)
{
    int row = option_find(name);
    if (row < 0)
        return 0;
    if (option_table[row].info.kind == UNREEL_OPTION_SIZE)
        return is_set(options, option_find("width")) || is_set(options, option_find("height"));
    return is_set(options, option_storage(row));
}

/* ---- typed getters ------------------------------------------------------------------------ */

static const char *get(const unreel_options *options, const char *name,
                       enum unreel_option_kind kind)
{
    int row = option_find(name);
    assert(row >= 0 && option_table[row].info.kind == kind);
    return effective(options, option_storage(row));
}

bool options_bool(const unreel_options *options, const char *name)
{
    const char *text = get(options, name, UNREEL_OPTION_BOOL);
    return text && !strcmp(text, "true");
}

int64_t options_int(const unreel_options *options, const char *name)
{
    const char *text = get(options, name, UNREEL_OPTION_INT);
    return text ? value_int(text) : 0;
}

double options_float(const unreel_options *options, const char *name)
{
    const char *text = get(options, name, UNREEL_OPTION_FLOAT);
    return text ? value_float(text) : 0;
}

int options_ints(const unreel_options *options, const char *name, int *values, int max)
{
    const char *text = get(options, name, UNREEL_OPTION_INTS);
    return text ? value_ints(text, values, max) : 0;
}

const char *options_text(const unreel_options *options, const char *name)
{
    int row = option_find(name);
    assert(row >= 0 && (option_table[row].info.kind == UNREEL_OPTION_STRING ||
                        option_table[row].info.kind == UNREEL_OPTION_PATH));
    const char *text = effective(options, option_storage(row));
    bool path = option_table[row].info.kind == UNREEL_OPTION_PATH;
    return path && text && !*text ? NULL : text;
}

void options_size(const unreel_options *options, const char *name, int *width, int *height)
{
    assert(option_find(name) >= 0 &&
           option_table[option_find(name)].info.kind == UNREEL_OPTION_SIZE);
    *width = (int)options_int(options, "width");
    *height = (int)options_int(options, "height");
}

bool options_is_set(const unreel_options *options, const char *name)
{
    return unreel_options_is_set(options, name);
}

const unreel_log *options_log(const unreel_options *options)
{
    return &options->log;
}
