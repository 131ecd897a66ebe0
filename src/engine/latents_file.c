#include "engine/latents_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/new_file.h"

/* ---- noise from a file ------------------------------------------------------------------------ */

static const struct weight *find_latents(const struct noise_file *file, const char *name)
{
    const struct weight *weight = weights_find(file->weights, name);
    if (!weight) {
        log_error(file->log, UNREEL_EFORMAT, "%s: no tensor %s", file->path, name);
        return NULL;
    }
    const struct tensor *t = &weight->tensor;
    if (t->dims != 4 || t->type != TENSOR_F32 || t->shape[1] != LATENT_CHANNELS ||
        t->shape[2] != file->h || t->shape[3] != file->w) {
        char shape[128];
        log_error(file->log, UNREEL_EFORMAT, "%s: %s is %s %s, not F32 [frames, %d, %d, %d]",
                  file->path, name, tensor_type_name(t->type),
                  tensor_shape_text(t->dims, t->shape, shape), LATENT_CHANNELS, file->h, file->w);
        return NULL;
    }
    return weight;
}

int noise_file_open(struct noise_file *file, const char *path, int h, int w, int64_t first,
                    int64_t frames, const unreel_log *log)
{
    *file = (struct noise_file){.path = path, .log = log, .h = h, .w = w, .first = first};
    int code = weights_open(&file->weights, path, NULL, log);
    if (code < 0)
        return code;
    const struct weight *noise = find_latents(file, "noise");
    if (!noise)
        code = UNREEL_EFORMAT;
    else if (!frames || noise->tensor.shape[0] != frames)
        code = log_error(log, UNREEL_EINVAL,
                         "%s: noise for %lld latent frames, but the video generates %lld", path,
                         (long long)noise->tensor.shape[0], (long long)frames);
    file->renoise = weights_find(file->weights, "renoise.000");
    if (code < 0)
        noise_file_close(file);
    return code;
}

void noise_file_close(struct noise_file *file)
{
    weights_close(file->weights);
    *file = (struct noise_file){0};
}

int noise_file_fill(struct noise_file *file, float *x, int64_t frame, int frames, int step)
{
    char name[32] = "noise";
    int64_t start = frame - file->first;
    if (step) {
        if (!file->renoise)
            return 1;
        snprintf(name, sizeof name, "renoise.%03d", file->next++);
        start = 0;
    }
    const struct weight *weight = find_latents(file, name);
    if (!weight)
        return UNREEL_EFORMAT;
    if (start < 0 || start + frames > weight->tensor.shape[0])
        return log_error(file->log, UNREEL_EFORMAT, "%s: %s has too few latent frames", file->path,
                         name);
    int64_t plane = (int64_t)file->h * file->w;
    const float *from = (const float *)weight->tensor.data + start * LATENT_CHANNELS * plane;
    for (int f = 0; f < frames; f++) {
        for (int64_t i = 0; i < plane; i++) {
            for (int c = 0; c < LATENT_CHANNELS; c++)
                *x++ = from[(f * LATENT_CHANNELS + c) * plane + i];
        }
    }
    return 0;
}

/* ---- latents into a file ------------------------------------------------------------------------- */

int latents_file_open(struct latents_file *file, const char *path, int64_t frames, int h, int w,
                      const unreel_log *log)
{
    struct new_file trial; /* when the video is done it is too late to say that it cannot be written */
    *file = (struct latents_file){0};
    int code = new_file_open(&trial, path, log);
    if (code < 0)
        return code;
    new_file_close(&trial, UNREEL_ECANCELED);
    *file = (struct latents_file){.path = path, .h = h, .w = w, .frames = frames};
    file->data = malloc((size_t)frames * LATENT_CHANNELS * (size_t)h * (size_t)w * sizeof(float));
    return file->data ? 0 : log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
}

void latents_file_add(struct latents_file *file, struct backend *b, struct tensor latents)
{
    int64_t frames = latents.shape[0], size = (int64_t)LATENT_CHANNELS * file->h * file->w;
    struct tensor to = tensor_make(file->data + file->count * size, TENSOR_F32,
                                   SHAPE(frames, LATENT_CHANNELS, file->h, file->w));
    backend_download(b, tensor_permute(to, (const int[]){0, 2, 3, 1}), latents);
    file->count += frames;
}

int latents_file_save(struct latents_file *file, const unreel_log *log)
{
    struct weight latents = {
        .name = "latents",
        .tensor = tensor_make(file->data, TENSOR_F32,
                              SHAPE(file->count, LATENT_CHANNELS, file->h, file->w)),
    };
    latents.bytes = tensor_bytes(&latents.tensor);
    return weights_save(file->path, &latents, 1, NULL, log);
}

void latents_file_close(struct latents_file *file)
{
    free(file->data);
    *file = (struct latents_file){0};
}
