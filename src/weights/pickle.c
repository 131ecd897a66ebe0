#include "weights/pickle.h"

#include <stdlib.h>
#include <string.h>

#define VALUES_MAX 4000000
#define STACK_MAX 1000000
#define MEMO_MAX 4000000

enum global { GLOBAL_DICT, GLOBAL_TENSOR, GLOBAL_PARAMETER, GLOBAL_SIZE, GLOBAL_STORAGE };

struct machine {
    const uint8_t *data, *at, *end;
    const char *path;
    const unreel_log *log;
    struct pickle *pickle;
    size_t values;
    struct pickle_value **stack, **memo;
    size_t depth, stack_capacity, memo_capacity;
    uint64_t memoized;
    int code;
};

static void *fail(struct machine *m, const char *why)
{
    if (!m->code)
        m->code = log_error(m->log, UNREEL_EFORMAT, "%s: broken pickle: %s", m->path, why);
    return NULL;
}

static void *fail_memory(struct machine *m)
{
    if (!m->code)
        m->code = log_error(m->log, UNREEL_ENOMEM, "%s: out of memory", m->path);
    return NULL;
}

/* ---- values and stack ---------------------------------------------------------------------------- */

static struct pickle_value *new_value(struct machine *m, enum pickle_kind kind)
{
    if (m->values++ == VALUES_MAX)
        return fail(m, "too many values");
    struct pickle_value *v = calloc(1, sizeof *v);
    if (!v)
        return fail_memory(m);
    v->kind = kind;
    v->next = m->pickle->all;
    m->pickle->all = v;
    return v;
}

/* Room for one more pointer; false: the machine has failed. */
static bool grow(struct machine *m, struct pickle_value ***list, size_t count, size_t *capacity)
{
    if (count < *capacity)
        return true;
    size_t wanted = *capacity ? 2 * *capacity : 16;
    struct pickle_value **more = realloc(*list, wanted * sizeof *more);
    if (!more) {
        fail_memory(m);
        return false;
    }
    *list = more;
    *capacity = wanted;
    return true;
}

static void push(struct machine *m, struct pickle_value *v)
{
    if (!v || m->code)
        return;
    if (m->depth == STACK_MAX)
        fail(m, "the stack is too deep");
    else if (grow(m, &m->stack, m->depth, &m->stack_capacity))
        m->stack[m->depth++] = v;
}

static struct pickle_value *pop(struct machine *m)
{
    return m->depth ? m->stack[--m->depth] : fail(m, "the stack is empty");
}

static struct pickle_value *top(struct machine *m)
{
    return m->depth ? m->stack[m->depth - 1] : fail(m, "the stack is empty");
}

static void add_item(struct machine *m, struct pickle_value *list, struct pickle_value *item)
{
    if (list && item && grow(m, &list->item, list->count, &list->capacity))
        list->item[list->count++] = item;
}

/* Position of the topmost mark, or SIZE_MAX. */
static size_t find_mark(struct machine *m)
{
    for (size_t i = m->depth; i-- > 0;) {
        if (m->stack[i]->kind == PICKLE_MARK)
            return i;
    }
    fail(m, "no mark on the stack");
    return SIZE_MAX;
}

/* ---- bytes of the stream ------------------------------------------------------------------------- */

static const uint8_t *take(struct machine *m, uint64_t bytes)
{
    if (bytes > (uint64_t)(m->end - m->at))
        return fail(m, "ends too early");
    const uint8_t *at = m->at;
    m->at += bytes;
    return at;
}

static uint64_t take_number(struct machine *m, int bytes)
{
    const uint8_t *at = take(m, (uint64_t)bytes);
    uint64_t number = 0;
    for (int i = 0; at && i < bytes; i++)
        number |= (uint64_t)at[i] << 8 * i;
    return number;
}

static void push_text(struct machine *m, uint64_t length)
{
    const uint8_t *at = take(m, length);
    struct pickle_value *v = at ? new_value(m, PICKLE_TEXT) : NULL;
    if (!v)
        return;
    v->text = (const char *)at;
    v->text_length = (size_t)length;
    push(m, v);
}

static void push_int(struct machine *m, enum pickle_kind kind, int64_t number)
{
    struct pickle_value *v = new_value(m, kind);
    if (v)
        v->integer = number;
    push(m, v);
}

/* Two's complement of any length; larger than 64 bits makes no sense in a checkpoint. */
static void push_long(struct machine *m, uint64_t bytes)
{
    if (bytes > 8) {
        fail(m, "a number of more than 64 bits");
        return;
    }
    uint64_t number = take_number(m, (int)bytes);
    if (bytes && bytes < 8 && number >> (8 * bytes - 1))
        number |= ~(uint64_t)0 << 8 * bytes;
    push_int(m, PICKLE_INT, (int64_t)number);
}

/* ---- names --------------------------------------------------------------------------------------- */

static const struct {
    const char *name; /* torch.NAME */
    struct file_type type;
} storages[] = {
    {"FloatStorage", {"F32", 4, TENSOR_F32, true}},
    {"HalfStorage", {"F16", 2, TENSOR_F16, true}},
    {"BFloat16Storage", {"BF16", 2, TENSOR_BF16, true}},
    {"IntStorage", {"I32", 4, TENSOR_I32, true}},
    {"DoubleStorage", {"F64", 8, TENSOR_F32, false}},
    {"LongStorage", {"I64", 8, TENSOR_F32, false}},
    {"ShortStorage", {"I16", 2, TENSOR_F32, false}},
    {"CharStorage", {"I8", 1, TENSOR_F32, false}},
    {"ByteStorage", {"U8", 1, TENSOR_F32, false}},
    {"BoolStorage", {"BOOL", 1, TENSOR_F32, false}},
};

static bool equals(const char *text, size_t length, const char *want)
{
    return strlen(want) == length && !memcmp(text, want, length);
}

static void push_global(struct machine *m, const char *module, size_t module_length,
                        const char *name, size_t length)
{
    static const struct {
        const char *module, *name;
        enum global global;
    } known[] = {
        {"collections", "OrderedDict", GLOBAL_DICT},
        {"torch._utils", "_rebuild_tensor_v2", GLOBAL_TENSOR},
        {"torch._utils", "_rebuild_parameter", GLOBAL_PARAMETER},
        {"torch", "Size", GLOBAL_SIZE},
    };
    struct pickle_value *v = new_value(m, PICKLE_GLOBAL);
    if (!v)
        return;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (equals(module, module_length, known[i].module) && equals(name, length, known[i].name)) {
            v->integer = known[i].global;
            push(m, v);
            return;
        }
    }
    for (size_t i = 0; equals(module, module_length, "torch") &&
                       i < sizeof storages / sizeof *storages; i++) {
        if (equals(name, length, storages[i].name)) {
            v->integer = GLOBAL_STORAGE;
            v->type = &storages[i].type;
            push(m, v);
            return;
        }
    }
    if (!m->code)
        m->code = log_error(m->log, UNREEL_EFORMAT, "%s: refuses to load '%.*s.%.*s'", m->path,
                            (int)(module_length < 80 ? module_length : 80), module,
                            (int)(length < 80 ? length : 80), name);
}

/* "module\nname\n" */
static void read_global(struct machine *m)
{
    const char *part[2];
    size_t length[2];
    for (int i = 0; i < 2; i++) {
        const uint8_t *line_end = memchr(m->at, '\n', (size_t)(m->end - m->at));
        if (!line_end) {
            fail(m, "ends too early");
            return;
        }
        part[i] = (const char *)m->at;
        length[i] = (size_t)(line_end - m->at);
        m->at = line_end + 1;
    }
    push_global(m, part[0], length[0], part[1], length[1]);
}

/* ---- tensors ------------------------------------------------------------------------------------- */

/* ('storage', storage type, key, device, elements) */
static void read_storage(struct machine *m)
{
    struct pickle_value *id = pop(m);
    if (!id)
        return;
    bool good = id->kind == PICKLE_TUPLE && id->count == 5 && id->item[0]->kind == PICKLE_TEXT &&
                equals(id->item[0]->text, id->item[0]->text_length, "storage") &&
                id->item[1]->kind == PICKLE_GLOBAL && id->item[1]->type &&
                id->item[2]->kind == PICKLE_TEXT && id->item[4]->kind == PICKLE_INT &&
                id->item[4]->integer >= 0;
    struct pickle_value *v = good ? new_value(m, PICKLE_STORAGE) : fail(m, "a strange storage");
    if (!v)
        return;
    v->type = id->item[1]->type;
    v->text = id->item[2]->text;
    v->text_length = id->item[2]->text_length;
    v->elements = id->item[4]->integer;
    push(m, v);
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
static bool fits(const struct pickle_value *t)
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

/* (storage, offset, size, stride, requires_grad, hooks, ...) */
static struct pickle_value *rebuild_tensor(struct machine *m, const struct pickle_value *args)
{
    int strides;
    struct pickle_value *v = new_value(m, PICKLE_TENSOR);
    if (!v)
        return NULL;
    if (args->count < 4 || args->item[0]->kind != PICKLE_STORAGE ||
        args->item[1]->kind != PICKLE_INT || args->item[1]->integer < 0 ||
        !read_lengths(args->item[2], &v->dims, v->shape) ||
        !read_lengths(args->item[3], &strides, v->stride) || strides != v->dims)
        return fail(m, "a strange tensor");
    v->storage = args->item[0];
    v->offset = args->item[1]->integer;
    if (v->dims == 0) {
        v->dims = 1;
        v->shape[0] = v->stride[0] = 1;
    }
    return fits(v) ? v : fail(m, "a tensor reaches past its storage");
}

static void reduce(struct machine *m)
{
    struct pickle_value *args = pop(m), *callee = args ? pop(m) : NULL, *result = NULL;
    if (!callee)
        return;
    if (callee->kind != PICKLE_GLOBAL || args->kind != PICKLE_TUPLE) {
        fail(m, "calls something that is no name");
        return;
    }
    switch ((enum global)callee->integer) {
    case GLOBAL_DICT:
        result = new_value(m, PICKLE_DICT);
        if (result && args->count)
            fail(m, "an OrderedDict with arguments");
        break;
    case GLOBAL_TENSOR:
        result = rebuild_tensor(m, args);
        break;
    case GLOBAL_PARAMETER: /* (tensor, requires_grad, hooks) */
        result = args->count && args->item[0]->kind == PICKLE_TENSOR
                     ? args->item[0]
                     : fail(m, "a parameter that is no tensor");
        break;
    case GLOBAL_SIZE:
        result = args->count == 1 && args->item[0]->kind == PICKLE_TUPLE
                     ? args->item[0]
                     : fail(m, "a strange size");
        break;
    case GLOBAL_STORAGE:
        fail(m, "a storage is called");
        break;
    }
    push(m, result);
}

/* ---- containers ---------------------------------------------------------------------------------- */

static void make_tuple(struct machine *m, size_t first)
{
    struct pickle_value *v = new_value(m, PICKLE_TUPLE);
    for (size_t i = first; v && i < m->depth; i++)
        add_item(m, v, m->stack[i]);
    m->depth = first;
    push(m, v);
}

static void make_marked_tuple(struct machine *m)
{
    size_t mark = find_mark(m);
    if (mark == SIZE_MAX)
        return;
    memmove(&m->stack[mark], &m->stack[mark + 1], (m->depth - mark - 1) * sizeof *m->stack);
    m->depth--;
    make_tuple(m, mark);
}

static void make_short_tuple(struct machine *m, size_t count)
{
    if (m->depth < count)
        fail(m, "the stack is empty");
    else
        make_tuple(m, m->depth - count);
}

/* Items from `first` into the container below them. */
static void extend(struct machine *m, size_t first, size_t below, enum pickle_kind kind)
{
    if (below >= m->depth || m->stack[below]->kind != kind ||
        (kind == PICKLE_DICT && (m->depth - first) % 2)) {
        fail(m, "items for something that is no container");
        return;
    }
    for (size_t i = first; i < m->depth && !m->code; i++)
        add_item(m, m->stack[below], m->stack[i]);
    m->depth = below + 1;
}

static void extend_marked(struct machine *m, enum pickle_kind kind)
{
    size_t mark = find_mark(m);
    if (mark == SIZE_MAX)
        return;
    if (mark == 0)
        fail(m, "items for nothing");
    else
        extend(m, mark + 1, mark - 1, kind);
}

static void extend_by(struct machine *m, size_t count, enum pickle_kind kind)
{
    if (m->depth < count + 1)
        fail(m, "the stack is empty");
    else
        extend(m, m->depth - count, m->depth - count - 1, kind);
}

/* State for an OrderedDict is its _metadata attribute, which says nothing about tensors. */
static void build(struct machine *m)
{
    struct pickle_value *state = pop(m), *object = state ? top(m) : NULL;
    if (object && object->kind != PICKLE_DICT)
        fail(m, "sets the state of something that is no dictionary");
}

/* ---- memo ---------------------------------------------------------------------------------------- */

static void memo_put(struct machine *m, uint64_t index)
{
    struct pickle_value *v = top(m);
    if (!v)
        return;
    if (index >= MEMO_MAX) {
        fail(m, "the memo is too large");
        return;
    }
    if (index >= m->memo_capacity) {
        size_t capacity = (size_t)index * 2 + 64;
        struct pickle_value **memo = realloc(m->memo, capacity * sizeof *memo);
        if (!memo) {
            fail_memory(m);
            return;
        }
        memset(memo + m->memo_capacity, 0, (capacity - m->memo_capacity) * sizeof *memo);
        m->memo = memo;
        m->memo_capacity = capacity;
    }
    m->memo[index] = v;
}

static void memo_get(struct machine *m, uint64_t index)
{
    if (index >= m->memo_capacity || !m->memo[index])
        fail(m, "an unknown memo entry");
    else
        push(m, m->memo[index]);
}

/* ---- the machine --------------------------------------------------------------------------------- */

static void pop_mark(struct machine *m)
{
    size_t mark = find_mark(m);
    if (mark != SIZE_MAX)
        m->depth = mark;
}

static void stack_global(struct machine *m)
{
    struct pickle_value *name = pop(m), *module = name ? pop(m) : NULL;
    if (!module)
        return;
    if (name->kind != PICKLE_TEXT || module->kind != PICKLE_TEXT)
        fail(m, "a name that is no text");
    else
        push_global(m, module->text, module->text_length, name->text, name->text_length);
}

/* Numbers, texts, constants; false: another kind of opcode. */
static bool run_constant(struct machine *m, uint8_t op)
{
    switch (op) {
    case 'N':
        push(m, new_value(m, PICKLE_NONE));
        return true;
    case 0x88:
    case 0x89:
        push_int(m, PICKLE_BOOL, op == 0x88);
        return true;
    case 'J':
        push_int(m, PICKLE_INT, (int32_t)take_number(m, 4));
        return true;
    case 'K':
        push_int(m, PICKLE_INT, (int64_t)take_number(m, 1));
        return true;
    case 'M':
        push_int(m, PICKLE_INT, (int64_t)take_number(m, 2));
        return true;
    case 0x8a:
        push_long(m, take_number(m, 1));
        return true;
    case 'G': /* an 8-byte float: no value of ours */
        take(m, 8);
        push(m, new_value(m, PICKLE_FLOAT));
        return true;
    case 'X': /* text, str of Python 2, bytes */
    case 'T':
    case 'B':
        push_text(m, take_number(m, 4));
        return true;
    case 0x8c:
    case 'U':
    case 'C':
        push_text(m, take_number(m, 1));
        return true;
    case 0x8d:
    case 0x8e:
        push_text(m, take_number(m, 8));
        return true;
    }
    return false;
}

static bool run_container(struct machine *m, uint8_t op)
{
    switch (op) {
    case '}':
        push(m, new_value(m, PICKLE_DICT));
        return true;
    case ']':
        push(m, new_value(m, PICKLE_LIST));
        return true;
    case ')':
        push(m, new_value(m, PICKLE_TUPLE));
        return true;
    case '(':
        push(m, new_value(m, PICKLE_MARK));
        return true;
    case 't':
        make_marked_tuple(m);
        return true;
    case 0x85:
    case 0x86:
    case 0x87:
        make_short_tuple(m, (size_t)op - 0x84);
        return true;
    case 'a':
        extend_by(m, 1, PICKLE_LIST);
        return true;
    case 'e':
        extend_marked(m, PICKLE_LIST);
        return true;
    case 's':
        extend_by(m, 2, PICKLE_DICT);
        return true;
    case 'u':
        extend_marked(m, PICKLE_DICT);
        return true;
    }
    return false;
}

static void run_other(struct machine *m, uint8_t op)
{
    switch (op) {
    case 0x80: /* protocol */
        if (take_number(m, 1) > 5)
            fail(m, "an unknown protocol");
        break;
    case 0x95: /* frame: its length is not needed */
        take(m, 8);
        break;
    case 'q':
        memo_put(m, take_number(m, 1));
        break;
    case 'r':
        memo_put(m, take_number(m, 4));
        break;
    case 0x94:
        memo_put(m, m->memoized++);
        break;
    case 'h':
        memo_get(m, take_number(m, 1));
        break;
    case 'j':
        memo_get(m, take_number(m, 4));
        break;
    case 'c':
        read_global(m);
        break;
    case 0x93:
        stack_global(m);
        break;
    case 'R':
        reduce(m);
        break;
    case 'b':
        build(m);
        break;
    case 'Q':
        read_storage(m);
        break;
    case '0':
        pop(m);
        break;
    case '1':
        pop_mark(m);
        break;
    case '2':
        push(m, top(m));
        break;
    default:
        if (!m->code)
            m->code = log_error(m->log, UNREEL_EFORMAT, "%s: refuses pickle opcode 0x%02x", m->path, op);
    }
}

int pickle_read(struct pickle *pickle, const uint8_t *data, size_t size, const char *path,
                const unreel_log *log)
{
    struct machine m = {.data = data, .at = data, .end = data + size, .path = path, .log = log,
                        .pickle = pickle};
    *pickle = (struct pickle){0};
    while (!m.code) {
        const uint8_t *op = take(&m, 1);
        if (!op || *op == '.')
            break;
        if (!run_constant(&m, *op) && !run_container(&m, *op))
            run_other(&m, *op);
    }
    if (!m.code)
        pickle->root = pop(&m);
    free(m.stack);
    free(m.memo);
    if (m.code)
        pickle_finish(pickle);
    return m.code;
}

void pickle_finish(struct pickle *pickle)
{
    while (pickle->all) {
        struct pickle_value *v = pickle->all;
        pickle->all = v->next;
        free(v->item);
        free(v);
    }
    *pickle = (struct pickle){0};
}
