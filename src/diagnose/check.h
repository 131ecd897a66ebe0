/* Shared by the parts of unreel_check. */
#pragma once

#include "backend/backend.h"
#include "base/json.h"
#include "unreel/diagnose.h"
#include "weights/weights.h"

struct check {
    unreel_log log;
    unreel_line_fn line;
    void *opaque;
    struct backend *backend;
    double limit; /* relative L2 */
    int passed, failed;
    bool no_tokenizer;    /* this build has none: what needs one is skipped, and said so */
    char *expected;       /* FOLDER/expected */
    char *model;          /* FOLDER/wan_models/<the one> */
    char *checkpoint;     /* FOLDER/checkpoints/<the one>.pt */
    struct json *config;  /* case.json */
    struct json *prompts; /* prompts.json */
};

/* FOLDER/NAME, the caller's to free; NULL: out of memory. */
char *check_join(const char *folder, const char *name);

/* The one entry of a folder whose name ends so, that does not end `not` (NULL: any); joined, the
 * caller's to free. NULL unless there is exactly one. */
char *check_only_entry(const char *folder, const char *suffix, const char *not);

/* Prints "name relative_L2 limit ok|FAIL" and counts. NaN fails. */
void check_report(struct check *check, const char *name, double error, double limit);

/* A step that could not run: printed and counted as failed. */
void check_broken(struct check *check, const char *name, const char *why);

/* Whether the folder has expected/NAME; if not, says so: it is not compared. */
bool check_is_recorded(struct check *check, const char *name);

/* |a - b| / |b| over count elements. */
double check_relative_l2(const float *a, const float *b, int64_t count);

/* `got` in backend memory, features last, against the tensor `name` of `file`, channels first
 * ([F, C, h, w], f32). Pixels are first mapped to x * scale + offset and clamped to [low, high]. */
struct check_range {
    float scale, offset, low, high;
};
void check_compare(struct check *check, const char *label, struct tensor got,
                   const struct weights *file, const char *name, int64_t first_frame,
                   const struct check_range *range);

/* Uploads a channels-first f32 tensor of a file, features last. Data NULL if there is none. */
struct tensor check_upload(struct check *check, struct arena *arena, const struct weights *file,
                           const char *name);

/* The parts. Each reports what it compares. */
void check_text(struct check *check);
void check_schedule(struct check *check);
void check_transformer(struct check *check);
void check_rollouts(struct check *check);
void check_vae(struct check *check);
void check_light(struct check *check, const char *weights, const char *expected);

/* case.json: a number, or `fallback` where it is absent. "dit.local_attn_size" reaches inside. */
double check_number(const struct check *check, const char *key, double fallback);

/* Embedding of a prompt as the case has it: f32 [text_len, dim] in backend memory. */
struct tensor check_embeds(struct check *check, struct arena *arena, int prompt);

/* Embedding of the case's negative prompt, which is not recorded: through our own text encoder. Data
 * NULL without a tokenizer. */
struct tensor check_negative(struct check *check, struct arena *arena);
