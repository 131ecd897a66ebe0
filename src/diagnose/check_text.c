/* Tokens and text embeddings. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "diagnose/check.h"
#include "engine/model_folder.h"
#include "model/transformer.h"
#include "text/text.h"

#define JSON_BYTES_MAX (16 << 20)

/* Number of ids that differ, lengths included. */
static int count_differences(const int32_t *ids, int count, const struct json *want)
{
    int differences = abs(count - (int)json_length(want));
    for (int i = 0; i < count && i < (int)json_length(want); i++) {
        int64_t id;
        differences += !json_int(json_at(want, (size_t)i), &id) || id != ids[i];
    }
    return differences;
}

/* The recorded texts were cleaned without text fixing (see the note in the file): HTML unescape and
 * white space only, which text_fold() does alone. */
static void check_token_cases(struct check *check, const struct tokenizer *tokenizer,
                              const struct json *root)
{
    const struct json *cases = json_get(root, "cases");
    int64_t text_len = 0;
    int wrong = 0, count = cases ? (int)json_length(cases) : 0;
    json_int(json_get(root, "text_len"), &text_len);
    if (text_len < 1 || text_len > 1 << 20 || !count) {
        check_broken(check, "tokenizer.json", "no text_len or no cases:");
        return;
    }
    int32_t *ids = malloc((size_t)text_len * sizeof *ids);
    for (int i = 0; ids && i < count; i++) {
        const struct json *entry = json_at(cases, (size_t)i);
        const char *text = json_text(json_get(entry, "text"));
        char *clean = NULL;
        int got = text ? text_fold(&clean, text, &check->log) : UNREEL_EFORMAT;
        if (got == 0)
            got = tokenizer_encode(tokenizer, clean, ids, (int)text_len, &check->log);
        if (got < 0 || count_differences(ids, got, json_get(entry, "ids"))) {
            char label[64];
            snprintf(label, sizeof label, "tokenizer.cases.%d", i);
            check_broken(check, label, "token ids differ:");
            wrong++;
        }
        free(clean);
    }
    if (ids && !wrong) {
        char label[64];
        snprintf(label, sizeof label, "tokenizer.cases (%d texts)", count);
        check_report(check, label, 0, 0);
    }
    free(ids);
}

static void check_tokenizer(struct check *check, const struct model_folder *folder)
{
    char *path = check_join(check->expected, "tokenizer.json"), *text = NULL;
    struct json *root = NULL;
    struct tokenizer *tokenizer = NULL;
    size_t size;
    int code = folder->tokenizer ? tokenizer_open(&tokenizer, folder->tokenizer, &check->log)
                                 : UNREEL_EIO;
    if (code == UNREEL_EUNSUPPORTED) {
        check->no_tokenizer = true;
        check->line(check->opaque, "tokenizer.json: skipped, this build has no tokenizer");
    } else if (code < 0) {
        check_broken(check, "tokenizer.json", "no usable spiece.model:");
    } else if (file_read_text(&text, &size, path, JSON_BYTES_MAX, &check->log) == 0 &&
               json_parse(&root, text, size, path, &check->log) == 0) {
        check_token_cases(check, tokenizer, root);
    } else {
        check_broken(check, "tokenizer.json", "cannot be read:");
    }
    tokenizer_close(tokenizer);
    json_free(root);
    free(text);
    free(path);
}

/* Valid ids of row `prompt` of text.safetensors; their number. */
static int valid_ids(const struct weights *file, int prompt, int32_t *ids, int max)
{
    const struct weight *all = weights_find(file, "ids"), *mask = weights_find(file, "mask");
    if (!all || !mask || all->tensor.type != TENSOR_I32 || mask->tensor.type != TENSOR_I32 ||
        all->tensor.dims != 2 || !tensor_same_shape(&all->tensor, &mask->tensor) ||
        prompt >= all->tensor.shape[0] || all->tensor.shape[1] > max)
        return -1;
    int64_t width = all->tensor.shape[1];
    int count = 0;
    for (int64_t i = 0; i < width; i++) {
        if (((const int32_t *)mask->tensor.data)[prompt * width + i])
            ids[count++] = ((const int32_t *)all->tensor.data)[prompt * width + i];
    }
    return count;
}

static void check_prompt_ids(struct check *check, const struct tokenizer *tokenizer, int prompt,
                             const int32_t *want, int want_count, int max)
{
    const char *text = json_text(json_at(check->prompts, (size_t)prompt));
    int32_t *ids = malloc((size_t)max * sizeof *ids);
    char *clean = NULL, label[64];
    snprintf(label, sizeof label, "text.ids.%d", prompt);
    int count = text && ids ? text_clean(&clean, text, &check->log) : UNREEL_EFORMAT;
    if (count == 0)
        count = tokenizer_encode(tokenizer, clean, ids, max, &check->log);
    if (count == want_count && !memcmp(ids, want, (size_t)count * sizeof *ids))
        check_report(check, label, 0, 0);
    else
        check_broken(check, label, "token ids differ:");
    free(clean);
    free(ids);
}

static void compare_embeds(struct check *check, struct tensor embeds, const struct weights *file,
                           int prompt)
{
    char label[64];
    snprintf(label, sizeof label, "text.prompt_embeds.%d", prompt);
    const struct weight *want = weights_find(file, "prompt_embeds");
    int64_t count = tensor_count(&embeds);
    float *host = malloc((size_t)count * sizeof *host);
    if (!host || !want || want->tensor.type != TENSOR_F32 || want->tensor.dims != 3 ||
        want->tensor.shape[1] != embeds.shape[0] || want->tensor.shape[2] != embeds.shape[1]) {
        check_broken(check, label, "shapes differ:");
    } else {
        backend_download(check->backend, tensor_make(host, TENSOR_F32, embeds.dims, embeds.shape),
                         embeds);
        check_report(check, label,
                     check_relative_l2(host, (const float *)want->tensor.data + prompt * count,
                                       count),
                     check->limit);
    }
    free(host);
}

static void check_encoder(struct check *check, const struct model_folder *folder,
                          const struct weights *file)
{
    const struct weight *want = weights_find(file, "prompt_embeds");
    struct text_encoder *encoder = NULL;
    struct tokenizer *tokenizer = NULL;
    struct arena arena;
    arena_init(&arena, check->backend);
    if (!want || want->tensor.dims != 3 || !folder->text ||
        text_encoder_open(&encoder, check->backend, folder->text, &check->log) < 0) {
        check_broken(check, "text.prompt_embeds", "no text encoder, or nothing to compare with:");
        return;
    }
    tokenizer_open(&tokenizer, folder->tokenizer, NULL);
    int max = (int)want->tensor.shape[1];
    struct tensor embeds = arena_tensor(&arena, TENSOR_F32, SHAPE(max, text_encoder_dim(encoder)));
    int32_t *ids = malloc((size_t)max * sizeof *ids);
    for (int i = 0; ids && embeds.data && i < want->tensor.shape[0]; i++) {
        int count = valid_ids(file, i, ids, max);
        if (count < 1) {
            check_broken(check, "text.ids", "no ids and mask in the file:");
            break;
        }
        if (tokenizer)
            check_prompt_ids(check, tokenizer, i, ids, count, max);
        text_encoder_encode(encoder, ids, count, embeds);
        compare_embeds(check, embeds, file, i);
    }
    free(ids);
    arena_finish(&arena);
    tokenizer_close(tokenizer);
    text_encoder_close(encoder);
}

void check_text(struct check *check)
{
    struct model_folder folder;
    struct weights *file = NULL;
    char *path = check_join(check->expected, "text.safetensors");
    if (model_folder_find(&folder, check->model, &check->log) < 0) {
        check_broken(check, "model folder", "incomplete:");
    } else {
        if (check_is_recorded(check, "tokenizer.json"))
            check_tokenizer(check, &folder);
        bool recorded = check_is_recorded(check, "text.safetensors");
        if (recorded && weights_open(&file, path, NULL, &check->log) == 0)
            check_encoder(check, &folder, file);
        else if (recorded)
            check_broken(check, "text.safetensors", "cannot be read:");
        model_folder_finish(&folder);
    }
    weights_close(file);
    free(path);
}

struct tensor check_embeds(struct check *check, struct arena *arena, int prompt)
{
    char *path = check_join(check->expected, "text.safetensors");
    struct weights *file = NULL;
    struct tensor embeds = {0};
    if (weights_open(&file, path, NULL, &check->log) == 0) {
        const struct weight *all = weights_find(file, "prompt_embeds");
        if (all && all->tensor.dims == 3 && prompt < all->tensor.shape[0]) {
            struct tensor row = tensor_slice(all->tensor, 0, prompt, 1);
            row = tensor_reshape(row, SHAPE(all->tensor.shape[1], all->tensor.shape[2]));
            embeds = arena_upload_f32(arena, &row);
        }
    }
    weights_close(file);
    free(path);
    return embeds;
}

static struct tensor encode_text(struct check *check, struct arena *arena,
                                 const struct model_folder *folder, const char *text)
{
    struct tokenizer *tokenizer = NULL;
    struct text_encoder *encoder = NULL;
    struct tensor embeds = {0};
    struct transformer_config config;
    if (transformer_config_read(&config, folder->config, &check->log) < 0)
        return embeds;
    int max = config.text_len, count = 0;
    int32_t *ids = malloc((size_t)max * sizeof *ids);
    char *clean = NULL;
    if (ids && folder->tokenizer && folder->text &&
        tokenizer_open(&tokenizer, folder->tokenizer, &check->log) == 0 &&
        text_encoder_open(&encoder, check->backend, folder->text, &check->log) == 0 &&
        text_clean(&clean, text, &check->log) == 0)
        count = tokenizer_encode(tokenizer, clean, ids, max, &check->log);
    if (count > 0) {
        embeds = arena_tensor(arena, TENSOR_F32, SHAPE(max, text_encoder_dim(encoder)));
        if (text_encoder_encode(encoder, ids, count, embeds) < 0)
            embeds.data = NULL;
    }
    free(clean);
    free(ids);
    text_encoder_close(encoder);
    tokenizer_close(tokenizer);
    return embeds;
}

struct tensor check_negative(struct check *check, struct arena *arena)
{
    const struct json *entry = json_get(check->config, "negative");
    struct model_folder folder;
    struct tensor embeds = {0};
    if (!entry || !json_text(entry) || model_folder_find(&folder, check->model, &check->log) < 0)
        return embeds;
    embeds = encode_text(check, arena, &folder, json_text(entry));
    model_folder_finish(&folder);
    return embeds;
}
