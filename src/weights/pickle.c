#include "weights/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "weights/pickle_machine.h"

#define VALUES_MAX 4000000
#define STACK_MAX 1000000
#define MEMO_MAX 4000000
#define POOL_MAX ((size_t)512 << 20)

void *pickle_fail(struct machine *m, const char *why)
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

/* ---- values and stack ------------------------------------------------------------------------ */

void *pickle_alloc(struct machine *m, size_t size)
{
    void *memory = m->code ? NULL : pool_alloc(m->pool, size);
    if (!memory && m->pool->exceeded)
        return pickle_fail(m, "it needs too much memory");
    return memory ? memory : fail_memory(m);
}

struct pickle_value *pickle_new(struct machine *m, enum pickle_kind kind)
{
    if (m->values++ >= VALUES_MAX)
        return pickle_fail(m, "too many values");
    struct pickle_value *v = pickle_alloc(m, sizeof *v);
    if (v)
        v->kind = kind;
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

void pickle_push(struct machine *m, struct pickle_value *v)
{
    if (!v || m->code)
        return;
    if (m->depth == STACK_MAX)
        pickle_fail(m, "the stack is too deep");
    else if (grow(m, &m->stack, m->depth, &m->stack_capacity))
        m->stack[m->depth++] = v;
}

struct pickle_value *pickle_pop(struct machine *m)
{
    return m->depth ? m->stack[--m->depth] : pickle_fail(m, "the stack is empty");
}

static struct pickle_value *top(struct machine *m)
{
    return m->depth ? m->stack[m->depth - 1] : pickle_fail(m, "the stack is empty");
}

static void add_item(struct machine *m, struct pickle_value *list, struct pickle_value *item)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 4;
        struct pickle_value **more = pickle_alloc(m, capacity * sizeof *more);
        if (!more)
            return;
        if (list->count)
            memcpy(more, list->item, list->count * sizeof *more);
        list->item = more;
        list->capacity = capacity;
    }
    list->item[list->count++] = item;
}

/* Position of the topmost mark, or SIZE_MAX. */
static size_t find_mark(struct machine *m)
{
    for (size_t i = m->depth; i-- > 0;) {
        if (m->stack[i]->kind == PICKLE_MARK)
            return i;
    }
    pickle_fail(m, "no mark on the stack");
    return SIZE_MAX;
}

/* ---- bytes of the stream --------------------------------------------------------------------- */

static const uint8_t *take(struct machine *m, uint64_t bytes)
{
    if (bytes > (uint64_t)(m->end - m->at))
        return pickle_fail(m, "ends too early");
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

static void push_text(struct machine *m, enum pickle_kind kind, uint64_t length)
{
    const uint8_t *at = take(m, length);
    struct pickle_value *v = at ? pickle_new(m, kind) : NULL;
    if (!v)
        return;
    v->text = (const char *)at;
    v->text_length = (size_t)length;
    pickle_push(m, v);
}

static void push_int(struct machine *m, enum pickle_kind kind, int64_t number)
{
    struct pickle_value *v = pickle_new(m, kind);
    if (v)
        v->integer = number;
    pickle_push(m, v);
}

/* Two's complement of any length; larger than 64 bits makes no sense in a checkpoint. */
static void push_long(struct machine *m, uint64_t bytes)
{
    if (bytes > 8) {
        pickle_fail(m, "a number of more than 64 bits");
        return;
    }
    uint64_t number = take_number(m, (int)bytes);
    if (bytes && bytes < 8 && number >> (8 * bytes - 1))
        number |= ~(uint64_t)0 << 8 * bytes;
    push_int(m, PICKLE_INT, (int64_t)number);
}

/* "module\nname\n" */
static void read_global(struct machine *m)
{
    const char *part[2];
    size_t length[2];
    for (int i = 0; i < 2; i++) {
        const uint8_t *line_end = memchr(m->at, '\n', (size_t)(m->end - m->at));
        if (!line_end) {
            pickle_fail(m, "ends too early");
            return;
        }
        part[i] = (const char *)m->at;
        length[i] = (size_t)(line_end - m->at);
        m->at = line_end + 1;
    }
    pickle_push_global(m, part[0], length[0], part[1], length[1]);
}

/* ---- containers ------------------------------------------------------------------------------ */

static void make_tuple(struct machine *m, size_t first)
{
    struct pickle_value *v = pickle_new(m, PICKLE_TUPLE);
    size_t count = m->depth - first;
    if (v && count)
        v->item = pickle_alloc(m, count * sizeof *v->item);
    if (m->code)
        return;
    if (count)
        memcpy(v->item, m->stack + first, count * sizeof *v->item);
    v->count = v->capacity = count;
    m->depth = first;
    pickle_push(m, v);
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
        pickle_fail(m, "the stack is empty");
    else
        make_tuple(m, m->depth - count);
}

/* Items from `first` into the container below them. */
static void extend(struct machine *m, size_t first, size_t below, enum pickle_kind kind)
{
    if (below >= m->depth || m->stack[below]->kind != kind ||
        (kind == PICKLE_DICT && (m->depth - first) % 2)) {
        pickle_fail(m, "items for something that is no container");
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
        pickle_fail(m, "items for nothing");
    else
        extend(m, mark + 1, mark - 1, kind);
}

static void extend_by(struct machine *m, size_t count, enum pickle_kind kind)
{
    if (m->depth < count + 1)
        pickle_fail(m, "the stack is empty");
    else
        extend(m, m->depth - count, m->depth - count - 1, kind);
}

/* State for an OrderedDict is its _metadata attribute, which says nothing about tensors. */
static void build(struct machine *m)
{
    struct pickle_value *state = pickle_pop(m), *object = state ? top(m) : NULL;
    if (object && object->kind != PICKLE_DICT)
        pickle_fail(m, "sets the state of something that is no dictionary");
}

/* ---- memo ------------------------------------------------------------------------------------ */

static void memo_put(struct machine *m, uint64_t index)
{
    struct pickle_value *v = top(m);
    if (!v)
        return;
    if (index >= MEMO_MAX) {
        pickle_fail(m, "the memo is too large");
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
        pickle_fail(m, "an unknown memo entry");
    else
        pickle_push(m, m->memo[index]);
}

/* ---- the machine ----------------------------------------------------------------------------- */

static void pop_mark(struct machine *m)
{
    size_t mark = find_mark(m);
    if (mark != SIZE_MAX)
        m->depth = mark;
}

static void stack_global(struct machine *m)
{
    struct pickle_value *name = pickle_pop(m), *module = name ? pickle_pop(m) : NULL;
    if (!module)
        return;
    if (name->kind != PICKLE_TEXT || module->kind != PICKLE_TEXT)
        pickle_fail(m, "a name that is no text");
    else
        pickle_push_global(m, module->text, module->text_length, name->text, name->text_length);
}

/* Numbers, texts, constants; false: another kind of opcode. */
static bool run_constant(struct machine *m, uint8_t op)
{
    switch (op) {
    case 'N':
        pickle_push(m, pickle_new(m, PICKLE_NONE));
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
    case 0x8b:
        push_long(m, take_number(m, 4));
        return true;
    case 'G': /* an 8-byte float: no value of ours */
        take(m, 8);
        pickle_push(m, pickle_new(m, PICKLE_FLOAT));
        return true;
    case 'X': /* text, and str of Python 2 */
    case 'T':
        push_text(m, PICKLE_TEXT, take_number(m, 4));
        return true;
    case 0x8c:
    case 'U':
        push_text(m, PICKLE_TEXT, take_number(m, 1));
        return true;
    case 0x8d:
        push_text(m, PICKLE_TEXT, take_number(m, 8));
        return true;
    case 'B':
        push_text(m, PICKLE_BYTES, take_number(m, 4));
        return true;
    case 'C':
        push_text(m, PICKLE_BYTES, take_number(m, 1));
        return true;
    case 0x8e:
        push_text(m, PICKLE_BYTES, take_number(m, 8));
        return true;
    }
    return false;
}

static bool run_container(struct machine *m, uint8_t op)
{
    switch (op) {
    case '}':
        pickle_push(m, pickle_new(m, PICKLE_DICT));
        return true;
    case ']':
        pickle_push(m, pickle_new(m, PICKLE_LIST));
        return true;
    case ')':
        pickle_push(m, pickle_new(m, PICKLE_TUPLE));
        return true;
    case '(':
        pickle_push(m, pickle_new(m, PICKLE_MARK));
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
            pickle_fail(m, "an unknown protocol");
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
        pickle_reduce(m);
        break;
    case 'b':
        build(m);
        break;
    case 'Q':
        pickle_read_storage(m);
        break;
    case '0':
        pickle_pop(m);
        break;
    case '1':
        pop_mark(m);
        break;
    case '2':
        pickle_push(m, top(m));
        break;
    default:
        if (!m->code)
            m->code =
                log_error(m->log, UNREEL_EFORMAT, "%s: refuses pickle opcode 0x%02x", m->path, op);
    }
}

int pickle_read(struct pickle *pickle, const uint8_t *data, size_t size, const char *path,
                const unreel_log *log)
{
    *pickle = (struct pickle){.pool.limit = POOL_MAX};
    struct machine m = {
        .at = data, .end = data + size, .path = path, .log = log, .pool = &pickle->pool};
    while (!m.code) {
        const uint8_t *op = take(&m, 1);
        if (!op || *op == '.')
            break;
        if (!run_constant(&m, *op) && !run_container(&m, *op))
            run_other(&m, *op);
    }
    if (!m.code)
        pickle->root = pickle_pop(&m);
    free(m.stack);
    free(m.memo);
    if (m.code)
        pickle_finish(pickle);
    return m.code;
}

void pickle_finish(struct pickle *pickle)
{
    pool_free(&pickle->pool);
    pickle->root = NULL;
}
