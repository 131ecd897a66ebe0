/* Field numbers are those of sentencepiece_model.proto; the trie is Darts-clone's double array. */
#include "text/spiece_check.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define PIECES_MAX (1 << 24)
#define PIECE_BYTES_MAX 512 /* the library recurses once a byte */
#define SCORE_MAX 1e6f
#define RULE_DEPTH_MAX 256  /* bytes a normalisation rule matches */
#define RULE_BYTES_MAX 256  /* bytes it gives */
#define RULES_NESTED_MAX 32 /* rules that are prefixes of each other: the library's array */

enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3, PIECE_TYPES = 6 };
enum { TRAINER_MODEL_TYPE = 3, UNIGRAM = 1 };
enum { NORMALIZER_CHARSMAP = 2 };
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct span {
    const uint8_t *at, *end;
};

struct field {
    uint32_t number;
    int wire;
    uint64_t value;    /* WIRE_VARINT, WIRE_32 */
    struct span bytes; /* WIRE_BYTES */
};

static size_t span_size(struct span s)
{
    return (size_t)(s.end - s.at);
}

static bool read_varint(struct span *in, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        uint8_t byte = *in->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

/* Takes the next field off a message; false if it is malformed. */
static bool read_field(struct span *in, struct field *field)
{
    uint64_t tag, length = 0;
    *field = (struct field){0};
    if (!read_varint(in, &tag) || tag >> 32 || !(tag >> 3))
        return false;
    field->number = (uint32_t)(tag >> 3);
    field->wire = (int)(tag & 7);
    if (field->wire == WIRE_VARINT)
        return read_varint(in, &field->value);
    if (field->wire == WIRE_BYTES && !read_varint(in, &length))
        return false;
    if (field->wire == WIRE_32 || field->wire == WIRE_64)
        length = field->wire == WIRE_32 ? 4 : 8;
    else if (field->wire != WIRE_BYTES)
        return false; /* groups */
    if (length > span_size(*in))
        return false;
    field->bytes = (struct span){in->at, in->at + length};
    for (uint64_t i = 0; field->wire == WIRE_32 && i < 4; i++)
        field->value |= (uint64_t)in->at[i] << 8 * i;
    in->at += length;
    return true;
}

static bool is_utf8(const uint8_t *at, const uint8_t *end)
{
    const char *p = (const char *)at;
    while (p < (const char *)end) {
        if (utf8_next(&p, (const char *)end) < 0)
            return false;
    }
    return true;
}

/* ---- pieces ---------------------------------------------------------------------------------- */

static bool good_text(struct span text)
{
    return span_size(text) && span_size(text) <= PIECE_BYTES_MAX &&
           !memchr(text.at, 0, span_size(text)) && is_utf8(text.at, text.end);
}

static bool good_score(uint64_t bits)
{
    uint32_t u = (uint32_t)bits;
    float score;
    memcpy(&score, &u, sizeof score);
    return fabsf(score) <= SCORE_MAX;
}

static const char *check_piece(struct span message, int id)
{
    bool named = false, eos = false;
    while (message.at < message.end) {
        struct field f;
        if (!read_field(&message, &f))
            return "a piece is malformed";
        if (f.number == PIECE_TEXT && f.wire == WIRE_BYTES) {
            if (!good_text(f.bytes))
                return "a piece is empty, too long or not UTF-8";
            named = true;
            eos = span_size(f.bytes) == 4 && !memcmp(f.bytes.at, "</s>", 4);
        } else if (f.number == PIECE_SCORE && f.wire == WIRE_32 && !good_score(f.value)) {
            return "a piece has an impossible score";
        } else if (f.number == PIECE_TYPE && f.wire == WIRE_VARINT &&
                   (f.value < 1 || f.value > PIECE_TYPES)) {
            return "a piece is of an unknown type";
        }
    }
    if (!named)
        return "a piece has no text";
    return id == 1 && !eos ? "piece 1 is not </s>: the tokenizer of another model" : NULL;
}

/* ---- the normaliser's trie ------------------------------------------------------------------- */

struct trie {
    const uint8_t *units; /* [count] of 4 bytes, little endian */
    uint32_t count;
    struct span texts; /* what rules give: texts that end in 0 */
    uint8_t *nested;   /* [count]: 0 not seen, OPEN on the path, else 1 + rules on the way down */
};

#define OPEN 0xff

static uint32_t unit_at(const struct trie *trie, uint32_t i)
{
    const uint8_t *u = trie->units + 4 * (size_t)i;
    return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

/* Where the children of unit i start: child c is at base ^ c, and has c as its label. */
static uint32_t unit_base(const struct trie *trie, uint32_t i)
{
    uint32_t unit = unit_at(trie, i);
    return i ^ (unit >> 10) << ((unit & 1u << 9) >> 6);
}

static bool has_rule(const struct trie *trie, uint32_t i)
{
    return unit_at(trie, i) >> 8 & 1;
}

/* What unit i's rule gives lies among the texts. */
static bool good_rule(const struct trie *trie, uint32_t i)
{
    uint32_t at = unit_at(trie, unit_base(trie, i)) & 0x7fffffff;
    size_t size = span_size(trie->texts);
    if (at >= size)
        return false;
    const uint8_t *text = trie->texts.at + at, *end = memchr(text, 0, size - at);
    return end && end - text <= RULE_BYTES_MAX &&
           is_utf8(text, end);
}

static bool enter(struct trie *trie, uint32_t i)
{
    trie->nested[i] = OPEN;
    return (unit_base(trie, i) | 0xff) < trie->count && (!has_rule(trie, i) || good_rule(trie, i));
}

/* Depth first; subtrees may be shared, cycles may not be. */
static bool check_units(struct trie *trie)
{
    struct {
        uint32_t unit;
        int label; /* next child to look at */
        int rules; /* most on a way down from here */
    } stack[RULE_DEPTH_MAX];
    int depth = 0;
    stack[0].unit = 0, stack[0].label = 1, stack[0].rules = 0;
    if (!enter(trie, 0))
        return false;
    for (;;) {
        uint32_t base = unit_base(trie, stack[depth].unit);
        if (stack[depth].label > 0xff) {
            int rules = stack[depth].rules + has_rule(trie, stack[depth].unit);
            if (rules > RULES_NESTED_MAX)
                return false;
            trie->nested[stack[depth].unit] = (uint8_t)(1 + rules);
            if (depth-- == 0)
                return true;
            if (rules > stack[depth].rules)
                stack[depth].rules = rules;
            continue;
        }
        uint32_t label = (uint32_t)stack[depth].label++, child = base ^ label;
        if ((unit_at(trie, child) & 0x800000ff) != label)
            continue;
        if (trie->nested[child] == OPEN)
            return false;
        if (trie->nested[child]) {
            if (trie->nested[child] - 1 > stack[depth].rules)
                stack[depth].rules = trie->nested[child] - 1;
            continue;
        }
        if (++depth == RULE_DEPTH_MAX || !enter(trie, child))
            return false;
        stack[depth].unit = child, stack[depth].label = 1, stack[depth].rules = 0;
    }
}

/* charsmap: size of the trie (u32), trie, texts. */
static const char *check_charsmap(struct span map)
{
    static const char *const broken = "the normalisation rules are malformed";
    if (!span_size(map))
        return NULL;
    if (span_size(map) < 4)
        return broken;
    struct trie trie = {.units = map.at + 4};
    size_t size = map.at[0] | (size_t)map.at[1] << 8 | (size_t)map.at[2] << 16 |
                  (size_t)map.at[3] << 24;
    /* The library compares the trie's size with that of the whole, itself included. */
    if (!size || size % 4 || size > span_size(map) - 4)
        return broken;
    trie.count = (uint32_t)(size / 4);
    trie.texts = (struct span){map.at + 4 + size, map.end};
    trie.nested = calloc(trie.count, 1);
    if (!trie.nested)
        return "out of memory";
    bool good = check_units(&trie);
    free(trie.nested);
    return good ? NULL : broken;
}

/* ---- the model ------------------------------------------------------------------------------- */

static const char *check_part(const struct field *part)
{
    struct span message = part->bytes;
    while (message.at < message.end) {
        struct field f;
        const char *wrong = NULL;
        if (!read_field(&message, &f))
            return "malformed";
        if (part->number == MODEL_TRAINER && f.number == TRAINER_MODEL_TYPE &&
            f.wire == WIRE_VARINT && f.value != UNIGRAM)
            return "not a unigram model";
        if (part->number == MODEL_NORMALIZER && f.number == NORMALIZER_CHARSMAP &&
            f.wire == WIRE_BYTES)
            wrong = check_charsmap(f.bytes);
        if (wrong)
            return wrong;
    }
    return NULL;
}

static const char *check_model(struct spiece_info *info, struct span model)
{
    while (model.at < model.end) {
        const uint8_t *start = model.at;
        struct field f;
        const char *wrong = NULL;
        if (!read_field(&model, &f))
            return "not a SentencePiece model, or cut short";
        if (f.wire != WIRE_BYTES || f.number > MODEL_NORMALIZER)
            continue; /* self tests, the way back to text */
        if (f.number == MODEL_PIECES)
            wrong = info->pieces == PIECES_MAX ? "too many pieces"
                                               : check_piece(f.bytes, info->pieces++);
        else
            wrong = check_part(&f);
        if (wrong)
            return wrong;
        memcpy(info->kept + info->kept_bytes, start, (size_t)(model.at - start));
        info->kept_bytes += (size_t)(model.at - start);
    }
    return info->pieces < 3 ? "not a SentencePiece model" : NULL;
}

const char *spiece_check(struct spiece_info *info, const uint8_t *data, size_t size)
{
    *info = (struct spiece_info){.kept = malloc(size ? size : 1)};
    if (!info->kept)
        return "out of memory";
    const char *wrong = check_model(info, (struct span){data, data + size});
    if (wrong) {
        free(info->kept);
        *info = (struct spiece_info){0};
    }
    return wrong;
}
