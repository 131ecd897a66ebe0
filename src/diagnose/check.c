/* unreel_check: finds what a golden folder holds and runs it. */
#include "diagnose/check.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "config/options.h"

#define LIMIT_F32 1e-4
#define LIMIT_BF16 3e-2
#define LIMIT_FP8 6e-2
#define JSON_BYTES_MAX (16 << 20)

char *check_join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%s/%s", folder, name);
    return path;
}

static bool ends_with(const char *text, const char *suffix)
{
    size_t a = strlen(text), b = strlen(suffix);
    return a >= b && !strcmp(text + a - b, suffix);
}

char *check_only_entry(const char *folder, const char *suffix, const char *not)
{
    DIR *dir = opendir(folder);
    char *found = NULL;
    int count = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' || !ends_with(entry->d_name, suffix) ||
            (not && ends_with(entry->d_name, not)))
            continue;
        free(found);
        found = check_join(folder, entry->d_name);
        count++;
    }
    if (dir)
        closedir(dir);
    if (count != 1) {
        free(found);
        return NULL;
    }
    return found;
}

static void print(struct check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void print(struct check *check, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    check->line(check->opaque, text);
}

void check_report(struct check *check, const char *name, double error, double limit)
{
    bool ok = error <= limit; /* false for NaN */
    if (ok)
        check->passed++;
    else
        check->failed++;
    print(check, "%-44s %10.3e %8.1e %s", name, error, limit, ok ? "ok" : "FAIL");
}

void check_broken(struct check *check, const char *name, const char *why)
{
    check->failed++;
    print(check, "%-44s %s FAIL", name, why);
}

bool check_is_recorded(struct check *check, const char *name)
{
    char *path = check_join(check->expected, name);
    bool missing = path && access(path, F_OK) < 0 && errno == ENOENT;
    if (missing)
        print(check, "%-44s not recorded", name);
    free(path);
    return !missing;
}

double check_relative_l2(const float *a, const float *b, int64_t count)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)a[i] - b[i];
        difference += d * d;
        norm += (double)b[i] * b[i];
    }
    return norm > 0 ? sqrt(difference / norm) : difference > 0 ? INFINITY : difference;
}

/* A tensor of a golden file: f32, four dimensions. */
static const struct weight *find_video(const struct weights *file, const char *name)
{
    const struct weight *weight = weights_find(file, name);
    bool good = weight && weight->tensor.type == TENSOR_F32 &&
                (weight->tensor.dims == 4 || weight->tensor.dims == 3);
    return good ? weight : NULL;
}

/* [F, C, h, w] seen features last; a picture without F is one frame. */
static struct tensor features_last(struct tensor t)
{
    if (t.dims == 3)
        t = tensor_reshape(t, SHAPE(1, t.shape[0], t.shape[1], t.shape[2]));
    return tensor_permute(t, (const int[]){0, 2, 3, 1});
}

void check_compare(struct check *check, const char *label, struct tensor got,
                   const struct weights *file, const char *name, int64_t first_frame,
                   const struct check_range *range)
{
    const struct weight *want = find_video(file, name);
    if (backend_status(check->backend) < 0 || !got.data) {
        check_broken(check, label, "the computation failed:");
        backend_clear(check->backend);
        return;
    }
    if (!want) {
        check_broken(check, label, "no such f32 tensor in the file:");
        return;
    }
    struct tensor all = features_last(want->tensor);
    if (all.shape[0] < first_frame + got.shape[0] || all.shape[1] != got.shape[1] ||
        all.shape[2] != got.shape[2] || all.shape[3] != got.shape[3]) {
        check_broken(check, label, "shapes differ:");
        return;
    }
    int64_t frame = tensor_count(&all) / all.shape[0], count = frame * got.shape[0];
    float *host = malloc((size_t)count * sizeof *host);
    if (!host) {
        check_broken(check, label, "out of memory:");
        return;
    }
    struct tensor flat = tensor_make(
        host, TENSOR_F32, SHAPE(got.shape[0], got.shape[3], got.shape[1], got.shape[2]));
    backend_download(check->backend, features_last(flat), got);
    for (int64_t i = 0; range && i < count; i++)
        host[i] = fminf(fmaxf(host[i] * range->scale + range->offset, range->low), range->high);
    check_report(check, label,
                 check_relative_l2(host, (const float *)want->tensor.data + first_frame * frame,
                                   count),
                 check->limit);
    free(host);
}

struct tensor check_upload(struct check *check, struct arena *arena, const struct weights *file,
                           const char *name)
{
    const struct weight *weight = find_video(file, name);
    if (!weight)
        return (struct tensor){0};
    struct tensor host = features_last(weight->tensor);
    struct tensor t = arena_tensor(arena, TENSOR_F32, host.dims, host.shape);
    if (t.data)
        backend_upload(check->backend, t, host);
    return t;
}

double check_number(const struct check *check, const char *key, double fallback)
{
    const struct json *object = check->config;
    char part[64];
    const char *dot;
    while ((dot = strchr(key, '.')) && object) {
        snprintf(part, sizeof part, "%.*s", (int)(dot - key), key);
        object = json_get(object, part);
        key = dot + 1;
    }
    const struct json *entry = object ? json_get(object, key) : NULL;
    double number;
    bool flag;
    if (entry && json_double(entry, &number))
        return number;
    if (entry && json_bool(entry, &flag))
        return flag;
    return fallback;
}

static struct json *read_json(struct check *check, const char *name)
{
    char *path = check_join(check->expected, name), *text = NULL;
    struct json *root = NULL;
    size_t size;
    if (path && file_read_text(&text, &size, path, JSON_BYTES_MAX, &check->log) == 0)
        json_parse(&root, text, size, path, &check->log);
    free(text);
    free(path);
    return root;
}

/* A folder laid out as users have one, with expected/ beside it. */
static int check_model_folder(struct check *check, const char *folder)
{
    char *models = check_join(folder, "wan_models"), *checkpoints = check_join(folder, "checkpoints");
    check->expected = check_join(folder, "expected");
    if (models && checkpoints && check->expected) {
        check->model = check_only_entry(models, "", NULL);
        check->checkpoint = check_only_entry(checkpoints, ".pt", NULL);
    }
    free(models);
    free(checkpoints);
    if (!check->model || !check->checkpoint)
        return log_error(&check->log, UNREEL_EIO,
                         "%s: not one folder in wan_models and one .pt in checkpoints", folder);
    check->config = read_json(check, "case.json");
    check->prompts = read_json(check, "prompts.json");
    if (!check->config || !check->prompts)
        return UNREEL_EFORMAT;
    check_text(check);
    check_schedule(check);
    check_transformer(check);
    check_rollouts(check);
    check_vae(check);
    return 0;
}

/* A folder with the light decoder: NAME.expected.safetensors and NAME.safetensors or NAME.pth; with
 * both, both are run. */
static int check_light_folder(struct check *check, const char *expected)
{
    static const char *const suffixes[] = {".safetensors", ".pth"};
    int found = 0;
    size_t stem = strlen(expected) - strlen(".expected.safetensors");
    for (int i = 0; i < 2; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%.*s%s", (int)stem, expected, suffixes[i]);
        FILE *file = fopen(path, "rb");
        if (!file)
            continue;
        fclose(file);
        check_light(check, path, expected);
        found++;
    }
    return found ? 0
                 : log_error(&check->log, UNREEL_EIO, "%s: no weights beside it", expected);
}

static int check_folder(struct check *check, const char *folder)
{
    char *light = check_only_entry(folder, ".expected.safetensors", NULL);
    int code = light ? check_light_folder(check, light) : check_model_folder(check, folder);
    free(light);
    return code;
}

int unreel_check(const unreel_options *options, const char *folder, unreel_line_fn line, void *opaque)
{
    const unreel_log *log = options_log(options);
    const struct backend_config config = {
        .device = options_text(options, "device"),
        .dtype = options_text(options, "dtype"),
        .threads = (int)options_int(options, "threads"),
        .cache = options_text(options, "device_cache"),
        .without = options_text(options, "device_without"),
    };
    struct check check = {.line = line, .opaque = opaque};
    if (log)
        check.log = *log;
    int code = backend_open(&check.backend, &config, log);
    if (code < 0)
        return code;
    bool bf16 = check.backend->compute == TENSOR_BF16 || check.backend->round_bf16;
    check.limit = check.backend->fp8 ? LIMIT_FP8 : bf16 ? LIMIT_BF16 : LIMIT_F32;
    code = check_folder(&check, folder);
    print(&check, "%d passed, %d failed", check.passed, check.failed);
    if (code == 0 && check.failed)
        code = UNREEL_EFORMAT;
    if (code == 0 && !check.passed)
        code = log_error(log, UNREEL_EFORMAT, "%s: nothing to compare", folder);
    backend_close(check.backend);
    json_free(check.config);
    json_free(check.prompts);
    free(check.expected);
    free(check.model);
    free(check.checkpoint);
    return code;
}
