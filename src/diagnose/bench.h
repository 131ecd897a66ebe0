/* Shared by the parts of unreel_bench. */
#pragma once

#include "backend/backend.h"
#include "unreel/diagnose.h"

/* One measured stage. */
struct bench_stage {
    const char *name;
    char what[96];       /* shape in words */
    int runs;
    double seconds;      /* median of the runs */
    double p99, best;    /* seconds */
    double flops;        /* of one run */
    struct op_profile profile; /* of the best run */
};

#define BENCH_STAGES 16

struct bench {
    unreel_log log;
    struct backend *backend;
    const char *shape;
    int blocks;   /* transformer layers to run; the whole is extrapolated from them */
    int window;   /* latent frames */
    int runs;
    int height, width; /* px */
    double peak;  /* FLOP/s in the compute type, all threads; 0: unknown */
    const char *peak_instruction;
    struct bench_stage stage[BENCH_STAGES];
    int stages;
    uint64_t work_bytes, cache_bytes;
    struct backend_memory memory; /* most of what was seen after a stage; total 0: the host's */
    const char *device;           /* in words */

    /* bench_memory: 0 where it did not run */
    double seconds_open, seconds_text;
    uint64_t resident_anonymous, resident_file, resident_peak; /* bytes of the process */
};

/* Runs `run` once to warm up, then up to bench->runs times, fewer where a stage is slow; adds a stage. */
void bench_time(struct bench *bench, const char *name, void (*run)(void *opaque), void *opaque,
                const char *format, ...) __attribute__((format(printf, 5, 6)));

int bench_text(struct bench *bench);
int bench_transformer(struct bench *bench);
int bench_vae(struct bench *bench);
int bench_memory(struct bench *bench); /* `shape` is a model folder */

/* Fills backend memory with values in [-1, 1) that differ: zeros would make some operations faster. */
void bench_fill(struct backend *b, struct tensor t, uint64_t seed);
/* A cache as full as in the middle of a long video. */
struct kv_cache;
void bench_fill_cache(struct backend *b, struct kv_cache *cache);

void bench_print_table(const struct bench *bench, unreel_line_fn line, void *opaque);
void bench_print_json(const struct bench *bench, unreel_line_fn line, void *opaque);
