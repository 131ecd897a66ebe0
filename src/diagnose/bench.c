/* unreel_bench: times the stages one by one and says where the time goes. */
#include "diagnose/bench.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rank.h"
#include "config/options.h"

#define STAGE_SECONDS_MAX 30 /* no further run of a stage is begun after */

int bench_compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_look_at_memory(struct bench *bench)
{
    struct backend_memory memory;
    if (!bench->backend->ops->memory)
        return;
    bench->backend->ops->memory(bench->backend, &memory);
    if (!bench->memory.total || memory.free < bench->memory.free)
        bench->memory = memory;
    bench->device = memory.device;
}

void bench_time(struct bench *bench, const char *name, void (*run)(void *opaque), void *opaque,
                const char *format, ...)
{
    double *times = malloc((size_t)bench->runs * sizeof *times), spent = 0;
    int runs = 0;
    if (!times || bench->stages == BENCH_STAGES || backend_status(bench->backend)) {
        free(times);
        return;
    }
    struct bench_stage *stage = &bench->stage[bench->stages++];
    *stage = (struct bench_stage){.name = name};
    va_list args;
    va_start(args, format);
    vsnprintf(stage->what, sizeof stage->what, format, args);
    va_end(args);
    run(opaque); /* converts weights */
    for (int i = 0; bench->backend->ops->record_begin && i < 2; i++)
        run(opaque); /* a decoder's first is not like the others, of which the second is recorded */
    while (runs < bench->runs && (!runs || spent < STAGE_SECONDS_MAX)) {
        struct op_profile profile = {0};
        /* Timing operations one by one waits for each: on a device that is a run of its own. */
        if (bench->backend->ops->sync) {
            bench->backend->profile = &profile;
            run(opaque);
            bench->backend->profile = NULL;
            backend_sync(bench->backend);
        }
        double begin = clock_seconds();
        bench->backend->profile = bench->backend->ops->sync ? NULL : &profile;
        run(opaque);
        bench->backend->profile = NULL;
        backend_sync(bench->backend);
        times[runs] = clock_seconds() - begin;
        spent += times[runs];
        if (!runs || times[runs] < stage->best) {
            stage->best = times[runs];
            stage->profile = profile;
        }
        runs++;
    }
    bench_look_at_memory(bench);
    qsort(times, (size_t)runs, sizeof *times, bench_compare_doubles);
    stage->runs = runs;
    stage->seconds = times[nearest_rank(runs, 50)];
    stage->p99 = times[nearest_rank(runs, 99)];
    for (int i = 0; i < OP_KINDS; i++)
        stage->flops += stage->profile.flops[i];
    free(times);
}

static void measure_peak(struct bench *bench)
{
    struct backend *b = bench->backend;
    if (!b->ops->peak)
        return;
    double peak = b->ops->peak(b, b->compute, &bench->peak_instruction);
    if (peak > bench->peak)
        bench->peak = peak;
}

static const struct part {
    const char *name;
    int (*run)(struct bench *);
} parts[] = {
    {"text", bench_text},     {"transformer", bench_transformer}, {"vae", bench_vae},
    {"stream", bench_stream}, {"memory", bench_memory},
};

#define PARTS (sizeof parts / sizeof *parts)

/* Reads "all" or names between commas into asked[PARTS]. False: a name is none of these. `folder`: the
 * shape is a model folder, of which only the memory is of interest; `slow`: this is no GPU. */
static bool read_stages(const char *stages, bool folder, bool slow, bool *asked)
{
    bool all = !strcmp(stages, "all");
    for (size_t i = 0; i < PARTS; i++) {
        bool memory = parts[i].run == bench_memory, stream = parts[i].run == bench_stream;
        /* A whole stream at the CPU's pace takes hours: there it is made only where it is asked for. */
        asked[i] = all && folder == memory && !(stream && slow);
    }
    while (!all) {
        size_t length = strcspn(stages, ","), i = 0;
        while (i < PARTS && (strlen(parts[i].name) != length || strncmp(parts[i].name, stages, length)))
            i++;
        if (i == PARTS)
            return false;
        asked[i] = true;
        if (!stages[length])
            break;
        stages += length + 1;
    }
    return true;
}

int unreel_bench(const unreel_options *options, int json, unreel_line_fn line, void *opaque)
{
    const unreel_log *log = options_log(options);
    const struct backend_config config = {
        .device = options_text(options, "device"),
        .dtype = options_text(options, "dtype"),
        .threads = (int)options_int(options, "threads"),
        .cache = options_text(options, "device_cache"),
        .without = options_text(options, "device_without"),
    };
    struct bench bench = {
        .config = &config,
        .shape = options_text(options, "shape"),
        .blocks = (int)options_int(options, "bench_blocks"),
        .window = (int)options_int(options, "bench_window"),
        .runs = (int)options_int(options, "bench_chunks"),
        .width = (int)options_int(options, "width"),
        .height = (int)options_int(options, "height"),
    };
    const char *stages = options_text(options, "bench_stages");
    if (log)
        bench.log = *log;
    int code = backend_open(&bench.backend, &config, log);
    if (code < 0)
        return code;
    bool asked[PARTS];
    if (!read_stages(stages, strchr(bench.shape, '/') != NULL, !bench.backend->ops->memory, asked))
        code = log_error(&bench.log, UNREEL_EINVAL,
                         "bench_stages %s: known are text, transformer, vae, stream, memory and all",
                         stages);
    /* The peak is measured before and after, and the higher counts: other work on the machine
     * disturbs it as it disturbs the stages. */
    if (code == 0)
        measure_peak(&bench);
    for (size_t i = 0; code == 0 && i < PARTS; i++)
        if (asked[i])
            code = parts[i].run(&bench);
    if (code == 0)
        measure_peak(&bench);
    if (code == 0 && json)
        bench_print_json(&bench, line, opaque);
    else if (code == 0)
        bench_print_table(&bench, line, opaque);
    backend_close(bench.backend);
    return code;
}
