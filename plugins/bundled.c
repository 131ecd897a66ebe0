/* The model when none is given: of the environment's UNREEL_MODEL, else the bundled one: in the source
 * that the build folder belongs to, or in the installed data. */
#include <string.h>

#include "unreelsrc.h"

#define MODEL "models/postcard"

static gchar *plugin_folder(void)
{
    GstPlugin *plugin = gst_registry_find_plugin(gst_registry_get(), "unreel");
    const gchar *file = plugin ? gst_plugin_get_filename(plugin) : NULL;
    gchar *folder = file ? g_path_get_dirname(file) : NULL;
    g_clear_object(&plugin);
    return folder;
}

/* The source's path, which Meson leaves beside a plugin that is not installed. */
static gchar *source_folder(const gchar *folder)
{
    gchar *file = g_build_filename(folder, "source_folder", NULL), *source = NULL;
    if (!g_file_get_contents(file, &source, NULL, NULL))
        source = NULL;
    g_free(file);
    return source ? g_strstrip(source) : NULL;
}

static gboolean use_model(unreel_options *options, const gchar *model)
{
    return g_file_test(model, G_FILE_TEST_IS_DIR) && unreel_options_set(options, "model", model) == 0;
}

static gboolean use_root(unreel_options *options, const gchar *root)
{
    gchar *model = g_build_filename(root, MODEL, NULL);
    gboolean found = use_model(options, model);
    g_free(model);
    return found;
}

gboolean unreel_bundled_apply(UnreelSrc *src, unreel_options *options)
{
    const gchar *own = g_getenv("UNREEL_MODEL");
    gchar *folder = plugin_folder();
    gchar *source = folder ? source_folder(folder) : NULL;
    gboolean found = (own && *own && use_model(options, own)) || (source && use_root(options, source)) ||
                     use_root(options, UNREEL_DATA_DIR);
    GST_DEBUG_OBJECT(src, "default model: %s", found ? unreel_options_get(options, "model") : "none");
    g_free(folder);
    g_free(source);
    return found;
}
