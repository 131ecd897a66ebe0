/* The schedule, single forwards, and whole rollouts with their videos. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diagnose/check.h"
#include "engine/latents_file.h"
#include "engine/model_folder.h"
#include "engine/settings.h"
#include "model/rollout.h"
#include "model/video_decoder.h"

#define GUIDANCE 3.0f /* of the recorded multi-step rollouts */

static const struct check_range picture_range = {0.5f, 0.5f, 0, 1}; /* [-1, 1] to [0, 1] */

static struct weights *open_expected(struct check *check, const char *name)
{
    if (!check_is_recorded(check, name))
        return NULL;
    char *path = check_join(check->expected, name);
    struct weights *file = NULL;
    if (!path || weights_open(&file, path, NULL, &check->log) < 0)
        check_broken(check, name, "cannot be read:");
    free(path);
    return file;
}

/* ---- schedule -------------------------------------------------------------------------------- */

static void compare_floats(struct check *check, const char *label, const float *got, int64_t count,
                           const struct weights *file, const char *name)
{
    const struct weight *want = weights_find(file, name);
    if (!want || want->tensor.type != TENSOR_F32 || tensor_count(&want->tensor) != count)
        check_broken(check, label, "no such tensor, or of another length:");
    else
        check_report(check, label, check_relative_l2(got, want->tensor.data, count), 1e-4);
}

/* The case's steps: warped timesteps. */
static int read_steps(const struct check *check, const struct schedule *schedule, float *timestep)
{
    const struct json *steps = json_get(check->config, "steps");
    size_t count = steps ? json_length(steps) : 0;
    for (size_t i = 0; i < count && i < ROLLOUT_STEPS_MAX; i++) {
        int64_t step = 0;
        if (!json_int(json_at(steps, i), &step) || step < 0 || step > SCHEDULE_LEVELS)
            return 0;
        timestep[i] = schedule_warp(schedule, (int)step);
    }
    return count <= ROLLOUT_STEPS_MAX ? (int)count : 0;
}

void check_schedule(struct check *check)
{
    struct weights *file = open_expected(check, "scheduler.safetensors");
    if (!file)
        return;
    struct schedule schedule;
    float timestep[ROLLOUT_STEPS_MAX];
    schedule_init(&schedule, (float)check_number(check, "shift", 5));
    compare_floats(check, "scheduler.sigmas", schedule.sigma, SCHEDULE_LEVELS, file, "sigmas");
    compare_floats(check, "scheduler.timesteps", schedule.timestep, SCHEDULE_LEVELS, file,
                   "timesteps");
    int steps = read_steps(check, &schedule, timestep);
    compare_floats(check, "scheduler.denoising_step_list_warped", timestep, steps, file,
                   "denoising_step_list_warped");
    weights_close(file);
}

/* ---- a model --------------------------------------------------------------------------------- */

struct model {
    struct weights *weights, *vae_weights;
    struct transformer transformer;
    struct vae *vae;
};

static void close_model(struct model *model)
{
    transformer_close(&model->transformer);
    vae_close(model->vae);
    weights_close(model->weights);
    weights_close(model->vae_weights);
}

static int open_model(struct check *check, struct model *model, const char *set)
{
    struct model_folder folder;
    struct transformer_config config;
    *model = (struct model){0};
    int code = model_folder_find(&folder, check->model, &check->log);
    if (code < 0)
        return code;
    code = transformer_config_read(&config, folder.config, &check->log);
    if (code == 0)
        code = weights_open(&model->weights, check->checkpoint, set, &check->log);
    if (code == 0)
        code = transformer_open(&model->transformer, check->backend, &config, model->weights,
                                &check->log);
    if (code == 0)
        code = weights_open(&model->vae_weights, folder.vae, NULL, &check->log);
    if (code == 0)
        code = vae_open(&model->vae, check->backend, model->vae_weights, &check->log);
    model_folder_finish(&folder);
    if (code < 0)
        close_model(model);
    return code;
}

/* The rollout as the case was run; the caller sets the plan and, for multi-step, steps = 0. */
static struct rollout_config rollout_config(const struct check *check)
{
    struct rollout_config config = {
        .window = (int)check_number(check, "dit.local_attn_size", -1),
        .sink = (int)check_number(check, "dit.sink_size", 0),
        .shift = (float)check_number(check, "shift", 5),
        .context_noise = (float)check_number(check, "context_noise", 0),
        .sampling_steps = (int)check_number(check, "multi_steps", 0),
        .sampling_shift = (float)check_number(check, "shift", 5),
        .guidance_scale = GUIDANCE,
    };
    const struct json *lat = json_get(check->config, "lat");
    int64_t h = 0, w = 0;
    if (lat && json_length(lat) == 2 && json_int(json_at(lat, 0), &h) &&
        json_int(json_at(lat, 1), &w)) {
        config.h = (int)h;
        config.w = (int)w;
    }
    if (config.window < 1)
        config.window = TRAINED_FRAMES;
    struct schedule schedule;
    schedule_init(&schedule, config.shift);
    config.steps = read_steps(check, &schedule, config.timestep);
    return config;
}

/* ---- single forwards -------------------------------------------------------------------------- */

static const struct weight *call_tensor(const struct weights *file, int block, int step,
                                        const char *what, char *name)
{
    snprintf(name, 64, "c%d.s%d.%s", block, step, what);
    return weights_find(file, name);
}

/* One recorded forward; its x0 too. False: there is none of that name. */
static bool check_call(struct check *check, struct rollout *r, const struct weights *file, int block,
                       int step)
{
    char name[64], label[96];
    struct arena arena;
    const struct weight *time = call_tensor(file, block, step, "timestep", name);
    if (!time || !call_tensor(file, block, step, "latent", name))
        return false;
    arena_init(&arena, check->backend);
    struct tensor latents = check_upload(check, &arena, file, name);
    if (!latents.data || time->tensor.type != TENSOR_F32 ||
        tensor_count(&time->tensor) != latents.shape[0] ||
        latents.shape[0] > r->config.plan.block) {
        check_broken(check, name, "not a block of this case:");
        arena_finish(&arena);
        return true;
    }
    const float *timesteps = time->tensor.data;
    struct tensor flow = arena_tensor(&arena, TENSOR_F32, latents.dims, latents.shape);
    transformer_forward(r->transformer, &r->work, &r->cache, &r->text, latents, timesteps, r->frame,
                        flow);
    call_tensor(file, block, step, "flow", name);
    snprintf(label, sizeof label, "dit_calls.%s", name);
    check_compare(check, label, flow, file, name, 0, NULL);
    for (int64_t i = 0; i < latents.shape[0]; i++) {
        float sigma = schedule_sigma(&r->schedule, timesteps[i]);
        op_combine(check->backend, tensor_slice(flow, 0, i, 1), 2, (const float[]){1, -sigma},
                   (const struct tensor[]){tensor_slice(latents, 0, i, 1),
                                           tensor_slice(flow, 0, i, 1)});
    }
    call_tensor(file, block, step, "x0", name);
    snprintf(label, sizeof label, "dit_calls.%s", name);
    check_compare(check, label, flow, file, name, 0, NULL);
    arena_finish(&arena);
    return true;
}

static void check_calls(struct check *check, struct model *model, const struct weights *file)
{
    const struct json *blocks = json_get(check->config, "call_blocks");
    struct rollout_config config = rollout_config(check);
    struct rollout rollout;
    struct arena arena;
    block_plan_init(&config.plan, (int)check_number(check, "block", 3), 0, 0, false);
    if (!blocks || rollout_open(&rollout, &model->transformer, &config, (struct noise_source){0}) < 0) {
        check_broken(check, "dit_calls", "cannot be set up:");
        return;
    }
    arena_init(&arena, check->backend);
    struct tensor embeds = check_embeds(check, &arena, 0);
    if (embeds.data)
        rollout_set_text(&rollout, embeds, embeds);
    for (int block = 0; embeds.data && block < (int)json_length(blocks); block++) {
        int64_t frames = 0;
        json_int(json_at(blocks, (size_t)block), &frames);
        for (int step = 0; check_call(check, &rollout, file, block, step);)
            step++;
        rollout.frame += frames;
    }
    if (!embeds.data)
        check_broken(check, "dit_calls", "no prompt_embeds:");
    arena_finish(&arena);
    rollout_close(&rollout);
}

void check_transformer(struct check *check)
{
    struct weights *file = open_expected(check, "dit_calls.safetensors");
    struct model model;
    if (!file)
        return;
    if (open_model(check, &model, "generator_ema") == 0) {
        check_calls(check, &model, file);
        close_model(&model);
    } else {
        check_broken(check, "generator_ema", "cannot be opened:");
    }
    weights_close(file);
}

/* ---- rollouts -------------------------------------------------------------------------------- */

static int fill_noise(void *opaque, float *x, int64_t frame, int frames, int step)
{
    int code = noise_file_fill(opaque, x, frame, frames, step);
    return code > 0 ? UNREEL_EFORMAT : code;
}

/* What one recorded rollout is run with. */
struct run {
    const char *name;   /* few_step_t2v, ... */
    const char *set;    /* which generator */
    int prompt;         /* row of prompt_embeds */
    int block;
    bool first_alone;   /* independent first frame */
    bool multi;
};

/* Decodes a block and compares its pictures with the recorded video. */
static void compare_video(struct check *check, const char *name, struct video_decoder *decoder,
                          const struct weights *file, struct tensor latents, int64_t frame)
{
    char label[96];
    snprintf(label, sizeof label, "%s.video.%lld", name, (long long)frame);
    struct tensor pixels = video_decoder_decode(decoder, latents);
    check_compare(check, label, pixels, file, "video", frame ? pictures_of(frame) : 0,
                  &picture_range);
}

static void compare_latents(struct check *check, const char *name, const struct weights *file,
                            struct tensor latents, int64_t frame)
{
    char label[96];
    snprintf(label, sizeof label, "%s.latents.%lld", name, (long long)frame);
    check_compare(check, label, latents, file, "latents", frame, NULL);
}

static void compare_rollout(struct check *check, const struct run *run, struct rollout *rollout,
                            struct video_decoder *decoder, const struct weights *file,
                            struct tensor given)
{
    if (given.data) {
        rollout_give(rollout, given);
        compare_video(check, run->name, decoder, file, given, 0);
    }
    for (;;) {
        int64_t frame = rollout->frame;
        struct tensor latents = rollout_next(rollout);
        if (!latents.data)
            break;
        compare_latents(check, run->name, file, latents, frame);
        compare_video(check, run->name, decoder, file, latents, frame);
    }
    if (backend_status(check->backend) < 0 || rollout->frame != rollout->config.plan.frames) {
        check_broken(check, run->name, "the rollout stopped early:");
        backend_clear(check->backend);
    }
}

/* image -> image_latent; the rest of the rollout goes on with what we computed. */
static struct tensor encode_image(struct check *check, struct model *model, struct arena *arena,
                                  const struct rollout_config *config, const struct weights *file)
{
    struct video_encoder *encoder = NULL;
    struct tensor given = {0}, image = check_upload(check, arena, file, "image");
    if (!image.data || vae_encoder_open(&encoder, model->vae, config->h, config->w, 1) < 0)
        return given;
    struct tensor latent = video_encoder_encode(encoder, image);
    check_compare(check, "few_step_i2v.image_latent", latent, file, "image_latent", 0, NULL);
    if (latent.data) {
        given = arena_tensor(arena, TENSOR_F32, latent.dims, latent.shape);
        op_copy(check->backend, given, latent);
    }
    video_encoder_close(encoder);
    return given;
}

static void run_rollout(struct check *check, const struct run *run, struct model *model,
                        const struct weights *file, const char *path)
{
    struct rollout_config config = rollout_config(check);
    const struct weight *noise = weights_find(file, "noise");
    struct arena arena;
    struct rollout rollout = {0};
    struct video_decoder *decoder = NULL;
    struct noise_file noise_file = {0};
    arena_init(&arena, check->backend);
    bool image = weights_find(file, "image") != NULL;
    int64_t generated = noise && noise->tensor.dims == 4 ? noise->tensor.shape[0] : 0;
    struct tensor given = {0}, embeds = check_embeds(check, &arena, run->prompt), negative = {0};
    if (run->multi) {
        config.steps = 0;
        negative = check_negative(check, &arena);
    }
    if (image)
        given = encode_image(check, model, &arena, &config, file);
    block_plan_init(&config.plan, run->block, image ? 1 : 0, generated + (image ? 1 : 0),
                    run->first_alone);
    bool ready = embeds.data && (!run->multi || negative.data) && (!image || given.data) &&
                 noise_file_open(&noise_file, path, config.h, config.w, image ? 1 : 0, generated,
                                 &check->log) == 0 &&
                 rollout_open(&rollout, &model->transformer, &config,
                              (struct noise_source){fill_noise, &noise_file}) == 0 &&
                 vae_decoder_open(&decoder, model->vae, config.h, config.w, run->block) == 0;
    if (ready) {
        rollout_set_text(&rollout, embeds, negative);
        if (run->multi)
            compare_floats(check, "multi_step_t2v.timesteps", rollout.solver.timestep,
                           rollout.solver.steps, file, "timesteps");
        compare_rollout(check, run, &rollout, decoder, file, given);
    } else {
        check_broken(check, run->name, "cannot be set up:");
        backend_clear(check->backend);
    }
    video_decoder_close(decoder);
    rollout_close(&rollout);
    noise_file_close(&noise_file);
    arena_finish(&arena);
}

static void check_rollout(struct check *check, const struct run *run)
{
    char name[64];
    snprintf(name, sizeof name, "%s.safetensors", run->name);
    struct weights *file = open_expected(check, name);
    char *path = check_join(check->expected, name);
    struct model model;
    if (!file || !path) {
        free(path);
        return;
    }
    if (open_model(check, &model, run->set) == 0) {
        run_rollout(check, run, &model, file, path);
        close_model(&model);
    } else {
        check_broken(check, run->set, "cannot be opened:");
    }
    weights_close(file);
    free(path);
}

void check_rollouts(struct check *check)
{
    int block = (int)check_number(check, "block", 3);
    bool first_alone = check_number(check, "independent_first_frame", 0) != 0;
    const struct run runs[] = {
        {"few_step_t2v", "generator_ema", 0, block, first_alone, false},
        {"few_step_i2v", "generator_ema", 1, (int)check_number(check, "i2v_block", block), false,
         false},
        {"multi_step_t2v", "generator", 0, block, first_alone, true},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        if (runs[i].multi && check->no_tokenizer)
            check->line(check->opaque, "multi_step_t2v: skipped, its negative prompt needs a tokenizer");
        else
            check_rollout(check, &runs[i]);
    }
}
