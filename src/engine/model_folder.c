#include "engine/model_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first of `names` (a NULL-terminated list) that is a readable file below `path`; NULL: none. */
static char *find(const char *path, const char *const *names)
{
    for (; *names; names++) {
        size_t size = strlen(path) + strlen(*names) + 2;
        char *file = malloc(size);
        if (!file)
            return NULL;
        snprintf(file, size, "%s/%s", path, *names);
        if (access(file, R_OK) == 0)
            return file;
        free(file);
    }
    return NULL;
}

#define NAMES(...) (const char *const[]){__VA_ARGS__, NULL}

int model_folder_find(struct model_folder *folder, const char *path, const unreel_log *log)
{
    *folder = (struct model_folder){
        .config = find(path, NAMES("config.json")),
        .transformer = find(path, NAMES("diffusion_pytorch_model.safetensors",
                                        "diffusion_pytorch_model.safetensors.index.json")),
        .vae = find(path, NAMES("Wan2.1_VAE.pth", "Wan2.1_VAE.safetensors")),
        .light = find(path, NAMES("taew2_1.safetensors", "taew2_1.pth")),
        .text = find(path, NAMES("models_t5_umt5-xxl-enc-bf16.pth",
                                 "models_t5_umt5-xxl-enc-bf16.safetensors",
                                 "models_t5_umt5-xxl-enc-bf16.safetensors.index.json")),
        .tokenizer = find(path, NAMES("google/umt5-xxl/spiece.model", "spiece.model")),
    };
    const char *missing = !folder->config ? "config.json" : !folder->vae ? "Wan2.1_VAE.pth" : NULL;
    if (!missing)
        return 0;
    int code = access(path, F_OK) == 0
                   ? log_error(log, UNREEL_EIO, "%s: no %s in this model folder", path, missing)
                   : log_error(log, UNREEL_EIO, "%s: no such model folder", path);
    model_folder_finish(folder);
    return code;
}

void model_folder_finish(struct model_folder *folder)
{
    free(folder->config);
    free(folder->transformer);
    free(folder->vae);
    free(folder->light);
    free(folder->text);
    free(folder->tokenizer);
    *folder = (struct model_folder){0};
}
