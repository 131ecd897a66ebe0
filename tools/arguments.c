#include "arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    struct arguments *arguments;
    struct console *console;
    char **argv;
    int argc, at;
};

/* The table's entry for a name with dashes or underscores, NULL if there is none. */
static const unreel_option_info *find_option(const char *name)
{
    const unreel_option_info *info;
    for (size_t i = 0; (info = unreel_option_at(i)); i++) {
        const char *a = info->name, *b = name;
        while (*a && (*a == *b || (*a == '_' && *b == '-'))) {
            a++;
            b++;
        }
        if (!*a && !*b)
            return info;
    }
    return NULL;
}

static int set_option(struct reader *r, const char *name, const char *value)
{
    int code = unreel_options_set(r->arguments->options, name, value);
    return code == UNREEL_ENOMEM ? EXIT_ERROR : code < 0 ? EXIT_USAGE : 0;
}

/* The value of an option: what follows "=", or the next argument. */
static int take_value(struct reader *r, const char *name, const char *inlined, const char **value)
{
    *value = inlined;
    if (inlined)
        return 0;
    const char *next = r->at < r->argc ? r->argv[r->at] : NULL;
    if (!next) {
        console_error(r->console, "--%s needs a value", name);
        return EXIT_USAGE;
    }
    if (!strncmp(next, "--", 2)) {
        console_error(r->console, "--%s needs a value, '%s' follows (--%s=VALUE takes anything)",
                      name, next, name);
        return EXIT_USAGE;
    }
    *value = next;
    r->at++;
    return 0;
}

static int read_set(struct reader *r, const char *inlined)
{
    const char *text;
    if (take_value(r, "set", inlined, &text))
        return EXIT_USAGE;
    const char *equals = strchr(text, '=');
    if (!equals) {
        console_error(r->console, "--set %s: KEY=VALUE expected", text);
        return EXIT_USAGE;
    }
    char *key = strndup(text, (size_t)(equals - text));
    int code = set_option(r, key, equals + 1);
    free(key);
    return code;
}

/* Outputs that may be given several times: the values are lines of one text. */
static int add_value(struct reader *r, const unreel_option_info *info, const char *value)
{
    static const char *const several[] = {"rtmp", "srt", "hls", "record", "v4l2"};
    const char *before = unreel_options_get(r->arguments->options, info->name);
    char *lines = NULL;
    bool adds = false;
    for (size_t i = 0; i < sizeof several / sizeof *several; i++)
        adds = adds || !strcmp(info->name, several[i]);
    if (!adds || !before || !*before)
        return set_option(r, info->name, value);
    if (asprintf(&lines, "%s\n%s", before, value) < 0)
        return EXIT_ERROR;
    int code = set_option(r, info->name, lines);
    free(lines);
    return code;
}

/* `name` is what stands between "--" and "=". */
static int read_option(struct reader *r, const char *name, const char *inlined)
{
    if (!strcmp(name, "help")) {
        r->arguments->help = true;
        return 0;
    }
    if (!strcmp(name, "verbose")) {
        r->console->verbose = true;
        return 0;
    }
    if (!strcmp(name, "set"))
        return read_set(r, inlined);
    const unreel_option_info *info = find_option(name);
    bool negated = false;
    if (!info && (!strncmp(name, "no-", 3) || !strncmp(name, "no_", 3))) {
        info = find_option(name + 3);
        negated = info && info->kind == UNREEL_OPTION_BOOL;
        if (negated && inlined) {
            console_error(r->console, "--%s takes no value", name);
            return EXIT_USAGE;
        }
    }
    if (!info || (info->kind != UNREEL_OPTION_BOOL && negated))
        return set_option(r, name, ""); /* the library names the nearest one */
    r->arguments->given[r->arguments->given_count++] = info->name;
    if (info->kind == UNREEL_OPTION_BOOL)
        return set_option(r, info->name, inlined ? inlined : negated ? "false" : "true");
    const char *value;
    int code = take_value(r, name, inlined, &value);
    return code ? code : add_value(r, info, value);
}

static int read_long(struct reader *r, const char *text)
{
    const char *equals = strchr(text, '=');
    char *name = equals ? strndup(text, (size_t)(equals - text)) : strdup(text);
    int code = read_option(r, name, equals ? equals + 1 : NULL);
    free(name);
    return code;
}

static int read_short(struct reader *r, const char *text)
{
    const char *inlined = text[1] ? text + 1 : NULL;
    switch (text[0]) {
    case 'o':
        return read_option(r, "output", inlined);
    case 'h':
        return read_option(r, "help", NULL);
    case 'v':
        return read_option(r, "verbose", NULL);
    case 'q':
        return read_option(r, "quiet", NULL);
    }
    console_error(r->console, "unknown option '-%s'", text);
    return EXIT_USAGE;
}

int arguments_parse(struct arguments *arguments, struct console *console, int argc, char **argv)
{
    unreel_log log = console_log(console);
    struct reader r = {arguments, console, argv, argc, 0};
    int code = 0;
    *arguments = (struct arguments){.options = unreel_options_create(&log),
                                    .names = argv,
                                    .given = calloc((size_t)argc + 1, sizeof *arguments->given)};
    if (!arguments->options || !arguments->given) {
        console_error(console, "out of memory");
        return EXIT_ERROR;
    }
    while (code == 0 && r.at < argc) {
        char *text = argv[r.at++];
        if (!strcmp(text, "--")) {
            while (r.at < argc)
                arguments->names[arguments->name_count++] = argv[r.at++];
        } else if (!strncmp(text, "--", 2)) {
            code = read_long(&r, text + 2);
        } else if (text[0] == '-' && text[1]) {
            code = read_short(&r, text + 1);
        } else {
            arguments->names[arguments->name_count++] = text;
        }
    }
    if (code == 0)
        console->quiet = arguments_flag(arguments, "quiet");
    return code;
}

void arguments_finish(struct arguments *arguments)
{
    unreel_options_destroy(arguments->options);
    free(arguments->given);
    *arguments = (struct arguments){0};
}

bool arguments_flag(const struct arguments *arguments, const char *name)
{
    const char *value = unreel_options_get(arguments->options, name);
    return value && !strcmp(value, "true");
}

long long arguments_int(const struct arguments *arguments, const char *name)
{
    const char *value = unreel_options_get(arguments->options, name);
    return value ? strtoll(value, NULL, 10) : 0;
}
