/* Frames that outlive the session: buffers come from a pool that lives as long as any of them. */
#pragma once

#include <unreel/unreel.h>

struct frame_pool;

/* A pool for pictures of one size and format; NULL: out of memory. */
struct frame_pool *frame_pool_create(int width, int height, enum unreel_format format);
void frame_pool_unref(struct frame_pool *pool); /* frames out there keep their memory */

/* A frame with one reference, its planes writable through frame_plane(); NULL: out of memory. Reuses
 * the memory of frames that came back, so that a steady stream allocates nothing. Thread-safe. */
unreel_frame *frame_pool_take(struct frame_pool *pool);
uint8_t *frame_plane(unreel_frame *frame, int plane);
