/* A bounded queue of frames between a session's worker and whoever takes the pictures. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <unreel/unreel.h>

struct frame_queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unreel_frame **ring;
    int capacity, first, count;
    int expected; /* frames that somebody makes now */
    bool stopped; /* pushes are refused: nobody will take what they bring */
    bool hurried; /* pushes do not wait for room */
    int end;      /* 0 while frames are still to come, else what follows the last one */
};

int frame_queue_init(struct frame_queue *queue, int capacity);
void frame_queue_finish(struct frame_queue *queue); /* frames still inside are released */

enum frame_queue_result {
    FRAME_QUEUED,
    FRAME_STOPPED, /* nobody will take it; it was released */
    FRAME_DROPPED, /* no room and no time to wait for it; it was released */
};

/* Waits while the queue is full, unless it is hurried. Takes over the reference. */
enum frame_queue_result frame_queue_push(struct frame_queue *queue, unreel_frame *frame);

/* Says how many frames will be pushed next; each push counts as one of them. */
void frame_queue_expect(struct frame_queue *queue, int frames);

/* Waits until what is expected will fit, so that no push of it would wait; or until it is hurried,
 * stopped or has ended. */
void frame_queue_wait(struct frame_queue *queue);

void frame_queue_hurry(struct frame_queue *queue, bool hurried); /* frees a waiting push */

/* Releases all frames inside, returns how many there were; their flags together in *flags. */
int frame_queue_drop(struct frame_queue *queue, unsigned *flags);

int frame_queue_count(struct frame_queue *queue);

/* 0 and a frame; UNREEL_EAGAIN after timeout_ms (-1: never); what frame_queue_end said once empty. */
int frame_queue_pull(struct frame_queue *queue, unreel_frame **frame, int timeout_ms);

void frame_queue_end(struct frame_queue *queue, int status); /* no frame will follow */
void frame_queue_stop(struct frame_queue *queue);            /* frees a waiting push */
