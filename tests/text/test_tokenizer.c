/* The tokenizer against recorded ids, and what it refuses. */
#include <pthread.h>

#include "base/file.h"
#include "base/json.h"
#include "goldens.h"
#include "test.h"
#include "text/text.h"

#define JSON_MAX (1 << 20)
#define IDS_MAX 512

/* ---- recorded ids ---------------------------------------------------------------------------- */

typedef int (*clean_fn)(char **, const char *, const unreel_log *);

static bool same_ids(const struct tokenizer *tokenizer, const char *text, int text_len,
                     const struct json *want, clean_fn clean)
{
    int32_t ids[IDS_MAX];
    char *cleaned;
    if (clean(&cleaned, text, &test_log) < 0)
        return false;
    int count = tokenizer_encode(tokenizer, cleaned, ids, text_len, &test_log);
    free(cleaned);
    bool same = count == (int)json_length(want);
    for (int i = 0; same && i < count; i++) {
        int64_t id;
        same = json_int(json_at(want, (size_t)i), &id) && id == ids[i];
    }
    return same;
}

/* The recorded texts were folded only; but the repair changes none of those ids. */
static void test_golden(const struct golden *golden)
{
    char path[GOLDEN_PATH_MAX + 32];
    struct tokenizer *tokenizer = NULL;
    struct json *root = NULL;
    char *json = NULL;
    size_t size = 0;
    int64_t text_len = 0;
    int folded = 0, cleaned = 0;
    snprintf(path, sizeof path, "%s/tokenizer.json", golden->expected);
    CHECK(tokenizer_open(&tokenizer, golden->spiece, &test_log) == 0);
    CHECK(file_read_text(&json, &size, path, JSON_MAX, &test_log) == 0);
    CHECK(json && json_parse(&root, json, size, path, &test_log) == 0);
    CHECK(json_int(json_get(root, "text_len"), &text_len) && text_len <= IDS_MAX);
    const struct json *cases = json_get(root, "cases");
    for (size_t i = 0; tokenizer && i < json_length(cases); i++) {
        const struct json *entry = json_at(cases, i), *ids = json_get(entry, "ids");
        const char *text = json_text(json_get(entry, "text"));
        bool good = same_ids(tokenizer, text, (int)text_len, ids, text_fold);
        CHECK_MSG(good, "%s: '%.60s'", golden->name, text);
        folded += good;
        good = same_ids(tokenizer, text, (int)text_len, ids, text_clean);
        CHECK_MSG(good, "%s, repaired: '%.60s'", golden->name, text);
        cleaned += good;
    }
    CHECK(folded >= 20);
    printf("%s: %d of %zu texts the same, %d after repair\n", golden->name, folded,
           json_length(cases), cleaned);
    json_free(root);
    free(json);
    tokenizer_close(tokenizer);
}

/* ---- one model ------------------------------------------------------------------------------- */

static struct golden nano;

static void test_cut(const struct tokenizer *tokenizer)
{
    int32_t all[IDS_MAX], ids[IDS_MAX + 1];
    const char *text = "a red fox leaps over a frozen stream at dawn";
    int count = tokenizer_encode(tokenizer, text, all, IDS_MAX, &test_log);
    CHECK(count > 10 && count < IDS_MAX && all[count - 1] == 1);
    for (int max = 1; max <= count + 1; max++) {
        int expected = max < count ? max : count;
        ids[max] = -7;
        int got = tokenizer_encode(tokenizer, text, ids, max, &test_log);
        CHECK(got == expected && ids[got - 1] == 1 && ids[max] == -7);
        CHECK(!memcmp(ids, all, (size_t)(got - 1) * sizeof *ids));
    }
    CHECK(tokenizer_encode(tokenizer, "", ids, 4, &test_log) == 1 && ids[0] == 1);
    CHECK(tokenizer_encode(tokenizer, text, ids, 0, &test_log) == UNREEL_EINVAL);
    CHECK(tokenizer_encode(tokenizer, text, ids, -3, &test_log) == UNREEL_EINVAL);
    CHECK(tokenizer_encode(tokenizer, "\xff\xfe broken", ids, IDS_MAX, &test_log) > 0);
    char *large = malloc(TEXT_BYTES_MAX + 2);
    memset(large, 'x', TEXT_BYTES_MAX + 1);
    large[TEXT_BYTES_MAX + 1] = 0;
    CHECK(tokenizer_encode(tokenizer, large, ids, 8, &test_log) == UNREEL_EINVAL);
    free(large);
}

static void *encode_often(void *arg)
{
    int32_t first[IDS_MAX], ids[IDS_MAX];
    long wrong = 0;
    int count = tokenizer_encode(arg, "clouds over a mountain village", first, IDS_MAX, NULL);
    for (int i = 0; i < 2000; i++) {
        int got = tokenizer_encode(arg, "clouds over a mountain village", ids, IDS_MAX, NULL);
        wrong += got != count || memcmp(ids, first, (size_t)count * sizeof *ids);
    }
    return (void *)wrong;
}

static void test_threads(struct tokenizer *tokenizer)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, encode_often, tokenizer) == 0);
    for (int i = 0; i < 4; i++) {
        void *wrong;
        CHECK(pthread_join(threads[i], &wrong) == 0 && !wrong);
    }
}

/* ---- files that are refused ------------------------------------------------------------------ */

/* A protocol buffer being written. */
struct message {
    uint8_t data[1 << 16];
    size_t size;
};

static void put_varint(struct message *m, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        m->data[m->size++] = (uint8_t)(value | 0x80);
    m->data[m->size++] = (uint8_t)value;
}

static void put_bytes(struct message *m, int field, const void *data, size_t size)
{
    put_varint(m, (uint64_t)field << 3 | 2);
    put_varint(m, size);
    memcpy(m->data + m->size, data, size);
    m->size += size;
}

static void put_number(struct message *m, int field, uint64_t value)
{
    put_varint(m, (uint64_t)field << 3);
    put_varint(m, value);
}

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

static void put_piece_bytes(struct message *m, const void *text, size_t size, float score, int type)
{
    static struct message piece;
    piece.size = 0;
    put_bytes(&piece, 1, text, size);
    put_varint(&piece, 2 << 3 | 5);
    memcpy(piece.data + piece.size, &score, 4);
    piece.size += 4;
    put_number(&piece, 3, (uint64_t)type);
    put_bytes(m, 1, piece.data, piece.size);
}

static void put_piece(struct message *m, const char *text, float score, int type)
{
    put_piece_bytes(m, text, strlen(text), score, type);
}

static void start_model(struct message *m)
{
    m->size = 0;
    put_piece(m, "<pad>", 0, CONTROL);
    put_piece(m, "</s>", 0, CONTROL);
    put_piece(m, "<unk>", 0, UNKNOWN);
    put_piece(m, "\xe2\x96\x81", -2, NORMAL);
    put_piece(m, "a", -1, NORMAL);
    put_piece(m, "aa", -1.5f, NORMAL);
}

/* A trie of rules as the file has it, units of 32 bits, then the texts. */
static void put_rules(struct message *m, const uint32_t *units, size_t count, size_t claimed,
                      const char *texts, size_t size)
{
    static struct message map, part;
    uint32_t bytes = (uint32_t)claimed;
    map.size = part.size = 0;
    memcpy(map.data, &bytes, 4);
    memcpy(map.data + 4, units, 4 * count);
    memcpy(map.data + 4 + 4 * count, texts, size);
    map.size = 4 + 4 * count + size;
    put_bytes(&part, 2, map.data, map.size);
    put_bytes(m, 3, part.data, part.size);
}

static void expect(const struct message *m, const char *refusal, const char *label)
{
    struct tokenizer *tokenizer = NULL;
    int32_t ids[16];
    test_message[0] = 0;
    int code = tokenizer_open_memory(&tokenizer, m->data, m->size, "hostile.model", &test_log);
    if (!refusal) {
        CHECK_MSG(code == 0 && tokenizer_encode(tokenizer, "aaa b", ids, 16, &test_log) > 1,
                  "%s: %s", label, test_message);
    } else {
        CHECK_MSG(code == UNREEL_EFORMAT && !tokenizer && !strchr(test_message, '\n') &&
                      strstr(test_message, "hostile.model") && strstr(test_message, refusal),
                  "%s: %d '%s', expected '%s'", label, code, test_message, refusal);
    }
    tokenizer_close(tokenizer);
}

static void test_pieces(void)
{
    static struct message m;
    static char text[600];
    start_model(&m);
    expect(&m, NULL, "the smallest model");
    m.size -= 3;
    expect(&m, "cut short", "cut");
    m.size = 0;
    expect(&m, "not a SentencePiece model", "empty");
    memcpy(m.data, "PK\3\4 a zip file", 16);
    m.size = 16;
    expect(&m, "not a SentencePiece model", "zip");

    start_model(&m);
    put_piece(&m, "", 0, NORMAL);
    expect(&m, "empty", "empty piece");
    start_model(&m);
    memset(text, 'x', sizeof text);
    put_piece_bytes(&m, text, 513, 0, NORMAL);
    expect(&m, "too long", "long piece");
    start_model(&m);
    put_piece_bytes(&m, "a\0b", 3, 0, NORMAL);
    expect(&m, "not UTF-8", "piece with a zero");
    start_model(&m);
    put_piece(&m, "\xc3", 0, NORMAL);
    expect(&m, "not UTF-8", "half a character");
    start_model(&m);
    put_piece(&m, "q", NAN, NORMAL);
    expect(&m, "score", "no number");
    start_model(&m);
    put_piece(&m, "q", 1e30f, NORMAL);
    expect(&m, "score", "huge score");
    start_model(&m);
    put_piece(&m, "q", 0, 9);
    expect(&m, "type", "unknown type");
    start_model(&m);
    put_piece(&m, "a", 0, NORMAL);
    expect(&m, "already defined", "twice");
    start_model(&m);
    put_piece(&m, "<unk2>", 0, UNKNOWN);
    expect(&m, "unk", "two unknowns");
    start_model(&m);
    put_piece(&m, "<0x00>", 0, BYTE);
    expect(&m, "byte", "one byte piece");
    start_model(&m);
    put_bytes(&m, 1, "", 0);
    expect(&m, "no text", "nameless piece");
    start_model(&m);
    put_bytes(&m, 2, "\x18\x02", 2);
    expect(&m, "unigram", "BPE");
    m.size = 0;
    put_piece(&m, "<unk>", 0, UNKNOWN);
    put_piece(&m, "<s>", 0, CONTROL);
    put_piece(&m, "</s>", 0, CONTROL);
    expect(&m, "another model", "LLaMA's order");
}

static void test_rules(void)
{
    static struct message m;
    static uint32_t units[1024];
    size_t count = 512, bytes = sizeof(uint32_t) * count;
    /* "b" becomes "aa": root, its child 'b' with a rule, the rule's value. */
    uint32_t child = 256 ^ 'b';
    units[0] = 256u << 10;
    units[child] = 'b' | 1u << 8 | (child ^ 257u) << 10; /* its children, and the value, from 257 */
    start_model(&m);
    units[257] = 1u << 31 | 2;
    put_rules(&m, units, count, bytes, "x\0aa", 5);
    expect(&m, NULL, "one rule");

    static const char *const broken = "rules are malformed";
    start_model(&m);
    put_rules(&m, units, count, bytes, "x\0aa", 4);
    expect(&m, broken, "its text has no end");
    start_model(&m);
    put_rules(&m, units, count, bytes, "", 0);
    expect(&m, broken, "no texts");
    start_model(&m);
    put_rules(&m, units, count, bytes, "x\0\xc3", 4);
    expect(&m, broken, "gives half a character");
    start_model(&m);
    put_rules(&m, units, count, bytes + 64, "x\0aa", 5);
    expect(&m, broken, "claims more units than there are");
    start_model(&m);
    put_rules(&m, units, count, 0xfffffffc, "x\0aa", 5);
    expect(&m, broken, "claims very many");
    start_model(&m);
    put_rules(&m, units, 2, 6, "x\0aa", 5);
    expect(&m, broken, "no whole units");
    start_model(&m);
    put_rules(&m, units, 256, 1024, "x\0aa", 5);
    expect(&m, broken, "children outside");
    units[257] = 1u << 31 | 0x7fffffff;
    start_model(&m);
    put_rules(&m, units, count, bytes, "x\0aa", 5);
    expect(&m, broken, "a text outside");
    units[257] = 1u << 31 | 2;
    units[child] = 'b' | (child ^ 256u) << 10; /* its children are the root's: itself among them */
    start_model(&m);
    put_rules(&m, units, count, bytes, "x\0aa", 5);
    expect(&m, broken, "a circle");
}

/* Every single damaged byte of a small model, every length: opens or is refused. */
static void test_damage(void)
{
    static struct message m, copy;
    int opened = 0, refused = 0;
    start_model(&m);
    for (size_t i = 0; i < m.size; i++) {
        for (int change = 0; change < 3; change++) {
            struct tokenizer *tokenizer = NULL;
            copy = m;
            if (change == 2)
                copy.size = i;
            else
                copy.data[i] ^= change ? 0xff : 0x01;
            if (tokenizer_open_memory(&tokenizer, copy.data, copy.size, "damaged", NULL) == 0) {
                int32_t ids[16];
                tokenizer_encode(tokenizer, "aaa b", ids, 16, NULL);
                opened++;
            } else {
                refused++;
            }
            tokenizer_close(tokenizer);
        }
    }
    CHECK(opened > 0 && refused > opened);
}

int main(int count, char **arguments)
{
    struct tokenizer *tokenizer = NULL;
    CHECK(count > 1 && golden_find(&nano, arguments[1], "nano"));
    int code = tokenizer_open(&tokenizer, nano.spiece, &test_log);
    if (code == UNREEL_EUNSUPPORTED) {
        CHECK(strstr(test_message, "this build has no tokenizer"));
        printf("%s\n", test_message);
        return test_failed ? 1 : 77;
    }
    CHECK(golden_each(count, arguments, test_golden) >= 2);
    CHECK(code == 0);
    if (code == 0) {
        test_cut(tokenizer);
        test_threads(tokenizer);
    }
    tokenizer_close(tokenizer);
    CHECK(tokenizer_open(&tokenizer, "/nowhere/spiece.model", &test_log) == UNREEL_EIO);
    CHECK(tokenizer_open(&tokenizer, nano.encoder, &test_log) == UNREEL_EFORMAT && !tokenizer);
    CHECK(strstr(test_message, nano.encoder));
    test_pieces();
    test_rules();
    test_damage();
    return test_end();
}
