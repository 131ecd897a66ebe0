/* Inside TAEHV, the light decoder and encoder (https://github.com/madebyollin/taehv): plain 2-D
 * convolutions with one frame of memory a block. */
#pragma once

#include "model/video_decoder.h"
#include "model/video_stream.h"

#define TAEHV_LEVELS 3
#define TAEHV_BLOCKS 3

/* ReLU(x + conv3(ReLU(conv2(ReLU(conv1(x, frame before)))))): the channels of the two frames that the
 * checkpoint's first convolution sees are two taps in time here. */
struct taehv_block {
    struct conv conv1, conv2, conv3;
};

struct taehv_level {
    struct taehv_block block[TAEHV_BLOCKS];
    int stride;          /* in time: 1 or 2 */
    struct conv time[2]; /* decoder: 1x1 to each of the `stride` frames; encoder: the first, kt = stride */
    struct conv space;   /* 3x3: decoder behind nearest 2x, encoder with stride 2 */
};

struct taehv_half {
    bool present;
    struct conv first; /* 3x3, then ReLU */
    struct taehv_level level[TAEHV_LEVELS];
    struct conv last; /* 3x3 */
};

struct taehv {
    struct backend *backend;
    struct taehv_half encoder, decoder;
    float **rearranged; /* host weights that are not as in the file */
    int rearranged_count;
};
