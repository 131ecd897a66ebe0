/* Products of rows with packed weights by AMX, for linear.c and conv.c.
 *
 * Rows are dealt with in blocks of AMX_ROWS. A row of the first factor need not be in one piece: it is
 * made of runs, each a multiple of 32 elements long, that begin at given distances from where the row
 * begins; a convolution's runs are rows of its kernel. Weights [N, K] are packed in panels of AMX_COLUMNS
 * outputs, K in the order of the runs; sums of all blocks are kept while run after run is added, so that
 * the part of a panel that a run needs stays in the first-level cache. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"

#define AMX_ROWS 32
#define AMX_COLUMNS 32
#define AMX_STEP 32         /* elements of K a tile holds */
#define AMX_STEP_BYTES 2048 /* of a packed panel a step */
#define AMX_RUN_STEPS 18    /* at most: 36 KiB of weights, beside them the cache has little room */
#define AMX_SUM_BYTES (AMX_ROWS * AMX_COLUMNS * 4) /* of a block */

struct amx_run {
    int64_t offset; /* bytes from where a row begins */
    int64_t steps;  /* 1..AMX_RUN_STEPS */
};

struct amx_block {
    const char *a;             /* first row; all AMX_ROWS (16, if rows <= 16) must be readable */
    const struct amx_run *run; /* of the product's number of runs, all the same but for offsets */
    char *y;                   /* first row of the output */
    int rows;                  /* 1..AMX_ROWS */
};

struct amx_product {
    const struct amx_block *block;
    int blocks, runs;
    int64_t a_stride, y_stride; /* bytes from row to row */
    int64_t a_half, a_step;     /* bytes to row 16, to the next 32 elements */
    const char *weights;        /* panels of `steps` steps */
    int64_t steps;              /* of all runs */
    int64_t first_panel, panels;
    int64_t columns;            /* N */
    const float *bias;          /* [panels * AMX_COLUMNS], from the first panel of all */
    enum tensor_type y_type;
    enum activation act;
    bool accumulate;            /* y += ; then act is ACT_NONE */
    bool large;                 /* y will be out of the caches before it is read: it is written past */
                                /* them, which spares reading its lines first */
    float *sums;                /* [blocks] AMX_SUM_BYTES, 64-byte aligned */
    const struct amx_fetch *fetch; /* brought into the second-level cache meanwhile */
    int fetches;
    bool resident; /* the weights are there already */
    /* A product over more of K than fits the caches is made by several calls; sums wait in between. */
    bool continues, unfinished; /* sums hold something; y is not written yet */
    int64_t sums_stride;        /* floats from panel to panel; 0: all in the same place */
};

/* Up to this many outputs take half the time. */
#define AMX_NARROW 16

#define AMX_LARGE (4 << 20) /* bytes of y, from where on it counts as large */

/* Memory that will be wanted soon. */
struct amx_fetch {
    const char *from;
    int64_t bytes;
};

/* Between the two all products of a thread. */
void amx_begin(void);
void amx_end(void);

/* ACT_NONE, ACT_SILU, ACT_GELU_TANH and ACT_RELU; others are the caller's. */
void amx_product(const struct amx_product *product);

/* Packs rows for blocks with a_stride 64, a_half 1024, a_step 2048: [AMX_ROWS rows][steps] of every
 * block; what is beyond rows or k is zero. Stride in elements. */
void amx_pack_rows(char *to, const uint16_t *x, int64_t stride, int64_t rows, int64_t k);

/* Packs outputs [0, columns) of K elements, a row of f32 every `stride` elements, into one panel; what
 * is beyond columns or K is zero. */
void amx_pack_f32(char *panel, const float *weights, int64_t stride, int64_t columns, int64_t k);
/* The same from bf16. */
void amx_pack_bf16(char *panel, const uint16_t *weights, int64_t stride, int64_t columns,
                   int64_t k);

static inline int64_t amx_steps(int64_t k)
{
    return (k + AMX_STEP - 1) / AMX_STEP;
}

static inline size_t amx_panel_bytes(int64_t k)
{
    return (size_t)amx_steps(k) * AMX_STEP_BYTES;
}
