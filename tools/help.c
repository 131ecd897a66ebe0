/* `unreel help`, from the table of options. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

#define WIDTH_MAX 100
#define OPTION_INDENT 2
#define TEXT_INDENT 30

static int width(void)
{
    int columns = console_columns(STDOUT_FILENO, 80);
    return columns > WIDTH_MAX ? WIDTH_MAX : columns;
}

/* Prints words from column `indent` on, where the cursor is; further lines are indented likewise.
 */
static void print_wrapped(const char *text, int indent)
{
    int limit = width() - 1, at = indent;
    for (const char *word = text; *word;) {
        int length = (int)strcspn(word, " ");
        if (at > indent && at + 1 + length > limit) {
            printf("\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            putchar(' ');
            at++;
        }
        printf("%.*s", length, word);
        at += length;
        word += length;
        word += strspn(word, " ");
    }
    putchar('\n');
}

static const char *placeholder(const unreel_option_info *info)
{
    if (info->choices)
        return info->choices;
    switch (info->kind) {
    case UNREEL_OPTION_BOOL:
        return NULL;
    case UNREEL_OPTION_INT:
        return "N";
    case UNREEL_OPTION_FLOAT:
        return "X";
    case UNREEL_OPTION_STRING:
        return "TEXT";
    case UNREEL_OPTION_PATH:
        return "PATH";
    case UNREEL_OPTION_INTS:
        return "N,N,...";
    case UNREEL_OPTION_SIZE:
        return "WxH";
    }
    return "VALUE";
}

static void print_option(const unreel_option_info *info)
{
    char left[128], right[1024];
    const char *value = placeholder(info);
    int n = snprintf(left, sizeof left, "%*s--", OPTION_INDENT, "");
    for (const char *c = info->name; *c && n < 100; c++)
        left[n++] = *c == '_' ? '-' : *c;
    snprintf(left + n, sizeof left - (size_t)n, "%s%s", value ? " " : "", value ? value : "");
    n = snprintf(right, sizeof right, "%s", info->help);
    bool shown = info->fallback && *info->fallback && strlen(info->fallback) < 40 &&
                 info->kind != UNREEL_OPTION_BOOL;
    if (shown)
        snprintf(right + n, sizeof right - (size_t)n, " [%s%s%s]", info->fallback,
                 info->unit ? " " : "", info->unit ? info->unit : "");
    printf("%s", left);
    int at = (int)strlen(left);
    if (at + 2 > TEXT_INDENT) {
        putchar('\n');
        at = 0;
    }
    printf("%*s", TEXT_INDENT - at, "");
    print_wrapped(right, TEXT_INDENT);
}

void help_overview(void)
{
    printf("unreel %s: video generated in real time\n\n"
           "Usage: unreel COMMAND [OPTIONS]\n\nCommands:\n",
           unreel_version());
    for (const struct command *c = commands; c->name; c++)
        printf("  %-12s %s\n", c->name, c->summary);
    printf("  %-12s %s\n\n", "help", "options of a command: unreel help COMMAND");
    printf("Examples:\n"
           "  unreel generate --prompt \"a red sailboat on a calm sea\" --output boat.mp4\n"
           "  unreel generate --data-path prompts.txt --output-folder videos --num-samples 2\n"
           "  unreel generate --prompt \"a fox in snow\" --output - | ffplay -\n"
           "  unreel live --prompt \"a fox in snow\" --preview --record fox.mp4\n");
}

void help_command(const struct command *command)
{
    const unreel_option_info *info;
    printf("Usage: unreel %s %s\n\n", command->name, command->usage);
    print_wrapped(command->about, 0);
    const char *group = NULL;
    for (size_t i = 0; (info = unreel_option_at(i)); i++) {
        if (!command_lists(command, info))
            continue;
        if (!group || strcmp(group, info->group))
            printf("\n%s:\n", info->group);
        group = info->group;
        print_option(info);
    }
    if (command->options && !*command->options)
        return;
    putchar('\n');
    print_wrapped("Values also as --name=VALUE, names also with underscores; switches also as "
                  "--no-name and --name=true|false. --set KEY=VALUE sets any option of a "
                  "configuration file. -o is --output, -q --quiet, -v --verbose, -h --help.",
                  0);
}
