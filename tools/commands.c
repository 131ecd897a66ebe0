/* The table of subcommands. */
#include <stddef.h>
#include <string.h>

#include "command.h"

static const char *const no_options[] = {NULL};
static const char *const check_options[] = {"device", "dtype", "threads", "device_cache", "device_without", NULL};
static const char *const bench_options[] = {"shape", "bench_blocks", "bench_window", "bench_chunks",
                                            "bench_stages", "size", "num_frame_per_block", "device",
                                            "dtype", "threads", "device_cache", "device_without", "seed", "json", NULL};
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
/* clang-format on */
static const char *const make_options[] = {"seed", NULL};

const struct command commands[] = {
    {"generate", "[OPTIONS]", "make videos from prompts and pictures",
     "Makes one video (--prompt), or one for every line of a file (--data-path FILE) or every "
     "picture of a folder (--i2v --data-path FOLDER). A video is written as NAME.part while it "
     "is being made and renamed when it is complete; what an interrupted run leaves can be "
     "played. Videos that are there already are skipped, so a batch that was stopped goes on "
     "when it is started again. Under torchrun, mpirun or srun the prompts are dealt out among "
     "the processes.",
     NULL, run_generate},
    {"live", "[OPTIONS]", "generate and show, stream and record at once",
     "Generates a video without end, at its own speed, into any number of outputs: a window, "
     "streaming servers, a page for browsers, files. Every line on standard input is a new prompt; "
     "a --schedule brings prompts at given times. Ctrl-C ends the video and completes the files.",
     live_options, run_live},
    {"inspect", "FILE...", "list the tensors of a weights file",
     "Lists name, type, shape and bytes of every tensor of safetensors files (also sharded "
     "ones, by their index) and PyTorch files, and totals.",
     no_options, run_inspect},
    {"check", "[OPTIONS] FOLDER...", "compare the engine with recorded results",
     "Computes everything a folder of recorded results holds, compares, and prints one line a "
     "tensor and a total. Fails if anything differs by more than its limit, or nothing was "
     "compared.",
     check_options, run_check},
    {"bench", "[OPTIONS]", "measure the stages on this machine",
     "Times the stages of the engine with made-up weights and prints time, arithmetic and "
     "share of the machine's measured peak.",
     bench_options, run_bench},
    {"make-model", "[OPTIONS] SHAPE FOLDER", "write a model folder with made-up weights",
     "Writes a model folder of a known shape (wan2.1-1.3b, ...) with made-up weights, to try "
     "loading and memory at full size without the real files.",
     make_options, run_make_model},
    {NULL, NULL, NULL, NULL, NULL, NULL},
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
