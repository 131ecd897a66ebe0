#include "engine/settings.h"

#include <string.h>

#include "config/options.h"

#define SIZE_MULTIPLE 16 /* px: a token is 2 x 2 latents */

int64_t pictures_of(int64_t latent_frames)
{
    return latent_frames ? 1 + 4 * (latent_frames - 1) : 0;
}

static enum unreel_format format_of(const char *name)
{
    static const char *const names[] = {
        [UNREEL_FORMAT_I420] = "i420",
        [UNREEL_FORMAT_NV12] = "nv12",
        [UNREEL_FORMAT_RGB] = "rgb",
        [UNREEL_FORMAT_BGRX] = "bgrx",
    };
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) {
        if (!strcmp(names[i], name))
            return (enum unreel_format)i;
    }
    return UNREEL_FORMAT_I420;
}

static enum unreel_switch switch_of(const char *name)
{
    return !strcmp(name, "blend") ? UNREEL_SWITCH_BLEND
           : !strcmp(name, "cut") ? UNREEL_SWITCH_CUT
                                  : UNREEL_SWITCH_RECACHE;
}

/* A config with denoising_step_list is few-step, one without multi-step. */
static int read_steps(struct rollout_config *rollout, const unreel_options *options)
{
    const unreel_log *log = options_log(options);
    int list[ROLLOUT_STEPS_MAX];
    int count = options_ints(options, "denoising_step_list", list, ROLLOUT_STEPS_MAX);
    if (count > ROLLOUT_STEPS_MAX)
        return log_error(log, UNREEL_EINVAL, "denoising_step_list: more than %d steps",
                         ROLLOUT_STEPS_MAX);
    bool warp = options_bool(options, "warp_denoising_step");
    struct schedule schedule;
    rollout->shift = (float)options_float(options, "model_kwargs.timestep_shift");
    schedule_init(&schedule, rollout->shift);
    for (int i = 0; i < count; i++) {
        if (list[i] < 0 || list[i] > SCHEDULE_LEVELS)
            return log_error(log, UNREEL_EINVAL, "denoising_step_list: %d is not from 0 to %d", list[i],
                             SCHEDULE_LEVELS);
        if (i && list[i] >= list[i - 1])
            return log_error(log, UNREEL_EINVAL, "denoising_step_list: %d does not fall from %d", list[i],
                             list[i - 1]);
        rollout->timestep[i] = warp ? schedule_warp(&schedule, list[i]) : (float)list[i];
    }
    rollout->steps = count;
    rollout->context_noise = (float)options_int(options, "context_noise");
    rollout->sampling_steps = (int)options_int(options, "sampling_steps");
    rollout->sampling_shift = (float)options_float(options, "timestep_shift");
    rollout->guidance_scale = (float)options_float(options, "guidance_scale");
    rollout->guidance_steps = (int)options_int(options, "guidance_steps");
    return 0;
}

/* A video no longer than the window never evicts: it needs no more slots than it has frames. */
static void read_window(struct rollout_config *rollout, const unreel_options *options)
{
    int64_t window = options_int(options, "model_kwargs.local_attn_size");
    rollout->window = window > 0 ? (int)window : TRAINED_FRAMES;
    rollout->sink = (int)options_int(options, "model_kwargs.sink_size");
    if (rollout->plan.frames > 0 && rollout->plan.frames <= rollout->window) {
        rollout->window = (int)rollout->plan.frames;
        if (rollout->window < rollout->plan.block)
            rollout->window = rollout->plan.block;
        rollout->sink = 0;
    }
}

int session_settings_read(struct session_settings *settings, const unreel_options *options,
                          int given)
{
    const unreel_log *log = options_log(options);
    struct session_settings *s = settings;
    *s = (struct session_settings){
        .width = (int)options_int(options, "width"),
        .height = (int)options_int(options, "height"),
        .fps = options_float(options, "fps"),
        .format = format_of(options_text(options, "format")),
        .light = !strcmp(options_text(options, "decoder"), "taehv"),
        .noise.seed = (uint64_t)options_int(options, "seed"),
        .noise.prompt = (uint32_t)options_int(options, "prompt_index"),
        .noise.sample = (uint32_t)options_int(options, "sample"),
        .noise_path = options_text(options, "noise"),
        .latents_path = options_text(options, "save_latents"),
        .decoder_path = options_text(options, "decoder_path"),
        .prompt = options_text(options, "prompt"),
        .negative = options_text(options, "negative_prompt"),
        .prompt_switch = switch_of(options_text(options, "prompt_switch")),
        .blend_chunks = (int)options_int(options, "blend_chunks"),
        .recache_sink = options_bool(options, "recache_sink"),
        .rollout.relative = !strcmp(options_text(options, "rotary"), "relative"),
    };
    if (s->width < SIZE_MULTIPLE || s->height < SIZE_MULTIPLE || s->width % SIZE_MULTIPLE ||
        s->height % SIZE_MULTIPLE)
        return log_error(log, UNREEL_EINVAL, "size %dx%d: both must be multiples of %d", s->width,
                         s->height, SIZE_MULTIPLE);
    if (!s->prompt)
        return log_error(log, UNREEL_EINVAL, "no prompt given");
    s->rollout.h = s->height / LATENT_PIXELS;
    s->rollout.w = s->width / LATENT_PIXELS;
    block_plan_init(&s->rollout.plan, (int)options_int(options, "num_frame_per_block"), given,
                    options_int(options, "num_output_frames"),
                    options_bool(options, "independent_first_frame"));
    if (s->latents_path && !s->rollout.plan.frames)
        return log_error(log, UNREEL_EINVAL, "save_latents: a video without end cannot be saved");
    read_window(&s->rollout, options);
    return read_steps(&s->rollout, options);
}
