/* The recorded files, made-up models, binding, listing. */
#include <dirent.h>
#include <unreel/diagnose.h>

#include "files.h"
#include "weights/made_up.h"

/* ---- real files ------------------------------------------------------------------------------ */

static void test_golden(void)
{
    static const char *const checkpoint = "nano/checkpoints/self_forcing_mini.pt";
    struct weights *w = NULL;
    CHECK(weights_open(&w, in(files_golden, checkpoint), "generator_ema", &test_log) == 0);
    const struct weight *q = weights_find(w, "blocks.1.self_attn.q.weight"); /* no prefix left */
    CHECK(q && q->tensor.mapped && q->tensor.dims == 2 && q->tensor.shape[0] == 48 &&
          q->tensor.type == TENSOR_F32);
    CHECK(weights_count(w) == 69 && !weights_find(w, "model.blocks.1.self_attn.q.weight"));
    weights_close(w);
    refuse(in(files_golden, checkpoint), NULL, "choose one of: generator, generator_ema");
    refuse(in(files_golden, checkpoint), "critic", "it has: generator, generator_ema");
    CHECK(weights_open(&w, in(files_golden, "nano/wan_models/Wan2.1-T2V-nano"), NULL, &test_log) == 0);
    CHECK(weights_metadata(w, "format") && !strcmp(weights_metadata(w, "format"), "pt"));
    weights_close(w);
    /* The light decoder comes in both formats, which must be equal. */
    struct weights *pth = NULL, *st = NULL;
    CHECK(weights_open(&pth, in(files_golden, "taehv/taew2_1.pth"), NULL, &test_log) == 0);
    CHECK(weights_open(&st, in(files_golden, "taehv/taew2_1.safetensors"), NULL, &test_log) == 0);
    CHECK(weights_count(pth) == weights_count(st) && weights_count(st) > 100);
    for (size_t i = 0; i < weights_count(st); i++) {
        const struct weight *a = weights_at(st, i), *b = weights_at(pth, i);
        CHECK_MSG(!strcmp(a->name, b->name) && a->bytes == b->bytes && a->tensor.mapped && b->tensor.mapped &&
                      !memcmp(a->tensor.data, b->tensor.data, a->bytes),
                  "%s differs from %s", a->name, b->name);
    }
    weights_close(pth);
    weights_close(st);
}

static bool is_weights(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && (!strcmp(dot, ".pt") || !strcmp(dot, ".pth") || !strcmp(dot, ".safetensors"));
}

/* Opens every weights file below a folder, whole, cut and damaged; how many there were. */
static int try_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    int count = 0;
    while (dir && (entry = readdir(dir))) {
        char path[4096];
        struct stat st;
        if (entry->d_name[0] == '.' ||
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path)
            continue;
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
            count += try_folder(path);
        } else if (is_weights(entry->d_name)) {
            try_damaged(path, strstr(path, "checkpoints") ? "generator" : NULL);
            count++;
        }
    }
    if (dir)
        closedir(dir);
    return count;
}

/* ---- made-up models -------------------------------------------------------------------------- */

static void test_values(void)
{
    const struct made_up_shape *shape = made_up_shape_find("tiny");
    struct weights *w = NULL;
    CHECK(shape && !made_up_shape_find("huge"));
    CHECK(made_up_weights(&w, shape, MADE_UP_TRANSFORMER, TENSOR_F32, 1, &test_log) == 0);
    struct made_up_tensor t = {.name = "blocks.0.ffn.0.bias", .scale = 0.02f};
    const struct weight *bias = weights_find(w, t.name);
    float part[8], other[8];
    uint16_t half[8];
    CHECK(bias && bias->tensor.shape[0] == 224);
    made_up_fill(part, TENSOR_F32, &t, 1, 100, 8); /* a part is the same part of the whole */
    CHECK(!memcmp(part, (const float *)bias->tensor.data + 100, sizeof part));
    made_up_fill(half, TENSOR_BF16, &t, 1, 100, 8);
    made_up_fill(other, TENSOR_F32, &t, 2, 100, 8);
    CHECK(memcmp(part, other, sizeof part));
    for (int i = 0; i < 8; i++)
        CHECK(fabsf(part[i]) <= 0.02f && half[i] == bf16_from_f32(part[i]));
    made_up_fill(part, TENSOR_F32, &t, 1, 100, 3); /* nothing past the count */
    made_up_fill(other, TENSOR_F32, &t, 1, 100, 8);
    CHECK(!memcmp(part, other, sizeof part));

    /* scaled by inputs: a product with unit vectors keeps its size */
    const struct weight *matrix = weights_find(w, "blocks.2.ffn.2.weight");
    double sum = 0, squares = 0;
    int64_t count = matrix ? tensor_count(&matrix->tensor) : 0;
    for (int64_t i = 0; i < count; i++) {
        float x = ((const float *)matrix->tensor.data)[i];
        sum += x;
        squares += (double)x * x;
    }
    CHECK_MSG(fabs(squares / (double)count * 224 - 1) < 0.02 && fabs(sum / (double)count) < 1e-3,
              "variance %g, mean %g", squares / (double)count, sum / (double)count);
    weights_close(w);
}

/* The same names and, per name, number of dimensions. */
static void check_like(const char *made, const char *real)
{
    struct weights *a = NULL, *b = NULL;
    CHECK(weights_open(&a, made, NULL, &test_log) == 0 && weights_open(&b, real, NULL, &test_log) == 0);
    size_t missing = 0;
    for (size_t i = 0; b && i < weights_count(b); i++) {
        const struct weight *want = weights_at(b, i);
        const struct weight *have = a ? weights_find(a, want->name) : NULL;
        if (strstr(want->name, "blocks.0.") || !strstr(want->name, "blocks.")) /* depths differ */
            missing += !have || have->tensor.dims != want->tensor.dims;
    }
    CHECK_MSG(missing == 0, "%s lacks %zu tensors of %s", made, missing, real);
    weights_close(a);
    weights_close(b);
}

static char lines[1 << 20];

static void keep_line(void *opaque, const char *line)
{
    size_t length = strlen(lines);
    (void)opaque;
    snprintf(lines + length, sizeof lines - length, "%s\n", line);
}

static void test_make_model(void)
{
    static const struct {
        const char *file;
        enum made_up_part part;
        enum tensor_type type;
    } parts[] = {
        {"diffusion_pytorch_model.safetensors", MADE_UP_TRANSFORMER, TENSOR_BF16},
        {"Wan2.1_VAE.pth", MADE_UP_VAE, TENSOR_F32},
        {"models_t5_umt5-xxl-enc-bf16.pth", MADE_UP_TEXT, TENSOR_BF16},
    };
    char folder[4200], made[4400], real[4400];
    snprintf(folder, sizeof folder, "%s/made-up", files_scratch);
    snprintf(made, sizeof made, "%s/config.json", folder);
    unlink(made); /* of an earlier run */
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        snprintf(made, sizeof made, "%s/%s", folder, parts[k].file);
        unlink(made);
    }
    CHECK_MSG(unreel_make_model(&test_log, "tiny", 3, folder) == 0, "%s", test_message);
    CHECK(unreel_make_model(&test_log, "tiny", 4, folder) == UNREEL_EIO && strstr(test_message, "there already"));
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        struct weights *file = NULL, *memory = NULL;
        snprintf(made, sizeof made, "%s/%s", folder, parts[k].file);
        snprintf(real, sizeof real, "%s/nano/wan_models/Wan2.1-T2V-nano/%s", files_golden, parts[k].file);
        CHECK(weights_open(&file, made, NULL, &test_log) == 0);
        CHECK(made_up_weights(&memory, made_up_shape_find("tiny"), parts[k].part, parts[k].type, 3,
                              &test_log) == 0);
        CHECK(file && memory && weights_count(file) == weights_count(memory));
        for (size_t i = 0; file && memory && i < weights_count(file); i++) {
            const struct weight *a = weights_at(file, i), *b = weights_at(memory, i);
            CHECK_MSG(!strcmp(a->name, b->name) && a->bytes == b->bytes && a->tensor.mapped &&
                          !memcmp(a->tensor.data, b->tensor.data, a->bytes),
                      "%s: %s", parts[k].file, a->name);
        }
        weights_close(file);
        weights_close(memory);
        check_like(made, real);
    }
    test_message[0] = 0;
    CHECK(unreel_make_model(&test_log, "huge", 3, folder) == UNREEL_EINVAL);
    CHECK(strstr(test_message, "huge"));
    CHECK(unreel_make_model(&test_log, "tiny", 3, "/dev/null/x") == UNREEL_EIO);
    CHECK(strstr(test_message, "/dev/null/x"));
}

/* ---- listing --------------------------------------------------------------------------------- */

static void test_inspect(void)
{
    lines[0] = 0;
    CHECK(unreel_inspect(&test_log, in(files_golden, "nano/checkpoints/self_forcing_mini.pt"), keep_line,
                         NULL) == 0);
    CHECK(strstr(lines, "generator_ema.model.blocks.1.self_attn.q.weight "));
    CHECK(strstr(lines, "\ngenerator.model.head.head.bias "));
    CHECK(strstr(lines, "total 138 tensors, 171680 parameters, 686720 bytes"));
    lines[0] = 0;
    CHECK(unreel_inspect(&test_log, in(files_golden, "taehv/taew2_1.safetensors"), keep_line, NULL) == 0);
    CHECK(strstr(lines, "decoder.1.weight ") && strstr(lines, "[16, 16, 3, 3]") && strstr(lines, "F32 "));
    lines[0] = 0;
    CHECK(unreel_inspect(&test_log, in(files_golden, "nano/wan_models/Wan2.1-T2V-nano"), keep_line,
                         NULL) == 0);
    CHECK(strstr(lines, "metadata: format = pt\n"));
    CHECK(unreel_inspect(&test_log, "/nonexistent", keep_line, NULL) == UNREEL_EIO);
}

/* ---- binding --------------------------------------------------------------------------------- */

static int bound_lines;
static char bound_text[1 << 16];

static void count_lines(void *opaque, int level, const char *message)
{
    size_t length = strlen(bound_text);
    (void)opaque, (void)level;
    snprintf(bound_text + length, sizeof bound_text - length, "%s\n", message);
    bound_lines++;
}

static void test_binder(void)
{
    const unreel_log log = {.write = count_lines};
    struct weights *w = NULL;
    struct binder b;
    CHECK(weights_open(&w, in(files_golden, "taehv/taew2_1.safetensors"), NULL, &test_log) == 0);
    CHECK(binder_init(&b, w, &log) == 0);
    CHECK(bind(&b, SHAPE(16, 16, 3, 3), "decoder.%d.weight", 1).data);
    CHECK(bind(&b, SHAPE(-1, 16, -1, 3), "decoder.1.weight").shape[0] == 16);
    CHECK(bind(&b, SHAPE(16, 16), "decoder.7.conv.weight").dims == 2); /* trailing 1x1 left out */
    CHECK(!bind(&b, SHAPE(3), "nothing").data && b.wrong == 1);
    CHECK(!bind(&b, SHAPE(17, 16, 3, 3), "decoder.1.weight").data && b.wrong == 2 && bound_lines == 2);
    CHECK(!bind(&b, SHAPE(16, 16, 3), "decoder.1.weight").data && b.wrong == 3);
    CHECK(!bind(&b, SHAPE(16, 16, 3, 3, 1), "decoder.1.weight").data && b.wrong == 4);
    CHECK(binder_finish(&b) == UNREEL_EFORMAT);
    CHECK_MSG(bound_lines == 4 + 20 + 1, "%d lines", bound_lines); /* unexpected ones, capped */
    CHECK(strstr(bound_text, "missing: nothing [3]") && strstr(bound_text, "more unexpected") &&
          strstr(bound_text, "decoder.1.weight is [16, 16, 3, 3], but [17, 16, 3, 3] is needed"));
    CHECK(binder_init(&b, w, &log) == 0);
    binder_ignore(&b, "");
    CHECK(binder_finish(&b) == 0);
    weights_close(w);
}

static void test_binder_types(void)
{
    static const char header[] = "{\"d\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                                 "\"i\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[8,12]},"
                                 "\"h\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[12,16]}}";
    const unreel_log log = {.write = count_lines};
    struct weights *w = NULL;
    struct binder b;
    uint8_t file[8 + sizeof header - 1 + 16] = {(uint8_t)(sizeof header - 1)};
    memcpy(file + 8, header, sizeof header - 1);
    CHECK(sizeof header - 1 < 256 && weights_read(&w, "types", file, sizeof file, NULL, &test_log) == 0);
    bound_text[0] = 0;
    CHECK(binder_init(&b, w, &log) == 0);
    CHECK(bind(&b, SHAPE(2), "h").type == TENSOR_F16 && b.wrong == 0);
    CHECK(!bind(&b, SHAPE(1), "d").data && b.wrong == 1);
    CHECK(!bind(&b, SHAPE(1), "i").data && b.wrong == 2);
    CHECK(binder_finish(&b) == UNREEL_EFORMAT);
    CHECK(strstr(bound_text, "types: d is F64") && strstr(bound_text, "types: i holds integers"));
    weights_close(w);
}

static void test_f16(void)
{
    static const struct {
        uint16_t half;
        float value;
    } known[] = {{0x0000, 0},          {0x3c00, 1},       {0xc000, -2},        {0x7bff, 65504},
                 {0x0001, 0x1p-24f},   {0x03ff, 0x1.ff8p-15f}, {0x0400, 0x1p-14f}, {0x3555, 0.33325195f},
                 {0x7c00, INFINITY},   {0xfc00, -INFINITY}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        CHECK(f16_to_f32(known[i].half) == known[i].value);
    CHECK(isnan(f16_to_f32(0x7e00)));
    CHECK(bf16_from_f32(1) == 0x3f80 && bf16_from_f32(1.00390625f) == 0x3f80); /* to even */
    CHECK(bf16_from_f32(1.01171875f) == 0x3f82 && isnan(bf16_to_f32(bf16_from_f32(NAN))));
}

int main(int argc, char **argv)
{
    files_init(argc, argv);
    test_golden();
    CHECK(try_folder(files_golden) == 25);
    test_values();
    test_make_model();
    test_inspect();
    test_binder();
    test_binder_types();
    test_f16();
    return test_end();
}
