#include "engine/frame.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define ROW_ALIGN 64 /* bytes */

struct frame {
    unreel_frame pub; /* first: the public pointer is the frame's */
    atomic_int refs;
    struct frame_pool *pool;
    struct frame *next; /* in the pool */
    uint8_t *memory;
};

struct frame_pool {
    pthread_mutex_t lock;
    int refs; /* the owner and every frame out there */
    struct frame *unused;
    int width, height;
    enum unreel_format format;
};

static size_t aligned(size_t bytes)
{
    return (bytes + ROW_ALIGN - 1) / ROW_ALIGN * ROW_ALIGN;
}

struct frame_pool *frame_pool_create(int width, int height, enum unreel_format format)
{
    struct frame_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    if (pthread_mutex_init(&pool->lock, NULL)) {
        free(pool);
        return NULL;
    }
    pool->refs = 1;
    pool->width = width;
    pool->height = height;
    pool->format = format;
    return pool;
}

static void frame_free(struct frame *frame)
{
    free(frame->memory);
    free(frame);
}

/* Drops one reference; called with the lock held, which it releases. */
static void pool_drop_locked(struct frame_pool *pool)
{
    int refs = --pool->refs;
    pthread_mutex_unlock(&pool->lock);
    if (refs)
        return;
    while (pool->unused) {
        struct frame *frame = pool->unused;
        pool->unused = frame->next;
        frame_free(frame);
    }
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void frame_pool_unref(struct frame_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool_drop_locked(pool);
}

static struct frame *frame_new(const struct frame_pool *pool)
{
    size_t w = (size_t)pool->width, h = (size_t)pool->height;
    size_t stride[3] = {0}, rows[3] = {h, 0, 0};
    switch (pool->format) {
    case UNREEL_FORMAT_I420:
        stride[0] = w;
        stride[1] = stride[2] = w / 2;
        rows[1] = rows[2] = h / 2;
        break;
    case UNREEL_FORMAT_NV12:
        stride[0] = stride[1] = w;
        rows[1] = h / 2;
        break;
    case UNREEL_FORMAT_RGB:
        stride[0] = 3 * w;
        break;
    case UNREEL_FORMAT_BGRX:
        stride[0] = 4 * w;
        break;
    }
    struct frame *frame = calloc(1, sizeof *frame);
    if (!frame)
        return NULL;
    size_t bytes = 0;
    for (int i = 0; i < 3; i++) {
        frame->pub.stride[i] = aligned(stride[i]);
        bytes += frame->pub.stride[i] * rows[i];
    }
    frame->memory = aligned_alloc(ROW_ALIGN, bytes);
    if (!frame->memory) {
        free(frame);
        return NULL;
    }
    uint8_t *plane = frame->memory;
    for (int i = 0; i < 3; i++) {
        frame->pub.data[i] = rows[i] ? plane : NULL;
        plane += frame->pub.stride[i] * rows[i];
    }
    frame->pub.width = pool->width;
    frame->pub.height = pool->height;
    frame->pub.format = pool->format;
    return frame;
}

unreel_frame *frame_pool_take(struct frame_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct frame *frame = pool->unused;
    if (frame)
        pool->unused = frame->next;
    pool->refs++;
    pthread_mutex_unlock(&pool->lock);
    if (!frame && !(frame = frame_new(pool))) {
        frame_pool_unref(pool);
        return NULL;
    }
    frame->pool = pool;
    atomic_store(&frame->refs, 1);
    return &frame->pub;
}

uint8_t *frame_plane(unreel_frame *frame, int plane)
{
    return (uint8_t *)(uintptr_t)frame->data[plane];
}

unreel_frame *unreel_frame_ref(unreel_frame *frame)
{
    atomic_fetch_add(&((struct frame *)frame)->refs, 1);
    return frame;
}

void unreel_frame_unref(unreel_frame *pub)
{
    struct frame *frame = (struct frame *)pub;
    if (!frame || atomic_fetch_sub(&frame->refs, 1) != 1)
        return;
    struct frame_pool *pool = frame->pool;
    pthread_mutex_lock(&pool->lock);
    frame->next = pool->unused;
    pool->unused = frame;
    pool_drop_locked(pool);
}
