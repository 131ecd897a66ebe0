/* How a video's latent frames are cut into blocks that are denoised together. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct block_plan {
    int block;         /* latent frames a block */
    int64_t given;     /* latent frames of the image or clip it starts from; 0: none */
    int64_t frames;    /* latent frames in all, given ones included; 0: without end */
    bool first_alone;  /* the first latent frame is a block of its own */
    bool independent;  /* so without a given image, too */
};

/* A single given latent frame is an independent first frame whatever the caller asks. */
void block_plan_init(struct block_plan *plan, int block, int64_t given, int64_t frames,
                     bool independent_first_frame);

/* 0 if everything fits; else -1, and *below, *above are the counts of latent frames in all nearest to
 * what was asked that would fit (below may be 0: none). */
int block_plan_check(const struct block_plan *plan, int64_t *below, int64_t *above);

/* The plan of another scene of the same video, which has `left` latent frames to go (0: without end),
 * from the given frames again or from none. Its last block may be short. */
struct block_plan block_plan_scene(const struct block_plan *plan, int64_t left, bool given);

/* Latent frames of the block that starts at latent frame `start`; 0 past the end. */
int block_plan_next(const struct block_plan *plan, int64_t start);
