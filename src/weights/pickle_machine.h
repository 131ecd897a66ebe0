/* Inside of the pickle machine. The first failure is logged and kept in `code`; functions then give
 * NULL or do nothing. */
#pragma once

#include "weights/pickle.h"

struct machine {
    const uint8_t *at, *end;
    const char *path;
    const unreel_log *log;
    struct pool *pool;
    size_t values;
    struct pickle_value **stack, **memo;
    size_t depth, stack_capacity, memo_capacity;
    uint64_t memoized;
    int code;
};

void *pickle_fail(struct machine *machine, const char *why);
void *pickle_alloc(struct machine *machine, size_t size); /* zeroed */
struct pickle_value *pickle_new(struct machine *machine, enum pickle_kind kind);
void pickle_push(struct machine *machine, struct pickle_value *value); /* NULL is fine */
struct pickle_value *pickle_pop(struct machine *machine);

/* What names stand for: a global is pushed if it is one of the few that are known. */
void pickle_push_global(struct machine *machine, const char *module, size_t module_length,
                        const char *name, size_t length);
void pickle_read_storage(struct machine *machine); /* BINPERSID */
void pickle_reduce(struct machine *machine);
