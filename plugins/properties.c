/* The option table as GObject properties: "num_output_frames" becomes num-output-frames. */
#include <string.h>

#include "unreelsrc.h"

/* Options that only serve the command, which decodes pictures itself. Caps say the pixel format. */
static const gchar *const groups[] = {"What to generate", "Model and machine", "Video",
                                      "Steering a running video",
                                      "Sampling (keys of published configurations)"};
static const gchar *const left_out[] = {"data_path", "extended_prompt_path", "image", "i2v", "format"};

static gboolean is_property(const unreel_option_info *info)
{
    gboolean found = FALSE;
    for (guint i = 0; info->group && i < G_N_ELEMENTS(groups); i++)
        found = found || !strcmp(info->group, groups[i]);
    for (guint i = 0; i < G_N_ELEMENTS(left_out); i++)
        found = found && strcmp(info->name, left_out[i]);
    return found && !strchr(info->name, '.'); /* nested keys have a plain name, or come by YAML */
}

static gchar *property_name(const unreel_option_info *info)
{
    return g_strdelimit(g_strdup(info->name), "_", '-');
}

static GParamSpec *make_spec(const unreel_option_info *info)
{
    GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS;
    gboolean live = !strcmp(info->name, "prompt") || !strcmp(info->name, "seed") ||
                    !strcmp(info->name, "prompt_switch");
    flags |= live ? GST_PARAM_MUTABLE_PLAYING : GST_PARAM_MUTABLE_READY;
    gchar *name = property_name(info);
    const gchar *interned = g_intern_string(name);
    g_free(name);
    gchar *text = info->choices ? g_strdup_printf("%s (%s)", info->help, info->choices)
                  : info->unit  ? g_strdup_printf("%s [%s]", info->help, info->unit)
                                : g_strdup(info->help);
    const gchar *blurb = g_intern_string(text);
    g_free(text);
    const gchar *fallback = !strcmp(info->name, "num_output_frames") ? "0" : info->fallback;
    gboolean limited = info->min <= info->max;
    switch (info->kind) {
    case UNREEL_OPTION_BOOL:
        return g_param_spec_boolean(interned, interned, blurb, fallback && !strcmp(fallback, "true"),
                                    flags);
    case UNREEL_OPTION_INT:
        return g_param_spec_int64(interned, interned, blurb, limited ? (gint64)info->min : G_MININT64,
                                  limited && info->max < 9e18 ? (gint64)info->max : G_MAXINT64,
                                  fallback ? g_ascii_strtoll(fallback, NULL, 10) : 0, flags);
    case UNREEL_OPTION_FLOAT:
        return g_param_spec_double(interned, interned, blurb, limited ? info->min : -G_MAXDOUBLE,
                                   limited ? info->max : G_MAXDOUBLE,
                                   fallback ? g_ascii_strtod(fallback, NULL) : 0, flags);
    default:
        return g_param_spec_string(interned, interned, blurb, fallback, flags);
    }
}

void unreel_properties_install(GObjectClass *klass, guint first)
{
    const unreel_option_info *info;
    for (size_t i = 0; (info = unreel_option_at(i)); i++)
        if (is_property(info))
            g_object_class_install_property(klass, first++, make_spec(info));
}

static gchar *text_of(const GValue *value)
{
    gchar number[G_ASCII_DTOSTR_BUF_SIZE];
    if (G_VALUE_HOLDS_BOOLEAN(value))
        return g_strdup(g_value_get_boolean(value) ? "true" : "false");
    if (G_VALUE_HOLDS_INT64(value))
        return g_strdup_printf("%" G_GINT64_FORMAT, g_value_get_int64(value));
    if (G_VALUE_HOLDS_DOUBLE(value))
        return g_strdup(g_ascii_dtostr(number, sizeof number, g_value_get_double(value)));
    return g_value_dup_string(value);
}

/* How a prompt set while playing takes over. */
static enum unreel_switch switch_of(UnreelSrc *src)
{
    const gchar *how = unreel_options_get(src->settings, "prompt_switch");
    return !g_strcmp0(how, "blend")     ? UNREEL_SWITCH_BLEND
           : !g_strcmp0(how, "cut")     ? UNREEL_SWITCH_CUT
           : !g_strcmp0(how, "recache") ? UNREEL_SWITCH_RECACHE
                                        : UNREEL_SWITCH_DEFAULT;
}

/* Tells a running session. With the lock held. */
static void tell_session(UnreelSrc *src, const gchar *name, const gchar *text)
{
    if (!src->session || !text)
        return;
    if (!strcmp(name, "prompt"))
        unreel_session_set_prompt(src->session, text, switch_of(src), 0);
    else if (!strcmp(name, "seed"))
        unreel_session_set_seed(src->session, g_ascii_strtoll(text, NULL, 10));
}

gboolean unreel_properties_set(UnreelSrc *src, GParamSpec *spec, const GValue *value)
{
    gchar *text = text_of(value);
    g_mutex_lock(&src->lock);
    int code = unreel_options_set(src->settings, spec->name, text);
    if (code == 0)
        tell_session(src, spec->name, text);
    g_mutex_unlock(&src->lock);
    if (code < 0)
        g_warning("%s: %s is no value for property %s", GST_OBJECT_NAME(src), text, spec->name);
    g_free(text);
    return code == 0;
}

gboolean unreel_properties_get(UnreelSrc *src, GParamSpec *spec, GValue *value)
{
    g_mutex_lock(&src->lock);
    const gchar *text = unreel_options_get(src->settings, spec->name);
    if (G_VALUE_HOLDS_BOOLEAN(value))
        g_value_set_boolean(value, text && !strcmp(text, "true"));
    else if (G_VALUE_HOLDS_INT64(value))
        g_value_set_int64(value, text ? g_ascii_strtoll(text, NULL, 10) : 0);
    else if (G_VALUE_HOLDS_DOUBLE(value))
        g_value_set_double(value, text ? g_ascii_strtod(text, NULL) : 0);
    else
        g_value_set_string(value, text);
    g_mutex_unlock(&src->lock);
    return TRUE;
}
