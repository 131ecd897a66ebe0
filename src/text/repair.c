#include "text/repair.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "text/html.h"
#include "text/mojibake.h"

#define ROUNDS_MAX 64 /* text escaped more often than that is an attack */
#define FIRST_COMBINING 0x300 /* all text below is composed */

struct replacement {
    uint32_t rune;
    uint16_t to[3];
};

/* Letters that stand for several, from old character sets and typesetting. */
static const struct replacement ligatures[] = {
    {0x132, {'I', 'J'}},          {0x133, {'i', 'j'}},          {0x149, {0x2bc, 'n'}},
    {0x1c4, {'D', 0x17d}},        {0x1c5, {'D', 0x17e}},        {0x1c6, {'d', 0x17e}},
    {0x1c7, {'L', 'J'}},          {0x1c8, {'L', 'j'}},          {0x1c9, {'l', 'j'}},
    {0x1ca, {'N', 'J'}},          {0x1cb, {'N', 'j'}},          {0x1cc, {'n', 'j'}},
    {0x1f1, {'D', 'Z'}},          {0x1f2, {'D', 'z'}},          {0x1f3, {'d', 'z'}},
    {0xfb00, {'f', 'f'}},         {0xfb01, {'f', 'i'}},         {0xfb02, {'f', 'l'}},
    {0xfb03, {'f', 'f', 'i'}},    {0xfb04, {'f', 'f', 'l'}},    {0xfb05, {0x17f, 't'}},
    {0xfb06, {'s', 't'}},
};

static void normalize(struct runes *out, const struct runes *in, int options)
{
    size_t size;
    char *utf8 = runes_to_utf8(in, &size);
    uint8_t *result = NULL;
    utf8proc_ssize_t length = -1;
    if (utf8)
        length = utf8proc_map((const uint8_t *)utf8, (utf8proc_ssize_t)size, &result,
                              (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE | options));
    if (length < 0 || !runes_append_utf8(out, (const char *)result, (size_t)length))
        out->failed = true;
    free(utf8);
    free(result);
}

static void compose(struct runes *out, const struct runes *in)
{
    normalize(out, in, 0);
}

static bool is_composed(const struct runes *text)
{
    for (size_t i = 0; i < text->count; i++) {
        if (text->at[i] >= FIRST_COMBINING)
            return false;
    }
    return true;
}

/* Half-width and full-width forms as their ordinary selves. */
static void push_width(struct runes *out, uint32_t c)
{
    if (c == 0x3000) {
        runes_push(out, ' ');
    } else if (c >= 0xff01 && c <= 0xffef) {
        struct runes one = {.at = &c, .count = 1};
        normalize(out, &one, UTF8PROC_COMPAT);
    } else {
        runes_push(out, c);
    }
}

static void replace_letters(struct runes *out, const struct runes *in)
{
    for (size_t i = 0; i < in->count; i++) {
        uint32_t c = in->at[i];
        const struct replacement *r = ligatures, *end = r + sizeof ligatures / sizeof *ligatures;
        while (r < end && r->rune != c)
            r++;
        for (int j = 0; r < end && j < 3 && r->to[j]; j++)
            runes_push(out, r->to[j]);
        if (r < end)
            continue;
        if (c == 0x2bc || (c >= 0x2018 && c <= 0x201b))
            runes_push(out, '\'');
        else if (c >= 0x201c && c <= 0x201f)
            runes_push(out, '"');
        else
            push_width(out, c);
    }
}

static void unify_line_breaks(struct runes *out, const struct runes *in)
{
    for (size_t i = 0; i < in->count; i++) {
        uint32_t c = in->at[i];
        if (c == '\r' && i + 1 < in->count && in->at[i + 1] == '\n')
            continue;
        bool line = c == '\r' || c == 0x85 || c == 0x2028 || c == 0x2029;
        runes_push(out, line ? '\n' : c);
    }
}

/* Characters after the escape of a terminal sequence "ESC [ digits and semicolons letter", or 0. */
static size_t escape_length(const struct runes *in, size_t at)
{
    size_t i = at + 1;
    if (i == in->count || in->at[i] != '[')
        return 0;
    i++;
    while (i < in->count && ((in->at[i] >= '0' && in->at[i] <= '9') || in->at[i] == ';'))
        i++;
    if (i == in->count || !((in->at[i] | 0x20) >= 'a' && (in->at[i] | 0x20) <= 'z'))
        return 0;
    return i - at;
}

/* Deprecated format characters, annotation, object replacement, byte order mark; not joiners,
 * marks of direction, tags: they matter. */
static bool is_control(uint32_t c)
{
    return c <= 8 || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f ||
           (c >= 0x206a && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffc);
}

static void remove_controls(struct runes *out, const struct runes *in)
{
    for (size_t i = 0; i < in->count; i++) {
        size_t escape = in->at[i] == 0x1b ? escape_length(in, i) : 0;
        if (!escape && !is_control(in->at[i]))
            runes_push(out, in->at[i]);
        i += escape;
    }
}

static void repair_line(struct runes *line, bool unescape)
{
    bool again = true;
    for (int i = 0; again && !line->failed && i < ROUNDS_MAX; i++) {
        struct runes before = {0};
        runes_append(&before, line->at, line->count);
        if (unescape)
            runes_apply(line, html_unescape_strict);
        mojibake_fix(line);
        mojibake_fix_controls(line);
        runes_apply(line, replace_letters);
        runes_apply(line, unify_line_breaks);
        runes_apply(line, remove_controls);
        if (!is_composed(line))
            runes_apply(line, compose);
        again = !runes_equal(&before, line);
        line->failed = line->failed || before.failed;
        runes_finish(&before);
    }
}

void text_repair(struct runes *text)
{
    struct runes out = {.failed = text->failed};
    bool unescape = true;
    for (size_t i = 0; i < text->count;) {
        struct runes line = {0};
        do {
            unescape = unescape && text->at[i] != '<';
            runes_push(&line, text->at[i]);
        } while (text->at[i++] != '\n' && i < text->count);
        repair_line(&line, unescape);
        runes_append(&out, line.at, line.count);
        out.failed = out.failed || line.failed;
        runes_finish(&line);
    }
    runes_finish(text);
    *text = out;
}
