/* Pictures for the networks. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

/* Resizes packed 8-bit RGB (rows of `stride` bytes) to y [height, width, 3] in [-1, 1], bilinear with
 * antialiasing: where it shrinks, the triangle filter is as wide as the scale. UNREEL_ENOMEM. */
int image_resize(float *y, int width, int height, const uint8_t *rgb, int rgb_width, int rgb_height,
                 size_t stride, const unreel_log *log);
