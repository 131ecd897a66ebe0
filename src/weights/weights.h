/* Named tensors in files: safetensors (also sharded, with an index JSON) and PyTorch zip files.
 * Files are mapped, tensors are views of the mapping. Files are hostile: every size, offset and
 * product is checked, and what is wrong is refused with one line that names file and tensor. A file
 * must not shrink while it is open. */
#pragma once

#include "backend/tensor.h"
#include "base/log.h"

struct weights;

struct weight {
    const char *name;
    struct tensor
        tensor; /* host, contiguous; in the mapping (mapped), or an aligned copy if the file is odd */
    size_t bytes;
};

/* Opens PATH by its content: safetensors, an index JSON ("weight_map") beside its shards, a PyTorch
 * zip; a folder that holds exactly one of diffusion_pytorch_model.safetensors and its index.
 *
 * Dictionaries of a nested checkpoint are sets, named by their keys joined with '.'. `set` chooses
 * one by its name or the end of it ("generator_ema"); absent, the error names those there. NULL:
 * the outermost one if it has tensors itself, else the only one. A flat file has one set, whatever
 * is asked.
 *
 * `_fsdp_wrapped_module.` inside keys and the prefixes `model.` and `module.` are stripped. Tensors
 * of other types than F32, F16, BF16 and I32 (counters) are left out. */
int weights_open(struct weights **weights, const char *path, const char *set,
                 const unreel_log *log);
void weights_close(struct weights *weights); /* NULL is fine */

const char *weights_path(const struct weights *weights);
size_t weights_count(const struct weights *weights);
const struct weight *weights_at(const struct weights *weights, size_t index); /* sorted by name */
const struct weight *weights_find(const struct weights *weights, const char *name);
/* A metadata entry of a safetensors file, or NULL. */
const char *weights_metadata(const struct weights *weights, const char *key);

/* A set in memory, which it takes over with its blocks (free) and names, also on failure. `label`
 * stands for the path. The list is sorted in place. */
int weights_from_memory(struct weights **weights, const char *label, struct weight *list,
                        size_t count, void **blocks, size_t blocks_count, const unreel_log *log);

/* Writes safetensors, complete or not at all (through a temporary name). Host tensors,
 * contiguous. */
int weights_save(const char *path, const struct weight *list, size_t count,
                 const char *const *metadata /* key, value, ..., NULL; or NULL */,
                 const unreel_log *log);

/* ---- binding a model to a file: all that is wrong is reported at once ------------------------ */

struct binder {
    const struct weights *weights;
    const unreel_log *log;
    bool *used; /* [weights_count] */
    int wrong;  /* missing and misshapen so far */
};

int binder_init(struct binder *binder, const struct weights *weights, const unreel_log *log);

/* The tensor of that name, which must have this shape (-1: any length). On a mismatch logs one line
 * and returns a tensor without data. SHAPE() gives dims and shape. Trailing dimensions of length 1
 * in the file are ignored. */
struct tensor bind(struct binder *binder, int dims, const int64_t *shape, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Marks tensors whose name starts so as known though unused (an encoder nobody asked for). */
void binder_ignore(struct binder *binder, const char *prefix);

/* Logs tensors that nobody asked for; UNREEL_EFORMAT if anything was missing, misshapen or
 * unexpected. Frees the binder's memory in any case. */
int binder_finish(struct binder *binder);
