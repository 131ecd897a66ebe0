/* Pictures of the session as GStreamer's buffers. */
#pragma once

#include <gst/video/video.h>
#include <unreel/unreel.h>

/* I420, BT.709, at this size and rate. */
void picture_info(GstVideoInfo *info, int width, int height, int rate, int per);

/* A copy of an I420 picture; the buffer's offset is the picture's number. */
GstBuffer *picture_copy(const GstVideoInfo *info, const unreel_frame *frame);

#define STAMP_BITS 24
#define STAMP_WIDTH_MIN (4 * STAMP_BITS)

/* Draws a number into the top left corner: 24 square cells in a row, the highest bit first, light
 * for 1; below them a row of their complements. A cell is width / 24 pixels, even, at most 16. */
void picture_stamp(const GstVideoInfo *info, GstBuffer *picture, uint32_t number);
