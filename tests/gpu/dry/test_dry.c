/* The published model at its real size on the CUDA backend, without a device: cuDNN plans everything that is
 * asked for, nothing but the first pass of a kind is launched one by one, and all of it fits the memory that
 * there is. Weights are made up, nothing is computed, and times mean nothing.
 *
 *   test_dry [--long] ARCH GIB:DTYPE...      with as many GiB of memory; ARCH as 90
 *
 * A device has a little less memory than its name says, and the driver takes of it: what fits here has to leave
 * ROOM. With --long only where UNREEL_TEST_LONG asks for it: minutes of compiling. Skipped without cuDNN. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unreel/diagnose.h>

#include "../host/folder.h"
#include "base/json.h"
#include "library.h"
#include "test.h"

#define ROOM ((int64_t)768 << 20)
#define CUDNN_MIN 91500 /* from where a ring that fills has one plan */
#define RECAPTURES 4    /* where a workspace grows, graphs are captured again */

bool dry_load_cudnn(struct dnn_api *api, const unreel_log *log); /* dnn_load() of cuda/library.c */

struct text {
    char data[65536];
    size_t size;
};

static void append(void *opaque, const char *line)
{
    struct text *text = opaque;
    size_t room = sizeof text->data - text->size, n = strlen(line) + 1;
    CHECK_MSG(n < room, "more text than there is room for");
    if (n < room)
        text->size += (size_t)snprintf(text->data + text->size, room, "%s\n", line);
}

/* What cuDNN has no plan for is said in a line. */
static void watch(void *opaque, int level, const char *message)
{
    bool *emulated = opaque;
    *emulated |= strstr(message, "cuda: emulated") != NULL;
    CHECK_MSG(!strstr(message, "slow") && !strstr(message, "nothing for"), "%s", message);
    printf("%s\n", message);
}

static int64_t number(const struct json *object, const char *key)
{
    int64_t value = -1;
    CHECK_MSG(json_int(json_get(object, key), &value), "no %s", key);
    return value;
}

static void check_replayed(const struct json *stream, const char *all, const char *replayed, int64_t others_max)
{
    int64_t of = number(stream, all), n = number(stream, replayed);
    printf("  %" PRId64 " of %" PRId64 " %s replayed\n", n, of, all);
    CHECK_MSG(n > 0 && of - n <= others_max, "%" PRId64 " of %" PRId64 " %s", n, of, all);
}

static void test(const char *memory, const char *dtype, const char *cache)
{
    static struct text text;
    bool emulated = false;
    const unreel_log log = {watch, &emulated};
    char bytes[32];
    int64_t gib = strtoll(memory, NULL, 10);
    snprintf(bytes, sizeof bytes, "%" PRId64, (gib << 30) - ROOM);
    setenv("UNREEL_EMULATE_MEMORY", bytes, 1);
    text.size = 0;
    const char *const sets[][2] = {
        {"device", "cuda"},     {"dtype", dtype},        {"device_cache", cache}, {"shape", "wan2.1-1.3b"},
        {"size", "832x480"},    {"bench_window", "21"}, {"bench_chunks", "2"},   {"bench_stages", "stream"},
    };
    unreel_options *options = unreel_options_create(&log);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        CHECK(unreel_options_set(options, sets[i][0], sets[i][1]) == 0);
    int code = unreel_bench(options, true, append, &text);
    unreel_options_destroy(options);
    CHECK_MSG(code == 0 && emulated, "%s GiB, %s: code %d", memory, dtype, code);
    struct json *root = NULL;
    if (code || json_parse(&root, text.data, text.size, "bench", &log))
        return;
    printf("%s GiB, %s: weights %.2f GiB, caches %.2f, work %.2f, scratch %.2f, left %.2f\n", memory, dtype,
           (double)number(root, "bytes_weights") / (1 << 30), (double)number(root, "bytes_cache") / (1 << 30),
           (double)number(root, "bytes_work") / (1 << 30), (double)number(root, "bytes_scratch") / (1 << 30),
           (double)number(root, "device_free") / (1 << 30));
    const struct json *stream = json_get(root, "stream");
    /* Seven chunks fill the window: each makes two shapes of forwards, with and without an output, that run
     * once as they are and are captured once. Of both decoders' passes there are three kinds a block, and
     * those of a first one. */
    check_replayed(stream, "forwards", "replayed", 7 * 4 + RECAPTURES);
    check_replayed(stream, "passes", "passes_replayed", 16 + RECAPTURES);
    json_free(root);
}

int main(int argc, char **argv)
{
    char cache[] = "/tmp/unreel-dry-XXXXXX";
    struct dnn_api api = {0};
    const char *all = getenv("UNREEL_TEST_LONG");
    if (argc > 1 && !strcmp(argv[1], "--long")) {
        if (!(all && *all)) {
            puts("only with UNREEL_TEST_LONG");
            return 77;
        }
        argc--;
        argv++;
    }
    if (!dry_load_cudnn(&api, &test_log) || api.cudnnGetVersion() < CUDNN_MIN) {
        puts("cuDNN 9.15 or later is not installed");
        return 77;
    }
    if (argc < 3 || !mkdtemp(cache))
        return 2;
    setenv("UNREEL_EMULATE_DRY", "1", 1);
    setenv("UNREEL_EMULATE_ARCH", argv[1], 1);
    for (int i = 2; i < argc; i++) {
        char *dtype = strchr(argv[i], ':');
        if (!dtype)
            return 2;
        *dtype = 0;
        test(argv[i], dtype + 1, cache);
    }
    CHECK(remove_folder(cache) > 20);
    return test_end();
}
