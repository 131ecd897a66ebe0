/* Messages to the caller's log callback. The one place that knows the name of the file or thing that
 * is wrong logs it, once, and returns the code; everyone above only passes the code on. */
#pragma once

#include <stdarg.h>
#include <unreel/unreel.h>

/* All accept log == NULL. */
void log_write(const unreel_log *log, int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void log_info(const unreel_log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_warning(const unreel_log *log, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Logs at error level and returns `code`, so that `return log_error(log, UNREEL_EIO, ...)` works. */
int log_error(const unreel_log *log, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
