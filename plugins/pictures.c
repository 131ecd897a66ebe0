#include "unreelsrc.h"

static void release(gpointer frame)
{
    unreel_frame_unref(frame);
}

/* A buffer around the frame's own memory, which it keeps. */
static GstBuffer *wrap(unreel_frame *frame, const GstVideoInfo *info)
{
    gsize offset[GST_VIDEO_MAX_PLANES] = {0}, size = 0;
    gint stride[GST_VIDEO_MAX_PLANES] = {0};
    for (guint i = 0; i < GST_VIDEO_INFO_N_PLANES(info); i++) {
        gsize rows = (gsize)GST_VIDEO_INFO_COMP_HEIGHT(info, i);
        offset[i] = (gsize)(frame->data[i] - frame->data[0]);
        stride[i] = (gint)frame->stride[i];
        size = MAX(size, offset[i] + rows * frame->stride[i]);
    }
    GstBuffer *buffer = gst_buffer_new_wrapped_full(
        GST_MEMORY_FLAG_READONLY, (gpointer)frame->data[0], size, 0, size, frame, release);
    gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_INFO_FORMAT(info),
                                   (guint)frame->width, (guint)frame->height,
                                   GST_VIDEO_INFO_N_PLANES(info), offset, stride);
    return buffer;
}

static gboolean is_default_layout(const unreel_frame *frame, const GstVideoInfo *info)
{
    for (guint i = 0; i < GST_VIDEO_INFO_N_PLANES(info); i++)
        if ((gsize)(frame->data[i] - frame->data[0]) != GST_VIDEO_INFO_PLANE_OFFSET(info, i) ||
            frame->stride[i] != (size_t)GST_VIDEO_INFO_PLANE_STRIDE(info, i))
            return FALSE;
    return TRUE;
}

GstBuffer *unreel_picture_wrap(unreel_frame *frame, const GstVideoInfo *info, gboolean plain)
{
    GstBuffer *buffer = wrap(frame, info);
    if (!plain || is_default_layout(frame, info))
        return buffer;
    GstVideoFrame from, to;
    GstBuffer *copy = gst_buffer_new_allocate(NULL, GST_VIDEO_INFO_SIZE(info), NULL);
    gst_video_frame_map(&from, info, buffer, GST_MAP_READ);
    gst_video_frame_map(&to, info, copy, GST_MAP_WRITE);
    gst_video_frame_copy(&to, &from);
    gst_video_frame_unmap(&to);
    gst_video_frame_unmap(&from);
    gst_buffer_unref(buffer);
    return copy;
}
