#include "engine/frame_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

int frame_queue_init(struct frame_queue *queue, int capacity)
{
    *queue = (struct frame_queue){.capacity = capacity};
    queue->ring = calloc((size_t)capacity, sizeof *queue->ring);
    if (!queue->ring)
        return UNREEL_ENOMEM;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->changed, &attr);
    pthread_condattr_destroy(&attr);
    return 0;
}

static unreel_frame *take(struct frame_queue *queue)
{
    unreel_frame *frame = queue->ring[queue->first];
    queue->first = (queue->first + 1) % queue->capacity;
    queue->count--;
    return frame;
}

void frame_queue_finish(struct frame_queue *queue)
{
    if (!queue->ring)
        return;
    while (queue->count)
        unreel_frame_unref(take(queue));
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
    free(queue->ring);
    *queue = (struct frame_queue){0};
}

enum frame_queue_result frame_queue_push(struct frame_queue *queue, unreel_frame *frame)
{
    enum frame_queue_result result = FRAME_QUEUED;
    pthread_mutex_lock(&queue->lock);
    while (queue->count == queue->capacity && !queue->stopped && !queue->hurried)
        pthread_cond_wait(&queue->changed, &queue->lock);
    if (queue->expected)
        queue->expected--;
    if (queue->stopped) {
        result = FRAME_STOPPED;
    } else if (queue->count == queue->capacity) {
        result = FRAME_DROPPED;
    } else {
        queue->ring[(queue->first + queue->count) % queue->capacity] = frame;
        queue->count++;
        pthread_cond_broadcast(&queue->changed);
    }
    pthread_mutex_unlock(&queue->lock);
    if (result != FRAME_QUEUED)
        unreel_frame_unref(frame);
    return result;
}

void frame_queue_expect(struct frame_queue *queue, int frames)
{
    pthread_mutex_lock(&queue->lock);
    queue->expected = frames;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

void frame_queue_wait(struct frame_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->count + queue->expected > queue->capacity && !queue->stopped &&
           !queue->hurried && !queue->end)
        pthread_cond_wait(&queue->changed, &queue->lock);
    pthread_mutex_unlock(&queue->lock);
}

void frame_queue_hurry(struct frame_queue *queue, bool hurried)
{
    pthread_mutex_lock(&queue->lock);
    queue->hurried = hurried;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

int frame_queue_drop(struct frame_queue *queue, unsigned *flags)
{
    *flags = 0;
    pthread_mutex_lock(&queue->lock);
    int count = queue->count;
    while (queue->count) {
        unreel_frame *frame = take(queue);
        *flags |= frame->flags;
        unreel_frame_unref(frame);
    }
    pthread_mutex_unlock(&queue->lock);
    return count;
}

int frame_queue_count(struct frame_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    int count = queue->count;
    pthread_mutex_unlock(&queue->lock);
    return count;
}

int frame_queue_pull(struct frame_queue *queue, unreel_frame **frame, int timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    if (timeout_ms > 0) {
        until.tv_sec += timeout_ms / 1000;
        until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
    }
    int code = 0;
    *frame = NULL;
    pthread_mutex_lock(&queue->lock);
    while (!queue->count && !queue->end && code == 0) {
        if (timeout_ms < 0)
            pthread_cond_wait(&queue->changed, &queue->lock);
        else if (timeout_ms == 0 ||
                 pthread_cond_timedwait(&queue->changed, &queue->lock, &until) == ETIMEDOUT)
            code = UNREEL_EAGAIN;
    }
    if (queue->count) {
        *frame = take(queue);
        pthread_cond_broadcast(&queue->changed);
        code = 0;
    } else if (queue->end) {
        code = queue->end;
    }
    pthread_mutex_unlock(&queue->lock);
    return code;
}

void frame_queue_end(struct frame_queue *queue, int status)
{
    pthread_mutex_lock(&queue->lock);
    if (!queue->end) /* the first reason counts */
        queue->end = status;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

void frame_queue_stop(struct frame_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->stopped = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}
