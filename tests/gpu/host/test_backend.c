/* The CUDA backend as a whole, without a device: running out of memory, cancelling, choices kept on
 * disk.
 *
 *   test_backend MODULE */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/backend.h"
#include "folder.h"
#include "test.h"

static const char *module;

static struct backend *open_cuda(const char *dtype, const char *cache)
{
    const struct backend_config config = {
        .device = "cuda", .dtype = dtype, .cache = cache, .module = module};
    struct backend *b = NULL;
    CHECK_MSG(backend_open(&b, &config, &test_log) == 0, "%s", test_message);
    if (!b)
        exit(1);
    return b;
}

/* ---- memory -----------------------------------------------------------------------------------
 */

static void test_out_of_memory(void)
{
    struct backend *b = open_cuda("bf16", NULL);
    struct arena arena;
    arena_init(&arena, b);
    struct tensor small = arena_tensor(&arena, TENSOR_F32, SHAPE(1000));
    CHECK(small.data);
    struct tensor large = arena_tensor(&arena, TENSOR_F32, SHAPE((int64_t)1 << 31));
    CHECK(!large.data && backend_status(b) == UNREEL_ENOMEM);
    op_activate(b, small, small, ACT_RELU); /* nothing runs while the status is set */
    backend_clear(b);
    large = arena_tensor(&arena, TENSOR_F32, SHAPE((int64_t)1 << 20));
    op_activate(b, large, large, ACT_RELU);
    backend_sync(b);
    CHECK(large.data && backend_status(b) == 0);
    arena_finish(&arena);
    CHECK(b->bytes == 0);
    struct backend_memory memory;
    b->ops->memory(b, &memory);
    CHECK(memory.total > 0 && memory.free <= memory.total && strstr(memory.device, "emulated"));
    backend_close(b);
}

static void test_cancel(void)
{
    atomic_bool cancel = true;
    struct backend *b = open_cuda("f32", NULL);
    struct arena arena;
    arena_init(&arena, b);
    struct tensor x = arena_tensor(&arena, TENSOR_F32, SHAPE(10));
    b->cancel = &cancel;
    op_activate(b, x, x, ACT_RELU);
    CHECK(backend_status(b) == UNREEL_ECANCELED);
    b->cancel = NULL;
    backend_clear(b);
    op_activate(b, x, x, ACT_RELU);
    CHECK(backend_status(b) == 0);
    arena_finish(&arena);
    backend_close(b);
}

/* Transfers larger than one piece of pinned memory, between types and strides. */
static void test_large_transfers(void)
{
    enum { ROWS = 3001, WIDTH = 3001 };
    struct backend *b = open_cuda("f32", NULL);
    struct arena arena;
    float *host = malloc(sizeof(float) * ROWS * WIDTH),
          *back = malloc(sizeof(float) * ROWS * WIDTH);
    arena_init(&arena, b);
    struct tensor y = arena_tensor(&arena, TENSOR_BF16, SHAPE(WIDTH, ROWS));
    for (int i = 0; host && i < ROWS * WIDTH; i++)
        host[i] = (float)(i % 251); /* exact in bf16 */
    struct tensor x = tensor_make(host, TENSOR_F32, SHAPE(ROWS, WIDTH));
    backend_upload(b, y, tensor_permute(x, (const int[]){1, 0}));
    backend_download(b, tensor_make(back, TENSOR_F32, SHAPE(ROWS, WIDTH)),
                     tensor_permute(y, (const int[]){1, 0}));
    CHECK(backend_status(b) == 0 && !memcmp(host, back, sizeof(float) * ROWS * WIDTH));
    free(host);
    free(back);
    arena_finish(&arena);
    backend_close(b);
}

/* ---- choices ----------------------------------------------------------------------------------
 */

enum { TOKENS = 12, WIDTH = 32, HEADS = 4 };

struct results {
    float linear[TOKENS * WIDTH], attention[TOKENS * WIDTH], conv[TOKENS * WIDTH];
};

#define ALL_MEMORY (-1)

/* Leaves `bytes` of device memory. */
static void leave_memory(struct backend *b, int64_t bytes)
{
    struct backend_memory memory;
    char text[32];
    unsetenv("UNREEL_EMULATE_MEMORY");
    if (bytes == ALL_MEMORY)
        return;
    b->ops->memory(b, &memory);
    snprintf(text, sizeof text, "%lld", (4LL << 30) - (long long)memory.free + bytes);
    setenv("UNREEL_EMULATE_MEMORY", text, 1);
}

static void fill(float *x, int count, int seed)
{
    for (int i = 0; i < count; i++)
        x[i] = (float)((i * 37 + seed * 11) % 29 - 14) / 16;
}

/* One product, one attention, one convolution, the last of which is chosen with so much memory left. */
static void run_heavy_in(const char *cache, struct results *r, int64_t bytes)
{
    static float weight[WIDTH * WIDTH * 27], input[TOKENS * WIDTH];
    struct backend *b = open_cuda("bf16", cache);
    struct arena arena;
    struct linear linear;
    struct conv conv;
    arena_init(&arena, b);
    fill(weight, WIDTH * WIDTH * 27, 1);
    fill(input, TOKENS * WIDTH, 2);
    struct linear_desc linear_desc = {
        .parts = 1, .weight = {tensor_make(weight, TENSOR_F32, SHAPE(WIDTH, WIDTH))}};
    struct conv_desc conv_desc = {.weight =
                                      tensor_make(weight, TENSOR_F32, SHAPE(WIDTH, WIDTH, 1, 3, 3)),
                                  .pad_before = 1,
                                  .pad_after = 1};
    struct tensor x = arena_tensor(&arena, TENSOR_BF16, SHAPE(TOKENS, WIDTH));
    struct tensor y = arena_tensor(&arena, TENSOR_BF16, SHAPE(TOKENS, WIDTH));
    struct tensor xh = tensor_reshape(x, SHAPE(TOKENS, HEADS, WIDTH / HEADS));
    struct tensor yh = tensor_reshape(y, SHAPE(TOKENS, HEADS, WIDTH / HEADS));
    struct tensor xv = tensor_reshape(x, SHAPE(1, 3, 4, WIDTH));
    struct tensor yv = tensor_reshape(y, SHAPE(1, 3, 4, WIDTH));
    struct tensor host = tensor_make(input, TENSOR_F32, SHAPE(TOKENS, WIDTH));
    backend_upload(b, x, host);
    backend_linear_init(b, &linear, &linear_desc);
    backend_conv_init(b, &conv, &conv_desc);
    op_linear(b, y, x, &linear, ACT_GELU_TANH);
    host.data = r->linear;
    backend_download(b, host, y);
    op_attention(b, yh, xh, xh, xh, 0.5f, (struct tensor){0});
    host.data = r->attention;
    backend_download(b, host, y);
    leave_memory(b, bytes);
    op_conv(b, yv, xv, &conv, ACT_NONE, false);
    leave_memory(b, ALL_MEMORY);
    if (!bytes) { /* the next try has it */
        CHECK_MSG(backend_status(b) == UNREEL_ENOMEM && strstr(test_message, "out of device memory"), "%s",
                  test_message);
        backend_clear(b);
        op_conv(b, yv, xv, &conv, ACT_NONE, false);
    }
    host.data = r->conv;
    backend_download(b, host, y);
    CHECK_MSG(backend_status(b) == 0, "%s", test_message);
    backend_linear_finish(b, &linear);
    backend_conv_finish(b, &conv);
    arena_finish(&arena);
    backend_close(b);
}

static void run_heavy(const char *cache, struct results *r)
{
    run_heavy_in(cache, r, ALL_MEMORY);
}

/* The last byte becomes another. */
static void corrupt(const char *path)
{
    FILE *file = fopen(path, "r+b");
    CHECK(file && !fseek(file, -1, SEEK_END) && fputc(0x55, file) != EOF);
    if (file)
        fclose(file);
}

/* A plan must be of the stand-in's engine 4: the first of the list of those that always work, which
 * is tried second. Of two that take the same time the first is kept. */
static int plans;

static void look_at_engine(const char *path)
{
    static const char name[] = "\n4 engine";
    char end[sizeof name] = "";
    FILE *file = fopen(path, "rb");
    if (file && !fseek(file, 1 - (long)sizeof name, SEEK_END) &&
        fread(end, sizeof name - 1, 1, file) && strstr(end, "engine")) {
        CHECK_MSG(!strcmp(end, name), "%s", end);
        plans++;
    }
    if (file)
        fclose(file);
}

static void cut_short(const char *path)
{
    struct stat info;
    CHECK(!stat(path, &info) && !truncate(path, info.st_size / 2));
}

static void test_choices(void)
{
    char folder[] = "/tmp/unreel-choices-XXXXXX", inner[64];
    static struct results first, again;
    if (!mkdtemp(folder)) {
        CHECK(!"a folder for the test");
        return;
    }
    snprintf(inner, sizeof inner, "%s/a/b", folder);
    run_heavy(inner, &first);
    int files = each_file(inner, NULL);
    CHECK_MSG(files == 3, "%d choices kept, not those of a product, an attention, a convolution",
              files);
    each_file(inner, look_at_engine);
    CHECK_MSG(plans == 2, "%d plans, not those of an attention and a convolution", plans);
    run_heavy(inner, &again);
    CHECK(!memcmp(&first, &again, sizeof first) && each_file(inner, NULL) == files);
    void (*const harm[])(const char *) = {corrupt, cut_short};
    for (int i = 0; i < 2; i++) {
        each_file(inner, harm[i]);
        memset(&again, 0, sizeof again);
        run_heavy(inner, &again);
        CHECK(!memcmp(&first, &again, sizeof first) && each_file(inner, NULL) == files);
    }
    remove_folder(inner);
    run_heavy_in(inner, &again, 0);
    CHECK(!memcmp(&first, &again, sizeof first) && each_file(inner, NULL) == files);
    remove_folder(inner);
    run_heavy_in(inner, &again, 900); /* for the stand-in's engine 3, not for 4: it serves, and is not kept */
    CHECK(!memcmp(&first, &again, sizeof first) && each_file(inner, NULL) == files - 1);
    run_heavy("/proc/unreel", &again); /* cannot be made: is done without */
    CHECK(!memcmp(&first, &again, sizeof first));
    remove_folder(inner);
    snprintf(inner, sizeof inner, "%s/a", folder);
    rmdir(inner);
    rmdir(folder);
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static void test_open(void)
{
    struct backend *b = NULL;
    struct backend_config config = {.device = "cuda", .dtype = "f16", .module = module};
    CHECK(backend_open(&b, &config, &test_log) == UNREEL_EINVAL && !b);
    config = (struct backend_config){.device = "cuda", .dtype = "auto", .module = "/nowhere.so"};
    CHECK(backend_open(&b, &config, &test_log) == UNREEL_EUNSUPPORTED && !b);
    CHECK(strstr(test_message, "/nowhere.so"));
    config.device = "auto"; /* a module that is unusable: the CPU */
    CHECK(backend_open(&b, &config, &test_log) == 0 && b && !strcmp(b->ops->name, "cpu"));
    backend_close(b);
    config.module = module;
    CHECK(backend_open(&b, &config, &test_log) == 0 && b && !strcmp(b->ops->name, "cuda"));
    CHECK(b->compute == TENSOR_BF16 && !b->fp8);
    backend_close(b);
}

/* FP8 is not for Ampere, and never quietly something else. */
static void test_fp8(void)
{
    struct backend *b = open_cuda("fp8", NULL);
    CHECK(b->fp8 && b->compute == TENSOR_BF16);
    backend_close(b);
    setenv("UNREEL_EMULATE_REFUSE", "fp8", 1);
    struct backend_config config = {.device = "cuda", .dtype = "fp8", .module = module};
    CHECK(backend_open(&b, &config, &test_log) == UNREEL_EUNSUPPORTED && !b);
    CHECK_MSG(strstr(test_message, "8.9"), "%s", test_message);
    config.device = "auto";
    CHECK(backend_open(&b, &config, &test_log) == UNREEL_EUNSUPPORTED && !b);
    CHECK_MSG(strstr(test_message, "8.9"), "%s", test_message);
    unsetenv("UNREEL_EMULATE_REFUSE");
}

/* Each part can be left out; other names are refused. */
static void test_without(void)
{
    struct backend_config config = {.device = "cuda", .dtype = "bf16", .module = module};
    struct backend *b = NULL;
    config.without = "graphs,fusion";
    CHECK(backend_open(&b, &config, &test_log) == UNREEL_EINVAL && !b);
    CHECK(strstr(test_message, "fusion"));
    config.without = "graphs,fused,lengths,cudnn,cublaslt";
    CHECK(backend_open(&b, &config, &test_log) == 0);
    CHECK(!b->ops->record_begin && !b->ops->store_qkv && !b->ops->attention_held);
    backend_close(b);
    config.without = "lengths";
    CHECK(backend_open(&b, &config, &test_log) == 0);
    CHECK(b->ops->record_begin && b->ops->store_qkv && !b->ops->attention_held);
    backend_close(b);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    module = argv[1];
    test_open();
    test_fp8();
    test_out_of_memory();
    test_cancel();
    test_large_transfers();
    test_choices();
    test_without();
    return test_end();
}
