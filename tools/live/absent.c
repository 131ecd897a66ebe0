/* `unreel live` without GStreamer. */
#include "command.h"

int run_live(struct console *console, const struct arguments *arguments)
{
    console_error(console, "live: this build has no GStreamer: install libgstreamer1.0-dev and "
                           "libgstreamer-plugins-base1.0-dev, and build again");
    return EXIT_ERROR;
}
