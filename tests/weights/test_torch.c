/* PyTorch checkpoints: what torch.save can write, and hostile zip files and pickles. */
#include <fcntl.h>

#include "build_zip.h"
#include "files.h"

/* ---- pickles --------------------------------------------------------------------------------- */

#define TEXT(length, text) "X" length "\0\0\0" text
#define STORAGE(type, key, elements)                                                               \
    "(" TEXT("\7", "storage") "ctorch\n" type "\n" TEXT("\1", key) TEXT("\3", "cpu") elements "tQ"
#define HOOKS "ccollections\nOrderedDict\n)R"
#define REBUILD(storage, offset, shape, stride)                                                    \
    "ctorch._utils\n_rebuild_tensor_v2\n(" storage offset shape stride "\x89" HOOKS "tR"
/* Of storage 0, six floats 0 to 5. */
#define TENSOR(offset, shape, stride) REBUILD(STORAGE("FloatStorage", "0", "K\6"), offset, shape, stride)
#define DICT(items) "\x80\2}(" items "u."
#define PICKLE(text) text, sizeof text - 1

/* A storage whose content begins `rest` bytes behind a multiple of 4. */
static void add_storage(struct build_zip *z, char key, const void *data, size_t size, size_t rest)
{
    char pad[] = "pad0", name[] = "any/data/0";
    pad[3] = name[9] = key;
    size_t at = z->size + 30 + strlen(pad) + 30 + strlen(name);
    build_zip_entry(z, pad, "    ", (4 + rest - at % 4) % 4, 0);
    build_zip_entry(z, name, data, size, 0);
}

/* Storages: 0: six floats, 1: six halves, 2: four floats at an odd address. */
static void make_zip(struct build_zip *z, const void *pickle, size_t size)
{
    static const float floats[6] = {0, 1, 2, 3, 4, 5};
    static const uint16_t halves[6] = {0, 0x3c00, 0x4000, 0x4200, 0x4400, 0x4500};
    build_zip_entry(z, "any/data.pkl", pickle, size, 0);
    build_zip_entry(z, "any/byteorder", "little", 6, 0);
    add_storage(z, '0', floats, sizeof floats, 0);
    add_storage(z, '1', halves, sizeof halves, 2);
    add_storage(z, '2', floats, 16, 1);
    build_zip_entry(z, "any/version", "3\n", 2, 0);
    build_zip_end(z);
}

static struct weights *read_pickle(struct build_zip *z, const void *pickle, size_t size, const char *set)
{
    struct weights *w = NULL;
    *z = (struct build_zip){0};
    make_zip(z, pickle, size);
    test_message[0] = 0;
    CHECK_MSG(weights_read(&w, "checkpoint", z->data, z->size, set, &test_log) == 0, "%s", test_message);
    return w;
}

static void refuse_pickle(const void *pickle, size_t size, const char *set, const char *message)
{
    struct build_zip z = {0};
    make_zip(&z, pickle, size);
    refuse_data(z.data, z.size, set, message);
    build_zip_free(&z);
}

static bool holds(const struct weights *w, const char *name, const char *shape, const char *digits)
{
    const struct weight *weight = w ? weights_find(w, name) : NULL;
    char text[128];
    if (!weight || tensor_count(&weight->tensor) != (int64_t)strlen(digits) ||
        (uintptr_t)weight->tensor.data % tensor_type_size(weight->tensor.type) ||
        strcmp(tensor_shape_text(weight->tensor.dims, weight->tensor.shape, text), shape))
        return false;
    for (int64_t i = 0; digits[i]; i++) {
        if (tensor_element(weight->tensor.data, weight->tensor.type, i) != (float)(digits[i] - '0'))
            return false;
    }
    return true;
}

static void test_tensors(void)
{
    static const char pickle[] = "\x80\2ccollections\nOrderedDict\n)R("
        TEXT("\1", "a") TENSOR("K\0", "(K\2K\3t", "(K\3K\1t")
        TEXT("\1", "t") TENSOR("K\0", "(K\3K\2t", "(K\1K\3t")       /* a transpose */
        TEXT("\1", "o") TENSOR("K\2", "K\3\x85", "K\1\x85")         /* a part of a shared storage */
        TEXT("\1", "e") TENSOR("K\1", "K\3\x85", "K\2\x85")         /* every second element */
        TEXT("\1", "g") TENSOR("K\0", "(K\2K\1K\2t", "(K\3K\7K\1t") /* dense rows with gaps */
        TEXT("\1", "s") TENSOR("K\5", ")", ")")                     /* a scalar */
        TEXT("\1", "n") TENSOR("K\0", "K\0\x85", "K\1\x85")         /* nothing */
        TEXT("\1", "h") REBUILD(STORAGE("HalfStorage", "1", "K\6"), "K\0", "K\6\x85", "K\1\x85")
        TEXT("\1", "m") REBUILD(STORAGE("FloatStorage", "2", "K\4"), "K\0", "K\4\x85", "K\1\x85")
        TEXT("\1", "i") REBUILD(STORAGE("LongStorage", "0", "K\3"), "K\0", "K\3\x85", "K\1\x85")
        TEXT("\1", "p") "ctorch._utils\n_rebuild_parameter\n("
            TENSOR("K\0", "K\2\x85", "K\1\x85") "\x88" HOOKS "tR"
        TEXT("\1", "f") "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\n"
            "ctorch.nn.parameter\nParameter\n(" STORAGE("FloatStorage", "0", "K\6")
            "K\4ctorch\nSize\nK\2\x85\x85RK\1\x85\x89NtNtR"
        /* what is no tensor is passed over */
        TEXT("\4", "step") "J\xff\xff\xff\xff" TEXT("\2", "lr") "G\0\0\0\0\0\0\0\0"
        TEXT("\4", "list") "](NK\1\x88\x89\x8a\2\xff\xff" "e" "K\7" "M\1\1"
        "u}" TEXT("\x9", "_metadata") HOOKS "sb.";
    struct build_zip z;
    struct weights *w = read_pickle(&z, PICKLE(pickle), NULL);
    CHECK(holds(w, "a", "[2, 3]", "012345") && holds(w, "t", "[3, 2]", "031425"));
    CHECK(holds(w, "o", "[3]", "234") && holds(w, "e", "[3]", "135"));
    CHECK(holds(w, "g", "[2, 1, 2]", "0134") && holds(w, "s", "[1]", "5"));
    CHECK(holds(w, "h", "[6]", "012345") && holds(w, "m", "[4]", "0123"));
    CHECK(holds(w, "p", "[2]", "01") && holds(w, "f", "[2]", "45"));
    CHECK(w && weights_count(w) == 10 && !strcmp(weights_unusable(w, "i"), "I64") &&
          !strcmp(weights_unusable(w, "n"), "empty"));
    CHECK(w && weights_find(w, "h")->tensor.type == TENSOR_F16);
    weights_close(w);
    build_zip_free(&z);

    /* protocol 4 and what Python 2 wrote */
    static const char four[] = "\x80\4\x95\0\0\0\0\0\0\0\0}\x94\x8c\7model.x\x8c\x0ctorch._utils"
        "\x8c\x12_rebuild_tensor_v2\x93\x94((\x8c\7storage\x8c\5torch\x8c\x0c" "FloatStorage\x93"
        "\x8d\1\0\0\0\0\0\0\0" "0U\3cpuK\6tQK\0K\2K\3\x86K\3K\1\x86\x89NtRs.";
    w = read_pickle(&z, PICKLE(four), NULL);
    CHECK(holds(w, "x", "[2, 3]", "012345"));
    weights_close(w);
    build_zip_free(&z);
}

/* ---- sets ------------------------------------------------------------------------------------ */

#define ONE(digit) TENSOR("K" digit, "K\1\x85", "K\1\x85")
#define SET(items) "}(" items "u"

/* An optimiser's state has a set for every parameter, all before the one that is asked for. */
static void test_many_sets(void)
{
    static const char one[] = TEXT("\4", "a.00") SET(TEXT("\1", "w") ONE("\1"));
    static const char last[] = TEXT("\x9", "generator") SET(TEXT("\1", "w") ONE("\2")) "u.";
    static char pickle[100 * sizeof one + sizeof last + 8] = "\x80\2}(";
    size_t size = 4;
    for (int i = 0; i < 100; i++) {
        memcpy(pickle + size, one, sizeof one - 1);
        char *digits = pickle + size + (strstr(one + 5, ".00") - one) + 1;
        digits[0] = (char)('0' + i / 10);
        digits[1] = (char)('0' + i % 10);
        size += sizeof one - 1;
    }
    memcpy(pickle + size, last, sizeof last - 1);
    size += sizeof last - 1;
    struct build_zip z;
    struct weights *w = read_pickle(&z, pickle, size, "generator");
    CHECK(w && weights_count(w) == 1 && holds(w, "w", "[1]", "2"));
    weights_close(w);
    build_zip_free(&z);
    refuse_pickle(pickle, size, "critic", "no set 'critic'");
}

static void test_sets(void)
{
    static const char two[] = DICT(
        TEXT("\x9", "generator") SET(TEXT("\7", "model.w") ONE("\1"))
        TEXT("\xd", "generator_ema") SET(TEXT("\x1e", "model._fsdp_wrapped_module.b.w") ONE("\2")));
    static const char deep[] = DICT(TEXT("\5", "state")
        SET(TEXT("\x9", "generator") SET(TEXT("\1", "w") ONE("\1"))
            TEXT("\6", "critic") SET(TEXT("\1", "w") ONE("\2")))
        TEXT("\3", "old") SET(TEXT("\6", "critic") SET(TEXT("\1", "w") ONE("\3"))));
    static const char mixed[] = DICT(TEXT("\1", "w") ONE("\1")
                                     TEXT("\5", "other") SET(TEXT("\1", "w") ONE("\2")));
    static const char only[] = DICT(TEXT("\x9", "generator") SET(TEXT("\1", "w") ONE("\1"))
                                    TEXT("\4", "step") "K\7" TEXT("\1", "n") SET("K\1K\2"));
    static const struct {
        const char *pickle;
        size_t size;
        const char *set, *name, *value;
    } good[] = {
        {PICKLE(two), "generator", "w", "1"},       {PICKLE(two), "generator_ema", "b.w", "2"},
        {PICKLE(deep), "generator", "w", "1"},      {PICKLE(deep), "state.critic", "w", "2"},
        {PICKLE(mixed), NULL, "w", "1"},            {PICKLE(mixed), "other", "w", "2"},
        {PICKLE(only), NULL, "w", "1"},             {PICKLE(only), "generator", "w", "1"},
        {PICKLE(DICT(TEXT("\1", "w") ONE("\1"))), "generator", "w", "1"}, /* flat: whatever is asked */
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct build_zip z;
        struct weights *w = read_pickle(&z, good[i].pickle, good[i].size, good[i].set);
        CHECK_MSG(w && weights_count(w) == 1 && holds(w, good[i].name, "[1]", good[i].value), "%zu", i);
        weights_close(w);
        build_zip_free(&z);
    }
    refuse_pickle(PICKLE(two), NULL, "choose one of: generator, generator_ema");
    refuse_pickle(PICKLE(two), "critic", "no set 'critic' in this checkpoint, it has: generator, gen");
    refuse_pickle(PICKLE(two), "ema", "no set 'ema'"); /* not the end of a key, but of a word in it */
    refuse_pickle(PICKLE(deep), "critic", "several sets 'critic' in this checkpoint");
    refuse_pickle(PICKLE(only), "generator_ema", "it has: generator");
    refuse_pickle(PICKLE(mixed), "generator", "it has: (no name), other");
    refuse_pickle(PICKLE(DICT(TEXT("\7", "model.w") ONE("\1") TEXT("\1", "w") ONE("\2"))), NULL,
                  "two tensors named w");
    refuse_pickle(PICKLE(DICT(TEXT("\1", "w") ONE("\1") TEXT("\1", "w") ONE("\2"))), NULL,
                  "two tensors named w");
}

/* ---- hostile pickles ------------------------------------------------------------------------- */

#define BIG "\x8a\x08\0\0\0\0\0\0\0\x40" /* 2^62 */

static void test_hostile(void)
{
    static const struct {
        const char *pickle;
        size_t size;
        const char *message;
    } bad[] = {
        {PICKLE("\x80\2cposix\nsystem\nX\2\0\0\0id\x85R."), "refuses to load 'posix.system'"},
        {PICKLE("\x80\2cbuiltins\neval\nX\1\0\0\0" "1\x85R."), "refuses to load 'builtins.eval'"},
        {PICKLE("\x80\2}(ctorch\nload\nu."), "refuses to load 'torch.load'"},
        {PICKLE("\x80\2c__builtin__\ngetattr\n."), "refuses to load '__builtin__.getattr'"},
        {PICKLE("\x80\2cos\x01\nsystem\x1b\n."), "refuses to load 'os?.system?'"},
        {PICKLE("\x80\4\x8c\2os\x8c\6system\x93."), "refuses to load 'os.system'"},
        {PICKLE("\x80\4K\1\x8c\6system\x93."), "no text"},
        {PICKLE("\x80\2(i__main__\nX\n."), "opcode 0x69"},
        {PICKLE("\x80\2(ios\nsystem\n."), "opcode 0x69"},
        {PICKLE("\x80\2(co\nx\no."), "refuses to load 'o.x'"},
        {PICKLE("\x80\2}\x81."), "opcode 0x81"},
        {PICKLE("\x80\2}\x92."), "opcode 0x92"},
        {PICKLE("\x80\2\x82\1."), "opcode 0x82"},
        {PICKLE("\x80\5\x97."), "opcode 0x97"},
        {PICKLE("\x80\2]."), "no dictionary"},
        {PICKLE("\x80\2N."), "no dictionary"},
        {PICKLE("\x80\2"), "ends too early"},
        {PICKLE("\x80\2}"), "ends too early"},
        {PICKLE("\x80\2cos"), "ends too early"},
        {PICKLE("\x80\2cos\nsys"), "ends too early"},
        {PICKLE("\x80\2X\xff\xff\xff\x7f."), "ends too early"},
        {PICKLE("\x80\4\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), "ends too early"},
        {PICKLE("\x80\2\x8b\xff\xff\xff\x7f."), "more than 64 bits"},
        {PICKLE("\x80\2\x8a\x09" "123456789."), "more than 64 bits"},
        {PICKLE("\x80\2."), "stack is empty"},
        {PICKLE("\x80\2R."), "stack is empty"},
        {PICKLE("\x80\2q\0."), "stack is empty"},
        {PICKLE("\x80\2\x86."), "stack is empty"},
        {PICKLE("\x80\2s."), "stack is empty"},
        {PICKLE("\x80\2h\7."), "memo"},
        {PICKLE("\x80\2j\7\0\0\1."), "memo"},
        {PICKLE("\x80\2}r\xff\xff\xff\x7f."), "memo is too large"},
        {PICKLE("\x80\2t."), "mark"},
        {PICKLE("\x80\2(u."), "items for nothing"},
        {PICKLE("\x80\2}(K\1u."), "no container"},
        {PICKLE("\x80\2K\1K\2a."), "no container"},
        {PICKLE("\x80\2}K\1a."), "no container"},
        {PICKLE("\x80\x09}."), "protocol"},
        {PICKLE("\x80\2K\1)R."), "calls something"},
        {PICKLE("\x80\2ctorch\nFloatStorage\n)R."), "calls a class"},
        {PICKLE("\x80\2ctorch\nTensor\n)R."), "calls a class"},
        {PICKLE("\x80\2ccollections\nOrderedDict\nK\1\x85R."), "with arguments"},
        {PICKLE("\x80\2K\1}b."), "state"},
        {PICKLE("\x80\2K\1Q."), "strange storage"},
        {PICKLE(DICT(TEXT("\1", "w") "K\1\x85Q")), "strange storage"},
        {PICKLE(DICT(TEXT("\1", "w") STORAGE("FloatStorage", "0", "J\xff\xff\xff\xff"))),
         "strange storage"},
        {PICKLE(DICT(TEXT("\1", "w") "ctorch._utils\n_rebuild_tensor_v2\n)R")), "strange tensor"},
        {PICKLE(DICT(TEXT("\1", "w") "ctorch._utils\n_rebuild_parameter\n)R")), "no tensor"},
        {PICKLE(DICT(TEXT("\1", "w") "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\nSize\n"
                     "ctorch\nTensor\n)NtR")), "unknown class"},
        {PICKLE(DICT(TEXT("\1", "w") "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n"
                     "_rebuild_tensor_v2\nccollections\nOrderedDict\n)NtR")), "unknown class"},
        {PICKLE(DICT(TEXT("\1", "w") TENSOR("K\0", "(K\3K\3t", "(K\3K\1t"))), "past its storage"},
        {PICKLE(DICT(TEXT("\1", "w") TENSOR("K\6", "K\1\x85", "K\1\x85"))), "past its storage"},
        {PICKLE(DICT(TEXT("\1", "w") TENSOR(BIG, "K\1\x85", "K\1\x85"))), "past its storage"},
        {PICKLE(DICT(TEXT("\1", "w") TENSOR("K\0", "K\2\x85", BIG "\x85"))), "past its storage"},
        {PICKLE(DICT(TEXT("\1", "w") TENSOR("K\0", "(K\2K\3t", "(K\3t"))), "strange tensor"},
        {PICKLE(DICT(TEXT("\1", "w") TENSOR("K\0", "(J\xff\xff\xff\xfft", "(K\1t"))), "strange tensor"},
        {PICKLE(DICT(TEXT("\1", "w") TENSOR("K\0", "K\1\x85", "J\xff\xff\xff\xff\x85"))),
         "strange tensor"},
        {PICKLE(DICT(TEXT("\1", "w") TENSOR("J\xff\xff\xff\xff", "K\1\x85", "K\1\x85"))),
         "strange tensor"},
        {PICKLE(DICT(TEXT("\1", "w") TENSOR("K\0", "(K\1K\1K\1K\1K\1K\1K\1t", "(K\1K\1K\1K\1K\1K\1K\1t"))),
         "strange tensor"},
        {PICKLE(DICT(TEXT("\1", "w") TENSOR("K\0", "(" BIG BIG "t", "(K\0K\0t"))), "past its storage"},
        {PICKLE(DICT(TEXT("\1", "w") TENSOR("K\0", "(K\7K\1t", "(K\0K\0t"))), "repeats elements"},
        {PICKLE(DICT(TEXT("\1", "w") TENSOR("K\0", "J\0\0\0\x7f\x85", "K\0\x85"))), "repeats elements"},
        {PICKLE(DICT(TEXT("\1", "w") REBUILD(STORAGE("FloatStorage", "9", "K\1"), "K\0", ")", ")"))),
         "storage is not in the file"},
        {PICKLE(DICT(TEXT("\1", "w") REBUILD(STORAGE("FloatStorage", "/", "K\1"), "K\0", ")", ")"))),
         "storage is not in the file"},
        {PICKLE(DICT(TEXT("\1", "w") REBUILD(STORAGE("FloatStorage", "0", "K\7"), "K\0", ")", ")"))),
         "cut short"},
        {PICKLE(DICT(TEXT("\1", "w") REBUILD(STORAGE("DoubleStorage", "0", BIG), "K\0", ")", ")"))),
         "cut short"},
        {PICKLE(DICT(TEXT("\0", "") ONE("\1"))), "name is empty"},
        {PICKLE(DICT(TEXT("\3", "a\nb") ONE("\1"))), "no text"},
        {PICKLE(DICT(TEXT("\1", "\xff") ONE("\1"))), "no text"},
        {PICKLE(DICT(TEXT("\3", "a\0b") ONE("\1"))), "no name"},
        {PICKLE(DICT(TEXT("\3", "a\nb") SET(TEXT("\1", "w") ONE("\1")))), "no text"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse_pickle(bad[i].pickle, bad[i].size, NULL, bad[i].message);
}

/* ---- pickle bombs ---------------------------------------------------------------------------- */

struct text {
    uint8_t *data;
    size_t size;
};

static void put(struct text *t, const char *bytes, size_t size)
{
    build_put(&t->data, &t->size, bytes, size);
}

static void repeat(struct text *t, size_t times, const char *bytes, size_t size)
{
    uint8_t *block = malloc(times * size);
    for (size_t i = 0; i < times; i++)
        memcpy(block + i * size, bytes, size);
    put(t, (const char *)block, times * size);
    free(block);
}

static void refuse_bomb(struct text *t, const char *message)
{
    put(t, ".", 1);
    refuse_pickle(t->data, t->size, NULL, message);
    free(t->data);
    *t = (struct text){0};
}

static void test_bombs(void)
{
    struct text t = {0};
    put(&t, PICKLE("\x80\2}"));
    repeat(&t, 2 << 20, "2", 1); /* DUP */
    refuse_bomb(&t, "the stack is too deep");
    put(&t, PICKLE("\x80\2}"));
    repeat(&t, 5 << 20, "N0", 2);
    refuse_bomb(&t, "too many values");
    put(&t, PICKLE("\x80\2}")); /* tuples of tuples, of which nothing is kept */
    repeat(&t, 1 << 20, "K\1\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85" "0", 17);
    refuse_bomb(&t, "too ");
    put(&t, PICKLE("\x80\2}q\0X\1\0\0\0ah\0s")); /* a dictionary in itself */
    refuse_bomb(&t, "nested too deep");
    put(&t, PICKLE("\x80\2}q\0")); /* each dictionary holds the one before it three times */
    for (char i = 1; i <= 14; i++) {
        put(&t, "}(", 2);
        for (char key = 'a'; key <= 'c'; key++) {
            const char item[] = {'X', 1, 0, 0, 0, key, 'h', (char)(i - 1)};
            put(&t, item, sizeof item);
        }
        const char end[] = {'u', 'q', i};
        put(&t, end, sizeof end);
    }
    refuse_bomb(&t, "too many entries");
    put(&t, PICKLE("\x80\2}q\1}q\0(")); /* a large dictionary without tensors, many times */
    repeat(&t, 10000, "K\1K\2", 4);
    put(&t, "u0(", 3);
    for (int i = 0; i < 10000; i++) {
        const char item[] = {'X', 2, 0, 0, 0, (char)(33 + i / 100), (char)(33 + i % 90), 'h', 0};
        put(&t, item, sizeof item);
    }
    put(&t, "u", 1);
    refuse_bomb(&t, "too many entries");
    put(&t, PICKLE("\x80\2}q\1(")); /* one storage, transposed ever again: far more than the file */
    put(&t, PICKLE(TEXT("\1", "a") TENSOR("K\0", "(K\3K\2t", "(K\1K\3t") "q\2"));
    for (int i = 0; i < 2000; i++) {
        const char item[] = {'X', 2, 0, 0, 0, (char)(33 + i / 90), (char)(33 + i % 90), 'h', 2};
        put(&t, item, sizeof item);
    }
    put(&t, "u", 1);
    refuse_bomb(&t, "share storages beyond reason");
}

/* ---- zip files ------------------------------------------------------------------------------- */

static struct build_zip small_zip(bool zip64)
{
    static const char pickle[] = DICT(TEXT("\1", "w") TENSOR("K\0", "K\6\x85", "K\1\x85"));
    static const float floats[6] = {0, 1, 2, 3, 4, 5};
    struct build_zip z = {.zip64 = zip64};
    build_zip_entry(&z, "a/data.pkl", pickle, sizeof pickle - 1, 0);
    build_zip_entry(&z, "a/data/0", floats, sizeof floats, 0);
    build_zip_end(&z);
    return z;
}

/* Refuses the small zip with bytes at a position (from the end if negative) overwritten. */
static void refuse_changed(bool zip64, long at, const char *bytes, size_t size, const char *message)
{
    struct build_zip z = small_zip(zip64);
    memcpy(z.data + (at < 0 ? (long)z.size + at : at), bytes, size);
    refuse_data(z.data, z.size, NULL, message);
    build_zip_free(&z);
}

/* Distances from the end of a small zip: the end record, and with ZIP64 its locator and record; the last
 * directory entry is 46 + 8 (name) + 28 (with ZIP64) before. */
#define END (-22)
#define LOCATOR (END - 20)
#define END64 (LOCATOR - 56)

static void test_zip(void)
{
    long entry = END - 54, entry64 = END64 - 82;
    for (int zip64 = 0; zip64 < 2; zip64++) {
        struct build_zip z = small_zip(zip64);
        CHECK(try_data(z.data, z.size, NULL));
        for (size_t i = 0; i < z.size; i++)
            CHECK(!try_data(z.data, i, NULL));
        for (size_t i = 0; i < z.size; i++) { /* every byte, to its extremes */
            uint8_t was = z.data[i];
            for (int k = 0; k < 3; k++) {
                z.data[i] = k == 0 ? 0xff : k == 1 ? 0 : was ^ 0x80;
                try_data(z.data, z.size, NULL);
            }
            z.data[i] = was;
        }
        build_zip_free(&z);
    }
    refuse_changed(false, END, PICKLE("PX"), "no directory");
    refuse_changed(false, END + 20, PICKLE("\7"), "no directory"); /* a comment past the end */
    refuse_changed(false, END + 4, PICKLE("\1"), "several disks");
    refuse_changed(false, END + 8, PICKLE("\1"), "several disks");
    refuse_changed(false, END + 8, PICKLE("\3\0\3"), "impossible number");
    refuse_changed(false, END + 8, PICKLE("\xfe\xff\xfe\xff"), "impossible number");
    refuse_changed(false, END + 12, PICKLE("\xff\xff\xff\x7f"), "lies outside");
    refuse_changed(false, END + 16, PICKLE("\xff\xff\xff\x7f"), "lies outside");
    refuse_changed(false, END + 16, PICKLE("\1\0"), "cut short");
    refuse_changed(false, END + 16, PICKLE("\xff\xff\xff\xff"), "no ZIP64 directory");
    refuse_changed(false, entry, PICKLE("PX"), "cut short");
    refuse_changed(false, entry + 8, PICKLE("\1"), "a/data/0 is compressed or encrypted");
    refuse_changed(false, entry + 10, PICKLE("\x8"), "a/data/0 is compressed");
    refuse_changed(false, entry + 20, PICKLE("\1"), "a/data/0 has no sizes");
    refuse_changed(false, entry + 20, PICKLE("\xff\0\0\0\xff\0"), "a/data/0 reaches past");
    refuse_changed(false, entry + 20, PICKLE("\xff\xff\xff\xff\xff\xff\xff\xff"), "no sizes");
    refuse_changed(false, entry + 28, PICKLE("\xff\xff"), "cut short");
    refuse_changed(false, entry + 42, PICKLE("\0\0"), "another name"); /* the first entry's header */
    refuse_changed(false, entry + 42, PICKLE("\1\0"), "no header");
    refuse_changed(false, entry + 42, PICKLE("\xf0\xff\xff\x7f"), "no header");
    refuse_changed(false, entry + 46, PICKLE("b"), "another name");
    refuse_changed(false, 0, PICKLE("PX"), "neither");
    refuse_changed(false, 8, PICKLE("\x8"), "a/data.pkl is compressed");
    refuse_changed(false, 28, PICKLE("\xff\xff"), "a/data.pkl reaches past");
    refuse_changed(true, LOCATOR, PICKLE("PX"), "no ZIP64");
    refuse_changed(true, LOCATOR + 8, PICKLE("\xff\xff\xff\xff\xff\xff\xff\xff"), "no ZIP64");
    refuse_changed(true, END64, PICKLE("PX"), "no ZIP64");
    refuse_changed(true, END64 + 24, PICKLE("\xff\xff\xff\xff\xff\xff\xff\x7f"), "several disks");
    refuse_changed(true, END64 + 24, PICKLE("\xff\xff\xff\xff\xff\xff\xff\x7f"
                                            "\xff\xff\xff\xff\xff\xff\xff\x7f"), "impossible number");
    refuse_changed(true, END64 + 40, PICKLE("\xff\xff\xff\xff\xff\xff\xff\xff"), "lies outside");
    refuse_changed(true, END64 + 48, PICKLE("\xff\xff\xff\xff\xff\xff\xff\xff"), "lies outside");
    refuse_changed(true, entry64 + 54, PICKLE("\2"), "no sizes"); /* another extra field */
    refuse_changed(true, entry64 + 56, PICKLE("\x10"), "no sizes"); /* too short for three values */
    refuse_changed(true, entry64 + 56, PICKLE("\xff"), "no sizes");
    refuse_changed(true, entry64 + 58, PICKLE("\xff\xff\xff\xff\xff\xff\xff\xff"
                                              "\xff\xff\xff\xff\xff\xff\xff\xff"), "reaches past");
    refuse_changed(true, entry64 + 74, PICKLE("\xff\xff\xff\xff\xff\xff\xff\x7f"), "no header");
}

static void refuse_zip(struct build_zip *z, const char *message)
{
    build_zip_end(z);
    refuse_data(z->data, z->size, NULL, message);
    build_zip_free(z);
}

static void test_zip_entries(void)
{
    struct build_zip z = {0};
    refuse_zip(&z, "has not one data.pkl");
    build_zip_entry(&z, "a/data.pkl", "\x80\2}.", 4, 0);
    build_zip_entry(&z, "b/data.pkl", "\x80\2}.", 4, 0);
    refuse_zip(&z, "has not one data.pkl");
    build_zip_entry(&z, "a/data.pkl", "\x80\2}.", 4, 0);
    build_zip_entry(&z, "a/x", "1", 1, 0);
    build_zip_entry(&z, "a/x", "2", 1, 0);
    refuse_zip(&z, "a/x is there twice");
    build_zip_entry(&z, "a/data.pkl", "\x80\2}.", 4, 0);
    build_zip_entry(&z, "a/x", "1", 1, 8);
    refuse_zip(&z, "a/x is compressed");
    build_zip_entry(&z, "a/data.pkl", "\x80\2}.", 4, 0);
    build_zip_entry(&z, "a/byteorder", "big", 3, 0);
    refuse_zip(&z, "little-endian");
    /* An entry inside of another one's content: its header is where it says. */
    struct build_zip inner = {0};
    build_zip_entry(&inner, "a/data/0", "123", 3, 0);
    build_zip_entry(&z, "a/data.pkl", "\x80\2}.", 4, 0);
    size_t offset = z.size + 30 + 1, entry = z.central_size;
    build_zip_entry(&z, "x", inner.data, inner.size, 0);
    build_zip_entry(&z, "a/data/0", "123", 3, 0);
    entry += 47; /* the third entry's */
    memcpy(z.central + entry + 42, &(uint32_t){(uint32_t)offset}, 4);
    refuse_zip(&z, "a/data/0 overlaps");
    build_zip_free(&inner);
}

/* Storages past 4 GiB, in a file that is mostly a hole. */
static void test_large(void)
{
    static const char pickle[] = DICT(
        TEXT("\1", "w") REBUILD(STORAGE("BFloat16Storage", "0", "\x8a\5\0\0\0\xc0\0"), /* 3 * 2^30 */
                                "\x8a\5\xfc\xff\xff\xbf\0", "K\4\x85", "K\1\x85")
        TEXT("\1", "v") REBUILD(STORAGE("FloatStorage", "1", "K\2"), "K\0", "K\2\x85", "K\1\x85"));
    const uint64_t hole = 3ull << 31;
    const uint16_t tail[4] = {0x3f80, 0x4000, 0x4040, 0x4080};
    const float second[2] = {8, 9};
    struct build_zip z = {.zip64 = true};
    build_zip_entry(&z, "a/data.pkl", pickle, sizeof pickle - 1, 0);
    build_zip_entry(&z, "a/data/0", "", 0, 0);
    size_t before = z.size, first = z.central_size - 24; /* ZIP64 values of this entry */
    build_zip_entry(&z, "a/data/1", second, sizeof second, 0);
    uint64_t moved = before + hole, directory = z.size + hole;
    memcpy(z.central + first, &hole, 8);
    memcpy(z.central + first + 8, &hole, 8);
    memcpy(z.central + z.central_size - 8, &moved, 8);
    build_zip_end(&z);
    uint64_t end64 = directory + (z.size + END64 - (directory - hole));
    memcpy(z.data + z.size + END64 + 48, &directory, 8);
    memcpy(z.data + z.size + LOCATOR + 8, &end64, 8);
    int fd = open(in(files_scratch, "large.pt"), O_RDWR | O_CREAT | O_TRUNC, 0666);
    bool written = fd >= 0 && pwrite(fd, z.data, before, 0) == (ssize_t)before &&
                   pwrite(fd, z.data + before, z.size - before, (off_t)moved) ==
                       (ssize_t)(z.size - before) &&
                   pwrite(fd, tail, sizeof tail, (off_t)(moved - sizeof tail)) == sizeof tail;
    if (fd >= 0)
        close(fd);
    struct weights *w = NULL;
    if (written) { /* else: a file system without holes */
        test_message[0] = 0;
        CHECK_MSG(weights_open(&w, files_path, NULL, &test_log) == 0, "%s", test_message);
        CHECK(holds(w, "w", "[4]", "1234") && holds(w, "v", "[2]", "89"));
    }
    weights_close(w);
    unlink(files_path);
    build_zip_free(&z);
}

static void test_others(void)
{
    refuse_data(PICKLE("\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3."), NULL,
                "PyTorch before 1.6");
    refuse_data(PICKLE("\x80\2}X\1\0\0\0aK\1s."), NULL, "a pickle, not a PyTorch checkpoint");
    refuse_data(PICKLE("PK\3\4 and then nothing"), NULL, "no directory");
    refuse_data(PICKLE("PK\5\6"), NULL, "no directory");
    refuse_data(PICKLE("\x1f\x8b and so on: gzip"), NULL, "neither");
}

int main(int argc, char **argv)
{
    files_init(argc, argv);
    test_tensors();
    test_sets();
    test_many_sets();
    test_hostile();
    test_bombs();
    test_zip();
    test_zip_entries();
    test_large();
    test_others();
    return test_end();
}
