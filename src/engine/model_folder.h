/* Where things are in a model folder, as users have them (spec section 2). */
#pragma once

#include "base/log.h"

struct model_folder {
    char *config;      /* config.json */
    char *transformer; /* diffusion_pytorch_model.safetensors, or its index JSON */
    char *vae;         /* Wan2.1_VAE.pth */
    char *light;       /* taew2_1.safetensors or .pth; NULL: none */
    char *text;        /* models_t5_umt5-xxl-enc-bf16.pth; NULL: none */
    char *tokenizer;   /* google/umt5-xxl/spiece.model; NULL: none */
};

/* Looks for the files; each of .pth, .safetensors and a sharded index will do. A folder without
 * config.json or without VAE is refused; the transformer may be NULL (a checkpoint replaces it). */
int model_folder_find(struct model_folder *folder, const char *path, const unreel_log *log);
void model_folder_finish(struct model_folder *folder);
