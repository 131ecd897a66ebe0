#include "picture.h"

#include <stdbool.h>
#include <string.h>

#define LIGHT 235 /* white and black of BT.709, limited range */
#define DARK 16
#define NEUTRAL 128
#define CELL_MAX 16 /* px */

void picture_info(GstVideoInfo *info, int width, int height, int rate, int per)
{
    gst_video_info_set_format(info, GST_VIDEO_FORMAT_I420, (guint)width, (guint)height);
    GST_VIDEO_INFO_FPS_N(info) = rate;
    GST_VIDEO_INFO_FPS_D(info) = per;
    gst_video_colorimetry_from_string(&info->colorimetry, GST_VIDEO_COLORIMETRY_BT709);
    info->chroma_site = GST_VIDEO_CHROMA_SITE_JPEG; /* chroma is the mean of 2x2 */
}

GstBuffer *picture_copy(const GstVideoInfo *info, const unreel_frame *frame)
{
    GstMapInfo map;
    GstBuffer *buffer = gst_buffer_new_allocate(NULL, GST_VIDEO_INFO_SIZE(info), NULL);
    if (!buffer || !gst_buffer_map(buffer, &map, GST_MAP_WRITE))
        g_error("out of memory");
    for (guint plane = 0; plane < 3; plane++) {
        guint8 *to = map.data + GST_VIDEO_INFO_PLANE_OFFSET(info, plane);
        for (int y = 0; y < GST_VIDEO_INFO_COMP_HEIGHT(info, plane); y++) {
            memcpy(to, frame->data[plane] + (size_t)y * frame->stride[plane],
                   (size_t)GST_VIDEO_INFO_COMP_WIDTH(info, plane));
            to += GST_VIDEO_INFO_PLANE_STRIDE(info, plane);
        }
    }
    gst_buffer_unmap(buffer, &map);
    GST_BUFFER_OFFSET(buffer) = (guint64)frame->index;
    return buffer;
}

static void fill(const GstVideoInfo *info, guint8 *data, guint plane, int x, int y, int w, int h,
                 guint8 value)
{
    int stride = GST_VIDEO_INFO_PLANE_STRIDE(info, plane);
    guint8 *to = data + GST_VIDEO_INFO_PLANE_OFFSET(info, plane) + y * stride + x;
    for (int row = 0; row < h; row++)
        memset(to + row * stride, value, (size_t)w);
}

void picture_stamp(const GstVideoInfo *info, GstBuffer *picture, uint32_t number)
{
    GstMapInfo map;
    int cell = MIN(GST_VIDEO_INFO_WIDTH(info) / STAMP_BITS, CELL_MAX) & ~1;
    if (!gst_buffer_map(picture, &map, GST_MAP_WRITE))
        return;
    for (int bit = 0; bit < STAMP_BITS; bit++) {
        bool set = number >> (STAMP_BITS - 1 - bit) & 1;
        fill(info, map.data, 0, bit * cell, 0, cell, cell, set ? LIGHT : DARK);
        fill(info, map.data, 0, bit * cell, cell, cell, cell, set ? DARK : LIGHT);
    }
    for (guint plane = 1; plane < 3; plane++)
        fill(info, map.data, plane, 0, 0, STAMP_BITS * cell / 2, cell, NEUTRAL);
    gst_buffer_unmap(picture, &map);
}
