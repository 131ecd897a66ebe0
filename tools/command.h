/* The subcommands. */
#pragma once

#include "arguments.h"
#include "console.h"

struct command {
    const char *name;
    const char *usage;   /* after "unreel NAME" */
    const char *summary; /* one line of `unreel help` */
    const char *about;   /* the paragraph of `unreel help NAME` */
    /* Options of the table that it reads, NULL-terminated; NULL: all but those that only serve
     * measuring. */
    const char *const *options;
    const char *const *further; /* options that it reads besides and that its help leaves out, for
                                   those who know them from configurations; NULL: none */
    int (*run)(struct console *console, const struct arguments *arguments); /* exit code */
};

/* All of them, ends with name NULL. */
extern const struct command commands[];

const struct command *command_find(const char *name);

/* Whether its help lists the option. */
bool command_lists(const struct command *command, const unreel_option_info *info);

/* 0, or EXIT_USAGE with one line printed: an option was given that other commands read. */
int command_check(const struct command *command, const struct arguments *arguments,
                  struct console *console);

/* On stdout, wrapped to the terminal's width. */
void help_overview(void);
void help_command(const struct command *command);

int run_generate(struct console *console, const struct arguments *arguments);
int run_live(struct console *console, const struct arguments *arguments);
int run_inspect(struct console *console, const struct arguments *arguments);
int run_check(struct console *console, const struct arguments *arguments);
int run_bench(struct console *console, const struct arguments *arguments);
int run_make_model(struct console *console, const struct arguments *arguments);
