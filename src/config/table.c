#include "config/table.h"

#include <stdlib.h>
#include <string.h>

#define INT UNREEL_OPTION_INT
#define FLOAT UNREEL_OPTION_FLOAT
#define BOOL UNREEL_OPTION_BOOL
#define STRING UNREEL_OPTION_STRING
#define PATH UNREEL_OPTION_PATH
#define INTS UNREEL_OPTION_INTS
#define SIZE UNREEL_OPTION_SIZE
#define NO_LIMIT 1, 0

#define WHAT "What to generate"
#define MODEL "Model and machine"
#define VIDEO "Video"
#define STEERING "Steering a running video"
#define SAMPLING "Sampling (keys of published configurations)"
#define OUTPUT "Output"
#define BATCH "Batches"
#define LIVE "Live"
#define BENCH "Measuring"

/* Wan2.1's own negative prompt, which the published configurations repeat. */
#define NEGATIVE_PROMPT                                                                                                                          \
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，" \
    "低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，"      \
    "毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"

/* {name, kind, fallback, min, max, choices, unit, help, group} */
const struct option option_table[] = {
    {{"prompt", STRING, NULL, NO_LIMIT, NULL, NULL, "What the video shows.", WHAT}},
    {{"data_path", PATH, NULL, NO_LIMIT, NULL, NULL,
      "Prompts: a UTF-8 text file, one a line; with i2v a folder of images and captions. "
      "Ignored in configuration files, where it names training data.",
      WHAT}},
    {{"extended_prompt_path", PATH, NULL, NO_LIMIT, NULL, NULL,
      "Text file with as many lines as data_path: line i is what is generated for prompt i, while "
      "prompt i names the file.",
      WHAT}},
    {{"image", PATH, NULL, NO_LIMIT, NULL, NULL, "Picture that the video starts from.", WHAT}},
    {{"i2v", BOOL, "false", NO_LIMIT, NULL, NULL,
      "Image to video: data_path is a folder with target_crop_info_<ratio>.json and <ratio>/.",
      WHAT}},
    {{"seed", INT, "0", 0, 9223372036854775807.0, NULL, NULL,
      "Noise of the video (make-model: of the weights): the same seed gives the same, on any number "
      "of machines.", WHAT}},
    {{"prompt_index", INT, "0", 0, 2147483647, NULL, NULL,
      "Which noise stream of the seed: the prompt's number in a batch.", WHAT}},
    {{"sample", INT, "0", 0, 2147483647, NULL, NULL,
      "Which noise stream of the seed and prompt: the number among num_samples.", WHAT}},

    {{"config_path", PATH, NULL, NO_LIMIT, NULL, NULL,
      "YAML file with options, merged over the default_config.yaml beside it or else the bundled "
      "one; default: the model's.",
      MODEL}},
    {{"model", PATH, NULL, NO_LIMIT, NULL, NULL,
      "Model folder with config.json, transformer, VAE and text encoder; default: the bundled "
      "model.",
      MODEL}},
    {{"checkpoint_path", PATH, NULL, NO_LIMIT, NULL, NULL,
      "Transformer weights (.pt or .safetensors); default: those in the model folder.", MODEL}},
    {{"use_ema", BOOL, "false", NO_LIMIT, NULL, NULL,
      "Take the averaged weights (generator_ema) of the checkpoint instead of generator.", MODEL}},
    {{"decoder", STRING, "vae", NO_LIMIT, "vae|taehv", NULL,
      "Latents to pictures: the full VAE, or the light TAEHV decoder (much faster, softer).",
      MODEL}},
    {{"decoder_path", PATH, NULL, NO_LIMIT, NULL, NULL,
      "Weights of the light decoder (taew2_1); default: found in the model folder.", MODEL}},
    {{"device", STRING, "auto", NO_LIMIT, "auto|cpu|cuda", NULL,
      "Where to compute; auto takes the GPU if it can be used.", MODEL}},
    {{"dtype", STRING, "auto", NO_LIMIT, "auto|f32|bf16|fp8", NULL,
      "Type of weights and activations; auto takes the faster of f32 and bf16. fp8: bf16, with the "
      "transformer's large products in 8 bits, half the memory for their weights; NVIDIA GPUs of "
      "compute capability 8.9 and later.",
      MODEL}},
    {{"threads", INT, "0", 0, 1024, NULL, NULL, "Processor threads; 0: all cores.", MODEL}},
    {{"device_cache", PATH, NULL, NO_LIMIT, NULL, NULL,
      "Folder that keeps what a GPU's libraries measured and compiled, which takes minutes; empty: "
      "nothing is kept; default of the command: unreel in the user's cache folder.",
      MODEL}},
    {{"device_without", STRING, NULL, NO_LIMIT, NULL, NULL,
      "Parts of the CUDA backend to do without, separated by commas, to find out which is at fault: "
      "graphs, fused, beside, lengths, cudnn, cublaslt.",
      MODEL}},

    {{"num_output_frames", INT, "21", 0, 1000000000, NULL, "latent frames",
      "Length: n latent frames are 1 + 4 (n - 1) pictures, 21 are 81; 0: a video without end, which "
      "is what unreel live makes.",
      VIDEO}},
    {{"size", SIZE, "832x480", 16, 8192, NULL, "px",
      "Width x height, multiples of 16; sets width and height.", VIDEO},
     .multiple = 16},
    {{"width", INT, "832", 16, 8192, NULL, "px", "Width of the pictures.", VIDEO}, .multiple = 16},
    {{"height", INT, "480", 16, 8192, NULL, "px", "Height of the pictures.", VIDEO},
     .multiple = 16},
    {{"fps", FLOAT, "16", 1, 240, NULL, "pictures/s", "Rate at which the video plays.", VIDEO}},
    {{"window", INT, "-1", -1, 1000000, NULL, "latent frames",
      "Latent frames that attention sees, those being made included; -1: all, up to the 21 of the "
      "training, rolling beyond. Same as model_kwargs.local_attn_size. unreel live: 12 unless a "
      "configuration says.",
      VIDEO},
     .target = "model_kwargs.local_attn_size",
     .nonzero = true},
    {{"sink", INT, "0", 0, 1000000, NULL, "latent frames",
      "First latent frames of the video that a full window keeps for good. Same as "
      "model_kwargs.sink_size. unreel live: 3 unless a configuration says.",
      VIDEO},
     .target = "model_kwargs.sink_size"},
    {{"rotary", STRING, "absolute", NO_LIMIT, "absolute|relative", NULL,
      "Positions in time that attention sees: of the video, as published, or in the window, for "
      "videos without end. unreel live: relative unless a configuration says.",
      VIDEO}},
    {{"format", STRING, "i420", NO_LIMIT, "i420|nv12|rgb|bgrx", NULL,
      "Pixel format in which pictures are handed out.", VIDEO}},

    {{"prompt_switch", STRING, "recache", NO_LIMIT, "blend|recache|cut", NULL,
      "How a new prompt takes over while the video runs: moving there over blend_chunks, computing "
      "the window again under it, or cutting to a new scene.",
      STEERING}},
    {{"blend_chunks", INT, "3", 1, 1000, NULL, "chunks",
      "Over how many chunks the prompt moves to the next with prompt_switch blend.", STEERING}},
    {{"recache_sink", BOOL, "false", NO_LIMIT, NULL, NULL,
      "Whether prompt_switch recache computes the sink again, too.", STEERING}},

    {{"denoising_step_list", INTS, NULL, 0, 1000, NULL, NULL,
      "Steps of the few-step rollout, from noise (1000) down; without it, or empty: the multi-step "
      "rollout.",
      SAMPLING}},
    {{"warp_denoising_step", BOOL, "false", NO_LIMIT, NULL, NULL,
      "Take denoising_step_list as positions in the shifted schedule: n becomes timestep "
      "1000 - n of it.",
      SAMPLING}},
    {{"num_frame_per_block", INT, "1", 1, 1024, NULL, "latent frames",
      "Latent frames that are denoised together: a chunk.", SAMPLING}},
    {{"independent_first_frame", BOOL, "false", NO_LIMIT, NULL, NULL,
      "The first latent frame is a chunk of its own; always so after a single image.", SAMPLING}},
    {{"context_noise", INT, "0", 0, 1000, NULL, "timestep",
      "Timestep of the forward that stores a finished chunk in the cache.", SAMPLING}},
    {{"model_kwargs.timestep_shift", FLOAT, "8", 0.001, 1000, NULL, NULL,
      "Shift of the noise schedule of the few-step rollout.", SAMPLING}},
    {{"timestep_shift", FLOAT, "5", 0.001, 1000, NULL, NULL,
      "Shift of the noise schedule of the multi-step rollout.", SAMPLING}},
    {{"model_kwargs.local_attn_size", INT, "-1", -1, 1000000, NULL, "latent frames", "See window.",
      SAMPLING},
     .nonzero = true},
    {{"model_kwargs.sink_size", INT, "0", 0, 1000000, NULL, "latent frames", "See sink.",
      SAMPLING}},
    {{"num_train_timestep", INT, "1000", 1000, 1000, NULL, NULL,
      "Timesteps of the training schedule; all models of the family have 1000.", SAMPLING}},
    {{"sampling_steps", INT, "50", 1, 1000, NULL, NULL,
      "Steps of the multi-step rollout per chunk.", SAMPLING}},
    {{"guidance_scale", FLOAT, "3", 0, 1000, NULL, NULL,
      "Classifier-free guidance of the multi-step rollout: how far to go from negative_prompt "
      "towards the prompt. 1: no guidance, half the time.",
      SAMPLING}},
    {{"guidance_steps", INT, "0", 0, 1000, NULL, NULL,
      "The first steps of a chunk that are guided, 0: all of them. The prompt is decided early; steps "
      "without guidance take half the time.",
      SAMPLING}},
    {{"negative_prompt", STRING, NEGATIVE_PROMPT, NO_LIMIT, NULL, NULL,
      "What the multi-step rollout is guided away from.", SAMPLING}},

    {{"output", PATH, NULL, NO_LIMIT, NULL, NULL,
      "File for one video: MP4, or raw Y4M (.y4m, or - for standard output).", OUTPUT}},
    {{"output_folder", PATH, NULL, NO_LIMIT, NULL, NULL,
      "Folder for the videos, made if absent; unreel live: for what the window and the page save.",
      OUTPUT}},
    {{"overwrite", BOOL, "false", NO_LIMIT, NULL, NULL,
      "Make videos again whose files exist; they are skipped otherwise. unreel live: replace files "
      "that exist, which are an error otherwise.",
      OUTPUT}},
    {{"noise", PATH, NULL, NO_LIMIT, NULL, NULL,
      "safetensors file with the noise to start from, instead of the generator's.", OUTPUT}},
    {{"save_latents", PATH, NULL, NO_LIMIT, NULL, NULL,
      "safetensors file to write the finished latents to.", OUTPUT}},
    {{"quiet", BOOL, "false", NO_LIMIT, NULL, NULL, "No progress, only errors.", OUTPUT}},
    {{"json", BOOL, "false", NO_LIMIT, NULL, NULL, "Print statistics as JSON.", OUTPUT}},

    {{"num_samples", INT, "1", 1, 1000000, NULL, NULL, "Videos per prompt.", BATCH}},
    {{"save_with_index", BOOL, "false", NO_LIMIT, NULL, NULL,
      "Name files {index}-{sample}_{ema or regular}.mp4 instead of by the prompt.", BATCH}},
    {{"rank_seeds", BOOL, "false", NO_LIMIT, NULL, NULL,
      "Rank r uses seed + r, as the original program does; videos then depend on how many ranks "
      "share the work.",
      BATCH}},

    {{"preview", BOOL, "false", NO_LIMIT, NULL, NULL, "Show the video in a window.", LIVE}},
    {{"rtmp", STRING, NULL, NO_LIMIT, NULL, NULL,
      "Stream to an RTMP server: rtmp://HOST/APPLICATION/KEY. May be given several times.", LIVE}},
    {{"srt", STRING, NULL, NO_LIMIT, NULL, NULL,
      "Stream by SRT: srt://HOST:PORT calls a receiver, srt://:PORT?mode=listener waits for them. May "
      "be given several times.",
      LIVE}},
    {{"hls", PATH, NULL, NO_LIMIT, NULL, NULL,
      "Write HLS segments and live.m3u8 into this folder, for any web server.", LIVE}},
    {{"hls_segments", INT, "0", 0, 100000, NULL, "segments",
      "Newest HLS segments to keep; 0: all, which can also be played when it is over.", LIVE}},
    {{"record", PATH, NULL, NO_LIMIT, NULL, NULL,
      "Record to an MP4 file, which can be played whenever the program is killed. May be given several "
      "times.",
      LIVE}},
    {{"webrtc", STRING, NULL, NO_LIMIT, NULL, NULL,
      "Serve a page that plays and steers the video: [HOST:]PORT; without a host only for this "
      "machine.",
      LIVE}},
    {{"v4l2", PATH, NULL, NO_LIMIT, NULL, NULL,
      "Feed a video device (v4l2loopback), a camera for other programs.", LIVE}},
    {{"pacing", STRING, NULL, NO_LIMIT, NULL, NULL,
      "OUTPUT=stretch|hold|content,...: what becomes of the time when pictures come slower than fps. "
      "stretch shows them longer (preview, webrtc), hold repeats pictures at a constant rate (rtmp, srt, "
      "hls, v4l2), content (record and hls only) has every picture once at the video's rate.",
      LIVE}},
    {{"latency", FLOAT, "0.3", 0, 60, NULL, "s",
      "Cushion: how long pictures wait so that they play evenly.", LIVE}},
    {{"eager", BOOL, "false", NO_LIMIT, NULL, NULL,
      "After a change, drop pictures that were made before it and not shown yet.", LIVE}},
    {{"schedule", PATH, NULL, NO_LIMIT, NULL, NULL,
      "Text file of prompts at times of the video: TIME | blend, recache, cut or nothing | PROMPT, one a "
      "line.",
      LIVE}},
    {{"encoder", STRING, "auto", NO_LIMIT, "auto|nvh264enc|x264enc|openh264enc|vp8enc", NULL,
      "Video encoder; auto takes the first that works on this machine.", LIVE}},
    {{"bitrate", INT, "0", 0, 1000000, NULL, "kbit/s",
      "Rate of streams; 0: by size and fps. Recordings have constant quality.", LIVE}},
    {{"key_interval", FLOAT, "2", 0.1, 60, NULL, "s",
      "Longest way between key pictures, where viewers can join.", LIVE}},
    {{"silent_audio", BOOL, "false", NO_LIMIT, NULL, NULL,
      "Add a silent sound track to RTMP and HLS: some services refuse streams without.", LIVE}},
    {{"stamp", BOOL, "false", NO_LIMIT, NULL, NULL,
      "Draw each picture's number into its corner as a bar code that programs can read.", LIVE}},
    {{"viewers_open", BOOL, "false", NO_LIMIT, NULL, NULL,
      "The page beyond this machine: anybody may watch; steering still needs the token.", LIVE}},
    {{"web_token", STRING, NULL, NO_LIMIT, NULL, NULL,
      "Token that steering the page from other machines needs; default: made up at each start.",
      LIVE}},
    {{"web_hosts", STRING, NULL, NO_LIMIT, NULL, NULL,
      "Names that browsers may reach the page by besides this machine's own, separated by commas.",
      LIVE}},
    {{"tls_cert", PATH, NULL, NO_LIMIT, NULL, NULL,
      "Certificate of the page, PEM: it is served by https then.", LIVE}},
    {{"tls_key", PATH, NULL, NO_LIMIT, NULL, NULL, "Private key of tls_cert, PEM.", LIVE}},
    {{"stun", STRING, NULL, NO_LIMIT, NULL, NULL,
      "STUN server for viewers behind a router, HOST:PORT.", LIVE}},
    {{"turn", STRING, NULL, NO_LIMIT, NULL, NULL,
      "TURN server for viewers that cannot be reached directly, USER:PASSWORD@HOST:PORT.", LIVE}},

    {{"shape", STRING, "wan2.1-1.3b", NO_LIMIT, NULL, NULL,
      "Which network sizes to measure: wan2.1-1.3b, postcard, tiny, or (stage memory) the path of "
      "a model folder.", BENCH}},
    {{"bench_blocks", INT, "0", 0, 1000, NULL, "blocks",
      "Transformer blocks to measure; 0: all of the shape.", BENCH}},
    {{"bench_window", INT, "21", 1, 100000, NULL, "latent frames",
      "Latent frames in the cache that attention sees.", BENCH}},
    {{"bench_chunks", INT, "3", 1, 1000000, NULL, "chunks", "How often each stage is measured.",
      BENCH}},
    {{"bench_stages", STRING, "all", NO_LIMIT, NULL, NULL,
      "Stages to measure, separated by commas: text, transformer, vae, stream (a whole video; among "
      "all of them only on a GPU), memory (of a model folder).",
      BENCH}},
};

const int option_count = sizeof option_table / sizeof option_table[0];

/* Keys of the published training configurations, sorted. "data_path" is an option of ours, but in a
 * file it names the training prompts. */
static const char *const ignored[] = {
    "batch_size",
    "beta1",
    "beta1_critic",
    "beta2",
    "beta2_critic",
    "causal",
    "ckpt_step",
    "data_path",
    "denoising_loss_type",
    "dfake_gen_update_ratio",
    "discriminator_lr_multiplier",
    "distribution_loss",
    "ema_start_step",
    "ema_weight",
    "eval_first_n",
    "fake_guidance_scale",
    "fake_name",
    "fake_score_fsdp_wrap_strategy",
    "gc_interval",
    "generator_ckpt",
    "generator_fsdp_wrap_strategy",
    "generator_name",
    "gradient_checkpointing",
    "image_or_video_shape",
    "last_step_only",
    "load_raw_video",
    "log_iters",
    "lr",
    "lr_critic",
    "max_grad_norm_critic",
    "max_grad_norm_generator",
    "min_score_timestep",
    "mixed_precision",
    "model_kwargs.model_name",
    "num_frames",
    "num_training_frames",
    "prompt_name",
    "prompt_path",
    "real_guidance_scale",
    "real_name",
    "real_score_fsdp_wrap_strategy",
    "same_step_across_blocks",
    "sharding_strategy",
    "sid_alpha",
    "text_encoder_fsdp_wrap_strategy",
    "total_batch_size",
    "trainer",
    "ts_schedule",
    "ts_schedule_max",
    "wandb_entity",
    "wandb_host",
    "wandb_key",
    "wandb_project",
    "weight_decay",
};

const unreel_option_info *unreel_option_at(size_t index)
{
    return index < (size_t)option_count ? &option_table[index].info : NULL;
}

/* Dashes become underscores; false if it does not fit. */
static bool normalize(char out[OPTION_NAME_MAX], const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length >= OPTION_NAME_MAX)
        return false;
    for (size_t i = 0; i <= length; i++)
        out[i] = name[i] == '-' ? '_' : name[i];
    return true;
}

int option_find(const char *name)
{
    char wanted[OPTION_NAME_MAX];
    if (!normalize(wanted, name))
        return -1;
    for (int row = 0; row < option_count; row++)
        if (!strcmp(wanted, option_table[row].info.name))
            return row;
    return -1;
}

int option_storage(int row)
{
    const char *target = option_table[row].target;
    return target ? option_find(target) : row;
}

bool option_is_map(const char *name)
{
    char wanted[OPTION_NAME_MAX];
    if (!normalize(wanted, name))
        return false;
    size_t length = strlen(wanted);
    for (int row = 0; row < option_count; row++) {
        const char *known = option_table[row].info.name;
        if (!strncmp(known, wanted, length) && known[length] == '.')
            return true;
    }
    return false;
}

static int compare_names(const void *key, const void *element)
{
    return strcmp(key, *(const char *const *)element);
}

bool option_is_ignored(const char *name)
{
    return bsearch(name, ignored, sizeof ignored / sizeof ignored[0], sizeof ignored[0],
                   compare_names) != NULL;
}

static int min3(int a, int b, int c)
{
    int least = a < b ? a : b;
    return least < c ? least : c;
}

/* Levenshtein distance of two names shorter than OPTION_NAME_MAX. */
static int edit_distance(const char *a, const char *b)
{
    int row[OPTION_NAME_MAX];
    int n = (int)strlen(b);
    for (int j = 0; j <= n; j++)
        row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int above = row[j];
            row[j] = min3(row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[n];
}

const char *option_nearest(const char *name)
{
    char wanted[OPTION_NAME_MAX];
    if (!normalize(wanted, name))
        return NULL;
    const char *best = NULL;
    int best_distance = 1 + (int)strlen(wanted) / 3; /* more than a third wrong: another word */
    for (int row = 0; row < option_count; row++) {
        int distance = edit_distance(wanted, option_table[row].info.name);
        if (distance < best_distance) {
            best_distance = distance;
            best = option_table[row].info.name;
        }
    }
    return best;
}
