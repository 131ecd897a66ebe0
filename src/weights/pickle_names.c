/* The names a checkpoint may use, and what "calling" them makes: descriptions of tensors. */
#include <string.h>

#include "weights/pickle_machine.h"

enum global {
    GLOBAL_DICT,
    GLOBAL_TENSOR,    /* _rebuild_tensor_v2(storage, offset, size, stride, ...) */
    GLOBAL_PARAMETER, /* _rebuild_parameter(tensor, ...) */
    GLOBAL_FROM_TYPE, /* _rebuild_from_type_v2(function, class, arguments, state) */
    GLOBAL_CLASS,     /* torch.Tensor, Parameter: only for the former */
    GLOBAL_SIZE,
    GLOBAL_STORAGE,
};

static const struct {
    const char *module, *name;
    enum global global;
} names[] = {
    {"collections", "OrderedDict", GLOBAL_DICT},
    {"torch._utils", "_rebuild_tensor_v2", GLOBAL_TENSOR},
    {"torch._utils", "_rebuild_parameter", GLOBAL_PARAMETER},
    {"torch._utils", "_rebuild_parameter_with_state", GLOBAL_PARAMETER},
    {"torch._tensor", "_rebuild_from_type_v2", GLOBAL_FROM_TYPE},
    {"torch", "Tensor", GLOBAL_CLASS},
    {"torch.nn.parameter", "Parameter", GLOBAL_CLASS},
    {"torch", "Size", GLOBAL_SIZE},
};

static const struct {
    const char *name; /* torch.NAME */
    const char *type;
} storages[] = {
    {"FloatStorage", "F32"},
    {"HalfStorage", "F16"},
    {"BFloat16Storage", "BF16"},
    {"IntStorage", "I32"},
    {"DoubleStorage", "F64"},
    {"LongStorage", "I64"},
    {"ShortStorage", "I16"},
    {"CharStorage", "I8"},
    {"ByteStorage", "U8"},
    {"ComplexFloatStorage", "C64"},
    {"ComplexDoubleStorage", "C128"},
    {"BoolStorage", "BOOL"},
};

static bool equals(const char *text, size_t length, const char *want)
{
    return strlen(want) == length && !memcmp(text, want, length);
}

static void push_known(struct machine *m, enum global global, const struct file_type *type)
{
    struct pickle_value *v = pickle_new(m, PICKLE_GLOBAL);
    if (!v)
        return;
    v->global = global;
    v->type = type;
    pickle_push(m, v);
}

void pickle_push_global(struct machine *m, const char *module, size_t module_length,
                        const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (equals(module, module_length, names[i].module) && equals(name, length, names[i].name)) {
            push_known(m, names[i].global, NULL);
            return;
        }
    }
    for (size_t i = 0; i < sizeof storages / sizeof *storages; i++) {
        if (equals(module, module_length, "torch") && equals(name, length, storages[i].name)) {
            push_known(m, GLOBAL_STORAGE, file_type_find(storages[i].type));
            return;
        }
    }
    if (!m->code)
        m->code = log_error(m->log, UNREEL_EFORMAT, "%s: refuses to load '%.*s.%.*s'", m->path,
                            (int)(module_length < 80 ? module_length : 80), module,
                            (int)(length < 80 ? length : 80), name);
}

/* ---- storages and tensors -------------------------------------------------------------------- */

static bool is_text(const struct pickle_value *v, const char *want)
{
    return v->kind == PICKLE_TEXT && (!want || equals(v->text, v->text_length, want));
}

/* ('storage', storage type, key, device, elements) */
void pickle_read_storage(struct machine *m)
{
    struct pickle_value *id = pickle_pop(m);
    if (!id)
        return;
    bool good = id->kind == PICKLE_TUPLE && id->count == 5 && is_text(id->item[0], "storage") &&
                id->item[1]->kind == PICKLE_GLOBAL && id->item[1]->type &&
                is_text(id->item[2], NULL) && id->item[4]->kind == PICKLE_INT &&
                id->item[4]->integer >= 0;
    struct pickle_value *v =
        good ? pickle_new(m, PICKLE_STORAGE) : pickle_fail(m, "a strange storage");
    struct pickle_storage *storage = v ? pickle_alloc(m, sizeof *storage) : NULL;
    if (!storage)
        return;
    *storage = (struct pickle_storage){.type = id->item[1]->type,
                                       .key = id->item[2]->text,
                                       .key_length = id->item[2]->text_length,
                                       .elements = id->item[4]->integer};
    v->storage = storage;
    pickle_push(m, v);
}

static bool read_lengths(const struct pickle_value *tuple, int *dims, int64_t *lengths)
{
    if (tuple->kind != PICKLE_TUPLE || tuple->count > TENSOR_DIMS)
        return false;
    for (size_t i = 0; i < tuple->count; i++) {
        if (tuple->item[i]->kind != PICKLE_INT || tuple->item[i]->integer < 0)
            return false;
        lengths[i] = tuple->item[i]->integer;
    }
    *dims = (int)tuple->count;
    return true;
}

/* Whether every element lies in the storage. */
static bool fits(const struct pickle_tensor *t)
{
    int64_t count, last = t->offset;
    if (!shape_count(t->dims, t->shape, &count))
        return false;
    for (int i = 0; count && i < t->dims; i++) {
        int64_t reach;
        if (__builtin_mul_overflow(t->shape[i] - 1, t->stride[i], &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return false;
    }
    return !count || last < t->storage->elements;
}

static struct pickle_value *rebuild_tensor(struct machine *m, const struct pickle_value *args)
{
    int strides;
    struct pickle_value *v = pickle_new(m, PICKLE_TENSOR);
    struct pickle_tensor *t = v ? pickle_alloc(m, sizeof *t) : NULL;
    if (!t)
        return NULL;
    if (args->count < 4 || args->item[0]->kind != PICKLE_STORAGE ||
        args->item[1]->kind != PICKLE_INT || args->item[1]->integer < 0 ||
        !read_lengths(args->item[2], &t->dims, t->shape) ||
        !read_lengths(args->item[3], &strides, t->stride) || strides != t->dims)
        return pickle_fail(m, "a strange tensor");
    t->storage = args->item[0]->storage;
    t->offset = args->item[1]->integer;
    if (t->dims == 0) {
        t->dims = 1;
        t->shape[0] = t->stride[0] = 1;
    }
    v->tensor = t;
    return fits(t) ? v : pickle_fail(m, "a tensor reaches past its storage");
}

static struct pickle_value *rebuild_parameter(struct machine *m, const struct pickle_value *args)
{
    return args->count && args->item[0]->kind == PICKLE_TENSOR
               ? args->item[0]
               : pickle_fail(m, "a parameter that is no tensor");
}

/* A tensor with attributes, which say nothing about its elements. Of other classes: refused. */
static struct pickle_value *rebuild_from_type(struct machine *m, const struct pickle_value *args)
{
    if (args->count < 3 || args->item[0]->kind != PICKLE_GLOBAL ||
        args->item[1]->kind != PICKLE_GLOBAL || args->item[1]->global != GLOBAL_CLASS ||
        args->item[2]->kind != PICKLE_TUPLE)
        return pickle_fail(m, "a tensor of an unknown class");
    if (args->item[0]->global == GLOBAL_TENSOR)
        return rebuild_tensor(m, args->item[2]);
    if (args->item[0]->global == GLOBAL_PARAMETER)
        return rebuild_parameter(m, args->item[2]);
    return pickle_fail(m, "a tensor of an unknown class");
}

static struct pickle_value *make_size(struct machine *m, const struct pickle_value *args)
{
    return args->count == 1 && args->item[0]->kind == PICKLE_TUPLE
               ? args->item[0]
               : pickle_fail(m, "a strange size");
}

static struct pickle_value *make_dict(struct machine *m, const struct pickle_value *args)
{
    return args->count ? pickle_fail(m, "an OrderedDict with arguments")
                       : pickle_new(m, PICKLE_DICT);
}

void pickle_reduce(struct machine *m)
{
    struct pickle_value *args = pickle_pop(m), *callee = args ? pickle_pop(m) : NULL;
    if (!callee)
        return;
    if (callee->kind != PICKLE_GLOBAL || args->kind != PICKLE_TUPLE) {
        pickle_fail(m, "calls something that is no name");
        return;
    }
    switch ((enum global)callee->global) {
    case GLOBAL_DICT:
        pickle_push(m, make_dict(m, args));
        break;
    case GLOBAL_TENSOR:
        pickle_push(m, rebuild_tensor(m, args));
        break;
    case GLOBAL_PARAMETER:
        pickle_push(m, rebuild_parameter(m, args));
        break;
    case GLOBAL_FROM_TYPE:
        pickle_push(m, rebuild_from_type(m, args));
        break;
    case GLOBAL_SIZE:
        pickle_push(m, make_size(m, args));
        break;
    case GLOBAL_CLASS:
    case GLOBAL_STORAGE:
        pickle_fail(m, "calls a class");
        break;
    }
}
