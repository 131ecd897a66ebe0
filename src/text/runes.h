/* Text as code points, growing. Out of memory is sticky: everything becomes a no-op and the caller
 * asks once, at the end. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct runes {
    uint32_t *at; /* [count] */
    size_t count, capacity;
    bool failed;
};

void runes_push(struct runes *text, uint32_t rune);
void runes_append(struct runes *text, const uint32_t *at, size_t count);
void runes_append_ascii(struct runes *text, const char *ascii);
void runes_finish(struct runes *text);

/* False if it is not UTF-8 throughout. */
bool runes_append_utf8(struct runes *text, const char *utf8, size_t size);
/* NUL-terminated, the caller's to free; NULL: out of memory. *size may be NULL. */
char *runes_to_utf8(const struct runes *text, size_t *size);

bool runes_equal(const struct runes *a, const struct runes *b);

/* text = change(text). `change` appends to an empty `out`. */
typedef void (*runes_fn)(struct runes *out, const struct runes *in);
void runes_apply(struct runes *text, runes_fn change);

/* White space as Unicode has it, and the separators 1C to 1F. */
bool rune_is_space(uint32_t rune);
