#include "interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static volatile sig_atomic_t deferred, received;

static void handle(int number)
{
    if (!deferred || received) {
        const char end = '\n'; /* below the progress bar */
        if (isatty(STDERR_FILENO) && write(STDERR_FILENO, &end, 1) < 0)
            _exit(128 + number);
        _exit(128 + number);
    }
    received = number;
}

void interrupt_install(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction before;
        sigaction(numbers[i], NULL, &before);
        if (before.sa_handler != SIG_IGN) /* nohup, background jobs of a script */
            sigaction(numbers[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

void interrupt_defer(bool defer)
{
    deferred = defer;
}

int interrupt_signal(void)
{
    return received;
}
