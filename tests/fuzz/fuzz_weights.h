/* Shared by the targets that read weights: every tensor that is accepted can be read to its last
 * byte. */
#pragma once

#include <stdlib.h>
#include "fuzz.h"
#include "weights/reader.h"

static inline void fuzz_weights(const uint8_t *data, size_t size, const char *set)
{
    struct weights *weights;
    volatile unsigned sum = 0;
    if (weights_read(&weights, "fuzz", data, size, set, NULL) < 0)
        return;
    for (size_t i = 0; i < weights_count(weights); i++) {
        const struct weight *w = weights_at(weights, i);
        const uint8_t *bytes = w->tensor.data;
        if (!w->bytes || w->bytes != tensor_bytes(&w->tensor) ||
            weights_find(weights, w->name) != w)
            abort();
        for (size_t k = 0; k < w->bytes; k += 1 + w->bytes / 64)
            sum += bytes[k];
        sum += bytes[w->bytes - 1];
        (void)sum;
    }
    weights_close(weights);
}
