/* What the tests of kernels share (test_kernels.c), and their parts, each a family of kernels. */
#pragma once

#include "../ops/ops.h"
#include "kernels.h"

static const enum tensor_type types[] = {TENSOR_F32, TENSOR_BF16};

void launched(struct ops *ops, cudaError_t error, const char *what);

struct kernel_rows rows_of(const struct ops_tensor *t);
struct kernel_vectors vectors_of(const struct ops_tensor *t);
struct kernel_video video_of(const struct ops_tensor *t);

/* Memory for what is neither f32 nor bf16. */
void *raw(struct ops *ops, int64_t bytes);

/* Both hold the same, bit for bit. */
void expect_same(struct ops *ops, const char *what, const struct ops_tensor *y,
                 const struct ops_tensor *want);

/* The same sums of numbers about 1, perhaps in another order: that depends on alignment. */
void expect_near(struct ops *ops, const char *what, const struct ops_tensor *y, const double *want);

/* ---- FP8 ----------------------------------------------------------------------------------- */

double decode_e4m3(uint8_t x);

struct quantised {
    struct kernel_rows rows;
    uint8_t *data;
    float *scale;
    int64_t count, width;
};

/* fixed 0: a scale for each row. */
struct quantised make_quantised(struct ops *ops, int64_t rows, int64_t width, float fixed);

/* What `want` f32 [rows, width] must be as E4M3. */
void check_quantised(struct ops *ops, const char *what, const struct quantised *q,
                     const struct ops_tensor *want);

/* ---- tokens -------------------------------------------------------------------------------- */

/* Angles of any tokens. */
struct block {
    int64_t shape[5]; /* F, H, W, heads, D */
    struct ops_tensor frame, row, column;
    struct kernel_rope rope;
};

struct block make_block(struct ops *ops, const int64_t *shape);

/* ---- the parts ------------------------------------------------------------------------------- */

/* test_kernels_quantise.c */
void test_rounding(struct ops *ops);
void test_codes(struct ops *ops);
void test_products(struct ops *ops);
void test_epilogue(struct ops *ops);
void test_nan(struct ops *ops);
void test_norms(struct ops *ops);

/* test_kernels_alignment.c */
void test_alignment(struct ops *ops);
void test_offsets(struct ops *ops);
void test_video(struct ops *ops);

/* test_kernels_tokens.c */
void test_store(struct ops *ops);
void test_positions(struct ops *ops);
void test_keys_held(struct ops *ops);

/* test_kernels_pictures.c */
void test_noise(struct ops *ops);
void test_factors(struct ops *ops);
void test_pictures(struct ops *ops);
void test_upsample(struct ops *ops);
