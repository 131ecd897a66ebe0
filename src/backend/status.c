/* Sticky status: what backends, their modules included, share with the wrappers. */
#include <stdarg.h>
#include <stdio.h>

#include "backend/backend.h"

bool backend_ready(struct backend *backend)
{
    if (!backend->status && backend->cancel && atomic_load(backend->cancel))
        backend->status = UNREEL_ECANCELED;
    return !backend->status;
}

int backend_status(const struct backend *backend)
{
    return backend->status;
}

void backend_clear(struct backend *backend)
{
    backend->status = 0;
}

void backend_fail(struct backend *backend, int code, const char *format, ...)
{
    if (backend->status)
        return;
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    backend->status = log_error(&backend->log, code, "%s: %s", backend->ops->name, message);
}
