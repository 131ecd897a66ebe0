/* What is tried follows the published behaviour of ftfy 6 for Latin-1 and Windows-1252. Left
 * out: its eight rarer code pages (Windows-1250, 1251, 1253, 1254, 1257, Latin-2, MacRoman,
 * CP437), in which most sequences are too plausible as text. */
#include "text/mojibake.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/garbled.h"
#include "text/windows1252.h"

#define ROUNDS_MAX 64 /* texts garbled more often than that are attacks */
#define NESTED_MAX 8

/* ---- back to bytes --------------------------------------------------------------------------- */

struct bytes {
    uint8_t *at;
    size_t count;
};

#define LOST 0x1a /* the byte of a character that became U+FFFD on the way */

/* The text in a code page; false if it does not fit. `at` has room for every character twice. */
static bool to_bytes(struct bytes *bytes, const struct runes *text, bool windows)
{
    bytes->count = 0;
    for (size_t i = 0; i < text->count; i++) {
        uint32_t c = text->at[i];
        int byte = c <= 0xff ? (int)c : -1;
        if (windows)
            byte = c == 0xfffd ? LOST : c == LOST ? -1 : windows1252_byte(c);
        if (byte < 0)
            return false;
        bytes->at[bytes->count++] = (uint8_t)byte;
    }
    return true;
}

static bool is_tail(uint8_t byte)
{
    return byte >= 0x80 && byte <= 0xbf;
}

/* A tail other than 0x85, which may as well have been an ellipsis. */
static bool is_sure_tail(uint8_t byte)
{
    return is_tail(byte) && byte != 0x85 && byte != 0xa0;
}

/* Length of a UTF-8 sequence at p[0..left) whose no-break space (byte A0) became a blank. */
static size_t blank_sequence(const uint8_t *p, size_t left)
{
    if (left >= 2 && p[1] == ' ' && p[0] && strchr("\xc2\xc3\xc5\xce\xd0\xd9", p[0]))
        return 2;
    if (left >= 3 && (p[0] == 0xe2 || p[0] == 0xe3) && p[1] == ' ' && is_sure_tail(p[2]))
        return 3;
    if (left >= 3 && p[0] >= 0xe0 && p[0] <= 0xe3 && is_sure_tail(p[1]) && p[2] == ' ')
        return 3;
    if (left >= 4 && p[0] == 0xf0) {
        int blanks = 0, tails = 0;
        for (int i = 1; i < 4; i++) {
            blanks += p[i] == ' ';
            tails += is_tail(p[i]);
        }
        return blanks == 1 && tails == 2 ? 4 : 0;
    }
    return 0;
}

/* "Ã " before a word is mostly French "à " with both its spaces merged; the exceptions are
 * Portuguese words that start so. */
static bool is_lone_a_grave(const uint8_t *p, size_t left)
{
    static const char *const rest[] = {" ", "quele", "quela", "quilo", "s "};
    if (left < 2 || p[0] != 0xc3 || p[1] != ' ')
        return false;
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) {
        if (left - 2 >= strlen(rest[i]) && !memcmp(p + 2, rest[i], strlen(rest[i])))
            return false;
    }
    return true;
}

/* Blanks that must have been no-break spaces are so again. bytes->at has room for as many again. */
static void restore_blanks(struct bytes *bytes)
{
    size_t from = bytes->count, count = 0;
    memmove(bytes->at + from, bytes->at, bytes->count);
    const uint8_t *p = bytes->at + from, *end = p + bytes->count;
    /* Writing never overtakes reading: one byte more is written only where two were read, and the
     * first half is empty. */
    while (p < end) {
        size_t length = blank_sequence(p, (size_t)(end - p));
        if (is_lone_a_grave(p, (size_t)(end - p))) {
            bytes->at[count++] = 0xc3;
            bytes->at[count++] = 0xa0;
            p += 1;
            bytes->at[count++] = *p++;
        } else if (length) {
            for (size_t i = 0; i < length; i++, p++)
                bytes->at[count++] = *p == ' ' ? 0xa0 : *p;
        } else {
            bytes->at[count++] = *p++;
        }
    }
    bytes->count = count;
}

/* Length of a UTF-8 sequence at p[0..left) with at least one lost byte; a lone lost byte too. In
 * three of the places a question mark stands for a lost byte. */
static size_t lost_sequence(const uint8_t *p, size_t left)
{
    size_t length = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : p[0] >= 0xe0 && p[0] <= 0xef ? 3 : 4;
    if (p[0] == LOST)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4 || left < length)
        return 0;
    if (length == 2)
        return p[1] == LOST || (p[1] == '?' && p[0] <= 0xc3) ? 2 : 0;
    int lost = 0, marks = 0;
    for (size_t i = 1; i < length; i++) {
        lost += p[i] == LOST;
        marks += p[i] == '?';
        if (p[i] != LOST && p[i] != '?' && !is_tail(p[i]))
            return 0;
    }
    return (lost || marks) && marks <= 1 ? length : 0;
}

/* ---- bytes as UTF-8 -------------------------------------------------------------------------- */

/* The code point of [p, end), strictly; its length, or 0. */
static size_t decode_strict(const uint8_t *p, const uint8_t *end, uint32_t *rune)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t length = utf8proc_iterate(p, end - p, &c);
    *rune = (uint32_t)c;
    return length > 0 ? (size_t)length : 0;
}

/* Two surrogates of three bytes each, as some old programs wrote them (CESU-8). */
static size_t decode_surrogates(const uint8_t *p, const uint8_t *end, uint32_t *rune)
{
    if (end - p < 6 || p[0] != 0xed || p[3] != 0xed || p[1] < 0xa0 || p[1] > 0xaf || p[4] < 0xb0 ||
        p[4] > 0xbf || !is_tail(p[2]) || !is_tail(p[5]))
        return 0;
    *rune = 0x10000 + ((p[1] & 0xfu) << 16 | (p[2] & 0x3fu) << 10 | (p[4] & 0xfu) << 6 |
                       (p[5] & 0x3fu));
    return 6;
}

/* `lossy`: sequences with lost bytes give U+FFFD instead of failing. */
static bool decode(struct runes *out, const struct bytes *bytes, bool lossy)
{
    const uint8_t *p = bytes->at, *end = p + bytes->count;
    while (p < end) {
        uint32_t rune = 0xfffd;
        size_t length = lossy ? lost_sequence(p, (size_t)(end - p)) : 0;
        if (!length)
            length = decode_strict(p, end, &rune);
        if (!length)
            length = decode_surrogates(p, end, &rune);
        if (!length && end - p >= 2 && p[0] == 0xc0 && p[1] == 0x80)
            rune = 0, length = 2;
        if (!length)
            return false;
        runes_push(out, rune);
        p += length;
    }
    return true;
}

/* ---- one step -------------------------------------------------------------------------------- */

static void fix(struct runes *text, int nested);

static bool is_ascii(const struct runes *text)
{
    for (size_t i = 0; i < text->count; i++) {
        if (text->at[i] >= 0x80)
            return false;
    }
    return true;
}

/* The text as a whole, read again; false if it does not decode. */
static bool read_whole(struct runes *text, bool windows)
{
    struct bytes bytes = {.at = malloc(2 * text->count + 1)};
    struct runes out = {0};
    if (!bytes.at) {
        text->failed = true;
        return false;
    }
    bool good = to_bytes(&bytes, text, windows);
    if (good) {
        restore_blanks(&bytes);
        good = decode(&out, &bytes, windows);
    }
    free(bytes.at);
    if (!good) {
        runes_finish(&out);
        return false;
    }
    out.failed = out.failed || text->failed;
    runes_finish(text);
    *text = out;
    return true;
}

static bool is_tail_character(uint32_t c)
{
    int byte = windows1252_byte(c);
    return c == ' ' || (c >= 0x80 && c <= 0xbf) || (byte >= 0x80 && byte <= 0x9f);
}

/* Tails that hardly stand for themselves next to garbled text: no dashes, quotes, bullets. */
static bool is_sure_tail_character(uint32_t c)
{
    bool punctuation = (c >= 0x2013 && c <= 0x201e) || c == 0x2022 || c == 0x2026;
    return is_tail_character(c) && c != ' ' && !punctuation;
}

/* Characters that one garbled sequence at `at` takes, 0 if there is none. */
static size_t sequence_length(const struct runes *text, size_t at)
{
    uint32_t c = text->at[at];
    size_t length = c >= 0xc2 && c <= 0xdf ? 2 : c >= 0xe0 && c <= 0xef ? 3 : 4;
    if (length == 4 && c != 0xf0 && c != 0xf3)
        return 0;
    if (text->count - at < length)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if (!is_tail_character(text->at[at + i]))
            return 0;
    }
    return length;
}

/* Runs of garbled sequences within text that is not garbled, each read again for itself. */
static void fix_runs(struct runes *text, int nested)
{
    struct runes out = {.failed = text->failed};
    for (size_t i = 0; i < text->count;) {
        size_t end = i, length;
        bool inside = i && is_sure_tail_character(text->at[i - 1]); /* of a larger tangle */
        while (!inside && end < text->count && (length = sequence_length(text, end)))
            end += length;
        if (end == i) {
            runes_push(&out, text->at[i++]);
            continue;
        }
        struct runes run = {0};
        runes_append(&run, text->at + i, end - i);
        if (run.count < text->count && is_garbled(&run))
            fix(&run, nested + 1);
        runes_append(&out, run.at, run.count);
        out.failed = out.failed || run.failed;
        runes_finish(&run);
        i = end;
    }
    runes_finish(text);
    *text = out;
}

static void fix_step(struct runes *text, int nested)
{
    if (is_ascii(text) || !is_garbled(text) || read_whole(text, false) || read_whole(text, true))
        return;
    struct runes before = {0};
    runes_append(&before, text->at, text->count);
    if (nested < NESTED_MAX)
        fix_runs(text, nested);
    if (runes_equal(&before, text))
        mojibake_fix_controls(text);
    runes_finish(&before);
}

static void fix(struct runes *text, int nested)
{
    bool again = true;
    for (int i = 0; again && !text->failed && i < ROUNDS_MAX; i++) {
        struct runes before = {0};
        runes_append(&before, text->at, text->count);
        fix_step(text, nested);
        again = !runes_equal(&before, text);
        text->failed = text->failed || before.failed;
        runes_finish(&before);
    }
}

void mojibake_fix(struct runes *text)
{
    fix(text, 0);
}

void mojibake_fix_controls(struct runes *text)
{
    for (size_t i = 0; i < text->count; i++) {
        if (text->at[i] >= 0x80 && text->at[i] <= 0x9f)
            text->at[i] = windows1252_rune((uint8_t)text->at[i]);
    }
}
