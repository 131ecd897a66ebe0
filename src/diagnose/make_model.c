/* unreel_make_model: a model folder with made-up weights, laid out as users have the real one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unreel/diagnose.h"
#include "weights/made_up.h"
#include "weights/torch_writer.h"

#define CHUNK 65536 /* elements generated at a time */

struct writer {
    struct torch_writer torch;
    enum tensor_type type;
    uint64_t seed;
    void *buffer; /* [CHUNK] */
};

static int describe(void *opaque, const struct made_up_tensor *t)
{
    struct writer *w = opaque;
    return torch_writer_describe(&w->torch, t->name, w->type, t->dims, t->shape);
}

static int write_values(void *opaque, const struct made_up_tensor *t)
{
    struct writer *w = opaque;
    int64_t count = 1;
    for (int i = 0; i < t->dims; i++)
        count *= t->shape[i];
    int code = torch_writer_begin(&w->torch);
    for (int64_t i = 0; code == 0 && i < count; i += CHUNK) {
        int64_t part = count - i < CHUNK ? count - i : CHUNK;
        made_up_fill(w->buffer, w->type, t, w->seed, i, part);
        code = torch_writer_data(&w->torch, w->buffer, (size_t)part * tensor_type_size(w->type));
    }
    return code < 0 ? code : torch_writer_end(&w->torch);
}

static int write_torch(const unreel_log *log, const struct made_up_shape *shape,
                       enum made_up_part part, enum tensor_type type, uint64_t seed,
                       const char *path)
{
    struct writer w = {.type = type, .seed = seed, .buffer = malloc(CHUNK * sizeof(float))};
    int code = w.buffer ? torch_writer_open(&w.torch, path, log)
                        : log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    if (code == 0) {
        code = made_up_list(shape, part, describe, &w);
        if (code == 0)
            code = made_up_list(shape, part, write_values, &w);
        code = torch_writer_close(&w.torch, code);
    }
    free(w.buffer);
    return code;
}

static int write_transformer(const unreel_log *log, const struct made_up_shape *shape, uint64_t seed,
                             const char *path)
{
    static const char *const metadata[] = {"format", "pt", NULL};
    struct weights *weights;
    int code = made_up_weights(&weights, shape, MADE_UP_TRANSFORMER, TENSOR_BF16, seed, log);
    if (code < 0)
        return code;
    code = weights_save(path, weights_at(weights, 0), weights_count(weights), metadata, log);
    weights_close(weights);
    return code;
}

static int write_config(const unreel_log *log, const struct made_up_shape *s, const char *path)
{
    FILE *f = fopen(path, "we");
    if (f)
        fprintf(f,
                "{\n  \"_class_name\": \"WanModel\",\n  \"model_type\": \"t2v\",\n  \"dim\": %d,\n"
                "  \"eps\": 1e-06,\n  \"ffn_dim\": %d,\n  \"freq_dim\": %d,\n  \"in_dim\": 16,\n"
                "  \"num_heads\": %d,\n  \"num_layers\": %d,\n  \"out_dim\": 16,\n"
                "  \"text_len\": %d\n}\n",
                s->dim, s->ffn_dim, s->freq_dim, s->heads, s->layers, s->text_len);
    if (!f || fclose(f) != 0)
        return log_error(log, UNREEL_EIO, "%s: %s", path, strerror(errno));
    return 0;
}

int unreel_make_model(const unreel_log *log, const char *name, uint64_t seed, const char *folder)
{
    const struct made_up_shape *shape = made_up_shape_find(name);
    size_t size = strlen(folder) + 64;
    char *path = malloc(size);
    int code = 0;
    if (!shape)
        code = log_error(log, UNREEL_EINVAL, "shape %s: known are wan2.1-1.3b and tiny", name);
    else if (!path)
        code = log_error(log, UNREEL_ENOMEM, "%s: out of memory", folder);
    else if (mkdir(folder, 0777) < 0 && errno != EEXIST)
        code = log_error(log, UNREEL_EIO, "%s: %s", folder, strerror(errno));
#define PATH(text) (snprintf(path, size, "%s/%s", folder, text), path)
    if (code == 0)
        code = write_config(log, shape, PATH("config.json"));
    if (code == 0)
        code = write_transformer(log, shape, seed, PATH("diffusion_pytorch_model.safetensors"));
    if (code == 0)
        code = write_torch(log, shape, MADE_UP_VAE, TENSOR_F32, seed, PATH("Wan2.1_VAE.pth"));
    if (code == 0)
        code = write_torch(log, shape, MADE_UP_TEXT, TENSOR_BF16, seed,
                           PATH("models_t5_umt5-xxl-enc-bf16.pth"));
#undef PATH
    free(path);
    return code;
}
