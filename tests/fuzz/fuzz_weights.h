/* Shared by the targets that read weights: every tensor that is accepted lies inside the file. */
#pragma once

#include <stdlib.h>
#include "fuzz.h"
#include "weights/reader.h"

static inline void fuzz_weights(const uint8_t *data, size_t size,
                                int (*read)(struct file_tensors *tensors))
{
    struct file_tensors t = {.path = "fuzz", .file = {.data = data, .size = size}};
    volatile unsigned sum = 0;
    if (read(&t) == 0) {
        for (size_t i = 0; i < t.count; i++) {
            const struct file_tensor *tensor = &t.list[i];
            int64_t last = 0;
            if (!tensor->bytes)
                continue;
            for (int d = 0; d < tensor->dims; d++)
                last += (tensor->shape[d] - 1) * tensor->stride[d];
            sum += data[tensor->offset];
            sum += data[tensor->offset + (size_t)last * (size_t)tensor->type->size +
                        (size_t)tensor->type->size - 1];
        }
    }
    t.file = (struct file){0}; /* the fuzzer's memory is no mapping */
    file_tensors_free(&t);
}
