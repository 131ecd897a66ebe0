/* All that the command says on stderr: messages, and the progress bar below them, so that the two
 * never mix. Safe from any thread. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <unreel/unreel.h>

/* What main() returns. */
enum exit_code {
    EXIT_OK = 0,
    EXIT_ERROR = 1,
    EXIT_USAGE = 2,
    EXIT_INTERRUPTED = 130, /* Ctrl-C: 128 + SIGINT, as shells count */
    EXIT_TERMINATED = 143,  /* 128 + SIGTERM */
};

struct console {
    pthread_mutex_t lock;
    bool terminal; /* stderr is one */
    bool quiet;    /* warnings and errors only */
    bool verbose;  /* debug messages too */
    char bar[512]; /* shown now; empty: none */
};

void console_init(struct console *console);

/* Each prints one line "unreel: MESSAGE". */
void console_error(struct console *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void console_warning(struct console *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void console_info(struct console *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void console_debug(struct console *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Shows `text`, one line, in place of the bar before; "" takes it away. Only on a terminal. */
void console_bar(struct console *console, const char *text);

/* A log for the library that prints here. */
unreel_log console_log(struct console *console);

/* Columns of the terminal behind a file descriptor; `fallback` if it is none. */
int console_columns(int fd, int fallback);
