#include "base/pool.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_MIN 4096
#define BLOCK_MAX (1 << 20)

struct pool_block {
    struct pool_block *next;
    size_t used, size;
    max_align_t data[];
};

void *pool_alloc(struct pool *pool, size_t size)
{
    if (size < SIZE_MAX / 2)
        size = (size + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
    if (size > SIZE_MAX / 2 || (pool->limit && size > pool->limit - pool->used)) {
        pool->exceeded = true;
        return NULL;
    }
    struct pool_block *block = pool->blocks;
    if (!block || size > block->size - block->used) {
        size_t grown = block ? block->size * 2 : BLOCK_MIN;
        grown = grown > BLOCK_MAX ? BLOCK_MAX : grown;
        grown = grown < size ? size : grown;
        block = malloc(sizeof *block + grown);
        if (!block)
            return NULL;
        *block = (struct pool_block){.next = pool->blocks, .size = grown};
        pool->blocks = block;
    }
    void *memory = (char *)block->data + block->used;
    block->used += size;
    pool->used += size;
    return memset(memory, 0, size);
}

void *pool_array(struct pool *pool, size_t count, size_t size)
{
    size_t bytes;
    return __builtin_mul_overflow(count, size, &bytes) ? NULL : pool_alloc(pool, bytes);
}

char *pool_text(struct pool *pool, const char *text, size_t length)
{
    char *copy = length < SIZE_MAX ? pool_alloc(pool, length + 1) : NULL;
    if (copy && length)
        memcpy(copy, text, length);
    return copy;
}

void pool_free(struct pool *pool)
{
    for (struct pool_block *block = pool->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    *pool = (struct pool){.limit = pool->limit};
}
