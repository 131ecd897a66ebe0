#include "gst_common.h"

#include <string.h>

int gst_start(struct console *console)
{
    GError *error = NULL;
    if (gst_init_check(NULL, NULL, &error))
        return 0;
    console_error(console, "GStreamer does not start: %s",
                  error ? error->message : "no reason given");
    g_clear_error(&error);
    return -1;
}

void gst_print_error(struct console *console, const char *name, GstMessage *message)
{
    GError *error = NULL;
    gchar *debug = NULL;
    gst_message_parse_error(message, &error, &debug);
    /* "...: Error while writing to file descriptor 5: File too large" */
    const char *system = debug && strstr(debug, "Error while") ? strrchr(debug, ':') : NULL;
    if (g_error_matches(error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT))
        console_error(console, "%s: no space left on the disk", name);
    else if (system)
        console_error(console, "%s:%s", name, system + 1);
    else
        console_error(console, "%s: %.*s", name, (int)strcspn(error->message, "."), error->message);
    g_error_free(error);
    g_free(debug);
    gst_message_unref(message);
}
