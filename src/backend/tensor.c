#include "backend/tensor.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

size_t tensor_type_size(enum tensor_type type)
{
    static const unsigned char sizes[] = {4, 2, 2, 4, 1};
    return sizes[type];
}

const char *tensor_type_name(enum tensor_type type)
{
    static const char *const names[] = {"F32", "BF16", "F16", "I32", "E4M3"};
    return names[type];
}

struct tensor tensor_make(void *data, enum tensor_type type, int dims, const int64_t *shape)
{
    struct tensor t = {.data = data, .type = type, .dims = dims};
    assert(dims >= 1 && dims <= TENSOR_DIMS);
    int64_t stride = 1;
    for (int i = dims - 1; i >= 0; i--) {
        t.shape[i] = shape[i];
        t.stride[i] = stride;
        stride *= shape[i];
    }
    return t;
}

int64_t tensor_count(const struct tensor *t)
{
    int64_t count = 1;
    for (int i = 0; i < t->dims; i++)
        count *= t->shape[i];
    return count;
}

size_t tensor_bytes(const struct tensor *t)
{
    return (size_t)tensor_count(t) * tensor_type_size(t->type);
}

bool tensor_is_contiguous(const struct tensor *t)
{
    int64_t stride = 1;
    for (int i = t->dims - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != stride)
            return false;
        stride *= t->shape[i];
    }
    return true;
}

bool tensor_same_shape(const struct tensor *a, const struct tensor *b)
{
    if (a->dims != b->dims)
        return false;
    return memcmp(a->shape, b->shape, sizeof a->shape[0] * (size_t)a->dims) == 0;
}

struct tensor tensor_slice(struct tensor t, int dim, int64_t start, int64_t count)
{
    assert(dim >= 0 && dim < t.dims && start >= 0 && count >= 0);
    assert(start + count <= t.shape[dim]);
    t.data = (char *)t.data + start * t.stride[dim] * (int64_t)tensor_type_size(t.type);
    if (t.scale && dim == 0)
        t.scale += start;
    t.shape[dim] = count;
    return t;
}

/* Old dimensions without those of length 1, neighbours merged where memory is contiguous; the new
 * shape is then cut out of these runs. */
struct tensor tensor_reshape(struct tensor t, int dims, const int64_t *shape)
{
    int64_t length[TENSOR_DIMS], stride[TENSOR_DIMS];
    int runs = 0;
    for (int i = 0; i < t.dims; i++) {
        if (t.shape[i] == 1)
            continue;
        if (runs && stride[runs - 1] == t.shape[i] * t.stride[i]) {
            length[runs - 1] *= t.shape[i];
            stride[runs - 1] = t.stride[i];
        } else {
            length[runs] = t.shape[i];
            stride[runs++] = t.stride[i];
        }
    }
    struct tensor r = {.data = t.data, .type = t.type, .dims = dims};
    assert(dims >= 1 && dims <= TENSOR_DIMS && t.type != TENSOR_E4M3);
    int run = runs - 1;
    int64_t inner = 1; /* elements of the current run already used by inner dimensions */
    for (int i = dims - 1; i >= 0; i--) {
        r.shape[i] = shape[i];
        if (shape[i] == 1) {
            r.stride[i] = run >= 0 ? inner * stride[run] : 1;
            continue;
        }
        if (run >= 0 && inner == length[run]) {
            run--;
            inner = 1;
        }
        assert(run >= 0 && length[run] % (inner * shape[i]) == 0);
        r.stride[i] = inner * stride[run];
        inner *= shape[i];
    }
    assert((run < 0 && inner == 1) || (run == 0 && inner == length[0]));
    return r;
}

struct tensor tensor_permute(struct tensor t, const int *order)
{
    struct tensor r = t;
    assert(t.type != TENSOR_E4M3);
    for (int i = 0; i < t.dims; i++) {
        r.shape[i] = t.shape[order[i]];
        r.stride[i] = t.stride[order[i]];
    }
    return r;
}

void tensor_drop_pages(const struct tensor *t)
{
    if (t->mapped)
        file_drop_pages(t->data, tensor_bytes(t));
}

char *tensor_shape_text(int dims, const int64_t *shape, char *buffer)
{
    int n = sprintf(buffer, "[");
    for (int i = 0; i < dims && n < 100; i++)
        n += sprintf(buffer + n, "%s%lld", i ? ", " : "", (long long)shape[i]);
    sprintf(buffer + n, "]");
    return buffer;
}

float f16_to_f32(uint16_t x)
{
    uint32_t sign = (uint32_t)(x >> 15) << 31, exponent = x >> 10 & 31, fraction = x & 1023;
    union {
        uint32_t u;
        float f;
    } v;
    if (exponent == 0) { /* zero and subnormal: fraction * 2^-24 */
        v.f = (float)fraction * 0x1p-24f;
        v.u |= sign;
    } else if (exponent == 31) {
        v.u = sign | 0x7f800000 | fraction << 13;
    } else {
        v.u = sign | (exponent + 112) << 23 | fraction << 13;
    }
    return v.f;
}

float e4m3_to_f32(uint8_t x)
{
    int exponent = x >> 3 & 15, fraction = x & 7;
    float size = exponent == 15 && fraction == 7 ? NAN
                 : exponent                      ? ldexpf((float)(8 + fraction), exponent - 10)
                                                 : ldexpf((float)fraction, -9);
    return x >> 7 ? -size : size;
}

float tensor_element(const void *data, enum tensor_type type, int64_t i)
{
    switch (type) {
    case TENSOR_F32:
        return ((const float *)data)[i];
    case TENSOR_BF16:
        return bf16_to_f32(((const uint16_t *)data)[i]);
    case TENSOR_F16:
        return f16_to_f32(((const uint16_t *)data)[i]);
    case TENSOR_I32:
        return (float)((const int32_t *)data)[i];
    case TENSOR_E4M3:
        return e4m3_to_f32(((const uint8_t *)data)[i]);
    }
    return 0;
}
