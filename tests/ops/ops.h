/* Tests of operations against references in double precision.
 *
 * A test is a function of a backend; ops_run() calls it for every instruction set, implementation
 * of the heavy operations, type and number of threads of the CPU backend, or, with --device NAME,
 * for another device. Data go through upload and download only. Every tensor that a test makes
 * knows its surroundings, which no operation may touch. */
#pragma once

#include <stdbool.h>

#include "backend/backend.h"
#include "test.h"

enum fill {
    FILL_NORMAL, /* about 1 */
    FILL_LARGE,
    FILL_TINY,
    FILL_ZERO,
    FILL_DENORMAL,
    FILL_EQUAL, /* all the same */
    FILL_MIXED, /* magnitudes from 1e-6 to 1e6 */
    FILLS,
};

const char *fill_name(enum fill fill);

enum layout {
    LAYOUT_DENSE,
    LAYOUT_ROWS,   /* every row (last dimension) has unused elements before and after */
    LAYOUT_FRAMES, /* the outermost dimension is strided, all others dense */
};

struct ops {
    struct backend *b;
    struct arena arena;
    char name[96]; /* "avx2 plain bf16, 2 threads" */
};

struct ops_tensor {
    struct tensor t; /* in the backend */
    double *value;   /* [count] in the order of the view, exactly what the tensor holds */
    int64_t count;
    /* surroundings */
    struct tensor base; /* dense */
    bool *inside;       /* of base */
    int64_t *offset;    /* [count] of the elements in base */
};

struct ops_options {
    uint64_t seed;
    const char *device;
    const char *module;   /* of the CUDA backend */
    const char *emulated; /* the same, but it works on any machine */
};

/* --seed N, --device NAME, --module PATH, --emulated PATH; prints the seed. */
void ops_options(int argc, char **argv);

/* Runs `test` on every variant that this machine has. `heavy`: it uses linear, conv or attention,
 * so that the implementations of these matter. */
void ops_run(const char *what, bool heavy, void (*test)(struct ops *ops));

/* The same with FP8, for which --device must be given. */
void ops_run_fp8(const char *what, void (*test)(struct ops *ops));

/* Frees what the test has made so far. */
void ops_free(struct ops *ops);

uint64_t ops_random(void);
double ops_uniform(double low, double high);
int64_t ops_between(int64_t low, int64_t high); /* both possible */

/* Nearest value of the type, ties to even. */
double ops_round(double x, enum tensor_type type);

/* Half a unit in the last place, relative. */
double ops_unit(enum tensor_type type);

/* Sum of a[i step_a] b[i step_b]; adds the sum of their magnitudes to *size. */
double ops_dot(const double *a, int64_t step_a, const double *b, int64_t step_b, int64_t count, double *size);

/* A value as `fill` says; `large` is what LARGE and MIXED are limited to. */
double ops_value(enum fill fill, double large);

struct ops_tensor ops_make(struct ops *ops, enum tensor_type type, enum layout layout,
                           enum fill fill, double large, int dims, const int64_t *shape);

/* The same contents in other memory of the same layout: for operations in place. */
struct ops_tensor ops_output(struct ops *ops, enum tensor_type type, enum layout layout, int dims,
                             const int64_t *shape);

/* Sets contents. */
void ops_set(struct ops *ops, struct ops_tensor *t, const double *value);

/* What the tensor holds now, in the order of the view; valid until ops_free(). Checks that nothing
 * around it has changed. */
const double *ops_read(struct ops *ops, const struct ops_tensor *t);

/* Compares with a reference: |y - want| <= tolerance for each. NaN wants NaN. */
void ops_compare(struct ops *ops, const char *what, const struct ops_tensor *y, const double *want,
                 const double *tolerance);

/* Each must be what is wanted, down to denormals. */
void ops_compare_exact(struct ops *ops, const char *what, const struct ops_tensor *y,
                       const double *want);

/* Host memory that ops_free() frees. */
void *ops_memory(struct ops *ops, size_t bytes);
double *ops_doubles(struct ops *ops, int64_t count);
