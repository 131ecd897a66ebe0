/* The GStreamer plugin "unreel": one element, unreelsrc. */
#include <gst/gst.h>

#include "unreelsrc.h"

static gboolean plugin_init(GstPlugin *plugin)
{
    return gst_element_register(plugin, "unreelsrc", GST_RANK_NONE, unreel_src_get_type());
}

GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, unreel,
                  "Video generated in real time from text", plugin_init, VERSION, "Apache-2.0",
                  PACKAGE, "https://github.com/unreel/unreel")
