#include "config/naming.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHARACTERS_MAX 100  /* of the prompt, as in the original program */
#define HASH_SUFFIX_BYTES 9 /* "~" and eight hexadecimal digits */

/* ---- one prompt --------------------------------------------------------------------------- */

/* Bytes of the character that starts at `text`, which is valid UTF-8. */
static size_t character_size(const char *text)
{
    unsigned char first = (unsigned char)*text;
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/* Slashes of both kinds and control characters, C1 included, become underscores. */
static bool is_unsafe(const char *text)
{
    unsigned char first = (unsigned char)text[0];
    bool c1 = first == 0xc2 && (unsigned char)text[1] < 0xa0;
    return first < 0x20 || first == 0x7f || first == '/' || first == '\\' || c1;
}

/* Names of devices that some systems reserve, whatever follows the first dot. */
static bool is_reserved(const char *stem)
{
    static const char *const devices[] = {"CON", "PRN", "AUX", "NUL"};
    size_t length = strcspn(stem, ".");
    for (size_t i = 0; length == 3 && i < sizeof devices / sizeof devices[0]; i++)
        if (!strncasecmp(stem, devices[i], 3))
            return true;
    return length == 4 && (!strncasecmp(stem, "COM", 3) || !strncasecmp(stem, "LPT", 3)) &&
           stem[3] >= '0' && stem[3] <= '9';
}

/* The first characters of the prompt that fit into `max` bytes, made safe. */
static void make_stem(char stem[NAMING_STEM_MAX + 1], const char *name, size_t max)
{
    size_t used = 0;
    for (int i = 0; i < CHARACTERS_MAX && *name; i++) {
        size_t size = character_size(name);
        bool unsafe = is_unsafe(name) || (used == 0 && *name == '.');
        if (used + (unsafe ? 1 : size) > max)
            break;
        if (unsafe) {
            stem[used++] = '_';
        } else {
            memcpy(stem + used, name, size);
            used += size;
        }
        name += size;
    }
    if (used == 0)
        stem[used++] = '_';
    stem[used] = 0;
    if (is_reserved(stem))
        stem[0] = '_';
}

/* ---- all prompts -------------------------------------------------------------------------- */

/* FNV-1a, so that names stay the same between versions and machines. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t hash_text(const char *text)
{
    return hash_bytes(UINT64_C(0xcbf29ce484222325), text, strlen(text));
}

/* Open addressing over the stems themselves. */
struct names {
    char **slots; /* [mask + 1], not owned */
    size_t mask;
};

/* The slot that holds an equal stem, or the free one where it would go. */
static char **find_slot(const struct names *names, const char *stem)
{
    size_t at = (size_t)(hash_text(stem) & names->mask);
    while (names->slots[at] && strcmp(names->slots[at], stem))
        at = (at + 1) & names->mask;
    return &names->slots[at];
}

/* Appends a hash of the prompt; of its place in the list too, where that is not enough. */
static void add_hash(char stem[NAMING_STEM_MAX + 1], const char *name, size_t index, int attempt)
{
    uint64_t hash = hash_text(name);
    char place[48];
    if (attempt > 0) {
        int size = snprintf(place, sizeof place, "\n%zu %d", index, attempt);
        hash = hash_bytes(hash, place, (size_t)size);
    }
    make_stem(stem, name, NAMING_STEM_MAX - HASH_SUFFIX_BYTES);
    size_t used = strlen(stem);
    snprintf(stem + used, NAMING_STEM_MAX + 1 - used, "~%08" PRIx32, (uint32_t)(hash ^ hash >> 32));
}

/* A stem that is not taken yet; then it is. NULL without memory. */
static char *unique_stem(struct names *taken, const char *name, size_t index)
{
    char stem[NAMING_STEM_MAX + 1];
    make_stem(stem, name, NAMING_STEM_MAX);
    for (int attempt = 0; *find_slot(taken, stem); attempt++)
        add_hash(stem, name, index, attempt);
    return *find_slot(taken, stem) = strdup(stem);
}

char **naming_stems(const char *const *names, size_t count)
{
    struct names taken = {.mask = 15};
    while (taken.mask < 2 * count)
        taken.mask = 2 * taken.mask + 1;
    taken.slots = calloc(taken.mask + 1, sizeof *taken.slots);
    char **stems = calloc(count + 1, sizeof *stems);
    bool complete = stems && taken.slots;
    for (size_t i = 0; complete && i < count; i++)
        complete = (stems[i] = unique_stem(&taken, names[i], i)) != NULL;
    free(taken.slots);
    if (complete)
        return stems;
    free_strings(stems, count);
    return NULL;
}

void free_strings(char **strings, size_t count)
{
    for (size_t i = 0; strings && i < count; i++)
        free(strings[i]);
    free(strings);
}
