/* How the command line is read. */
#include "arguments.h"
#include "test.h"

static struct console console;

/* Parses up to 8 arguments; the exit code. The options stay in *arguments. */
static int parse(struct arguments *arguments, const char *const *list)
{
    static char *argv[9];
    int argc = 0;
    for (; list[argc]; argc++)
        argv[argc] = (char *)(uintptr_t)list[argc];
    argv[argc] = NULL;
    return arguments_parse(arguments, &console, argc, argv);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void expect_value(const char *const *list, const char *name, const char *value)
{
    struct arguments arguments;
    int code = parse(&arguments, list);
    const char *seen = unreel_options_get(arguments.options, name);
    CHECK_MSG(code == 0 && seen && !strcmp(seen, value), "%s: code %d, %s=%s instead of %s",
              list[0], code, name, seen ? seen : "(none)", value);
    arguments_finish(&arguments);
}

static void expect_code(const char *const *list, int expected)
{
    struct arguments arguments;
    int code = parse(&arguments, list);
    CHECK_MSG(code == expected, "%s: exit code %d instead of %d", list[0], code, expected);
    arguments_finish(&arguments);
}

static void test_forms(void)
{
    expect_value(LIST("--seed", "7"), "seed", "7");
    expect_value(LIST("--seed=7"), "seed", "7");
    expect_value(LIST("--num_output_frames", "12"), "num_output_frames", "12");
    expect_value(LIST("--num-output-frames", "12"), "num_output_frames", "12");
    expect_value(LIST("--num-output_frames=12"), "num_output_frames", "12");
    expect_value(LIST("--set", "num-output-frames=12"), "num_output_frames", "12");
    expect_value(LIST("--set=model_kwargs.timestep_shift=5"), "model_kwargs.timestep_shift", "5");
    expect_value(LIST("--model_kwargs.timestep_shift", "5"), "model_kwargs.timestep_shift", "5");
    expect_value(LIST("--window", "-1"), "window", "-1");
    expect_value(LIST("--seed", "1", "--seed", "2"), "seed", "2");
    expect_value(LIST("--size", "64x48"), "width", "64");
    expect_value(LIST("-o", "x.mp4"), "output", "x.mp4");
    expect_value(LIST("-ox.mp4"), "output", "x.mp4");
    expect_value(LIST("--output", "-"), "output", "-");
    expect_value(LIST("--prompt", "a=b --c"), "prompt", "a=b --c");
    expect_value(LIST("--prompt=--c"), "prompt", "--c");
    expect_value(LIST("--set", "prompt=a=b"), "prompt", "a=b");
}

static void test_switches(void)
{
    expect_value(LIST("--i2v"), "i2v", "true");
    expect_value(LIST("--i2v=true"), "i2v", "true");
    expect_value(LIST("--i2v=false"), "i2v", "false");
    expect_value(LIST("--no-i2v"), "i2v", "false");
    expect_value(LIST("--no_i2v"), "i2v", "false");
    expect_value(LIST("--i2v", "--no-i2v"), "i2v", "false");
    expect_value(LIST("--save-with-index"), "save_with_index", "true");
    expect_value(LIST("--noise", "f"), "noise", "f"); /* begins with "no" */
    expect_value(LIST("-q"), "quiet", "true");
    CHECK(console.quiet);
    expect_value(LIST("--no-quiet"), "quiet", "false");
    CHECK(!console.quiet);
}

static void test_errors(void)
{
    expect_code(LIST("--prmpt", "x"), EXIT_USAGE);
    expect_code(LIST("--no-prompt"), EXIT_USAGE);
    expect_code(LIST("--no-nothing"), EXIT_USAGE);
    expect_code(LIST("--prompt"), EXIT_USAGE);
    expect_code(LIST("--prompt", "--seed"), EXIT_USAGE);
    expect_code(LIST("--seed", "x"), EXIT_USAGE);
    expect_code(LIST("--seed=-1"), EXIT_USAGE);
    expect_code(LIST("--size", "100x100"), EXIT_USAGE);
    expect_code(LIST("--i2v=perhaps"), EXIT_USAGE);
    expect_code(LIST("--no-i2v=true"), EXIT_USAGE);
    expect_code(LIST("--set", "seed"), EXIT_USAGE);
    expect_code(LIST("--set"), EXIT_USAGE);
    expect_code(LIST("--"), 0);
    expect_code(LIST("-x"), EXIT_USAGE);
    expect_code(LIST("--=3"), EXIT_USAGE);
}

static void test_names(void)
{
    struct arguments arguments;
    int code = parse(&arguments, LIST("a", "--seed", "3", "b", "--", "--c", "-d"));
    CHECK(code == 0 && arguments.name_count == 4);
    CHECK(arguments.name_count == 4 && !strcmp(arguments.names[0], "a") &&
          !strcmp(arguments.names[1], "b") && !strcmp(arguments.names[2], "--c") &&
          !strcmp(arguments.names[3], "-d"));
    CHECK(arguments_int(&arguments, "seed") == 3);
    CHECK(!arguments_flag(&arguments, "i2v"));
    arguments_finish(&arguments);
    CHECK(parse(&arguments, LIST("-h")) == 0 && arguments.help);
    arguments_finish(&arguments);
}

/* Every option of the table, as the table spells it. */
static void test_table(void)
{
    const unreel_option_info *info;
    for (size_t i = 0; (info = unreel_option_at(i)); i++) {
        char text[2048];
        if (info->kind == UNREEL_OPTION_BOOL || !info->fallback || !*info->fallback)
            continue;
        snprintf(text, sizeof text, "--%s=%s", info->name, info->fallback);
        expect_value(LIST(text), info->name, info->fallback);
    }
}

int main(void)
{
    console_init(&console);
    test_forms();
    test_switches();
    test_errors();
    test_names();
    test_table();
    return test_end();
}
