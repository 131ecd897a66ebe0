/* `unreel generate`: the list of videos, what can be checked before work starts, the batch. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "interrupt.h"
#include "json.h"
#include "output.h"
#include "image.h"
#include "model_default.h"
#include "paths.h"
#include "video.h"

struct batch {
    struct console *console;
    const struct arguments *arguments;
    unreel_options *options; /* of the arguments */
    unreel_prompts *prompts;
    unreel_ranks ranks;
    struct video_job *jobs; /* of this process, without those that are done */
    int job_count;
    int skipped; /* their files are there */
    FILE *json;  /* NULL: none */
};

static const char *option(const struct batch *batch, const char *name)
{
    const char *value = unreel_options_get(batch->options, name);
    return value && *value ? value : NULL;
}

static const char *environment(void *opaque, const char *name)
{
    return getenv(name);
}

/* ---- options ------------------------------------------------------------------------------ */

/* The configuration: the one asked for, else the model's own. */
static int load_config(struct batch *b)
{
    char *fallback = paths_find("configs/default_config.yaml");
    char *path = option(b, "config_path") ? paths_config(option(b, "config_path")) : NULL;
    int code = unreel_options_load_config(b->options, path, fallback);
    free(path);
    free(fallback);
    return code < 0 ? EXIT_ERROR : 0;
}

/* Where the videos go: one of --output and --output-folder. */
static int check_targets(struct batch *b)
{
    struct stat st;
    size_t videos =
        unreel_prompts_count(b->prompts) * (size_t)arguments_int(b->arguments, "num_samples");
    const char *file = option(b, "output"), *folder = option(b, "output_folder");
    if (!file && !folder)
        console_error(b->console, "where should the video go? --output FILE or --output-folder "
                                  "FOLDER");
    else if (file && folder)
        console_error(b->console, "--output and --output-folder: only one of them");
    else if (file && videos > 1)
        console_error(b->console,
                      "--output names one file, but there are %zu videos: use "
                      "--output-folder",
                      videos);
    else if (file && stat(file, &st) == 0 && S_ISDIR(st.st_mode))
        console_error(b->console, "%s: is a folder: give it as --output-folder", file);
    else if (option(b, "save_latents") && videos > 1)
        console_error(b->console, "--save-latents names one file, but there are %zu videos",
                      videos);
    else if (file && output_kind_of(file) == OUTPUT_UNKNOWN)
        console_error(b->console, "%s: unknown kind of video: .mp4, .y4m or - (Y4M to stdout)",
                      file);
    else
        return 0;
    return EXIT_USAGE;
}

static int check_prompt_options(struct batch *b)
{
    if (b->arguments->name_count) {
        console_error(b->console, "unexpected '%s': prompts are given as --prompt TEXT",
                      b->arguments->names[0]);
        return EXIT_USAGE;
    }
    if (!unreel_options_is_set(b->options, "prompt") && !option(b, "data_path")) {
        console_error(b->console, "nothing to generate: give --prompt TEXT or --data-path FILE "
                                  "(unreel help generate lists all options)");
        return EXIT_USAGE;
    }
    return 0;
}

/* ---- the list ----------------------------------------------------------------------------- */

/* FOLDER/NAME, or --output. To be freed. */
static char *job_path(struct batch *b, size_t index, int sample)
{
    char name[UNREEL_FILE_NAME_MAX];
    char *path = NULL;
    if (option(b, "output"))
        return strdup(option(b, "output"));
#ifdef HAVE_GSTREAMER
    const char *extension = "mp4";
#else
    const char *extension = "y4m";
#endif
    if (unreel_prompts_file_name(b->prompts, index, sample, extension, name) < 0 ||
        asprintf(&path, "%s/%s", option(b, "output_folder"), name) < 0)
        return NULL;
    return path;
}

static bool is_done(const struct batch *b, const char *path)
{
    struct stat st;
    return !arguments_flag(b->arguments, "overwrite") && strcmp(path, "-") &&
           stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int add_job(struct batch *b, size_t index, int sample)
{
    char *path = job_path(b, index, sample);
    if (!path)
        return EXIT_ERROR;
    if (is_done(b, path)) {
        b->skipped++;
        free(path);
        return 0;
    }
    b->jobs[b->job_count++] =
        (struct video_job){unreel_prompts_at(b->prompts, index), index, sample, path};
    return output_check(b->console, path) < 0 ? EXIT_ERROR : 0;
}

static int list_jobs(struct batch *b)
{
    size_t count = unreel_prompts_count(b->prompts);
    int samples = (int)arguments_int(b->arguments, "num_samples"), code = 0;
    size_t mine = unreel_ranks_share(&b->ranks, count) * (size_t)samples;
    if (option(b, "output_folder") &&
        output_make_folder(b->console, option(b, "output_folder")) < 0)
        return EXIT_ERROR;
    b->jobs = calloc(mine ? mine : 1, sizeof *b->jobs);
    if (!b->jobs) {
        console_error(b->console, "out of memory");
        return EXIT_ERROR;
    }
    for (size_t i = (size_t)b->ranks.rank; code == 0 && i < count; i += (size_t)b->ranks.world)
        for (int sample = 0; code == 0 && sample < samples; sample++)
            code = add_job(b, i, sample);
    return code;
}

/* What would otherwise fail only after the model is loaded. */
static int check_images(struct batch *b)
{
    unreel_clip clip;
    for (int i = 0; i < b->job_count; i++) {
        const char *image = b->jobs[i].prompt->image;
        if (image && access(image, R_OK) < 0) {
            console_error(b->console, "%s: %s", image, strerror(errno));
            return EXIT_ERROR;
        }
    }
    if (!b->job_count || !b->jobs[0].prompt->image)
        return 0;
    if (image_load(&clip, b->console, b->jobs[0].prompt->image) < 0)
        return EXIT_ERROR;
    image_free(&clip);
    return 0;
}

static int prepare(struct batch *b)
{
    unreel_log log = console_log(b->console);
    int code = check_prompt_options(b);
    if (code == 0 && unreel_ranks_from(&b->ranks, &log, environment, NULL) < 0)
        code = EXIT_ERROR;
    if (b->ranks.rank > 0)
        b->console->quiet = true;
    if (code == 0)
        code = model_default_apply(b->options, b->console);
    if (code == 0)
        code = load_config(b);
    if (code == 0)
        code = cache_default_apply(b->options, b->console);
    if (code == 0 && unreel_prompts_open(&b->prompts, b->options) < 0)
        code = EXIT_ERROR;
    if (code == 0)
        code = check_targets(b);
    if (code == 0)
        code = list_jobs(b);
    if (code == 0)
        code = check_images(b);
    return code;
}

/* ---- the batch ---------------------------------------------------------------------------- */

static void print_statistics(struct batch *b, const struct video_job *job, enum video_end end,
                             const unreel_stats *s)
{
    static const char *const ends[] = {"complete", "interrupted", "failed", "stopped"};
    struct json json;
    if (!b->json)
        return;
    json_open(&json, b->json);
    json_text(&json, "file", job->path);
    json_text(&json, "status", ends[end]);
    json_text(&json, "prompt", job->prompt->text);
    json_integer(&json, "prompt_index", (int64_t)job->index);
    json_integer(&json, "sample", job->sample);
    json_integer(&json, "seed", arguments_int(b->arguments, "seed"));
    json_integer(&json, "width", s->width);
    json_integer(&json, "height", s->height);
    json_number(&json, "fps", s->fps);
    json_integer(&json, "pictures", s->pictures);
    json_integer(&json, "latent_frames", s->latent_frames);
    json_integer(&json, "chunks", s->chunks);
    json_number(&json, "seconds_text", s->seconds_text);
    json_number(&json, "seconds_denoise", s->seconds_denoise);
    json_number(&json, "seconds_cache", s->seconds_cache);
    json_number(&json, "seconds_decode", s->seconds_decode);
    json_number(&json, "seconds_first", s->seconds_first);
    json_number(&json, "seconds_total", s->seconds_total);
    json_number(&json, "chunk_p50", s->chunk_p50);
    json_number(&json, "chunk_p99", s->chunk_p99);
    json_number(&json, "pictures_per_second",
                s->seconds_total > 0 ? (double)s->pictures / s->seconds_total : 0);
    json_integer(&json, "bytes_weights", (int64_t)s->bytes_weights);
    json_integer(&json, "bytes_cache", (int64_t)s->bytes_cache);
    json_integer(&json, "bytes_work", (int64_t)s->bytes_work);
    json_close(&json);
}

static int run_jobs(struct batch *b, unreel_engine *engine)
{
    struct progress progress;
    int code = EXIT_OK;
    progress_begin(&progress, b->console, b->ranks.rank == 0, b->job_count);
    for (int i = 0; i < b->job_count; i++) {
        unreel_stats stats;
        enum video_end end =
            video_make(&b->jobs[i], engine, b->options, b->console, &progress, &stats);
        print_statistics(b, &b->jobs[i], end, &stats);
        if (end != VIDEO_COMPLETE)
            code = EXIT_ERROR;
        if (end == VIDEO_INTERRUPTED)
            code = 128 + interrupt_signal();
        if (end == VIDEO_INTERRUPTED || end == VIDEO_STOPPED)
            break;
    }
    progress_end(&progress);
    return code;
}

static void announce(struct batch *b)
{
    size_t prompts = unreel_prompts_count(b->prompts);
    if (b->ranks.world > 1)
        console_info(b->console, "%zu prompts, rank %d of %d makes %d videos", prompts,
                     b->ranks.rank, b->ranks.world, b->job_count);
    else if (prompts > 1 || b->job_count > 1)
        console_info(b->console, "%zu prompts, %d videos to make", prompts, b->job_count);
    if (b->skipped && option(b, "output"))
        console_info(b->console, "%s: already there, not made again (--overwrite makes it)",
                     option(b, "output"));
    else if (b->skipped)
        console_info(b->console, "%d videos are already there (--overwrite makes them again)",
                     b->skipped);
}

/* The original program's habit. */
static int apply_rank_seed(struct batch *b)
{
    char text[32];
    if (!arguments_flag(b->arguments, "rank_seeds"))
        return 0;
    snprintf(text, sizeof text, "%lld", arguments_int(b->arguments, "seed") + b->ranks.rank);
    return unreel_options_set(b->options, "seed", text) < 0 ? EXIT_ERROR : 0;
}

int run_generate(struct console *console, const struct arguments *arguments)
{
    struct batch b = {.console = console, .arguments = arguments, .options = arguments->options};
    b.ranks.world = 1;
    int code = prepare(&b);
    if (code == 0)
        code = apply_rank_seed(&b);
    if (code == 0) {
        bool to_stdout = option(&b, "output") && !strcmp(option(&b, "output"), "-");
        if (arguments_flag(arguments, "json"))
            b.json = to_stdout ? stderr : stdout;
        announce(&b);
    }
    if (code == 0 && b.job_count) {
        unreel_engine *engine;
        code = unreel_engine_open(&engine, b.options) < 0 ? EXIT_ERROR : run_jobs(&b, engine);
        unreel_engine_close(engine);
    }
    for (int i = 0; i < b.job_count; i++)
        free(b.jobs[i].path);
    free(b.jobs);
    unreel_prompts_close(b.prompts);
    return code;
}
