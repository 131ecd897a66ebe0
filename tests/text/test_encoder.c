/* The umT5 encoder against recorded embeddings and against a naive one in double precision. */
#include <unistd.h>

#include "goldens.h"
#include "test.h"
#include "text/text.h"
#include "weights/weights.h"

#define LIMIT_F32 1e-5 /* the rule is 1e-4 */
#define LIMIT_BF16 1.5e-2 /* the rule is 3e-2 */

static struct backend *backends[2]; /* f32, bf16 */
static const char *const dtypes[2] = {"f32", "bf16"};
static const double limits[2] = {LIMIT_F32, LIMIT_BF16};

static double relative_l2(const float *a, const float *b, size_t count)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return difference == 0 ? 0 : sqrt(difference / norm);
}

/* Encodes into rows that held garbage. The caller frees the result [rows, dim]; NULL: it failed. */
static float *encode(struct text_encoder *encoder, struct backend *backend, const int32_t *ids,
                     int count, int rows)
{
    int64_t dim = text_encoder_dim(encoder), total = rows * dim;
    struct arena arena;
    arena_init(&arena, backend);
    struct tensor embeds = arena_tensor(&arena, TENSOR_F32, SHAPE(rows, dim));
    struct tensor host = tensor_make(malloc((size_t)total * sizeof(float)), TENSOR_F32,
                                     SHAPE(rows, dim));
    memset(host.data, 0xff, (size_t)total * sizeof(float)); /* NaN */
    backend_upload(backend, embeds, host);
    int code = text_encoder_encode(encoder, ids, count, embeds);
    backend_download(backend, host, embeds);
    arena_finish(&arena);
    if (code == 0)
        return host.data;
    free(host.data);
    return NULL;
}

static bool is_zero(const float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (x[i] != 0)
            return false;
    }
    return true;
}

/* ---- recorded embeddings --------------------------------------------------------------------- */

static int count_valid(const struct weight *mask, int64_t prompt)
{
    int64_t width = mask->tensor.shape[1];
    int count = 0;
    for (int64_t i = 0; i < width; i++)
        count += ((const int32_t *)mask->tensor.data)[prompt * width + i] != 0;
    return count;
}

static void test_golden_in(const struct golden *golden, const struct weights *file, int b)
{
    const struct weight *ids = weights_find(file, "ids"), *mask = weights_find(file, "mask");
    const struct weight *want = weights_find(file, "prompt_embeds");
    struct text_encoder *encoder = NULL;
    CHECK(ids && mask && want && want->tensor.dims == 3);
    CHECK(text_encoder_open(&encoder, backends[b], golden->encoder, &test_log) == 0);
    if (!encoder || !want)
        return;
    int64_t rows = want->tensor.shape[1], dim = want->tensor.shape[2];
    double worst = 0;
    CHECK(text_encoder_dim(encoder) == dim);
    for (int64_t p = 0; p < want->tensor.shape[0]; p++) {
        int count = count_valid(mask, p);
        float *got = encode(encoder, backends[b], (const int32_t *)ids->tensor.data + p * rows,
                            count, (int)rows);
        double error = got ? relative_l2(got, (const float *)want->tensor.data + p * rows * dim,
                                         (size_t)(rows * dim))
                           : NAN;
        CHECK_MSG(error <= limits[b], "%s %s prompt %d: %g", golden->name, dtypes[b], (int)p,
                  error);
        CHECK(got && is_zero(got + count * dim, (rows - count) * dim));
        worst = fmax(worst, error);
        free(got);
    }
    printf("%s %s: relative L2 at most %.2e\n", golden->name, dtypes[b], worst);
    text_encoder_close(encoder);
}

static void test_golden(const struct golden *golden)
{
    char path[GOLDEN_PATH_MAX + 32];
    struct weights *file = NULL;
    snprintf(path, sizeof path, "%s/text.safetensors", golden->expected);
    CHECK(weights_open(&file, path, NULL, &test_log) == 0);
    for (int b = 0; file && b < 2; b++)
        test_golden_in(golden, file, b);
    weights_close(file);
}

/* ---- the naive encoder ----------------------------------------------------------------------- */

struct matrix {
    const struct tensor *t; /* [n, k] */
    int64_t n, k;
};

static struct matrix matrix(const struct weights *file, const char *format, int layer)
{
    char name[96];
    snprintf(name, sizeof name, format, layer);
    const struct weight *w = weights_find(file, name);
    int64_t k = w->tensor.dims > 1 ? w->tensor.shape[1] : 1;
    return (struct matrix){&w->tensor, w->tensor.shape[0], k};
}

static double at(struct matrix m, int64_t row, int64_t column)
{
    return (double)tensor_element(m.t->data, m.t->type, row * m.k + column);
}

/* y [rows, n] = x [rows, k] m^T, the caller's to free. */
static double *multiply(const double *x, int64_t rows, struct matrix m)
{
    double *y = calloc((size_t)(rows * m.n), sizeof *y);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t n = 0; n < m.n; n++)
            for (int64_t k = 0; k < m.k; k++)
                y[i * m.n + n] += x[i * m.k + k] * at(m, n, k);
    return y;
}

static double *normalize(const double *x, int64_t rows, int64_t dim, struct matrix gain)
{
    double *y = malloc((size_t)(rows * dim) * sizeof *y);
    for (int64_t i = 0; i < rows; i++) {
        double sum = 0;
        for (int64_t c = 0; c < dim; c++)
            sum += x[i * dim + c] * x[i * dim + c];
        for (int64_t c = 0; c < dim; c++)
            y[i * dim + c] = x[i * dim + c] / sqrt(sum / (double)dim + 1e-6) * at(gain, c, 0);
    }
    return y;
}

static int bucket(int64_t distance)
{
    double n = fabs((double)distance);
    double far = 8 + floor(log(n / 8) / log(16) * 8 + 1e-9);
    return (distance > 0 ? 16 : 0) + (n < 8 ? (int)n : far < 15 ? (int)far : 15);
}

static double *mix(const double *q, const double *k, const double *v, int64_t rows,
                   struct matrix positions, int64_t width)
{
    int64_t heads = positions.k, all = heads * width;
    double *y = calloc((size_t)(rows * all), sizeof *y), *p = malloc((size_t)rows * sizeof *p);
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t i = 0; i < rows; i++) {
            double sum = 0, most = -INFINITY;
            for (int64_t j = 0; j < rows; j++) {
                p[j] = at(positions, bucket(j - i), h);
                for (int64_t d = 0; d < width; d++)
                    p[j] += q[i * all + h * width + d] * k[j * all + h * width + d];
                most = fmax(most, p[j]);
            }
            for (int64_t j = 0; j < rows; j++)
                sum += p[j] = exp(p[j] - most);
            for (int64_t j = 0; j < rows; j++)
                for (int64_t d = 0; d < width; d++)
                    y[i * all + h * width + d] += p[j] / sum * v[j * all + h * width + d];
        }
    }
    free(p);
    return y;
}

static void add(double *x, double *y, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        x[i] += y[i];
    free(y);
}

static void naive_layer(double *x, const struct weights *file, int layer, int64_t rows, int64_t dim)
{
    double *h = normalize(x, rows, dim, matrix(file, "blocks.%d.norm1.weight", layer));
    struct matrix mq = matrix(file, "blocks.%d.attn.q.weight", layer);
    struct matrix positions = matrix(file, "blocks.%d.pos_embedding.embedding.weight", layer);
    double *q = multiply(h, rows, mq);
    double *k = multiply(h, rows, matrix(file, "blocks.%d.attn.k.weight", layer));
    double *v = multiply(h, rows, matrix(file, "blocks.%d.attn.v.weight", layer));
    double *mixed = mix(q, k, v, rows, positions, mq.n / positions.k);
    add(x, multiply(mixed, rows, matrix(file, "blocks.%d.attn.o.weight", layer)), rows * dim);
    free(h), free(q), free(k), free(v), free(mixed);
    h = normalize(x, rows, dim, matrix(file, "blocks.%d.norm2.weight", layer));
    struct matrix mg = matrix(file, "blocks.%d.ffn.gate.0.weight", layer);
    double *gate = multiply(h, rows, mg);
    double *up = multiply(h, rows, matrix(file, "blocks.%d.ffn.fc1.weight", layer));
    for (int64_t i = 0; i < rows * mg.n; i++)
        up[i] *= 0.5 * gate[i] *
                 (1 + tanh(sqrt(2 / M_PI) * (gate[i] + 0.044715 * gate[i] * gate[i] * gate[i])));
    add(x, multiply(up, rows, matrix(file, "blocks.%d.ffn.fc2.weight", layer)), rows * dim);
    free(h), free(gate), free(up);
}

static float *naive(const struct weights *file, const int32_t *ids, int rows)
{
    struct matrix table = matrix(file, "token_embedding.weight", 0);
    int64_t dim = table.k, total = rows * dim;
    double *x = malloc((size_t)total * sizeof *x);
    float *y = malloc((size_t)total * sizeof *y);
    for (int64_t i = 0; i < total; i++)
        x[i] = at(table, ids[i / dim], i % dim);
    for (int layer = 0; layer < 64; layer++) {
        char name[64];
        snprintf(name, sizeof name, "blocks.%d.norm1.weight", layer);
        if (!weights_find(file, name))
            break;
        naive_layer(x, file, layer, rows, dim);
    }
    double *h = normalize(x, rows, dim, matrix(file, "norm.weight", 0));
    for (int64_t i = 0; i < total; i++)
        y[i] = (float)h[i];
    free(x), free(h);
    return y;
}

/* Lengths that the recordings lack: one token, all rows, distances past the last bucket; longer and
 * shorter ones in turn with one workspace. */
static void test_lengths(const struct golden *golden)
{
    static const struct {
        int count, rows;
    } sizes[] = {{1, 1}, {1, 24}, {24, 24}, {2, 24}, {200, 200}, {9, 200}, {199, 201}, {1, 3}};
    struct weights *file = NULL;
    int32_t ids[256];
    CHECK(weights_open(&file, golden->encoder, NULL, &test_log) == 0);
    for (int i = 0; i < 256; i++)
        ids[i] = (i * 37 + 11) % 600;
    for (int b = 0; file && b < 2; b++) {
        struct text_encoder *encoder = NULL;
        CHECK(text_encoder_open(&encoder, backends[b], golden->encoder, &test_log) == 0);
        if (!encoder)
            break;
        int64_t dim = text_encoder_dim(encoder);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            int count = sizes[i].count, rows = sizes[i].rows;
            float *want = naive(file, ids, count);
            float *got = encode(encoder, backends[b], ids, count, rows);
            double error = got ? relative_l2(got, want, (size_t)(count * dim)) : NAN;
            CHECK_MSG(error <= limits[b], "%d of %d rows in %s: %g", count, rows, dtypes[b], error);
            CHECK(got && is_zero(got + count * dim, (rows - count) * dim));
            free(got), free(want);
        }
        text_encoder_close(encoder);
    }
    weights_close(file);
}

/* q, k and v as one product of three parts are what three products give. */
static void test_stacked(const struct golden *golden)
{
    static const char *const names[] = {"blocks.1.attn.q.weight", "blocks.1.attn.k.weight",
                                        "blocks.1.attn.v.weight"};
    struct backend *b = backends[0];
    struct weights *file = NULL;
    CHECK(weights_open(&file, golden->encoder, NULL, &test_log) == 0);
    if (!file)
        return;
    int64_t n = weights_find(file, names[0])->tensor.shape[0], rows = 7;
    int64_t k = weights_find(file, names[0])->tensor.shape[1];
    struct arena arena;
    arena_init(&arena, b);
    struct tensor x = arena_tensor(&arena, TENSOR_F32, SHAPE(rows, k));
    struct tensor together = arena_tensor(&arena, TENSOR_F32, SHAPE(rows, 3 * n));
    struct tensor apart = arena_tensor(&arena, TENSOR_F32, SHAPE(rows, 3 * n));
    float *host = malloc((size_t)(rows * 3 * n) * sizeof *host);
    float *host2 = malloc((size_t)(rows * 3 * n) * sizeof *host2);
    for (int64_t i = 0; i < rows * k; i++)
        host[i] = (float)sin((double)i);
    backend_upload(b, x, tensor_make(host, TENSOR_F32, SHAPE(rows, k)));
    struct linear_desc all = {.parts = 3, .transient = true};
    struct linear w;
    for (int i = 0; i < 3; i++) {
        struct linear_desc one = {.parts = 1, .transient = true};
        one.weight[0] = all.weight[i] = weights_find(file, names[i])->tensor;
        backend_linear_init(b, &w, &one);
        op_linear(b, tensor_slice(apart, 1, i * n, n), x, &w, ACT_NONE);
        backend_linear_finish(b, &w);
    }
    backend_linear_init(b, &w, &all);
    op_linear(b, together, x, &w, ACT_NONE);
    backend_linear_finish(b, &w);
    backend_download(b, tensor_make(host, TENSOR_F32, SHAPE(rows, 3 * n)), together);
    backend_download(b, tensor_make(host2, TENSOR_F32, SHAPE(rows, 3 * n)), apart);
    double error = relative_l2(host, host2, (size_t)(rows * 3 * n));
    CHECK_MSG(error <= 1e-6, "%g", error);
    free(host), free(host2);
    arena_finish(&arena);
    weights_close(file);
}

/* ---- files that do not fit ------------------------------------------------------------------- */

#define WEIGHTS_MAX 256

/* Collects what is logged. */
static char messages[1 << 14];

static void collect(void *opaque, int level, const char *message)
{
    size_t length = strlen(messages);
    snprintf(messages + length, sizeof messages - length, "%s\n", message);
}

static const unreel_log collecting = {.write = collect};

/* Saves the encoder without tensors that hold `drop` in their names (NULL: all of them there), with
 * `change` done to the list, and opens that. */
static int open_changed(const struct golden *golden, struct text_encoder **encoder,
                        const char *drop, void (*change)(struct weight *, size_t))
{
    struct weight list[WEIGHTS_MAX];
    struct weights *file = NULL;
    const char *path = "encoder_changed.safetensors";
    size_t count = 0;
    *messages = 0;
    CHECK(weights_open(&file, golden->encoder, NULL, &test_log) == 0);
    for (size_t i = 0; i < weights_count(file) && count < WEIGHTS_MAX; i++) {
        if (!drop || !strstr(weights_at(file, i)->name, drop))
            list[count++] = *weights_at(file, i);
    }
    if (change)
        change(list, count);
    CHECK(weights_save(path, list, count, NULL, &test_log) == 0);
    weights_close(file);
    int code = text_encoder_open(encoder, backends[0], path, &collecting);
    CHECK((code == 0) == (*encoder != NULL));
    unlink(path);
    return code;
}

static void rename_one(struct weight *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(list[i].name, "blocks.1.norm2.weight"))
            list[i].name = "blocks.1.extra.weight";
    }
}

static void shorten_table(struct weight *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strstr(list[i].name, "blocks.0.pos_embedding"))
            list[i].tensor = tensor_slice(list[i].tensor, 0, 0, 31);
    }
}

static void test_refused_files(const struct golden *golden)
{
    struct text_encoder *encoder = NULL;
    CHECK(open_changed(golden, &encoder, NULL, NULL) == 0);
    text_encoder_close(encoder);
    CHECK(open_changed(golden, &encoder, "attn.k", NULL) == UNREEL_EFORMAT);
    CHECK(strstr(messages, "blocks.0.attn.k.weight") && strstr(messages, "blocks.1.attn.k.weight"));
    CHECK(open_changed(golden, &encoder, NULL, rename_one) == UNREEL_EFORMAT);
    CHECK(strstr(messages, "missing: blocks.1.norm2.weight") &&
          strstr(messages, "unexpected: blocks.1.extra.weight"));
    CHECK(open_changed(golden, &encoder, NULL, shorten_table) == UNREEL_EFORMAT);
    CHECK(strstr(messages, "[32, 2]"));
    CHECK(open_changed(golden, &encoder, "token_embedding", NULL) == UNREEL_EFORMAT);
    CHECK(strstr(messages, "not a umT5 encoder"));
    CHECK(open_changed(golden, &encoder, "blocks.0", NULL) == UNREEL_EFORMAT);
    char path[GOLDEN_PATH_MAX + 64];
    snprintf(path, sizeof path, "%s", golden->encoder);
    snprintf(strrchr(path, '/'), 32, "/Wan2.1_VAE.pth");
    *messages = 0;
    CHECK(text_encoder_open(&encoder, backends[0], path, &collecting) == UNREEL_EFORMAT);
    CHECK(!encoder);
    CHECK(strstr(messages, "not a umT5 encoder") && strstr(messages, "Wan2.1_VAE.pth"));
    CHECK(text_encoder_open(&encoder, backends[0], "/nowhere", &collecting) == UNREEL_EIO);
    CHECK(backend_status(backends[0]) == 0);
}

/* Requests that make no sense are refused and leave the encoder usable. */
static void test_refused_requests(const struct golden *golden)
{
    struct text_encoder *encoder = NULL;
    CHECK(text_encoder_open(&encoder, backends[0], golden->encoder, &test_log) == 0);
    if (!encoder)
        return;
    CHECK(!encode(encoder, backends[0], (int32_t[]){600}, 1, 4)); /* the vocabulary has 600 */
    CHECK(!encode(encoder, backends[0], (int32_t[]){-1}, 1, 4));
    CHECK(!encode(encoder, backends[0], (int32_t[]){1}, 0, 4));
    CHECK(!encode(encoder, backends[0], (int32_t[]){1, 1, 1, 1, 1}, 5, 4));
    CHECK(backend_status(backends[0]) == 0);
    float *good = encode(encoder, backends[0], (int32_t[]){599, 1}, 2, 4);
    CHECK(good);
    free(good);
    text_encoder_close(encoder);
}

int main(int count, char **arguments)
{
    struct golden nano;
    CHECK(count > 1 && golden_find(&nano, arguments[1], "nano"));
    for (int b = 0; b < 2; b++) {
        struct backend_config config = {.device = "cpu", .dtype = dtypes[b], .threads = 2};
        CHECK(backend_open(&backends[b], &config, &test_log) == 0);
    }
    if (!test_failed) {
        CHECK(golden_each(count, arguments, test_golden) >= 2);
        test_lengths(&nano);
        test_stacked(&nano);
        test_refused_files(&nano);
        test_refused_requests(&nano);
    }
    backend_close(backends[0]);
    backend_close(backends[1]);
    return test_end();
}
