/* Files of weights: real ones, round trips, and hostile ones. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"
#include "weights/made_up.h"
#include "weights/reader.h"
#include "weights/weights.h"

static char golden[4096], scratch[4096], path[8400];

static const char *in(const char *folder, const char *name)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(in(scratch, name), "wb");
    CHECK(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

static uint8_t *read_file(const char *file, size_t *size)
{
    FILE *f = fopen(file, "rb");
    struct stat st;
    uint8_t *data = NULL;
    if (f && fstat(fileno(f), &st) == 0 && (data = malloc((size_t)st.st_size)))
        *size = fread(data, 1, (size_t)st.st_size, f);
    if (f)
        fclose(f);
    return data;
}

/* The file must be refused by one line that holds `message`, and leave nothing. */
static void refuse(const char *file, const char *set, const char *message)
{
    struct weights *w = NULL;
    test_message[0] = 0;
    int code = weights_open(&w, file, set, &test_log);
    CHECK_MSG(code < 0 && !w && strstr(test_message, message) && !strchr(test_message, '\n'),
              "%s: %d '%s', expected '%s'", file, code, test_message, message);
    weights_close(w);
}

/* ---- real files ------------------------------------------------------------------------------ */

static void test_golden(void)
{
    struct weights *w = NULL;
    CHECK(weights_open(&w, in(golden, "nano/checkpoints/self_forcing_mini.pt"), "generator_ema",
                       &test_log) == 0);
    const struct weight *q = weights_find(w, "blocks.1.self_attn.q.weight"); /* no prefix left */
    CHECK(q && q->mapped && q->tensor.dims == 2 && q->tensor.shape[0] == 48 &&
          q->tensor.type == TENSOR_F32);
    CHECK(weights_count(w) == 69 && !weights_find(w, "model.blocks.1.self_attn.q.weight"));
    weights_close(w);
    refuse(in(golden, "nano/checkpoints/self_forcing_mini.pt"), NULL, "choose one of: generator, generator_ema");
    refuse(in(golden, "nano/checkpoints/self_forcing_mini.pt"), "critic", "it has: generator, generator_ema");
    CHECK(weights_open(&w, in(golden, "nano/wan_models/Wan2.1-T2V-nano"), NULL, &test_log) == 0);
    CHECK(weights_metadata(w, "format") && !strcmp(weights_metadata(w, "format"), "pt"));
    weights_close(w);
    /* The light decoder comes in both formats, which must be equal. */
    struct weights *pth = NULL, *st = NULL;
    CHECK(weights_open(&pth, in(golden, "taehv/taew2_1.pth"), NULL, &test_log) == 0);
    CHECK(weights_open(&st, in(golden, "taehv/taew2_1.safetensors"), NULL, &test_log) == 0);
    CHECK(weights_count(pth) == weights_count(st) && weights_count(st) > 100);
    for (size_t i = 0; i < weights_count(st); i++) {
        const struct weight *a = weights_at(st, i), *b = weights_at(pth, i);
        if (strcmp(a->name, b->name) || a->bytes != b->bytes ||
            memcmp(a->tensor.data, b->tensor.data, a->bytes))
            CHECK_MSG(0, "%s differs from %s", a->name, b->name);
    }
    weights_close(pth);
    weights_close(st);
}

/* ---- round trips ------------------------------------------------------------------------------ */

static void test_save(void)
{
    float a[6] = {1, 2, 3, 4, 5, 6};
    uint16_t b[3] = {0x3f80, 0, 0x7fc0};
    int32_t ids[2] = {7, -1};
    const struct weight list[] = {
        {.name = "b \"quoted\"", .tensor = tensor_make(b, TENSOR_BF16, SHAPE(3))},
        {.name = "a", .tensor = tensor_make(a, TENSOR_F32, SHAPE(2, 3))},
        {.name = "ids", .tensor = tensor_make(ids, TENSOR_I32, SHAPE(2))},
    };
    static const char *const metadata[] = {"prompt", "r\xc3\xa9""d\n", NULL};
    struct weights *w = NULL;
    in(scratch, "saved.safetensors");
    CHECK(weights_save(path, list, 3, metadata, &test_log) == 0);
    CHECK(weights_open(&w, path, NULL, &test_log) == 0 && weights_count(w) == 3);
    CHECK(!strcmp(weights_metadata(w, "prompt"), "r\xc3\xa9""d\n"));
    const struct weight *read = weights_find(w, "b \"quoted\"");
    CHECK(read && read->bytes == 6 && !memcmp(read->tensor.data, b, 6));
    read = weights_find(w, "a");
    CHECK(read && read->tensor.shape[1] == 3 && !memcmp(read->tensor.data, a, sizeof a));
    weights_close(w);
    CHECK(unlink(path) == 0 && access(in(scratch, "saved.safetensors.part"), F_OK) < 0);
    test_message[0] = 0;
    CHECK(weights_save("/nonexistent/x.safetensors", list, 3, NULL, &test_log) == UNREEL_EIO);
    CHECK(strstr(test_message, "/nonexistent/x.safetensors"));
    if (access("/dev/full", W_OK) == 0) { /* a full disk leaves nothing behind */
        in(scratch, "full.safetensors.part");
        CHECK(symlink("/dev/full", path) == 0);
        CHECK(weights_save(in(scratch, "full.safetensors"), list, 3, NULL, &test_log) == UNREEL_EIO);
        CHECK(access(path, F_OK) < 0);
        CHECK(access(in(scratch, "full.safetensors.part"), F_OK) < 0);
    }
}

static void test_made_up(void)
{
    const struct made_up_shape *shape = made_up_shape_find("tiny");
    struct weights *w = NULL;
    CHECK(made_up_weights(&w, shape, MADE_UP_TRANSFORMER, TENSOR_F32, 1, &test_log) == 0);
    struct made_up_tensor t = {.name = "blocks.0.ffn.0.bias", .scale = 0.02f};
    const struct weight *bias = weights_find(w, t.name);
    float part[8], other[8];
    CHECK(bias && bias->tensor.shape[0] == 224);
    made_up_fill(part, TENSOR_F32, &t, 1, 100, 8); /* a part is the same part of the whole */
    CHECK(!memcmp(part, (const float *)bias->tensor.data + 100, sizeof part));
    made_up_fill(other, TENSOR_F32, &t, 2, 100, 8);
    CHECK(memcmp(part, other, sizeof part));
    for (int i = 0; i < 8; i++)
        CHECK(fabsf(part[i]) <= 0.02f);
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

/* ---- shards ------------------------------------------------------------------------------------ */

static void test_shards(void)
{
    float a[2] = {1, 2}, b[2] = {3, 4};
    struct weight list = {.name = "model.a", .tensor = tensor_make(a, TENSOR_F32, SHAPE(2))};
    struct weights *w = NULL;
    CHECK(weights_save(in(scratch, "s-1.safetensors"), &list, 1, NULL, &test_log) == 0);
    list = (struct weight){.name = "model.b", .tensor = tensor_make(b, TENSOR_F32, SHAPE(2))};
    CHECK(weights_save(in(scratch, "s-2.safetensors"), &list, 1, NULL, &test_log) == 0);
    static const char good[] = "{\"metadata\":{},\"weight_map\":{\"model.a\":\"s-1.safetensors\","
                               "\"model.b\":\"s-2.safetensors\"}}";
    write_file("s.index.json", good, sizeof good - 1);
    CHECK(weights_open(&w, in(scratch, "s.index.json"), NULL, &test_log) == 0);
    CHECK(w && weights_count(w) == 2 && weights_find(w, "b"));
    weights_close(w);
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"{\"weight_map\":{\"a\":\"../s-1.safetensors\"}}", "a shard must be named"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "a shard must be named"},
        {"{\"weight_map\":{\"a\":7}}", "a shard must be named"},
        {"{\"weight_map\":{\"c\":\"s-1.safetensors\"}}", "tensor c is not in s-1.safetensors"},
        {"{\"weight_map\":{\"a\":\"s-3.safetensors\"}}", "s-3.safetensors"},
        {"{\"weight_map\":{}}", "no weight_map"},
        {" {}", "no weight_map"},
        {"{\"weight_map\":", "a value is expected"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_file("bad.index.json", bad[i].text, strlen(bad[i].text));
        refuse(in(scratch, "bad.index.json"), NULL, bad[i].message);
    }
}

/* ---- hostile safetensors -------------------------------------------------------------------------- */

static void write_safetensors(const char *header, size_t data, int64_t length)
{
    size_t size = strlen(header);
    uint8_t *file = calloc(8 + size + data, 1);
    uint64_t n = length >= 0 ? (uint64_t)length : size;
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)(n >> 8 * i);
    memcpy(file + 8, header, size);
    write_file("hostile.safetensors", file, 8 + size + data);
    free(file);
}

static void test_hostile_safetensors(void)
{
    static const struct {
        const char *header;
        size_t data;
        const char *message;
    } bad[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, "past the end"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, "after the last tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "do not match its shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "no length"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, "no length"},
        {"{\"a\":{\"dtype\":\"X9\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "unknown dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         "impossible size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
         "impossible size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "6 dimensions"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}", 6, "overlaps"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}", 6, "unused bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}", 16, "the key 'a' appears twice"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "needs dtype"},
        {"{\"a\":[]}", 8, "needs dtype"},
        {"[1]", 0, "no object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "is no string"},
        {"not json", 0, "a value is expected"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_safetensors(bad[i].header, bad[i].data, -1);
        refuse(in(scratch, "hostile.safetensors"), NULL, bad[i].message);
    }
    write_safetensors("{}", 0, INT64_MAX);
    refuse(in(scratch, "hostile.safetensors"), NULL, "header");
    write_safetensors("{}", 0, 3);
    refuse(in(scratch, "hostile.safetensors"), NULL, "header");
    write_file("hostile.safetensors", "", 0);
    refuse(in(scratch, "hostile.safetensors"), NULL, "too short");
    refuse(in(scratch, "absent.safetensors"), NULL, "No such file");
    refuse("/", NULL, "/");
}

/* ---- hostile PyTorch files ------------------------------------------------------------------------ */

/* Every file that a real one becomes when cut short or with a byte changed is refused or read within
 * its bounds; the sanitizers watch. */
static void test_damaged(const char *file, const char *set)
{
    size_t size = 0;
    uint8_t *data = read_file(file, &size);
    int opened = 0;
    CHECK(data != NULL);
    for (int i = 0; data && i < 64; i++) {
        write_file("damaged", data, size * (size_t)i / 64);
        struct weights *w = NULL;
        opened += weights_open(&w, in(scratch, "damaged"), set, NULL) == 0;
        weights_close(w);
    }
    CHECK_MSG(opened == 0, "%s: %d of its heads were accepted", file, opened);
    uint32_t random = 1;
    for (int i = 0; data && i < 300; i++) {
        random = random * 1664525 + 1013904223;
        size_t tail = size < 20000 ? size : 20000; /* where a zip file has its directory */
        size_t at = i % 2 ? size - 1 - random % tail : random % 4096 % size;
        uint8_t was = data[at];
        data[at] ^= (uint8_t)(1 + (random >> 24) % 255);
        write_file("damaged", data, size);
        struct weights *w = NULL;
        if (weights_open(&w, in(scratch, "damaged"), set, NULL) == 0) {
            for (size_t k = 0; k < weights_count(w); k++) {
                const struct weight *weight = weights_at(w, k);
                volatile uint8_t last = ((const uint8_t *)weight->tensor.data)[weight->bytes - 1];
                (void)last;
            }
        }
        weights_close(w);
        data[at] = was;
    }
    free(data);
}

static size_t put_entry(uint8_t *to, uint8_t *central, size_t *central_size, size_t offset,
                        const char *name, const void *data, size_t size, int method)
{
    uint8_t head[30] = "PK\3\4", entry[46] = "PK\1\2";
    size_t length = strlen(name);
    for (int i = 0; i < 4; i++) {
        head[18 + i] = head[22 + i] = entry[20 + i] = entry[24 + i] = (uint8_t)(size >> 8 * i);
        entry[42 + i] = (uint8_t)(offset >> 8 * i);
    }
    head[8] = entry[10] = (uint8_t)method;
    head[26] = entry[28] = (uint8_t)length;
    memcpy(to, head, 30);
    memcpy(to + 30, name, length);
    memcpy(to + 30 + length, data, size);
    memcpy(central + *central_size, entry, 46);
    memcpy(central + *central_size + 46, name, length);
    *central_size += 46 + length;
    return 30 + length + size;
}

/* A checkpoint with this pickle and one storage of 24 bytes. */
static void write_torch(const void *pickle, size_t pickle_size, int method, bool twice)
{
    static uint8_t file[200000], central[2000];
    static const uint8_t zeros[24];
    size_t at = 0, central_size = 0, entries = 2;
    at += put_entry(file, central, &central_size, at, "a/data.pkl", pickle, pickle_size, 0);
    at += put_entry(file + at, central, &central_size, at, "a/data/0", zeros, 24, method);
    if (twice) {
        at += put_entry(file + at, central, &central_size, at, "a/data/0", zeros, 24, 0);
        entries++;
    }
    uint8_t end[22] = "PK\5\6";
    end[8] = end[10] = (uint8_t)entries;
    for (int i = 0; i < 4; i++) {
        end[12 + i] = (uint8_t)(central_size >> 8 * i);
        end[16 + i] = (uint8_t)(at >> 8 * i);
    }
    memcpy(file + at, central, central_size);
    memcpy(file + at + central_size, end, 22);
    write_file("hostile.pt", file, at + central_size + 22);
}

#define TENSOR(shape, stride)                                                                      \
    "X\1\0\0\0w"                                                                                   \
    "ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"         \
    "0X\3\0\0\0cpuK\6tQK\0" shape stride "\x89" "ccollections\nOrderedDict\n)RtR"
#define PICKLE(text) text, sizeof text - 1

static void test_hostile_torch(void)
{
    static const struct {
        const char *pickle;
        size_t size;
        const char *message;
    } bad[] = {
        {PICKLE("\x80\2cposix\nsystem\nX\2\0\0\0id\x85R."), "refuses to load 'posix.system'"},
        {PICKLE("\x80\2cbuiltins\neval\nX\1\0\0\0" "1\x85R."), "refuses to load 'builtins.eval'"},
        {PICKLE("\x80\2}(ctorch\nload\nu."), "refuses to load 'torch.load'"},
        {PICKLE("\x80\4\x8c\2os\x8c\6system\x93."), "refuses to load 'os.system'"},
        {PICKLE("\x80\2(i__main__\nX\n."), "opcode 0x69"},
        {PICKLE("\x80\2}\x81."), "opcode 0x81"},
        {PICKLE("\x80\2]."), "no dictionary"},
        {PICKLE("\x80\2"), "ends too early"},
        {PICKLE("\x80\2X\xff\xff\xff\x7f."), "ends too early"},
        {PICKLE("\x80\2."), "stack is empty"},
        {PICKLE("\x80\2h\7."), "memo"},
        {PICKLE("\x80\2}r\xff\xff\xff\x7f."), "memo is too large"},
        {PICKLE("\x80\2t."), "mark"},
        {PICKLE("\x80\x09}."), "protocol"},
        {PICKLE("\x80\2}(" TENSOR("(K\3K\3t", "(K\3K\1t") "u."), "past its storage"},
        {PICKLE("\x80\2}(" TENSOR("(K\2K\3t", "(K\3t") "u."), "strange tensor"},
        {PICKLE("\x80\2}(" TENSOR("(J\xff\xff\xff\xfft", "(K\1t") "u."), "strange tensor"},
        {PICKLE("\x80\2}(" TENSOR("(\x8a\x08\0\0\0\0\0\0\0\x40\x8a\x08\0\0\0\0\0\0\0\x40t",
                                  "(K\0K\0t") "u."), "past its storage"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_torch(bad[i].pickle, bad[i].size, 0, false);
        refuse(in(scratch, "hostile.pt"), NULL, bad[i].message);
    }
    struct weights *w = NULL;
    write_torch(PICKLE("\x80\2}(" TENSOR("(K\3K\2t", "(K\1K\3t") "u."), 0, false); /* a transpose */
    CHECK(weights_open(&w, in(scratch, "hostile.pt"), NULL, &test_log) == 0);
    CHECK(w && weights_count(w) == 1 && !weights_at(w, 0)->mapped);
    weights_close(w);
    write_torch(PICKLE("\x80\2}."), 8, false);
    refuse(in(scratch, "hostile.pt"), NULL, "a/data/0 is compressed");
    write_torch(PICKLE("\x80\2}."), 0, true);
    refuse(in(scratch, "hostile.pt"), NULL, "a/data/0 is there twice");
    write_file("hostile.pt", "PK\3\4 and then nothing", 21);
    refuse(in(scratch, "hostile.pt"), NULL, "no directory");
    /* A dictionary in itself, and one that doubles 40 times: both must end. */
    write_torch(PICKLE("\x80\2}q\0X\1\0\0\0ah\0s."), 0, false);
    refuse(in(scratch, "hostile.pt"), NULL, "nested too deep");
    char bomb[2000] = "\x80\2}q\0";
    size_t n = 5;
    for (int i = 1; i <= 14; i++)
        n += (size_t)sprintf(bomb + n, "}(") + 0, memcpy(bomb + n, "X\1\0\0\0a", 6), n += 6,
            bomb[n++] = 'h', bomb[n++] = (char)(i - 1), memcpy(bomb + n, "X\1\0\0\0b", 6), n += 6,
            bomb[n++] = 'h', bomb[n++] = (char)(i - 1), memcpy(bomb + n, "X\1\0\0\0c", 6), n += 6,
            bomb[n++] = 'h', bomb[n++] = (char)(i - 1), bomb[n++] = 'u', bomb[n++] = 'q', bomb[n++] = (char)i;
    bomb[n++] = '.';
    write_torch(bomb, n, 0, false);
    refuse(in(scratch, "hostile.pt"), NULL, "too many entries");
}

/* ---- binding ------------------------------------------------------------------------------------ */

static int lines;

static void count_lines(void *opaque, int level, const char *message)
{
    (void)opaque, (void)level, (void)message;
    lines++;
}

static void test_binder(void)
{
    const unreel_log log = {.write = count_lines};
    struct weights *w = NULL;
    struct binder b;
    CHECK(weights_open(&w, in(golden, "taehv/taew2_1.safetensors"), NULL, &test_log) == 0);
    CHECK(binder_init(&b, w, &log) == 0);
    CHECK(bind(&b, SHAPE(16, 16, 3, 3), "decoder.%d.weight", 1).data);
    CHECK(bind(&b, SHAPE(-1, 16, -1, 3), "decoder.1.weight").data);
    CHECK(bind(&b, SHAPE(16, 16), "decoder.7.conv.weight").dims == 2); /* trailing 1x1 left out */
    CHECK(!bind_optional(&b, SHAPE(3), "nothing").data && b.wrong == 0 && lines == 0);
    CHECK(!bind(&b, SHAPE(3), "nothing").data && b.wrong == 1);
    CHECK(!bind(&b, SHAPE(17, 16, 3, 3), "decoder.1.weight").data && b.wrong == 2 && lines == 2);
    CHECK(binder_finish(&b) == UNREEL_EFORMAT);
    CHECK_MSG(lines == 2 + 20 + 1, "%d lines", lines); /* unexpected ones, capped, and how many more */
    CHECK(binder_init(&b, w, &log) == 0);
    binder_ignore(&b, "");
    CHECK(binder_finish(&b) == 0);
    weights_close(w);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        printf("usage: test_weights GOLDEN SCRATCH\n");
        return 2;
    }
    snprintf(golden, sizeof golden, "%s", argv[1]);
    snprintf(scratch, sizeof scratch, "%s", argv[2]);
    test_golden();
    test_save();
    test_made_up();
    test_f16();
    test_shards();
    test_hostile_safetensors();
    test_hostile_torch();
    char file[4200];
    snprintf(file, sizeof file, "%s/taehv/taew2_1.safetensors", golden);
    test_damaged(file, NULL);
    snprintf(file, sizeof file, "%s/nano/wan_models/Wan2.1-T2V-nano/models_t5_umt5-xxl-enc-bf16.pth", golden);
    test_damaged(file, NULL);
    test_binder();
    return test_end();
}
