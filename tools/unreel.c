/* unreel: the command. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "interrupt.h"

static int help(struct console *console, const char *name)
{
    if (!name) {
        help_overview();
        return EXIT_OK;
    }
    const struct command *command = command_find(name);
    if (!command) {
        console_error(console, "there is no command '%s': see unreel help", name);
        return EXIT_USAGE;
    }
    help_command(command);
    return EXIT_OK;
}

static int run(struct console *console, const struct command *command, int argc, char **argv)
{
    struct arguments arguments;
    int code = arguments_parse(&arguments, console, argc, argv);
    if (code == 0 && arguments.help)
        help_command(command);
    else if (code == 0 && (code = command_check(command, &arguments, console)) == 0)
        code = command->run(console, &arguments);
    arguments_finish(&arguments);
    return code;
}

static int dispatch(struct console *console, int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";
    if (!strcmp(name, "--version") || !strcmp(name, "version")) {
        printf("unreel %s\n", unreel_version());
        return EXIT_OK;
    }
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return help(console, argc > 2 ? argv[2] : NULL);
    const struct command *command = command_find(name);
    if (!command) {
        console_error(console, "there is no command '%s': see unreel help", name);
        return EXIT_USAGE;
    }
    for (int i = 2; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "--version")) {
            printf("unreel %s\n", unreel_version());
            return EXIT_OK;
        }
    }
    return run(console, command, argc - 2, argv + 2);
}

/* Files opened later must not get the numbers of streams that were closed: messages would go into them. */
static void open_streams(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        ;
    if (fd > STDERR_FILENO)
        close(fd);
}

/* Whether all that was printed has arrived. A reader who has seen enough is no error worth a line. */
static int finish_stdout(struct console *console, int code)
{
    errno = 0;
    if ((fflush(stdout) == 0 && !ferror(stdout)) || code != EXIT_OK)
        return code;
    if (errno != EPIPE)
        console_error(console, "stdout: cannot write");
    return EXIT_ERROR;
}

int main(int argc, char **argv)
{
    struct console console;
    open_streams();
    console_init(&console);
    interrupt_install();
    return finish_stdout(&console, dispatch(&console, argc, argv));
}
