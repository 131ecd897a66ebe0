/* unreel_make_model: a model folder with made-up weights, laid out as users have the real one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "unreel/diagnose.h"
#include "weights/made_up.h"
#include "weights/save.h"
#include "weights/torch_writer.h"

#define CHUNK 65536 /* elements generated at a time */

/* ---- VAE and text encoder: PyTorch ----------------------------------------------------------- */

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

/* ---- the transformer: safetensors ------------------------------------------------------------ */

struct tensors {
    struct made_up_tensor *list;
    struct weight *weights; /* without data */
    size_t count;
};

static int count_tensor(void *opaque, const struct made_up_tensor *t)
{
    ((struct tensors *)opaque)->count++;
    return 0;
}

static int keep_tensor(void *opaque, const struct made_up_tensor *t)
{
    struct tensors *k = opaque;
    k->list[k->count] = *t;
    k->weights[k->count] =
        (struct weight){.name = k->list[k->count].name,
                        .tensor = tensor_make(NULL, TENSOR_BF16, t->dims, t->shape)};
    k->count++;
    return 0;
}

static int write_all(const unreel_log *log, const struct tensors *k, uint64_t seed, void *buffer,
                     const char *path)
{
    static const char *const metadata[] = {"format", "pt", NULL};
    struct new_file file;
    int code = safetensors_begin(&file, path, k->weights, k->count, metadata, log);
    for (size_t i = 0; code == 0 && i < k->count; i++) {
        int64_t count = tensor_count(&k->weights[i].tensor);
        for (int64_t first = 0; code == 0 && first < count; first += CHUNK) {
            int64_t part = count - first < CHUNK ? count - first : CHUNK;
            made_up_fill(buffer, TENSOR_BF16, &k->list[i], seed, first, part);
            code = new_file_write(&file, buffer, (size_t)part * tensor_type_size(TENSOR_BF16));
        }
    }
    return new_file_close(&file, code);
}

static int write_transformer(const unreel_log *log, const struct made_up_shape *shape,
                             uint64_t seed, const char *path)
{
    struct tensors k = {0};
    made_up_list(shape, MADE_UP_TRANSFORMER, count_tensor, &k);
    k.list = calloc(k.count, sizeof *k.list);
    k.weights = calloc(k.count, sizeof *k.weights);
    void *buffer = malloc(CHUNK * tensor_type_size(TENSOR_BF16));
    int code;
    if (k.list && k.weights && buffer) {
        k.count = 0;
        made_up_list(shape, MADE_UP_TRANSFORMER, keep_tensor, &k);
        code = write_all(log, &k, seed, buffer, path);
    } else {
        code = log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    }
    free(buffer);
    free(k.list);
    free(k.weights);
    return code;
}

/* ---- the folder ------------------------------------------------------------------------------ */

static int write_config(const unreel_log *log, const struct made_up_shape *s, const char *path)
{
    struct json_writer w;
    struct new_file file;
    json_writer_init(&w, 2);
    json_put_object(&w, NULL);
    json_put_text(&w, "_class_name", "WanModel");
    json_put_int(&w, "dim", s->dim);
    json_put_double(&w, "eps", 1e-6);
    json_put_int(&w, "ffn_dim", s->ffn_dim);
    json_put_int(&w, "freq_dim", s->freq_dim);
    json_put_int(&w, "in_dim", 16);
    json_put_text(&w, "model_type", "t2v");
    json_put_int(&w, "num_heads", s->heads);
    json_put_int(&w, "num_layers", s->layers);
    json_put_int(&w, "out_dim", 16);
    json_put_int(&w, "text_len", s->text_len);
    json_put_end(&w);
    char *text = json_writer_finish(&w);
    if (!text)
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    int code = new_file_open(&file, path, log);
    if (code == 0)
        code = new_file_write(&file, text, strlen(text));
    free(text);
    return new_file_close(&file, code);
}

/* Weights that somebody may have downloaded are not replaced by made-up ones. */
static int check_free(const unreel_log *log, const char *folder)
{
    static const char *const names[] = {
        "config.json", "diffusion_pytorch_model.safetensors", "Wan2.1_VAE.pth", "Wan2.1_VAE.safetensors",
        "models_t5_umt5-xxl-enc-bf16.pth", "models_t5_umt5-xxl-enc-bf16.safetensors",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (!access(path, F_OK))
            return log_error(log, UNREEL_EIO, "%s: is there already: a model is only written into a folder without",
                             path);
    }
    return 0;
}

int unreel_make_model(const unreel_log *log, const char *name, uint64_t seed, const char *folder)
{
    const struct made_up_shape *shape = made_up_shape_find(name);
    size_t size = strlen(folder) + 64;
    char *path = malloc(size);
    int code = 0;
    if (!shape)
        code = log_error(log, UNREEL_EINVAL, "shape %s: known are wan2.1-1.3b, postcard and tiny", name);
    else if (!path)
        code = log_error(log, UNREEL_ENOMEM, "%s: out of memory", folder);
    else if (mkdir(folder, 0777) < 0 && errno != EEXIST)
        code = log_error(log, UNREEL_EIO, "%s: %s", folder, strerror(errno));
    if (code == 0)
        code = check_free(log, folder);
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
