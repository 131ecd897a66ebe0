/* unreel: many videos. Lists of prompts, the names of their files, sharing them among processes.
 *
 * Copyright the unreel authors. SPDX-License-Identifier: Apache-2.0
 *
 *     unreel_prompts *prompts;
 *     unreel_ranks ranks;
 *     unreel_prompts_open(&prompts, options);
 *     unreel_ranks_from(&ranks, NULL, lookup, NULL);
 *     for (size_t i = ranks.rank; i < unreel_prompts_count(prompts); i += ranks.world)
 *         make(unreel_prompts_at(prompts, i));
 */
#ifndef UNREEL_BATCH_H
#define UNREEL_BATCH_H

#include "unreel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- prompts ------------------------------------------------------------------------------ */

typedef struct unreel_prompts unreel_prompts;

typedef struct unreel_prompt {
    const char *text;  /* what is generated: of extended_prompt_path if that is given */
    const char *name;  /* the prompt as the user listed it: names the file */
    const char *image; /* path of the picture that the video starts from, or NULL */
} unreel_prompt;

/* Reads what the options name:
 *   prompt                      one prompt; with "image" that starts from a picture
 *   data_path FILE              one prompt a line; with "image" all start from that picture
 *   data_path FOLDER and i2v    pictures with captions, listed in target_crop_info_<ratio>.json
 *   extended_prompt_path        with any of these: as many lines, what is generated instead
 *
 * Prompt files are UTF-8. A byte order mark, CRLF and white space at the end of a line are dropped,
 * so are empty lines at the end. An empty line in between is an empty prompt, as in the original
 * program, and is warned of. "save_with_index" and "use_ema" are kept for the file names. */
UNREEL_API int unreel_prompts_open(unreel_prompts **prompts, const unreel_options *options);
UNREEL_API void unreel_prompts_close(unreel_prompts *prompts); /* NULL is fine */
UNREEL_API size_t unreel_prompts_count(const unreel_prompts *prompts);

/* Valid until the list is closed; NULL past its end. */
UNREEL_API const unreel_prompt *unreel_prompts_at(const unreel_prompts *prompts, size_t index);

#define UNREEL_FILE_NAME_MAX 256 /* bytes with the NUL */

/* The file name of a video, without folder: "INDEX-SAMPLE_ema.mp4" or "INDEX-SAMPLE_regular.mp4" with
 * save_with_index, else "PROMPT-SAMPLE.mp4" with the first 100 characters of the prompt, made safe
 * for file systems. `extension` is "mp4" or the like, at most 8 bytes. Leaves room for ".part".
 *
 * Different videos of a list never share a name: of prompts that would, the first keeps the plain
 * name and the others get a hash. Names depend on the list only up to the prompt itself, not on
 * ranks, so that a list can be continued after a break and made longer at its end. */
UNREEL_API int unreel_prompts_file_name(const unreel_prompts *prompts, size_t index, int sample,
                                        const char *extension, char name[UNREEL_FILE_NAME_MAX]);

/* ---- ranks -------------------------------------------------------------------------------- */

/* This process among those that share the work. */
typedef struct unreel_ranks {
    int rank, world;      /* from 0, number of processes */
    int local_rank;       /* on this machine; for programs that choose a device by it */
    const char *launcher; /* "torchrun", "mpirun", "slurm", or NULL if it is alone */
} unreel_ranks;

/* The value of an environment variable, NULL if it is not set. */
typedef const char *(*unreel_lookup_fn)(void *opaque, const char *name);

/* Reads RANK, WORLD_SIZE, LOCAL_RANK (torchrun), else OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_RANK
 * (mpirun), else SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID (srun), through `get`, as the library does
 * not look at the environment itself. Without any of them: rank 0 of 1. Values that are incomplete
 * or contradict each other are errors, as videos would be lost or made twice. */
UNREEL_API int unreel_ranks_from(unreel_ranks *ranks, const unreel_log *log, unreel_lookup_fn get,
                                 void *opaque);

/* How many of `count` prompts are this rank's: rank, rank + world, rank + 2 world, ... */
UNREEL_API size_t unreel_ranks_share(const unreel_ranks *ranks, size_t count);

#ifdef __cplusplus
}
#endif
#endif
