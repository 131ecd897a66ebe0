/* Memory that is given out in small pieces and freed all at once, with an upper limit so that a
 * hostile file cannot ask for more than it is worth. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include "base/log.h"

struct pool_block;

struct pool {
    struct pool_block *blocks; /* newest first */
    size_t used;               /* bytes given out */
    size_t limit;              /* bytes that may be given out; 0: none */
    bool exceeded;             /* the limit was the reason of a NULL */
};

/* Zeroed memory, aligned for any type. NULL when the system has none left or the limit is
 * reached. */
void *pool_alloc(struct pool *pool, size_t size);
/* An array; NULL also if the product does not fit. */
void *pool_array(struct pool *pool, size_t count, size_t size);
/* A NUL-terminated copy. */
char *pool_text(struct pool *pool, const char *text, size_t length);
void pool_free(struct pool *pool);
