/* `unreel inspect`, `check`, `bench` and `make-model`: the library does the work. */
#include <stdio.h>
#include <unreel/diagnose.h>

#include "command.h"
#include "model_default.h"

static void print(void *opaque, const char *line)
{
    puts(line);
    fflush(stdout);
}

static int usage(struct console *console, const char *name)
{
    const struct command *command = command_find(name);
    console_error(console, "usage: unreel %s %s", command->name, command->usage);
    return EXIT_USAGE;
}

static int exit_code(int code)
{
    return code == 0 ? EXIT_OK : EXIT_ERROR;
}

int run_inspect(struct console *console, const struct arguments *arguments)
{
    unreel_log log = console_log(console);
    int code = 0;
    if (arguments->name_count < 1)
        return usage(console, "inspect");
    for (int i = 0; i < arguments->name_count; i++) {
        if (arguments->name_count > 1)
            printf("%s%s:\n", i ? "\n" : "", arguments->names[i]);
        int file_code = unreel_inspect(&log, arguments->names[i], print, NULL);
        code = code ? code : file_code;
    }
    return exit_code(code);
}

int run_check(struct console *console, const struct arguments *arguments)
{
    if (arguments->name_count < 1)
        return usage(console, "check");
    int code = cache_default_apply(arguments->options, console);
    if (code)
        return code;
    for (int i = 0; i < arguments->name_count; i++) {
        if (arguments->name_count > 1)
            printf("%s%s:\n", i ? "\n" : "", arguments->names[i]);
        int folder_code = unreel_check(arguments->options, arguments->names[i], print, NULL);
        code = code ? code : folder_code;
    }
    return exit_code(code);
}

int run_bench(struct console *console, const struct arguments *arguments)
{
    if (arguments->name_count)
        return usage(console, "bench");
    int code = cache_default_apply(arguments->options, console);
    if (code)
        return code;
    return exit_code(
        unreel_bench(arguments->options, arguments_flag(arguments, "json"), print, NULL));
}

int run_make_model(struct console *console, const struct arguments *arguments)
{
    unreel_log log = console_log(console);
    if (arguments->name_count != 2)
        return usage(console, "make-model");
    return exit_code(unreel_make_model(&log, arguments->names[0],
                                       (uint64_t)arguments_int(arguments, "seed"),
                                       arguments->names[1]));
}
