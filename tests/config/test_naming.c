/* File names made of prompts: safe, short enough, never equal, stable. */
#include "test.h"
#include <stdbool.h>
#include <stdint.h>
#include "config/naming.h"
#include "base/utf8.h"

static char **stems_of(const char *const *names, size_t count)
{
    char **stems = naming_stems(names, count);
    if (!stems)
        exit(1);
    return stems;
}

static void check_one(const char *name, const char *expected)
{
    char **stems = stems_of(&name, 1);
    CHECK_MSG(!strcmp(stems[0], expected), "'%s' -> '%s'", name, stems[0]);
    free_strings(stems, 1);
}

static void test_single(void)
{
    char name[801], expected[801];
    check_one("a red sailboat", "a red sailboat");
    check_one("A cat: \"why?\" * <b> | 100%", "A cat: \"why?\" * <b> | 100%");
    check_one("../../etc/passwd", "_._.._etc_passwd");
    check_one("a/b\\c\nd\te\x7f"
              "f\xc2\x85g",
              "a_b_c_d_e_f_g");
    check_one("", "_");
    check_one(".", "_");
    check_one("..", "_.");
    check_one(".hidden", "_hidden");
    check_one("nul", "_ul");
    check_one("Com1.txt", "_om1.txt");
    check_one("console", "console");
    check_one("null", "null");
    check_one("\xc2\xa0 x", "\xc2\xa0 x");
    memset(name, 'x', 800);
    name[800] = 0;
    snprintf(expected, sizeof expected, "%.100s", name);
    check_one(name, expected);
    for (int i = 0; i < 100; i++) /* 100 characters of 2 bytes fit, of 3 they are cut between two */
        memcpy(name + 2 * i, "\xc3\xa9", 3);
    check_one(name, name);
    for (int i = 0; i < 200; i++)
        memcpy(name + 3 * i, "\xe5\xb8\x86", 4);
    snprintf(expected, sizeof expected, "%.*s", NAMING_STEM_MAX / 3 * 3, name);
    check_one(name, expected);
    for (int i = 0; i < 200; i++)
        memcpy(name + 4 * i, "\xf0\x9f\x8e\x9e", 5);
    snprintf(expected, sizeof expected, "%.*s", NAMING_STEM_MAX / 4 * 4, name);
    check_one(name, expected);
}

static void test_collisions(void)
{
    const char *names[] = {"cat", "cat", "c/t", "c\\t", "c_t", "cat", "dog"};
    char **stems = stems_of(names, 7);
    CHECK(!strcmp(stems[0], "cat") && !strcmp(stems[2], "c_t") && !strcmp(stems[6], "dog"));
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < i; j++)
            CHECK_MSG(strcmp(stems[i], stems[j]), "%s", stems[i]);
    /* somebody's prompt is what another's name became */
    const char *evil[] = {"cat", "cat", stems[1], stems[1], "cat"};
    char **evil_stems = stems_of(evil, 5);
    CHECK(!strcmp(evil_stems[1], stems[1]));
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < i; j++)
            CHECK_MSG(strcmp(evil_stems[i], evil_stems[j]), "%s", evil_stems[i]);
    const char *early[] = {stems[1], "cat", "cat"};
    char **early_stems = stems_of(early, 3);
    CHECK(strcmp(early_stems[0], early_stems[2]) && strcmp(early_stems[1], early_stems[2]));
    /* a hash that must stay the same in every version: finished batches are recognised by it */
    CHECK_MSG(!strcmp(stems[1], "cat~f907a43e"), "%s", stems[1]);
    free_strings(stems, 7);
    free_strings(evil_stems, 5);
    free_strings(early_stems, 3);
}

/* ---- random lists ------------------------------------------------------------------------- */

static uint64_t state = 20250101;

static uint32_t random_below(uint32_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % below;
}

static char *append_character(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 63));
        *to++ = (char)(0x80 | (code >> 6 & 63));
        *to++ = (char)(0x80 | (code & 63));
    }
    return to;
}

/* From few characters, so that many collide, or from all of Unicode. */
static char *random_name(void)
{
    static const char few[] = "/\\\n\ta~.";
    char *name = malloc(4 * 300 + 1), *at = name;
    uint32_t kind = random_below(4), length = random_below(kind == 0 ? 4 : 300);
    for (uint32_t i = 0; i < length; i++) {
        uint32_t code = (uint32_t)few[random_below(sizeof few - 1)];
        if (kind == 2)
            code = 1 + random_below(0xd7ff);
        if (kind == 3)
            code = 0x10000 + random_below(0x100000);
        if (kind == 1 && i < 110)
            code = 'x'; /* differs past what the name shows */
        at = append_character(at, code);
    }
    *at = 0;
    return name;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_safe(const char *stem)
{
    size_t size = strlen(stem);
    if (size == 0 || size > NAMING_STEM_MAX || !utf8_valid(stem, size, NULL) || *stem == '.')
        return false;
    for (const unsigned char *at = (const unsigned char *)stem; *at; at++)
        if (*at < 0x20 || *at == 0x7f || *at == '/' || *at == '\\')
            return false;
    return true;
}

static void test_random(void)
{
    enum { COUNT = 20000, PART = 7000 };
    char **names = calloc(COUNT, sizeof *names), **sorted = calloc(COUNT, sizeof *sorted);
    for (int i = 0; i < COUNT; i++)
        names[i] = random_name();
    char **stems = stems_of((const char *const *)names, COUNT);
    char **part = stems_of((const char *const *)names, PART);
    bool safe = true, stable = true, unique = true;
    for (int i = 0; i < COUNT; i++) {
        safe = safe && is_safe(stems[i]);
        stable = stable && (i >= PART || !strcmp(stems[i], part[i]));
        sorted[i] = stems[i];
    }
    qsort(sorted, COUNT, sizeof *sorted, compare);
    for (int i = 1; i < COUNT; i++)
        unique = unique && strcmp(sorted[i - 1], sorted[i]);
    CHECK(safe);
    CHECK(stable); /* a longer list does not rename what its beginning made */
    CHECK(unique);
    free_strings(stems, COUNT);
    free_strings(part, PART);
    free_strings(names, COUNT);
    free(sorted);
}

/* The same prompt very often: no quadratic search. */
static void test_equal(void)
{
    enum { COUNT = 100000 };
    const char **names = calloc(COUNT, sizeof *names);
    for (int i = 0; i < COUNT; i++)
        names[i] = "a";
    char **stems = stems_of(names, COUNT);
    bool unique = true;
    qsort(stems, COUNT, sizeof *stems, compare);
    for (int i = 1; i < COUNT; i++)
        unique = unique && strcmp(stems[i - 1], stems[i]);
    CHECK(unique);
    free_strings(stems, COUNT);
    free(names);
}

int main(void)
{
    test_single();
    test_collisions();
    test_random();
    test_equal();
    return test_end();
}
