/* Shared by the parts of unreel_bench. */
#pragma once

#include "backend/backend.h"
#include "model/transformer.h"
#include "unreel/diagnose.h"
#include "weights/made_up.h"

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

enum stream_part {
    STREAM_DENOISE, /* all steps, noise included */
    STREAM_CACHE,   /* the forward that keeps keys and values */
    STREAM_VAE,
    STREAM_VAE_PICTURES, /* conversion to I420 and the way to the host */
    STREAM_LIGHT,
    STREAM_LIGHT_PICTURES,
    STREAM_PARTS,
};

/* What bench_stream measured; chunks 0: it did not run. Seconds and FLOPs of a chunk. */
struct bench_stream {
    int chunks, pictures, steps;
    double mean[STREAM_PARTS], p50[STREAM_PARTS], p99[STREAM_PARTS];
    double flops_transformer, flops_vae, flops_light;
    double first_picture[2]; /* full, light */
    double rate_beside; /* pictures/s with the full VAE beside denoising; 0: the device has no such */
    double seconds_warm_up;  /* until the window was full, algorithms chosen on the way */
    struct op_profile profile, profile_vae; /* one chunk's transformer and VAE, operation by operation */
    uint64_t forwards, replayed; /* of the transformer */
    uint64_t passes, passes_replayed; /* of the decoders, where these are recorded */
    bool cannot_record;
};

struct bench {
    unreel_log log;
    const struct backend_config *config;
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

    struct bench_stream stream;

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
int bench_stream(struct bench *bench);
int bench_memory(struct bench *bench); /* `shape` is a model folder */

/* Goes on with a rollout, and decodes beside it. Pictures a second once the window is full. */
struct rollout;
int bench_beside(struct bench *bench, struct rollout *rollout, const struct weights *vae_weights,
                 double *rate);

/* Brings a decoder's pictures to the host as I420, all to one place. */
struct video_decoder;
void bench_fetch(const struct bench *bench, const struct video_decoder *decoder,
                 struct tensor pixels, uint8_t *picture);

/* Keeps what the device's memory looks like, if less of it is free than before. */
void bench_look_at_memory(struct bench *bench);

/* The shape that is named, or an error that names those there are. */
int bench_find_shape(const struct bench *bench, struct made_up_shape *shape);

int bench_compare_doubles(const void *a, const void *b);

/* The transformer of a made-up shape. */
struct transformer_config bench_transformer_config(const struct made_up_shape *shape);

/* Fills backend memory with values in [-1, 1) that differ: zeros would make some operations faster. */
void bench_fill(struct backend *b, struct tensor t, uint64_t seed);
/* A cache as full as in the middle of a long video. */
struct kv_cache;
void bench_fill_cache(struct backend *b, struct kv_cache *cache);

void bench_print_table(const struct bench *bench, unreel_line_fn line, void *opaque);
void bench_print_json(const struct bench *bench, unreel_line_fn line, void *opaque);
