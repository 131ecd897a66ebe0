#include "base/log.h"

#include <stdio.h>

#define MESSAGE_MAX 2048 /* bytes; longer messages are cut */

static void write_va(const unreel_log *log, int level, const char *format, va_list args)
{
    char message[MESSAGE_MAX];
    if (!log || !log->write)
        return;
    vsnprintf(message, sizeof message, format, args);
    for (char *c = message; *c; c++) { /* names from files must not break the line */
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    log->write(log->opaque, level, message);
}

void log_write(const unreel_log *log, int level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_va(log, level, format, args);
    va_end(args);
}

void log_info(const unreel_log *log, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_va(log, UNREEL_LOG_INFO, format, args);
    va_end(args);
}

void log_warning(const unreel_log *log, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_va(log, UNREEL_LOG_WARNING, format, args);
    va_end(args);
}

int log_error(const unreel_log *log, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_va(log, UNREEL_LOG_ERROR, format, args);
    va_end(args);
    return code;
}

const char *unreel_error_text(int code)
{
    switch (code) {
    case UNREEL_OK:
        return "ok";
    case UNREEL_EINVAL:
        return "invalid argument";
    case UNREEL_EIO:
        return "input or output failed";
    case UNREEL_EFORMAT:
        return "malformed file";
    case UNREEL_ENOMEM:
        return "out of memory";
    case UNREEL_EUNSUPPORTED:
        return "not supported here";
    case UNREEL_EDEVICE:
        return "device failure";
    case UNREEL_ECANCELED:
        return "cancelled";
    case UNREEL_EAGAIN:
        return "nothing yet";
    case UNREEL_END:
        return "end of video";
    }
    return "unknown error";
}

const char *unreel_version(void)
{
    return "0.1.0";
}
