/* Tensors: views of memory that somebody else owns. Features are last everywhere: tokens [L, C],
 * video [T, H, W, C]. The last dimension is contiguous unless a function says otherwise. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TENSOR_DIMS 6

enum tensor_type {
    TENSOR_F32,
    TENSOR_BF16,
    TENSOR_F16,  /* only in files: backends compute in f32 and bf16 */
    TENSOR_I32,  /* in files; slots, positions, lengths in backend memory */
    TENSOR_E4M3, /* 8-bit floats of up to 448: matrices in backend memory, with scales; can be sliced,
                    not reshaped or permuted */
};

struct tensor {
    void *data; /* host or device memory; NULL: no tensor */
    enum tensor_type type;
    int dims;
    bool mapped; /* pages of a file, which come back when they are touched again */
    int64_t shape[TENSOR_DIMS];
    int64_t stride[TENSOR_DIMS]; /* elements */
    float *scale; /* E4M3: [rows]; row r is worth its elements times scale[r] */
};

#define SHAPE(...) \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]){__VA_ARGS__}

size_t tensor_type_size(enum tensor_type type); /* bytes an element */
const char *tensor_type_name(enum tensor_type type);

/* A contiguous tensor: tensor_make(data, TENSOR_F32, SHAPE(L, C)). */
struct tensor tensor_make(void *data, enum tensor_type type, int dims, const int64_t *shape);

int64_t tensor_count(const struct tensor *t);  /* elements */
size_t tensor_bytes(const struct tensor *t);   /* elements times their size, whatever the strides */
bool tensor_is_contiguous(const struct tensor *t);
bool tensor_same_shape(const struct tensor *a, const struct tensor *b);

/* Elements [start, start + count) of one dimension. */
struct tensor tensor_slice(struct tensor t, int dim, int64_t start, int64_t count);

/* The same elements under another shape. Dimensions may be split freely and merged where the strides
 * allow it; asserts that they do. tensor_reshape(t, SHAPE(T * H * W, C)). */
struct tensor tensor_reshape(struct tensor t, int dims, const int64_t *shape);

/* Dimensions in another order: result dimension i is dimension order[i] of t. */
struct tensor tensor_permute(struct tensor t, const int *order);

/* Lets go of the memory of a contiguous tensor that is pages of a file: it is converted, and not needed soon. */
void tensor_drop_pages(const struct tensor *t);

/* "[3, 16, 60, 104]" into a buffer of at least 128 bytes, which it returns. */
char *tensor_shape_text(int dims, const int64_t *shape, char *buffer);

static inline float bf16_to_f32(uint16_t x)
{
    union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)x << 16};
    return v.f;
}

/* Round to nearest even; NaN stays NaN. */
static inline uint16_t bf16_from_f32(float x)
{
    union {
        float f;
        uint32_t u;
    } v = {.f = x};
    if ((v.u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(v.u >> 16 | 0x40);
    return (uint16_t)((v.u + 0x7fff + (v.u >> 16 & 1)) >> 16);
}

float f16_to_f32(uint16_t x);
float e4m3_to_f32(uint8_t x);

/* Element i of contiguous host memory as f32; of E4M3 without its scale. */
float tensor_element(const void *data, enum tensor_type type, int64_t i);
