/* The table of subcommands. */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "command.h"

static const char *const no_options[] = {NULL};
static const char *const check_options[] = {"device", "dtype", "threads", "device_cache",
                                            "device_without", NULL};
static const char *const bench_options[] = {
    "shape", "bench_blocks", "bench_window", "bench_chunks", "bench_stages", "size", "device",
    "dtype", "threads", "device_cache", "device_without", "json", NULL};
/* clang-format off */
static const char *const live_options[] = {
    "prompt", "image", "seed",
    "config_path", "model", "checkpoint_path", "use_ema", "decoder", "decoder_path", "device", "dtype",
    "threads", "device_cache", "device_without",
    "num_output_frames", "size", "width", "height", "fps", "window", "sink",
    "rotary", "prompt_switch", "blend_chunks", "recache_sink",
    "preview", "rtmp", "srt", "hls", "hls_segments", "record", "webrtc", "v4l2", "pacing", "latency",
    "eager", "schedule", "encoder", "bitrate", "key_interval", "silent_audio", "stamp",
    "viewers_open", "web_token", "web_hosts", "tls_cert", "tls_key", "stun", "turn",
    "output_folder", "overwrite", "quiet", "json", NULL};
static const char *const live_further[] = {
    "prompt_index", "sample", "noise", "save_latents", "denoising_step_list", "warp_denoising_step",
    "num_frame_per_block", "independent_first_frame", "context_noise", "model_kwargs.timestep_shift",
    "timestep_shift", "model_kwargs.local_attn_size", "model_kwargs.sink_size", "num_train_timestep",
    "sampling_steps", "guidance_scale", "guidance_steps", "negative_prompt", NULL};
/* clang-format on */
static const char *const bench_further[] = {"width", "height", NULL}; /* together the size */
static const char *const make_options[] = {"seed", NULL};

const struct command commands[] = {
    {"generate", "[OPTIONS]", "make videos from prompts and pictures",
     "Makes one video (--prompt), or one for every line of a file (--data-path FILE) or every "
     "picture of a folder (--i2v --data-path FOLDER). A video is written as NAME.part while it "
     "is being made and renamed when it is complete; what an interrupted run leaves can be "
     "played. Videos that are there already are skipped, so a batch that was stopped goes on "
     "when it is started again. Under torchrun, mpirun or srun the prompts are dealt out among "
     "the processes.",
     NULL, NULL, run_generate},
    {"live", "[OPTIONS]", "generate and show, stream and record at once",
     "Generates a video without end, at its own speed, into any number of outputs: a window, "
     "streaming servers, a page for browsers, files. Every line on standard input is a new prompt; "
     "a --schedule brings prompts at given times. Ctrl-C ends the video and completes the files.",
     live_options, live_further, run_live},
    {"inspect", "FILE...", "list the tensors of a weights file",
     "Lists name, type, shape and bytes of every tensor of safetensors files (also sharded "
     "ones, by their index) and PyTorch files, and totals.",
     no_options, NULL, run_inspect},
    {"check", "[OPTIONS] FOLDER...", "compare the engine with recorded results",
     "Computes everything a folder of recorded results holds, compares, and prints one line a "
     "tensor and a total. Fails if anything differs by more than its limit, or nothing was "
     "compared.",
     check_options, NULL, run_check},
    {"bench", "[OPTIONS]", "measure the stages on this machine",
     "Times the stages of the engine with made-up weights and prints time, arithmetic and "
     "share of the machine's measured peak.",
     bench_options, bench_further, run_bench},
    {"make-model", "[OPTIONS] SHAPE FOLDER", "write a model folder with made-up weights",
     "Writes a model folder of a known shape (wan2.1-1.3b, ...) with made-up weights, to try "
     "loading and memory at full size without the real files.",
     make_options, NULL, run_make_model},
    {NULL, NULL, NULL, NULL, NULL, NULL, NULL},
};

const struct command *command_find(const char *name)
{
    for (const struct command *c = commands; c->name; c++) {
        const char *a = c->name, *b = name;
        while (*a && (*a == *b || (*a == '-' && *b == '_'))) {
            a++;
            b++;
        }
        if (!*a && !*b)
            return c;
    }
    return NULL;
}

/* Headings of options that only some commands read; those list them. */
static const char *const special_groups[] = {"Steering a running video", "Live", "Measuring", NULL};

static bool in_list(const char *const *list, const char *name)
{
    for (; list && *list; list++)
        if (!strcmp(*list, name))
            return true;
    return false;
}

bool command_lists(const struct command *command, const unreel_option_info *info)
{
    if (!info->group)
        return false;
    if (command->options)
        return in_list(command->options, info->name);
    return !in_list(special_groups, info->group);
}

static bool reads(const struct command *command, const unreel_option_info *info)
{
    return command_lists(command, info) || in_list(command->further, info->name);
}

static const unreel_option_info *table_entry(const char *name)
{
    const unreel_option_info *info = NULL;
    for (size_t i = 0; (info = unreel_option_at(i)) && strcmp(info->name, name); i++)
        ;
    return info;
}

int command_check(const struct command *command, const struct arguments *arguments,
                  struct console *console)
{
    for (int i = 0; i < arguments->given_count; i++) {
        const unreel_option_info *info = table_entry(arguments->given[i]);
        const struct command *other = commands;
        if (!strcmp(info->name, "quiet") || reads(command, info)) /* --quiet is the console's */
            continue;
        while (other->name && !reads(other, info))
            other++;
        char option[64];
        int n = snprintf(option, sizeof option, "--%s", info->name);
        for (int k = 2; k < n; k++)
            option[k] = option[k] == '_' ? '-' : option[k];
        console_error(console, "%s is an option of unreel %s: unreel %s does not have it", option,
                      other->name, command->name);
        return EXIT_USAGE;
    }
    return 0;
}
