/* `unreel check --device cuda` through the module beside this program: all of the CUDA backend's
 * host code on recorded results of the original program, without a device.
 *
 *   test_golden DTYPE FOLDER...
 *
 * bf16 takes a minute of naive loops: only with UNREEL_TEST_LONG (tools/test.sh --long). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdbool.h>
#include <unreel/diagnose.h>

static void print(void *opaque, const char *line)
{
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
    bool emulated = false;
    const char *all = getenv("UNREEL_TEST_LONG");
    if (argc > 1 && !strcmp(argv[1], "bf16") && !(all && *all)) {
        puts("only with UNREEL_TEST_LONG");
        return 77;
    }
    const unreel_log log = {watch, &emulated};
    int code = argc < 3;
    for (int i = 2; i < argc && !code; i++) {
        unreel_options *options = unreel_options_create(&log);
        code = unreel_options_set(options, "device", "cuda") ||
               unreel_options_set(options, "dtype", argv[1]) ||
               unreel_check(options, argv[i], print, NULL);
        unreel_options_destroy(options);
    }
    if (!emulated)
        puts("another backend was used\n0 passed, 1 failed");
    return code || !emulated;
}
