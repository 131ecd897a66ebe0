/* A test program: a main() that runs functions whose CHECK() counts; ends with test_end(),
 * which prints "N passed, M failed" and gives the exit code. 77 means skipped. */
#pragma once

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unreel/unreel.h>

/* Weak: one of each, also where a program has several files. */
__attribute__((weak)) int test_passed, test_failed;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (condition) {                                                                           \
            test_passed++;                                                                         \
        } else {                                                                                   \
            test_failed++;                                                                         \
            printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                         \
        }                                                                                          \
    } while (0)

/* With a line that says what was seen. */
#define CHECK_MSG(condition, ...)                                                                  \
    do {                                                                                           \
        if (condition) {                                                                           \
            test_passed++;                                                                         \
        } else {                                                                                   \
            test_failed++;                                                                         \
            printf("%s:%d: failed: %s: ", __FILE__, __LINE__, #condition);                         \
            printf(__VA_ARGS__);                                                                   \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

/* The larger; NaN once there was one, which fmax() would pass over. */
static inline double test_worse(double worst, double d)
{
    return worst < d || isnan(d) ? d : worst;
}

static inline int test_end(void)
{
    printf("%d passed, %d failed\n", test_passed, test_failed);
    return test_failed || !test_passed;
}

/* The last message at warning or error level, for tests of errors; prints nothing. */
__attribute__((weak)) char test_message[2048];

static inline void test_log_write(void *opaque, int level, const char *message)
{
    (void)opaque;
    if (level <= UNREEL_LOG_WARNING)
        snprintf(test_message, sizeof test_message, "%s", message);
}

static const unreel_log test_log = {.write = test_log_write};
