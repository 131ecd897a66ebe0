/* Ctrl-C (SIGINT), SIGTERM and SIGHUP. */
#pragma once

#include <stdbool.h>

/* Installs the handlers; also ignores SIGPIPE and SIGXFSZ, so that a closed pipe and a file size
 * limit become ordinary write errors. */
void interrupt_install(void);

/* While true, the first signal only makes interrupt_signal() non-zero, for the program to finish
 * what it is writing; a second ends it at once. While false, the first one ends it. */
void interrupt_defer(bool defer);

/* The first signal that came, 0: none. */
int interrupt_signal(void);
