/* safetensors files: written and read back, sharded, and hostile ones. */
#include "files.h"
#include "weights/save.h"

/* ---- written and read back ------------------------------------------------------------------- */

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
    static char prompt[20001];
    memset(prompt, 'p', sizeof prompt - 1);
    memcpy(prompt, "r\xc3\xa9\n\"", 5);
    const char *const metadata[] = {"prompt", prompt, NULL};
    struct weights *w = NULL;
    in(files_scratch, "saved.safetensors");
    CHECK(weights_save(files_path, list, 3, metadata, &test_log) == 0);
    CHECK(weights_open(&w, files_path, NULL, &test_log) == 0 && weights_count(w) == 3);
    CHECK(!strcmp(weights_metadata(w, "prompt"), prompt) && !weights_metadata(w, "p"));
    CHECK(!strcmp(weights_path(w), files_path));
    const struct weight *read = weights_find(w, "b \"quoted\"");
    CHECK(read && read->bytes == 6 && !memcmp(read->tensor.data, b, 6) && read->tensor.mapped);
    read = weights_find(w, "a");
    CHECK(read && read->tensor.shape[1] == 3 && !memcmp(read->tensor.data, a, sizeof a));
    CHECK(read && read->tensor.mapped); /* though three halves were given first */
    weights_close(w);
    CHECK(unlink(files_path) == 0 && access(in(files_scratch, "saved.safetensors.part"), F_OK) < 0);
}

static void test_save_fails(void)
{
    float a[2] = {1, 2};
    const struct weight list = {.name = "a", .tensor = tensor_make(a, TENSOR_F32, SHAPE(2))};
    test_message[0] = 0;
    CHECK(weights_save("/dev/null/x.safetensors", &list, 1, NULL, &test_log) == UNREEL_EIO);
    CHECK(strstr(test_message, "/dev/null/x.safetensors"));
    CHECK(weights_save("/dev", &list, 1, NULL, &test_log) == UNREEL_EIO && strstr(test_message, "is a folder"));
    if (access("/dev/full", W_OK) == 0) { /* a full disk leaves nothing behind */
        char part[8400];
        snprintf(part, sizeof part, "%s/full.safetensors.part", files_scratch);
        unlink(part);
        CHECK(symlink("/dev/full", part) == 0);
        test_message[0] = 0;
        CHECK(weights_save(in(files_scratch, "full.safetensors"), &list, 1, NULL, &test_log) ==
              UNREEL_EIO);
        CHECK(strstr(test_message, "No space") && strstr(test_message, "full.safetensors"));
        struct stat st;
        CHECK(stat(files_path, &st) < 0 && lstat(part, &st) < 0);
    }
}

/* ---- shards and folders ---------------------------------------------------------------------- */

static void save_one(const char *file, const char *name, float value)
{
    struct weight weight = {.name = name, .tensor = tensor_make(&value, TENSOR_F32, SHAPE(1))};
    CHECK(weights_save(in(files_scratch, file), &weight, 1, NULL, &test_log) == 0);
}

static void test_shards(void)
{
    struct weights *w = NULL;
    save_one("s-1.safetensors", "model.a", 1);
    save_one("s-2.safetensors", "model.b", 2);
    static const char good[] = " {\"metadata\":{},\"weight_map\":{\"model.b\":\"s-2.safetensors\","
                               "\"model.a\":\"s-1.safetensors\"}}";
    write_file("s.index", good, sizeof good - 1); /* an index by its content, whatever its name */
    CHECK(weights_open(&w, in(files_scratch, "s.index"), NULL, &test_log) == 0);
    CHECK(w && weights_count(w) == 2 && weights_find(w, "b") && weights_find(w, "a") &&
          *(float *)weights_find(w, "b")->tensor.data == 2);
    weights_close(w);
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"{\"weight_map\":{\"a\":\"../s-1.safetensors\"}}", "a file beside the index"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "a file beside the index"},
        {"{\"weight_map\":{\"a\":\"\"}}", "a file beside the index"},
        {"{\"weight_map\":{\"a\":7}}", "a file beside the index"},
        {"{\"weight_map\":{\"c\":\"s-1.safetensors\"}}", "tensor c is not in s-1.safetensors"},
        {"{\"weight_map\":{\"model.a\":\"s-2.safetensors\"}}", "tensor model.a is not in s-2"},
        {"{\"weight_map\":{\"a\":\"s-3.safetensors\"}}", "s-3.safetensors: No such file"},
        {"{\"weight_map\":{\"a\":\"bad.index\"}}", "bad.index: neither"},
        {"{\"weight_map\":{}}", "no weight_map"},
        {"{\"weight_map\":[]}", "no weight_map"},
        {"{\"weight_map\":", "a value is expected"},
        {"{\"weight_map\":{\"a\":\"x\",\"a\":\"x\"}}", "the key 'a' appears twice"},
        {"[]", "too short"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct weights *none = NULL;
        write_file("bad.index", bad[i].text, strlen(bad[i].text));
        test_message[0] = 0;
        files_messages = 0;
        int code = weights_open(&none, in(files_scratch, "bad.index"), NULL, &files_log);
        check_refused(code, none, files_scratch, bad[i].message);
    }
    save_one("s-2.safetensors", "module.a", 2); /* the same name once prefixes are gone */
    static const char twice[] = "{\"weight_map\":{\"module.a\":\"s-2.safetensors\","
                                "\"model.a\":\"s-1.safetensors\"}}";
    write_file("bad.index", twice, sizeof twice - 1);
    refuse(in(files_scratch, "bad.index"), NULL, "two tensors named a");
}

static void test_folder(void)
{
    static const char index[] = "{\"weight_map\":{\"a\":\"one.safetensors\"}}";
    struct weights *w = NULL;
    mkdir(in(files_scratch, "folder"), 0777);
    unlink(in(files_scratch, "folder/diffusion_pytorch_model.safetensors"));
    unlink(in(files_scratch, "folder/diffusion_pytorch_model.safetensors.index.json"));
    refuse(in(files_scratch, "folder"), NULL, "a folder without diffusion_pytorch_model.safetensors");
    save_one("folder/one.safetensors", "a", 5);
    write_file("folder/diffusion_pytorch_model.safetensors.index.json", index, sizeof index - 1);
    CHECK(weights_open(&w, in(files_scratch, "folder"), NULL, &test_log) == 0 && weights_find(w, "a"));
    weights_close(w);
    save_one("folder/diffusion_pytorch_model.safetensors", "a", 6);
    refuse(in(files_scratch, "folder"), NULL, "holds both");
    unlink(in(files_scratch, "folder/diffusion_pytorch_model.safetensors.index.json"));
    CHECK(weights_open(&w, in(files_scratch, "folder"), NULL, &test_log) == 0 && weights_find(w, "a"));
    weights_close(w);
}

/* ---- hostile headers ------------------------------------------------------------------------- */

#define F32(shape, offsets) "{\"dtype\":\"F32\",\"shape\":[" shape "],\"data_offsets\":[" offsets "]}"
#define U8(shape, offsets) "{\"dtype\":\"U8\",\"shape\":[" shape "],\"data_offsets\":[" offsets "]}"

/* A header and that many bytes of data; length < 0: the right length. */
static uint8_t *make_file(const char *header, size_t data, int64_t length, size_t *size)
{
    size_t bytes = strlen(header);
    uint64_t n = length >= 0 ? (uint64_t)length : bytes;
    uint8_t *file = calloc(8 + bytes + data, 1);
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)(n >> 8 * i);
    memcpy(file + 8, header, bytes);
    *size = 8 + bytes + data;
    return file;
}

static void refuse_header(const char *header, size_t data, int64_t length, const char *message)
{
    size_t size;
    uint8_t *file = make_file(header, data, length, &size);
    refuse_data(file, size, NULL, message);
    free(file);
}

static void test_hostile(void)
{
    static const struct {
        const char *header;
        size_t data;
        const char *message;
    } bad[] = {
        {"{\"a\":" F32("2", "0,8") "}", 7, "past the end"},
        {"{\"a\":" F32("2", "0,8") "}", 9, "after the last tensor"},
        {"{\"a\":" F32("3", "0,8") "}", 8, "do not match its shape"},
        {"{\"a\":" F32("2", "8,0") "}", 8, "data_offsets"},
        {"{\"a\":" F32("2", "-8,0") "}", 8, "data_offsets"},
        {"{\"a\":" F32("2", "0") "}", 8, "data_offsets"},
        {"{\"a\":" F32("2", "0,8,8") "}", 8, "data_offsets"},
        {"{\"a\":" F32("2", "0,9223372036854775807") "}", 8, "past the end"},
        {"{\"a\":" F32("2", "0,9223372036854775808") "}", 8, "does not fit 64 bits"},
        {"{\"a\":" F32("-2", "0,8") "}", 8, "no length"},
        {"{\"a\":" F32("2.0", "0,8") "}", 8, "no length"},
        {"{\"a\":" F32("\"2\"", "0,8") "}", 8, "no length"},
        {"{\"a\":{\"dtype\":\"X9\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "unknown dtype"},
        {"{\"a\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "unknown dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "no shape"},
        {"{\"a\":" F32("4294967296,4294967296", "0,0") "}", 0, "impossible size"},
        {"{\"a\":" F32("4611686018427387904", "0,0") "}", 0, "impossible size"},
        {"{\"a\":" F32("4611686018427387904,4611686018427387904,0", "0,0") "}", 0, "impossible size"},
        {"{\"a\":" F32("1,1,1,1,1,1,1", "0,4") "}", 4, "6 dimensions"},
        {"{\"a\":" U8("4", "0,4") ",\"b\":" U8("4", "2,6") "}", 6, "overlaps"},
        {"{\"a\":" U8("4", "0,4") ",\"b\":" U8("4", "0,4") "}", 4, "overlaps"},
        {"{\"a\":" U8("4", "2,6") "}", 6, "unused bytes"},
        {"{\"a\":" U8("4", "0,4") ",\"b\":" U8("4", "6,10") "}", 10, "unused bytes"},
        {"{\"a\":" F32("2", "0,8") ",\"a\":" F32("2", "8,16") "}", 16, "appears twice"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "needs dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"order\":\"F\"}}", 8,
         "nothing else"},
        {"{\"a\":[]}", 8, "needs dtype"},
        {"{\"\":" F32("2", "0,8") "}", 8, "name"},
        {"{\"a\\n\":" F32("2", "0,8") "}", 8, "name"},
        {"{\"a\\nb\":{}}", 8, "a?b"}, /* never two lines */
        {"[1]", 0, "no object"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "is no string"},
        {"{\"__metadata__\":1}", 0, "no object"},
        {"not json", 0, "a value is expected"},
        {"{}x", 0, "something follows"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse_header(bad[i].header, bad[i].data, -1, bad[i].message);
    refuse_header("{}", 0, INT64_MAX, "header");
    refuse_header("{}", 0, 3, "header");
    refuse_header("{}", 0, 0, "a value is expected");
    refuse_header("{}", 0, 1, "is expected");
    refuse_header("x", 0, INT64_MAX, "neither a safetensors nor a PyTorch file");
    refuse_data("", 0, NULL, "too short");
    refuse_data("\1\0\0\0\0\0\0\0", 8, NULL, "too short");
    refuse(in(files_scratch, "absent.safetensors"), NULL, "No such file");
    refuse("/dev/null", NULL, "not a regular file");
    refuse(files_golden, NULL, "a folder without");
}

/* What costs memory: brackets, keys, a name that is too long, tensors without end. */
static void test_bombs(void)
{
    size_t size = 16 << 20;
    char *text = malloc(size + 1);
    memset(text, '[', size);
    text[0] = '{';
    text[size] = 0;
    refuse_header(text, 0, -1, "is expected");
    for (size_t i = 0; i + 1 < size; i += 2)
        memcpy(text + i, "0,", 2);
    memcpy(text, "{\"a\":[", 6);
    refuse_header(text, 0, -1, "too many values");
    size_t n = (size_t)sprintf(text, "{");
    for (int i = 0; i <= WEIGHTS_TENSORS_MAX; i++)
        n += (size_t)sprintf(text + n, "%s\"%d\":" U8("0", "0,0"), i ? "," : "", i);
    strcpy(text + n, "}");
    refuse_header(text, 0, -1, "more than 100000 tensors");
    memset(text, 'a', 1000);
    memcpy(text, "{\"", 2);
    strcpy(text + 1000, "\":" F32("1", "0,4") "}");
    refuse_header(text, 4, -1, "too long");
    free(text);
}

static void test_odd(void)
{
    size_t size;
    struct weights *w = NULL;
    /* Misaligned by a header of odd length: an aligned copy. A scalar, an empty tensor, integers. */
    static const char header[] = "{\"s\":" F32("", "0,4") ",\"e\":" F32("0,3", "4,4") ",\"m\":"
                                 F32("2", "4,12") ",\"u\":" U8("3", "12,15") "}   ";
    uint8_t *file = make_file(header, 15, -1, &size);
    float values[3] = {1, 2, 3};
    memcpy(file + size - 15, values, sizeof values);
    for (int odd = 0; odd < 2; odd++) {
        uint8_t *moved = malloc(size + 1) ;
        memcpy(moved + odd, file, size);
        CHECK(weights_read(&w, "odd", moved + odd, size, "anything", &test_log) == 0);
        CHECK(weights_count(w) == 2 && !weights_find(w, "e") && !weights_find(w, "u"));
        const struct weight *m = weights_find(w, "m"), *s = weights_find(w, "s");
        CHECK(m && ((uintptr_t)m->tensor.data & 3) == 0 && !memcmp(m->tensor.data, values + 1, 8));
        CHECK(s && s->bytes == 4 && *(float *)s->tensor.data == 1);
        CHECK(!strcmp(weights_unusable(w, "u"), "U8") && !strcmp(weights_unusable(w, "e"), "empty"));
        CHECK(!weights_unusable(w, "m"));
        weights_close(w);
        free(moved);
    }
    free(file);
}

int main(int argc, char **argv)
{
    files_init(argc, argv);
    test_save();
    test_save_fails();
    test_shards();
    test_folder();
    test_hostile();
    test_bombs();
    test_odd();
    return test_end();
}
