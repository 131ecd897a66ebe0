/* `unreel check --device cuda` through the module beside this program: all of the CUDA backend's
 * host code on recorded results of the original program, without a device.
 *
 *   test_golden DTYPE WITHOUT FOLDER...       WITHOUT: parts of the backend to do without, "" for
 * none
 *
 * bf16 and fp8 take minutes of naive loops: only with UNREEL_TEST_LONG (tools/test.sh --long). */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unreel/diagnose.h>

#include "folder.h"

static void print(void *opaque, const char *line)
{
    bool *missing = opaque;
    *missing |= strstr(line, "not recorded") != NULL;
    puts(line);
}

static void watch(void *opaque, int level, const char *message)
{
    bool *emulated = opaque;
    *emulated |= strstr(message, "cuda: emulated") != NULL;
    fprintf(stderr, "%s\n", message);
}

int main(int argc, char **argv)
{
    char cache[] = "/tmp/unreel-golden-XXXXXX";
    bool emulated = false, missing = false;
    const char *all = getenv("UNREEL_TEST_LONG");
    if (argc > 1 && strcmp(argv[1], "f32") && !(all && *all)) {
        puts("only with UNREEL_TEST_LONG");
        return 77;
    }
    const unreel_log log = {watch, &emulated};
    int code = argc < 4 || !mkdtemp(cache);
    for (int i = 3; i < argc && !code; i++) {
        unreel_options *options = unreel_options_create(&log);
        code = unreel_options_set(options, "device", "cuda") ||
               unreel_options_set(options, "dtype", argv[1]) ||
               unreel_options_set(options, "device_cache", cache) ||
               unreel_options_set(options, "device_without", argv[2]) ||
               unreel_check(options, argv[i], print, &missing);
        unreel_options_destroy(options);
    }
    if (remove_folder(cache) < 10 && !strstr(argv[2], "cublaslt")) {
        puts("what was chosen was not kept\n0 passed, 1 failed");
        code = 1;
    }
    if (missing)
        puts("not everything is there to be compared\n0 passed, 1 failed");
    if (!emulated)
        puts("another backend was used\n0 passed, 1 failed");
    return code || !emulated || missing;
}
