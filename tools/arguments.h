/* The command line: options of the library's table and file names. */
#pragma once

#include <stdbool.h>
#include <unreel/unreel.h>

#include "console.h"

struct arguments {
    unreel_options *options;
    char **names; /* arguments that are no options, part of argv */
    int name_count;
    const char **given; /* names in the table of the options that were given, but for --set */
    int given_count;
    bool help;
};

/* Reads argv[0..argc), which it reorders. Every option of the table works as --name VALUE,
 * --name=VALUE, with dashes or underscores, a boolean as --name, --no-name, --name=true;
 * --set KEY=VALUE reaches any of them. Also -h, --help, -o FILE, -q, -v. The value of --quiet goes
 * to the console. 0, or an exit code with one line printed. */
int arguments_parse(struct arguments *arguments, struct console *console, int argc, char **argv);
void arguments_finish(struct arguments *arguments);

/* A boolean option's value. */
bool arguments_flag(const struct arguments *arguments, const char *name);
long long arguments_int(const struct arguments *arguments, const char *name);
