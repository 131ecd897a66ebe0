#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weights/reader.h"

#define LINES_MAX 20 /* of one kind of complaint */
#define BOUND_NAME_MAX 512

int binder_init(struct binder *binder, const struct weights *weights, const unreel_log *log)
{
    *binder = (struct binder){.weights = weights, .log = log};
    binder->used = calloc(weights_count(weights) + 1, sizeof *binder->used);
    return binder->used ? 0
                        : log_error(log, UNREEL_ENOMEM, "%s: out of memory", weights_path(weights));
}

/* Dimensions without trailing ones beyond `keep`. */
static int trimmed_dims(const struct tensor *t, int keep)
{
    int dims = t->dims;
    while (dims > keep && dims > 1 && t->shape[dims - 1] == 1)
        dims--;
    return dims;
}

static bool fits(const struct tensor *t, int dims, const int64_t *shape)
{
    if (trimmed_dims(t, dims) != dims)
        return false;
    for (int i = 0; i < dims; i++) {
        if (shape[i] >= 0 && shape[i] != t->shape[i])
            return false;
    }
    return true;
}

static void complain(struct binder *binder, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void complain(struct binder *binder, const char *format, ...)
{
    char text[1024];
    va_list args;
    if (++binder->wrong > LINES_MAX)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_error(binder->log, UNREEL_EFORMAT, "%s: %s", weights_path(binder->weights), text);
}

struct tensor bind(struct binder *binder, int dims, const int64_t *shape, const char *format, ...)
{
    char name[BOUND_NAME_MAX], want[128], have[128];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const struct weight *weight = weights_find(binder->weights, name);
    const char *type = weight ? NULL : weights_unusable(binder->weights, name);
    if (type) {
        complain(binder, "%s is %s, which no model can use", name, type);
        return (struct tensor){0};
    }
    if (!weight) {
        complain(binder, "missing: %s %s", name, tensor_shape_text(dims, shape, want));
        return (struct tensor){0};
    }
    binder->used[weight - weights_at(binder->weights, 0)] = true;
    if (!fits(&weight->tensor, dims, shape)) {
        complain(binder, "%s is %s, but %s is needed", name,
                 tensor_shape_text(weight->tensor.dims, weight->tensor.shape, have),
                 tensor_shape_text(dims, shape, want));
        return (struct tensor){0};
    }
    if (weight->tensor.type == TENSOR_I32) {
        complain(binder, "%s holds integers", name);
        return (struct tensor){0};
    }
    return tensor_make(weight->tensor.data, weight->tensor.type, dims, weight->tensor.shape);
}

void binder_ignore(struct binder *binder, const char *prefix)
{
    for (size_t i = 0; i < weights_count(binder->weights); i++) {
        if (!strncmp(weights_at(binder->weights, i)->name, prefix, strlen(prefix)))
            binder->used[i] = true;
    }
}

int binder_finish(struct binder *binder)
{
    char shape[128];
    int wrong = binder->wrong;
    if (wrong > LINES_MAX)
        log_error(binder->log, UNREEL_EFORMAT, "%s: ... and %d more missing or misshapen",
                  weights_path(binder->weights), wrong - LINES_MAX);
    binder->wrong = 0;
    for (size_t i = 0; i < weights_count(binder->weights); i++) {
        const struct weight *weight = weights_at(binder->weights, i);
        if (!binder->used[i])
            complain(binder, "unexpected: %s %s", weight->name,
                     tensor_shape_text(weight->tensor.dims, weight->tensor.shape, shape));
    }
    if (binder->wrong > LINES_MAX)
        log_error(binder->log, UNREEL_EFORMAT, "%s: ... and %d more unexpected",
                  weights_path(binder->weights), binder->wrong - LINES_MAX);
    wrong += binder->wrong;
    free(binder->used);
    *binder = (struct binder){0};
    return wrong ? UNREEL_EFORMAT : 0;
}
