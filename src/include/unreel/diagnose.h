/* unreel: looking into model files, checking against recorded results, measuring.
 *
 * Copyright the unreel authors. SPDX-License-Identifier: Apache-2.0
 *
 * What `unreel inspect`, `unreel check` and `unreel bench` print; for tools and tests.
 */
#ifndef UNREEL_DIAGNOSE_H
#define UNREEL_DIAGNOSE_H

#include "unreel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Receives one line of output without a line end. */
typedef void (*unreel_line_fn)(void *opaque, const char *line);

/* Lists the tensors of a safetensors, sharded index or PyTorch file, then totals. */
UNREEL_API int unreel_inspect(const unreel_log *log, const char *path, unreel_line_fn line,
                              void *opaque);

/* Runs everything a golden folder holds (with the options that unreel_engine_open reads of the
 * device): one line a tensor, "NAME not recorded" for what the folder lacks, then "N passed, M
 * failed". Returns 0 only if something was compared and all passed. */
UNREEL_API int unreel_check(const unreel_options *options, const char *folder, unreel_line_fn line,
                            void *opaque);

/* Times the stages with made-up weights ("shape", "bench_blocks", ...): a table, or JSON. */
UNREEL_API int unreel_bench(const unreel_options *options, int json, unreel_line_fn line,
                            void *opaque);

/* Writes a model folder with made-up weights of a shape ("wan2.1-1.3b", ...): config.json, the three
 * networks. A weight depends on its name, its index and the seed only. */
UNREEL_API int unreel_make_model(const unreel_log *log, const char *shape, uint64_t seed,
                                 const char *folder);

#ifdef __cplusplus
}
#endif
#endif
