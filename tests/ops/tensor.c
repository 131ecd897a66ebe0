/* Views: every element of a view must be where counting through the original says. */
#include "backend/tensor.h"
#include "test.h"

static int element(struct tensor t, const int64_t *at)
{
    int64_t offset = 0;
    for (int i = 0; i < t.dims; i++)
        offset += at[i] * t.stride[i];
    return ((const int *)t.data)[offset];
}

/* Element number i of the view, last dimension fastest. */
static int nth(struct tensor t, int64_t i)
{
    int64_t at[TENSOR_DIMS];
    for (int d = t.dims - 1; d >= 0; i /= t.shape[d--])
        at[d] = i % t.shape[d];
    return element(t, at);
}

static bool same_elements(struct tensor a, struct tensor b)
{
    if (tensor_count(&a) != tensor_count(&b))
        return false;
    for (int64_t i = 0; i < tensor_count(&a); i++)
        if (nth(a, i) != nth(b, i))
            return false;
    return true;
}

static int data[2 * 3 * 4 * 5 * 6];

static struct tensor base(void)
{
    for (int i = 0; i < 720; i++)
        data[i] = i;
    return tensor_make(data, TENSOR_I32, SHAPE(2, 3, 4, 5, 6));
}

static void test_make(void)
{
    struct tensor t = base();
    CHECK(t.dims == 5 && tensor_count(&t) == 720 && tensor_bytes(&t) == 2880);
    CHECK(t.stride[4] == 1 && t.stride[3] == 6 && t.stride[2] == 30 && t.stride[0] == 360);
    CHECK(tensor_is_contiguous(&t));
    for (int i = 0; i < 720; i++)
        CHECK(nth(t, i) == i);
    struct tensor h = tensor_make(data, TENSOR_BF16, SHAPE(7));
    CHECK(tensor_bytes(&h) == 14 && tensor_is_contiguous(&h));
    char text[128];
    CHECK(!strcmp(tensor_shape_text(t.dims, t.shape, text), "[2, 3, 4, 5, 6]"));
    CHECK(tensor_same_shape(&t, &t) && !tensor_same_shape(&t, &h));
}

static void test_slice(void)
{
    struct tensor t = base();
    for (int d = 0; d < 5; d++) {
        for (int64_t start = 0; start < t.shape[d]; start++) {
            struct tensor s = tensor_slice(t, d, start, t.shape[d] - start);
            int64_t at[5] = {1, 2, 3, 4, 5}, moved[5] = {1, 2, 3, 4, 5};
            at[d] = t.shape[d] - 1;
            moved[d] = at[d] - start;
            CHECK(element(s, moved) == element(t, at));
            CHECK(tensor_is_contiguous(&s) == (d == 0 || start == 0));
        }
        struct tensor one = tensor_slice(t, d, 1, 1), none = tensor_slice(t, d, 1, 0);
        CHECK(one.shape[d] == 1 && tensor_count(&one) == 720 / t.shape[d]);
        CHECK(tensor_count(&none) == 0);
    }
    struct tensor inner = tensor_slice(tensor_slice(t, 0, 1, 1), 1, 2, 1);
    CHECK(tensor_is_contiguous(&inner)); /* strides of length 1 do not matter */
    CHECK(nth(inner, 0) == 600);
}

static void check_reshape(struct tensor t, int dims, const int64_t *shape)
{
    struct tensor r = tensor_reshape(t, dims, shape);
    CHECK(r.dims == dims && !memcmp(r.shape, shape, (size_t)dims * sizeof *shape));
    CHECK(r.data == t.data && r.type == t.type);
    CHECK(same_elements(t, r));
}

static void test_reshape(void)
{
    struct tensor t = base();
    check_reshape(t, SHAPE(720));
    check_reshape(t, SHAPE(6, 120));
    check_reshape(t, SHAPE(1, 720, 1));
    check_reshape(t, SHAPE(8, 9, 10));
    check_reshape(t, SHAPE(1, 2, 12, 1, 30, 1));
    struct tensor s = tensor_slice(t, 4, 1, 4); /* rows of 4 in 6 */
    check_reshape(s, SHAPE(120, 4));
    check_reshape(s, SHAPE(2, 60, 2, 2));
    check_reshape(s, SHAPE(2, 3, 20, 1, 4, 1));
    struct tensor f = tensor_slice(t, 1, 1, 2); /* frames */
    check_reshape(f, SHAPE(2, 240));
    check_reshape(f, SHAPE(2, 2, 20, 6));
    check_reshape(f, SHAPE(1, 2, 8, 5, 6));
    struct tensor one = tensor_slice(t, 0, 1, 1);
    check_reshape(one, SHAPE(360));
    check_reshape(tensor_slice(tensor_slice(one, 1, 2, 1), 2, 1, 2), SHAPE(2, 30));
    struct tensor scalar = tensor_make(data, TENSOR_I32, SHAPE(1));
    check_reshape(scalar, SHAPE(1, 1, 1));
    check_reshape(tensor_make(data, TENSOR_I32, SHAPE(1, 1)), SHAPE(1));
}

static void test_permute(void)
{
    struct tensor t = base();
    static const int orders[][5] = {
        {0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {1, 0, 3, 2, 4}, {2, 4, 0, 1, 3}};
    for (int o = 0; o < 4; o++) {
        struct tensor p = tensor_permute(t, orders[o]);
        CHECK(tensor_is_contiguous(&p) == (o == 0));
        for (int64_t i = 0; i < 720; i++) {
            int64_t at[5], back[5], rest = i;
            for (int d = 4; d >= 0; rest /= p.shape[d--])
                at[d] = rest % p.shape[d];
            for (int d = 0; d < 5; d++)
                back[orders[o][d]] = at[d];
            CHECK(element(p, at) == element(t, back));
        }
    }
    /* [T, H, W, C] from [C, T, H, W], frames merged */
    struct tensor c = tensor_permute(tensor_slice(t, 0, 1, 1), (const int[]){1, 2, 3, 4, 0});
    check_reshape(c, SHAPE(3, 20, 6));
}

/* Scales go with their rows. */
static void test_scales(void)
{
    float scale[4];
    struct tensor t = tensor_make(data, TENSOR_E4M3, SHAPE(4, 16));
    t.scale = scale;
    CHECK(tensor_bytes(&t) == 64 && tensor_slice(t, 0, 2, 1).scale == scale + 2);
    CHECK(tensor_slice(t, 1, 8, 4).scale == scale);
    CHECK(tensor_slice(t, 0, 2, 1).data == (char *)data + 32);
}

static void test_elements(void)
{
    CHECK(bf16_from_f32(1.0f) == 0x3f80 && bf16_to_f32(0x3f80) == 1);
    CHECK(bf16_from_f32(0x1.01p0f) == 0x3f80); /* half: to even */
    CHECK(bf16_from_f32(0x1.03p0f) == 0x3f82); /* half: to even, up */
    CHECK(bf16_from_f32(0x1.010002p0f) == 0x3f81);
    CHECK(bf16_from_f32(3.4e38f) == 0x7f80); /* past the largest: infinity */
    CHECK(isnan(bf16_to_f32(bf16_from_f32(NAN))));
    CHECK(bf16_from_f32(-INFINITY) == 0xff80);
    CHECK(f16_to_f32(0x3c00) == 1 && f16_to_f32(0xc000) == -2 && f16_to_f32(0x7bff) == 65504);
    CHECK(f16_to_f32(0x0001) == 0x1p-24f && f16_to_f32(0x8000) == 0 && isinf(f16_to_f32(0x7c00)));
    CHECK(isnan(f16_to_f32(0x7e00)));
    CHECK(e4m3_to_f32(0x38) == 1 && e4m3_to_f32(0xfe) == -448 && e4m3_to_f32(0x01) == 0x1p-9f);
    CHECK(e4m3_to_f32(0x08) == 0x1p-6f && isnan(e4m3_to_f32(0x7f)));
    const uint16_t half[] = {0, 0x3c00};
    const int32_t whole[] = {0, 0, -7};
    CHECK(tensor_element(half, TENSOR_F16, 1) == 1 && tensor_element(whole, TENSOR_I32, 2) == -7);
}

int main(void)
{
    test_make();
    test_slice();
    test_reshape();
    test_permute();
    test_scales();
    test_elements();
    return test_end();
}
