#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

#include "config/options.h"

/* A light decoder's weights. */
struct light {
    struct light *next;
    char *path;
    struct weights *weights;
    struct taehv *taehv;
};

static int open_backend(struct backend **backend, const unreel_options *options, bool beside,
                        const unreel_log *log)
{
    const struct backend_config config = {
        .device = options_text(options, "device"),
        .dtype = options_text(options, "dtype"),
        .threads = (int)options_int(options, "threads"),
        .cache = options_text(options, "device_cache"),
        .without = options_text(options, "device_without"),
        .beside = beside,
    };
    return backend_open(backend, &config, log);
}

static int open_backends(struct unreel_engine *engine, const unreel_options *options)
{
    int code = open_backend(&engine->backend, options, false, &engine->log);
    engine->decoder = engine->backend;
    if (code == 0 && engine->backend->beside)
        code = open_backend(&engine->decoder, options, true, &engine->log);
    return code;
}

/* The generator: the checkpoint if one is named, else the folder's base weights. */
static int open_transformer(struct unreel_engine *engine, const unreel_options *options)
{
    const unreel_log *log = &engine->log;
    const char *checkpoint = options_text(options, "checkpoint_path");
    bool ema = options_bool(options, "use_ema");
    const char *path = checkpoint ? checkpoint : engine->folder.transformer;
    if (!path)
        return log_error(log, UNREEL_EIO,
                         "%s: no diffusion_pytorch_model.safetensors beside it and no "
                         "checkpoint_path given",
                         engine->folder.config);
    if (!checkpoint && ema)
        log_warning(log, "use_ema chooses from a checkpoint, and no checkpoint_path is given");
    const char *set = !checkpoint ? NULL : ema ? "generator_ema" : "generator";
    struct transformer_config config;
    int code = transformer_config_read(&config, engine->folder.config, log);
    if (code == 0)
        code = weights_open(&engine->transformer_weights, path, set, log);
    if (code == 0)
        code = transformer_open(&engine->transformer, engine->backend, &config,
                                engine->transformer_weights, log);
    return code;
}

/* Everything that has weights on the device. */
static int open_networks(struct unreel_engine *engine, const unreel_options *options)
{
    const unreel_log *log = &engine->log;
    backend_enter(engine->backend);
    int code = open_transformer(engine, options);
    if (code == 0)
        code = weights_open(&engine->vae_weights, engine->folder.vae, NULL, log);
    if (code == 0)
        code = vae_open(&engine->vae, engine->decoder, engine->vae_weights, log);
    if (code == 0 && engine->folder.text)
        code = text_encoder_open(&engine->text, engine->backend, engine->folder.text, log);
    if (code == 0 && engine->text &&
        text_encoder_dim(engine->text) != engine->transformer.text_dim)
        code = log_error(log, UNREEL_EFORMAT, "%s: width %d, but the transformer's text width is %d",
                         engine->folder.text, text_encoder_dim(engine->text),
                         engine->transformer.text_dim);
    backend_leave(engine->backend);
    return code;
}

static int open_all(struct unreel_engine *engine, const unreel_options *options)
{
    const unreel_log *log = &engine->log;
    const char *model = options_text(options, "model");
    if (!model)
        return log_error(log, UNREEL_EINVAL, "no model folder given");
    int code = model_folder_find(&engine->folder, model, log);
    if (code == 0)
        code = open_backends(engine, options);
    if (code == 0)
        code = open_networks(engine, options);
    return code;
}

static void light_free(struct light *light)
{
    taehv_close(light->taehv);
    weights_close(light->weights);
    free(light->path);
    free(light);
}

static void engine_free(struct unreel_engine *engine)
{
    if (engine->backend)
        backend_enter(engine->backend);
    for (struct light *light = engine->lights, *next; light; light = next) {
        next = light->next;
        light_free(light);
    }
    text_encoder_close(engine->text);
    tokenizer_close(engine->tokenizer);
    vae_close(engine->vae);
    transformer_close(&engine->transformer);
    if (engine->backend)
        backend_leave(engine->backend);
    if (engine_decodes_beside(engine))
        backend_close(engine->decoder);
    backend_close(engine->backend);
    weights_close(engine->vae_weights);
    weights_close(engine->transformer_weights);
    model_folder_finish(&engine->folder);
    pthread_mutex_destroy(&engine->device);
    pthread_mutex_destroy(&engine->decoder_device);
    free(engine);
}

int unreel_engine_open(unreel_engine **engine, const unreel_options *options)
{
    const unreel_log *log = options_log(options);
    *engine = NULL;
    struct unreel_engine *e = calloc(1, sizeof *e);
    if (!e || pthread_mutex_init(&e->device, NULL)) {
        free(e);
        return log_error(log, UNREEL_ENOMEM, "engine: out of memory");
    }
    pthread_mutex_init(&e->decoder_device, NULL);
    atomic_init(&e->refs, 1);
    if (log)
        e->log = *log;
    int code = open_all(e, options);
    if (code < 0) {
        engine_free(e);
        return code;
    }
    *engine = e;
    return 0;
}

void engine_ref(struct unreel_engine *engine)
{
    atomic_fetch_add(&engine->refs, 1);
}

uint64_t engine_weight_bytes(const struct unreel_engine *engine)
{
    const struct weights *sets[] = {engine->transformer_weights, engine->vae_weights};
    uint64_t bytes = 0;
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; k < weights_count(sets[i]); k++)
            bytes += weights_at(sets[i], k)->bytes;
    }
    return bytes;
}

void unreel_engine_close(unreel_engine *engine)
{
    if (engine && atomic_fetch_sub(&engine->refs, 1) == 1)
        engine_free(engine);
}

static void take(pthread_mutex_t *device, struct backend *backend, const atomic_bool *cancel,
                 const unreel_log *log)
{
    pthread_mutex_lock(device);
    backend_enter(backend);
    backend->cancel = cancel;
    backend->log = *log;
}

static int give_back(pthread_mutex_t *device, struct backend *backend, const unreel_log *log)
{
    int code = backend_status(backend);
    backend->cancel = NULL;
    backend->log = *log;
    backend_clear(backend);
    backend_leave(backend);
    pthread_mutex_unlock(device);
    return code;
}

void engine_lock(struct unreel_engine *engine, const atomic_bool *cancel, const unreel_log *log)
{
    take(&engine->device, engine->backend, cancel, log);
}

int engine_unlock(struct unreel_engine *engine)
{
    return give_back(&engine->device, engine->backend, &engine->log);
}

static pthread_mutex_t *decoder_device(struct unreel_engine *engine)
{
    return engine_decodes_beside(engine) ? &engine->decoder_device : &engine->device;
}

void engine_lock_decoder(struct unreel_engine *engine, const atomic_bool *cancel,
                         const unreel_log *log)
{
    take(decoder_device(engine), engine->decoder, cancel, log);
}

int engine_unlock_decoder(struct unreel_engine *engine)
{
    return give_back(decoder_device(engine), engine->decoder, &engine->log);
}

int engine_tokenizer(struct unreel_engine *engine, const unreel_log *log)
{
    if (!engine->text || !engine->folder.tokenizer)
        return log_error(log, UNREEL_EIO, "%s: no %s beside it, so prompts cannot be encoded",
                         engine->folder.config,
                         engine->text ? "google/umt5-xxl/spiece.model"
                                      : "models_t5_umt5-xxl-enc-bf16.pth");
    return engine->tokenizer ? 0 : tokenizer_open(&engine->tokenizer, engine->folder.tokenizer, log);
}

int engine_tokenize(struct unreel_engine *engine, const char *prompt, int32_t **ids,
                    const unreel_log *log)
{
    int text_len = engine->transformer.config.text_len, code = 0;
    char *clean = NULL;
    *ids = malloc((size_t)text_len * sizeof **ids);
    if (!*ids)
        code = log_error(log, UNREEL_ENOMEM, "prompt: out of memory");
    if (code == 0)
        code = text_clean(&clean, prompt, log);
    if (code == 0)
        code = tokenizer_encode(engine->tokenizer, clean, *ids, text_len, log);
    free(clean);
    if (code < 0) {
        free(*ids);
        *ids = NULL;
    }
    return code;
}

int engine_encode(struct unreel_engine *engine, const int32_t *ids, int count, struct tensor embeds)
{
    return text_encoder_encode(engine->text, ids, count, embeds);
}

int engine_light(struct taehv **taehv, struct unreel_engine *engine, const char *path,
                 const unreel_log *log)
{
    if (!path)
        path = engine->folder.light;
    if (!path)
        return log_error(log, UNREEL_EIO,
                         "%s: no taew2_1.safetensors beside it and no decoder_path given",
                         engine->folder.config);
    struct light *light = engine->lights;
    while (light && strcmp(light->path, path))
        light = light->next;
    if (light) {
        *taehv = light->taehv;
        return 0;
    }
    light = calloc(1, sizeof *light);
    if (!light || !(light->path = strdup(path))) {
        free(light);
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    }
    int code = weights_open(&light->weights, path, NULL, log);
    if (code == 0)
        code = taehv_open(&light->taehv, engine->decoder, light->weights, log);
    if (code < 0) {
        light_free(light);
        return code;
    }
    light->next = engine->lights;
    engine->lights = light;
    *taehv = light->taehv;
    return 0;
}
