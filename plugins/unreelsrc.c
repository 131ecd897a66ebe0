#include "unreelsrc.h"

#include <string.h>

GST_DEBUG_CATEGORY_STATIC(unreel_src_debug);
#define GST_CAT_DEFAULT unreel_src_debug

#define PULL_MS 50           /* how often flushing is looked for while no picture comes */
#define PROMPT_EVENT "unreel-prompt"
#define DEFAULT_CUSHION (300 * GST_MSECOND)

enum { P_0, P_IS_LIVE, P_UNDERRUN, P_LATENCY, P_PAUSED, P_STATS, P_TABLE };

static GstStaticPadTemplate source_template = GST_STATIC_PAD_TEMPLATE(
    "src", GST_PAD_SRC, GST_PAD_ALWAYS,
    GST_STATIC_CAPS("video/x-raw, format = (string) { I420, NV12, RGB, BGRx }, "
                    "width = (int) [ 16, 8192, 16 ], height = (int) [ 16, 8192, 16 ], "
                    "framerate = (fraction) [ 1/1, 240/1 ]"));

G_DEFINE_TYPE(UnreelSrc, unreel_src, GST_TYPE_PUSH_SRC)

static GType underrun_type(void)
{
    static gsize type;
    static const GEnumValue values[] = {
        {UNDERRUN_STRETCH, "Pictures are shown longer: slow motion without a freeze", "stretch"},
        {UNDERRUN_HOLD, "The last picture again, at a constant rate", "hold"},
        {UNDERRUN_GAP, "Nothing until the cushion is full again", "gap"},
        {0, NULL, NULL}};
    if (g_once_init_enter(&type)) {
        GType made = g_enum_register_static("UnreelUnderrun", values);
        gst_type_mark_as_plugin_api(made, 0);
        g_once_init_leave(&type, made);
    }
    return (GType)type;
}

/* ---- messages ----------------------------------------------------------------------------------- */

/* The library's messages: kept for the element's error, and into GStreamer's log. */
static void on_log(void *opaque, int level, const char *message)
{
    UnreelSrc *src = opaque;
    GstDebugLevel to = level == UNREEL_LOG_ERROR     ? GST_LEVEL_ERROR
                       : level == UNREEL_LOG_WARNING ? GST_LEVEL_WARNING
                       : level == UNREEL_LOG_INFO    ? GST_LEVEL_INFO
                                                     : GST_LEVEL_DEBUG;
    GST_CAT_LEVEL_LOG(GST_CAT_DEFAULT, to, src, "%s", message);
    if (level != UNREEL_LOG_ERROR)
        return;
    GST_OBJECT_LOCK(src);
    g_free(src->complaint);
    src->complaint = g_strdup(message);
    GST_OBJECT_UNLOCK(src);
}

static void post_error(UnreelSrc *src, int code)
{
    GST_OBJECT_LOCK(src);
    gchar *text = g_strdup(src->complaint ? src->complaint : unreel_error_text(code));
    GST_OBJECT_UNLOCK(src);
    if (code == UNREEL_EINVAL)
        GST_ELEMENT_ERROR(src, LIBRARY, SETTINGS, ("%s", text), (NULL));
    else if (code == UNREEL_EIO || code == UNREEL_EFORMAT)
        GST_ELEMENT_ERROR(src, RESOURCE, OPEN_READ, ("%s", text), (NULL));
    else
        GST_ELEMENT_ERROR(src, RESOURCE, FAILED, ("%s", text), (NULL));
    g_free(text);
}

static GstStructure *make_stats(UnreelSrc *src)
{
    unreel_stats s = {0};
    g_mutex_lock(&src->lock);
    if (src->session)
        unreel_session_stats(src->session, &s);
    g_mutex_unlock(&src->lock);
    return gst_structure_new(
        "unreel-stats", "pictures", G_TYPE_INT64, s.pictures, "latent-frames", G_TYPE_INT64,
        s.latent_frames, "chunks", G_TYPE_INT64, s.chunks, "pictures-waiting", G_TYPE_INT,
        s.pictures_waiting, "scene", G_TYPE_INT64, s.scene, "seconds-text", G_TYPE_DOUBLE,
        s.seconds_text, "seconds-denoise", G_TYPE_DOUBLE, s.seconds_denoise, "seconds-cache",
        G_TYPE_DOUBLE, s.seconds_cache, "seconds-decode", G_TYPE_DOUBLE, s.seconds_decode,
        "seconds-first", G_TYPE_DOUBLE, s.seconds_first, "seconds-change", G_TYPE_DOUBLE,
        s.seconds_change, "chunk-p50", G_TYPE_DOUBLE, s.chunk_p50, "chunk-p99", G_TYPE_DOUBLE,
        s.chunk_p99, "pushed", G_TYPE_UINT64, src->pushed, "repeated", G_TYPE_UINT64, src->repeated,
        "stretched", G_TYPE_UINT64, src->stretched, NULL);
}

/* ---- session ------------------------------------------------------------------------------------ */

static const struct {
    GstVideoFormat gst;
    const gchar *name;
} formats[] = {{GST_VIDEO_FORMAT_I420, "i420"},
               {GST_VIDEO_FORMAT_NV12, "nv12"},
               {GST_VIDEO_FORMAT_RGB, "rgb"},
               {GST_VIDEO_FORMAT_BGRx, "bgrx"}};

/* A copy of the settings with the model's configuration under them. */
static unreel_options *resolve(UnreelSrc *src)
{
    g_mutex_lock(&src->lock);
    unreel_options *options = unreel_options_copy(src->settings);
    g_mutex_unlock(&src->lock);
    if (!options)
        return NULL;
    if (!unreel_options_is_set(options, "model"))
        unreel_bundled_apply(src, options);
    if (unreel_options_load_config(options, unreel_options_get(options, "config_path"), NULL) < 0) {
        unreel_options_destroy(options);
        options = NULL;
    }
    return options;
}

static int set_number(unreel_options *options, const gchar *name, gdouble value)
{
    gchar text[G_ASCII_DTOSTR_BUF_SIZE];
    return unreel_options_set(options, name, g_ascii_formatd(text, sizeof text, "%.10g", value));
}

/* Size, rate and format of the caps. */
static int apply_caps(UnreelSrc *src, unreel_options *options)
{
    int code = set_number(options, "width", GST_VIDEO_INFO_WIDTH(&src->info));
    if (code == 0)
        code = set_number(options, "height", GST_VIDEO_INFO_HEIGHT(&src->info));
    if (code == 0)
        code = set_number(options, "fps", (gdouble)GST_VIDEO_INFO_FPS_N(&src->info) /
                                              GST_VIDEO_INFO_FPS_D(&src->info));
    for (guint i = 0; code == 0 && i < G_N_ELEMENTS(formats); i++)
        if (formats[i].gst == GST_VIDEO_INFO_FORMAT(&src->info))
            code = unreel_options_set(options, "format", formats[i].name);
    return code;
}

static void close_session(UnreelSrc *src)
{
    g_mutex_lock(&src->lock);
    unreel_session *session = src->session;
    src->session = NULL;
    g_mutex_unlock(&src->lock);
    unreel_session_close(session);
    gst_clear_buffer(&src->last);
    src->next = GST_CLOCK_TIME_NONE;
    src->chunk = -1;
}

static int open_session(UnreelSrc *src)
{
    unreel_session *session = NULL;
    unreel_options *options = resolve(src);
    int code = options ? apply_caps(src, options) : UNREEL_EFORMAT;
    if (code == 0)
        code = unreel_session_open(&session, src->engine, options, NULL);
    unreel_options_destroy(options);
    if (code < 0)
        return code;
    g_mutex_lock(&src->lock);
    src->session = session;
    if (src->paused)
        unreel_session_pause(session, 1);
    g_mutex_unlock(&src->lock);
    return 0;
}

static gboolean unreel_src_start(GstBaseSrc *base)
{
    UnreelSrc *src = UNREEL_SRC(base);
    unreel_options *options = resolve(src);
    int code = options ? 0 : UNREEL_EFORMAT;
    src->pushed = src->repeated = src->stretched = 0;
    if (code == 0 && !unreel_options_is_set(options, "model")) {
        GST_ELEMENT_ERROR(src, RESOURCE, NOT_FOUND,
                          ("No model: set the property model to a model folder."), (NULL));
        unreel_options_destroy(options);
        return FALSE;
    }
    if (code == 0)
        code = unreel_engine_open(&src->engine, options);
    unreel_options_destroy(options);
    if (code < 0)
        post_error(src, code);
    return code == 0;
}

static gboolean unreel_src_stop(GstBaseSrc *base)
{
    UnreelSrc *src = UNREEL_SRC(base);
    close_session(src);
    unreel_engine_close(src->engine);
    src->engine = NULL;
    return TRUE;
}

/* ---- caps --------------------------------------------------------------------------------------- */

static GstCaps *unreel_src_fixate(GstBaseSrc *base, GstCaps *caps)
{
    UnreelSrc *src = UNREEL_SRC(base);
    unreel_options *options = resolve(src);
    gint width = 832, height = 480, n = 16, d = 1;
    if (options) {
        width = (gint)g_ascii_strtoll(unreel_options_get(options, "width"), NULL, 10);
        height = (gint)g_ascii_strtoll(unreel_options_get(options, "height"), NULL, 10);
        gst_util_double_to_fraction(g_ascii_strtod(unreel_options_get(options, "fps"), NULL), &n, &d);
        unreel_options_destroy(options);
    }
    caps = gst_caps_make_writable(gst_caps_truncate(caps));
    GstStructure *s = gst_caps_get_structure(caps, 0);
    gst_structure_fixate_field_string(s, "format", "I420");
    gst_structure_fixate_field_nearest_int(s, "width", width);
    gst_structure_fixate_field_nearest_int(s, "height", height);
    gst_structure_fixate_field_nearest_fraction(s, "framerate", n, d);
    const gchar *format = gst_structure_get_string(s, "format");
    gboolean rgb = !g_strcmp0(format, "RGB") || !g_strcmp0(format, "BGRx");
    gst_structure_set(s, "pixel-aspect-ratio", GST_TYPE_FRACTION, 1, 1, "interlace-mode",
                      G_TYPE_STRING, "progressive", "colorimetry", G_TYPE_STRING,
                      rgb ? GST_VIDEO_COLORIMETRY_SRGB : GST_VIDEO_COLORIMETRY_BT709, NULL);
    if (!rgb) /* chroma is the mean of 2x2 */
        gst_structure_set(s, "chroma-site", G_TYPE_STRING, "jpeg", NULL);
    return GST_BASE_SRC_CLASS(unreel_src_parent_class)->fixate(base, caps);
}

static gboolean unreel_src_set_caps(GstBaseSrc *base, GstCaps *caps)
{
    UnreelSrc *src = UNREEL_SRC(base);
    if (!gst_video_info_from_caps(&src->info, caps))
        return FALSE;
    src->duration = gst_util_uint64_scale(GST_SECOND, (guint64)GST_VIDEO_INFO_FPS_D(&src->info),
                                          (guint64)GST_VIDEO_INFO_FPS_N(&src->info));
    close_session(src); /* another size or format is another video */
    return TRUE;
}

static gboolean unreel_src_decide_allocation(GstBaseSrc *base, GstQuery *query)
{
    UnreelSrc *src = UNREEL_SRC(base);
    src->plain = !gst_query_find_allocation_meta(query, GST_VIDEO_META_API_TYPE, NULL);
    return TRUE; /* pictures bring their own memory */
}

/* ---- time --------------------------------------------------------------------------------------- */

static GstClockTime running_time(UnreelSrc *src)
{
    GstClock *clock = gst_element_get_clock(GST_ELEMENT(src));
    if (!clock)
        return GST_CLOCK_TIME_NONE;
    GstClockTime now = gst_clock_get_time(clock), base = gst_element_get_base_time(GST_ELEMENT(src));
    gst_object_unref(clock);
    return now > base ? now - base : 0;
}

/* When the next picture of a live source is due. The first comes a cushion after it was ready; later
 * ones at the rate, or when they are late as `underrun` says. */
static GstClockTime due_live(UnreelSrc *src)
{
    GstClockTime now = running_time(src);
    if (!GST_CLOCK_TIME_IS_VALID(now))
        return src->next; /* no clock yet */
    if (!GST_CLOCK_TIME_IS_VALID(src->next))
        return now + src->cushion;
    if (now <= src->next || src->underrun == UNDERRUN_HOLD)
        return src->next;
    src->stretched++;
    return src->underrun == UNDERRUN_GAP ? now + src->cushion : now;
}

static void unreel_src_get_times(GstBaseSrc *base, GstBuffer *buffer, GstClockTime *start,
                                 GstClockTime *end)
{
    *start = *end = GST_CLOCK_TIME_NONE;
    if (gst_base_src_is_live(base) && GST_BUFFER_PTS_IS_VALID(buffer)) {
        *start = GST_BUFFER_PTS(buffer); /* the base class waits until then */
        *end = *start + GST_BUFFER_DURATION(buffer);
    }
}

static gboolean unreel_src_query(GstBaseSrc *base, GstQuery *query)
{
    UnreelSrc *src = UNREEL_SRC(base);
    if (GST_QUERY_TYPE(query) != GST_QUERY_LATENCY)
        return GST_BASE_SRC_CLASS(unreel_src_parent_class)->query(base, query);
    GstClockTime duration = src->duration ? src->duration : GST_SECOND / 16;
    gst_query_set_latency(query, gst_base_src_is_live(base), duration, GST_CLOCK_TIME_NONE);
    return TRUE;
}

/* ---- pictures ----------------------------------------------------------------------------------- */

static gboolean is_flushing(UnreelSrc *src)
{
    return g_atomic_int_get(&src->flushing);
}

/* How long to wait for a picture before looking around, and whether the last one is to be shown
 * again then. */
static gint wait_ms(UnreelSrc *src, gboolean *hold)
{
    *hold = FALSE;
    if (!gst_base_src_is_live(GST_BASE_SRC(src)) || src->underrun != UNDERRUN_HOLD || !src->last)
        return PULL_MS;
    GstClockTime now = running_time(src);
    if (!GST_CLOCK_TIME_IS_VALID(now) || !GST_CLOCK_TIME_IS_VALID(src->next))
        return PULL_MS;
    GstClockTime left = src->next > now ? src->next - now : 0;
    *hold = left <= PULL_MS * GST_MSECOND;
    return *hold ? (gint)GST_TIME_AS_MSECONDS(left) : PULL_MS;
}

static void stamp(UnreelSrc *src, GstBuffer *buffer)
{
    gboolean live = gst_base_src_is_live(GST_BASE_SRC(src));
    GstClockTime pts = live ? due_live(src)
                            : gst_util_uint64_scale(src->pushed * (guint64)GST_VIDEO_INFO_FPS_D(&src->info),
                                                    GST_SECOND, (guint64)GST_VIDEO_INFO_FPS_N(&src->info));
    GST_BUFFER_PTS(buffer) = pts;
    GST_BUFFER_DTS(buffer) = GST_CLOCK_TIME_NONE;
    GST_BUFFER_DURATION(buffer) = src->duration;
    GST_BUFFER_OFFSET(buffer) = src->pushed++;
    if (GST_CLOCK_TIME_IS_VALID(pts))
        src->next = pts + src->duration;
}

static GstBuffer *take(UnreelSrc *src, unreel_frame *frame)
{
    gboolean new_chunk = frame->chunk != src->chunk, cut = frame->flags & UNREEL_FRAME_CUT;
    src->chunk = frame->chunk;
    GstBuffer *buffer = unreel_picture_wrap(frame, &src->info, src->plain);
    stamp(src, buffer);
    if (cut) /* a new scene begins: encoders may want a key picture */
        GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_MARKER);
    if (gst_base_src_is_live(GST_BASE_SRC(src)) && src->underrun == UNDERRUN_HOLD)
        gst_buffer_replace(&src->last, buffer);
    if (new_chunk)
        gst_element_post_message(GST_ELEMENT(src),
                                 gst_message_new_element(GST_OBJECT(src), make_stats(src)));
    return buffer;
}

static GstFlowReturn unreel_src_create(GstPushSrc *push, GstBuffer **buffer)
{
    UnreelSrc *src = UNREEL_SRC(push);
    int code = src->session ? 0 : open_session(src);
    while (code == 0 || code == UNREEL_EAGAIN) {
        unreel_frame *frame;
        gboolean hold;
        if (is_flushing(src))
            return GST_FLOW_FLUSHING;
        code = unreel_session_pull(src->session, &frame, wait_ms(src, &hold));
        if (code == 0) {
            *buffer = take(src, frame);
            return GST_FLOW_OK;
        }
        if (code == UNREEL_EAGAIN && hold) {
            *buffer = gst_buffer_copy(src->last);
            stamp(src, *buffer);
            src->repeated++;
            return GST_FLOW_OK;
        }
    }
    if (code == UNREEL_END)
        return GST_FLOW_EOS;
    post_error(src, code);
    return GST_FLOW_ERROR;
}

static gboolean unreel_src_unlock(GstBaseSrc *base)
{
    g_atomic_int_set(&UNREEL_SRC(base)->flushing, TRUE);
    return TRUE;
}

static gboolean unreel_src_unlock_stop(GstBaseSrc *base)
{
    g_atomic_int_set(&UNREEL_SRC(base)->flushing, FALSE);
    UNREEL_SRC(base)->next = GST_CLOCK_TIME_NONE;
    return TRUE;
}

static gboolean unreel_src_is_seekable(GstBaseSrc *base)
{
    return FALSE;
}

/* ---- events and properties ---------------------------------------------------------------------- */

/* unreel-prompt: prompt (string), how (string: blend, recache or cut; may be left out). */
static gboolean handle_prompt(UnreelSrc *src, const GstStructure *s)
{
    const gchar *prompt = gst_structure_get_string(s, "prompt");
    const gchar *how = gst_structure_get_string(s, "how");
    if (!prompt)
        return FALSE;
    if (how)
        g_object_set(src, "prompt-switch", how, NULL);
    g_object_set(src, "prompt", prompt, NULL);
    return TRUE;
}

static gboolean unreel_src_event(GstBaseSrc *base, GstEvent *event)
{
    const GstStructure *s = gst_event_get_structure(event);
    if (s && gst_structure_has_name(s, PROMPT_EVENT))
        return handle_prompt(UNREEL_SRC(base), s);
    return GST_BASE_SRC_CLASS(unreel_src_parent_class)->event(base, event);
}

/* Events that an application sends to the element, also downstream ones. */
static gboolean unreel_src_send_event(GstElement *element, GstEvent *event)
{
    const GstStructure *s = gst_event_get_structure(event);
    if (!s || !gst_structure_has_name(s, PROMPT_EVENT))
        return GST_ELEMENT_CLASS(unreel_src_parent_class)->send_event(element, event);
    gboolean handled = handle_prompt(UNREEL_SRC(element), s);
    gst_event_unref(event);
    return handled;
}

static void unreel_src_set_property(GObject *object, guint id, const GValue *value, GParamSpec *spec)
{
    UnreelSrc *src = UNREEL_SRC(object);
    switch (id) {
    case P_IS_LIVE:
        src->live = g_value_get_boolean(value);
        gst_base_src_set_live(GST_BASE_SRC(src), src->live);
        break;
    case P_UNDERRUN:
        src->underrun = (UnreelUnderrun)g_value_get_enum(value);
        break;
    case P_LATENCY:
        src->cushion = (GstClockTime)(g_value_get_double(value) * GST_SECOND);
        break;
    case P_PAUSED:
        g_mutex_lock(&src->lock);
        src->paused = g_value_get_boolean(value);
        if (src->session)
            unreel_session_pause(src->session, src->paused);
        g_mutex_unlock(&src->lock);
        break;
    default:
        unreel_properties_set(src, spec, value);
    }
}

static void unreel_src_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec)
{
    UnreelSrc *src = UNREEL_SRC(object);
    switch (id) {
    case P_IS_LIVE:
        g_value_set_boolean(value, src->live);
        break;
    case P_UNDERRUN:
        g_value_set_enum(value, src->underrun);
        break;
    case P_LATENCY:
        g_value_set_double(value, (gdouble)src->cushion / GST_SECOND);
        break;
    case P_PAUSED:
        g_value_set_boolean(value, src->paused);
        break;
    case P_STATS:
        g_value_take_boxed(value, make_stats(src));
        break;
    default:
        unreel_properties_get(src, spec, value);
    }
}

static void unreel_src_init(UnreelSrc *src)
{
    const unreel_log log = {on_log, src};
    g_mutex_init(&src->lock);
    src->settings = unreel_options_create(&log);
    unreel_options_set(src->settings, "num_output_frames", "0");
    src->underrun = UNDERRUN_STRETCH;
    src->cushion = DEFAULT_CUSHION;
    src->next = GST_CLOCK_TIME_NONE;
    src->live = TRUE;
    gst_base_src_set_live(GST_BASE_SRC(src), TRUE);
    gst_base_src_set_format(GST_BASE_SRC(src), GST_FORMAT_TIME);
}

static void unreel_src_finalize(GObject *object)
{
    UnreelSrc *src = UNREEL_SRC(object);
    unreel_options_destroy(src->settings);
    g_free(src->complaint);
    g_mutex_clear(&src->lock);
    G_OBJECT_CLASS(unreel_src_parent_class)->finalize(object);
}

static void install_own_properties(GObjectClass *object)
{
    const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS;
    g_object_class_install_property(
        object, P_IS_LIVE,
        g_param_spec_boolean("is-live", "is-live",
                             "Whether pictures come at the video's rate on the pipeline's clock; else "
                             "as fast as they are made, at n / fps.",
                             TRUE, flags | GST_PARAM_MUTABLE_READY));
    g_object_class_install_property(
        object, P_UNDERRUN,
        g_param_spec_enum("underrun", "underrun",
                          "What a live source does while pictures come slower than fps.",
                          underrun_type(), UNDERRUN_STRETCH, flags | GST_PARAM_MUTABLE_PLAYING));
    g_object_class_install_property(
        object, P_LATENCY,
        g_param_spec_double("latency", "latency",
                            "Cushion: how long the first picture of a live source waits. [s]", 0, 60,
                            (gdouble)DEFAULT_CUSHION / GST_SECOND, flags | GST_PARAM_MUTABLE_READY));
    g_object_class_install_property(
        object, P_PAUSED,
        g_param_spec_boolean("paused", "paused", "Holds the generation before the next chunk.", FALSE,
                             flags | GST_PARAM_MUTABLE_PLAYING));
    g_object_class_install_property(
        object, P_STATS,
        g_param_spec_boxed("stats", "stats",
                           "Counts and times, also posted as element message unreel-stats once a chunk.",
                           GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
}

static void unreel_src_class_init(UnreelSrcClass *klass)
{
    GObjectClass *object = G_OBJECT_CLASS(klass);
    GstElementClass *element = GST_ELEMENT_CLASS(klass);
    GstBaseSrcClass *base = GST_BASE_SRC_CLASS(klass);
    GST_DEBUG_CATEGORY_INIT(unreel_src_debug, "unreelsrc", 0, "unreel video source");
    object->set_property = unreel_src_set_property;
    object->get_property = unreel_src_get_property;
    object->finalize = unreel_src_finalize;
    install_own_properties(object);
    unreel_properties_install(object, P_TABLE);
    element->send_event = unreel_src_send_event;
    base->start = unreel_src_start;
    base->stop = unreel_src_stop;
    base->fixate = unreel_src_fixate;
    base->set_caps = unreel_src_set_caps;
    base->decide_allocation = unreel_src_decide_allocation;
    base->get_times = unreel_src_get_times;
    base->query = unreel_src_query;
    base->unlock = unreel_src_unlock;
    base->unlock_stop = unreel_src_unlock_stop;
    base->is_seekable = unreel_src_is_seekable;
    base->event = unreel_src_event;
    GST_PUSH_SRC_CLASS(klass)->create = unreel_src_create;
    gst_element_class_add_static_pad_template(element, &source_template);
    gst_element_class_set_static_metadata(element, "unreel source", "Source/Video",
                                          "Generates video in real time from a prompt",
                                          "the unreel authors");
}
