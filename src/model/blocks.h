/* How a video's latent frames are cut into blocks that are denoised together. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct block_plan {
    int block;         /* latent frames a block */
    int64_t given;     /* latent frames of the image or clip it starts from; 0: none */
    int64_t frames;    /* latent frames in all, given ones included; 0: without end */
    bool first_alone;  /* the first latent frame is a block of its own */
};

/* A single given latent frame is an independent first frame whatever the caller asks. */
void block_plan_init(struct block_plan *plan, int block, int64_t given, int64_t frames,
                     bool independent_first_frame);

/* 0 if everything fits; else -1, and *below, *above are the counts of latent frames in all nearest to
 * what was asked that would fit (below may be 0: none). */
int block_plan_check(const struct block_plan *plan, int64_t *below, int64_t *above);

/* Latent frames of the block that starts at latent frame `start`; 0 past the end. */
int block_plan_next(const struct block_plan *plan, int64_t start);
