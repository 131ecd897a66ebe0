#include "console.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CLEAR_LINE "\r\033[K"

void console_init(struct console *console)
{
    *console = (struct console){.terminal = isatty(STDERR_FILENO)};
    pthread_mutex_init(&console->lock, NULL);
    const char *term = getenv("TERM");
    if (!term || !strcmp(term, "dumb"))
        console->terminal = false;
}

static void print_line(struct console *console, const char *message)
{
    pthread_mutex_lock(&console->lock);
    fprintf(stderr, "%sunreel: %s\n%s", *console->bar ? CLEAR_LINE : "", message, console->bar);
    fflush(stderr);
    pthread_mutex_unlock(&console->lock);
}

static void print_va(struct console *console, const char *format, va_list args)
{
    char message[2048];
    vsnprintf(message, sizeof message, format, args);
    for (char *c = message; *c; c++) /* one line, whatever a file name holds */
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    print_line(console, message);
}

void console_error(struct console *console, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_va(console, format, args);
    va_end(args);
}

void console_warning(struct console *console, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_va(console, format, args);
    va_end(args);
}

void console_info(struct console *console, const char *format, ...)
{
    if (console->quiet)
        return;
    va_list args;
    va_start(args, format);
    print_va(console, format, args);
    va_end(args);
}

void console_debug(struct console *console, const char *format, ...)
{
    if (!console->verbose)
        return;
    va_list args;
    va_start(args, format);
    print_va(console, format, args);
    va_end(args);
}

void console_bar(struct console *console, const char *text)
{
    if (!console->terminal)
        return;
    pthread_mutex_lock(&console->lock);
    if (strcmp(console->bar, text)) {
        snprintf(console->bar, sizeof console->bar, "%s", text);
        fprintf(stderr, CLEAR_LINE "%s", console->bar);
        fflush(stderr);
    }
    pthread_mutex_unlock(&console->lock);
}

static void log_line(void *opaque, int level, const char *message)
{
    struct console *console = opaque;
    if (level == UNREEL_LOG_INFO && console->quiet)
        return;
    if (level >= UNREEL_LOG_DEBUG && !console->verbose)
        return;
    print_line(console, message);
}

unreel_log console_log(struct console *console)
{
    return (unreel_log){.write = log_line, .opaque = console};
}

int console_columns(int fd, int fallback)
{
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        return size.ws_col;
    return fallback;
}
