/* Cleaning of prompts: what the published program does with ftfy, html.unescape and a whitespace
 * pattern, as far as it matters to prompts. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "text/html.h"
#include "text/text.h"
#include "text/utf8.h"

#ifdef HAVE_UTF8PROC
#include <utf8proc.h>
#endif

/* ---- folding ----------------------------------------------------------------------------------- */

static bool is_space(int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

/* Runs of white space become one space; none at the ends. In place. */
static void fold_spaces(char *text)
{
    const char *at = text, *end = text + strlen(text);
    char *to = text;
    bool space = false;
    while (at < end) {
        int32_t c = utf8_next(&at, end);
        if (is_space(c)) {
            space = to > text;
            continue;
        }
        if (space)
            *to++ = ' ';
        space = false;
        to = utf8_put(to, (uint32_t)c);
    }
    *to = 0;
}

static int check_utf8(const char *text, const unreel_log *log)
{
    const char *at = text, *end = text + strlen(text);
    while (at < end) {
        if (utf8_next(&at, end) < 0)
            return log_error(log, UNREEL_EFORMAT, "prompt: not UTF-8 at byte %zu",
                             (size_t)(at - text));
    }
    return 0;
}

/* ---- fixing ------------------------------------------------------------------------------------ */

struct replacement {
    uint32_t code;
    const char *text;
};

/* Curly quotes straightened, Latin ligatures taken apart (ftfy's uncurl_quotes, fix_latin_ligatures). */
static const struct replacement replacements[] = {
    {0x02bc, "'"},  {0x2018, "'"},   {0x2019, "'"},   {0x201a, "'"},  {0x201b, "'"},  {0x201c, "\""},
    {0x201d, "\""}, {0x201e, "\""},  {0x201f, "\""},  {0x0132, "IJ"}, {0x0133, "ij"}, {0x0149, "\312\274n"},
    {0x01f1, "DZ"}, {0x01f2, "Dz"},  {0x01f3, "dz"},  {0x01c4, "D\305\275"}, {0x01c5, "D\305\276"},
    {0x01c6, "d\305\276"}, {0x01c7, "LJ"}, {0x01c8, "Lj"}, {0x01c9, "lj"}, {0x01ca, "NJ"},
    {0x01cb, "Nj"}, {0x01cc, "nj"},  {0xfb00, "ff"},  {0xfb01, "fi"}, {0xfb02, "fl"}, {0xfb03, "ffi"},
    {0xfb04, "ffl"}, {0xfb05, "\305\277t"}, {0xfb06, "st"},
};

/* Full-width forms of ASCII, and the ideographic space. */
static uint32_t fix_width(uint32_t c)
{
    if (c >= 0xff01 && c <= 0xff5e)
        return c - 0xfee0;
    return c == 0x3000 ? ' ' : c;
}

/* Control characters with no effect on text, byte order marks, and deprecated format characters. */
static bool is_control(uint32_t c)
{
    return c <= 8 || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f ||
           (c >= 0x206a && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffc);
}

static const char *replacement_of(uint32_t c)
{
    for (size_t i = 0; i < sizeof replacements / sizeof *replacements; i++) {
        if (replacements[i].code == c)
            return replacements[i].text;
    }
    return NULL;
}

/* U+0149 grows by a byte, all else stays or shrinks. */
static char *fix_characters(const char *text)
{
    const char *at = text, *end = text + strlen(text);
    char *fixed = malloc(2 * (size_t)(end - text) + 1), *to = fixed;
    while (fixed && at < end) {
        uint32_t c = (uint32_t)utf8_next(&at, end);
        const char *replacement = replacement_of(c);
        if (is_control(c))
            continue;
        if (replacement) {
            size_t length = strlen(replacement);
            memcpy(to, replacement, length);
            to += length;
        } else {
            to = utf8_put(to, fix_width(c));
        }
    }
    if (fixed)
        *to = 0;
    return fixed;
}

#ifdef HAVE_UTF8PROC
static int normalise(char **text, const unreel_log *log)
{
    utf8proc_uint8_t *composed = utf8proc_NFC((const utf8proc_uint8_t *)*text);
    if (!composed)
        return log_error(log, UNREEL_ENOMEM, "prompt: cannot be normalised");
    free(*text);
    *text = (char *)composed;
    return 0;
}
#else
static int normalise(char **text, const unreel_log *log)
{
    for (const char *c = *text; *c; c++) {
        if ((unsigned char)*c >= 0x80)
            return log_error(log, UNREEL_EUNSUPPORTED,
                             "prompt: this build normalises ASCII only: libutf8proc was not found");
    }
    return 0;
}
#endif

/* ---- public ------------------------------------------------------------------------------------ */

int text_fold(char **clean, const char *text, const unreel_log *log)
{
    int code = check_utf8(text, log);
    if (code < 0)
        return code;
    char *once = html_unescape(text);
    *clean = once ? html_unescape(once) : NULL;
    free(once);
    if (!*clean)
        return log_error(log, UNREEL_ENOMEM, "prompt: out of memory");
    fold_spaces(*clean);
    return 0;
}

int text_clean(char **clean, const char *text, const unreel_log *log)
{
    int code = check_utf8(text, log);
    if (code < 0)
        return code;
    /* ftfy leaves references alone where there may be markup. */
    char *copy = strchr(text, '<') ? strdup(text) : html_unescape(text);
    char *fixed = copy ? fix_characters(copy) : NULL;
    free(copy);
    if (!fixed)
        return log_error(log, UNREEL_ENOMEM, "prompt: out of memory");
    code = normalise(&fixed, log);
    if (code == 0)
        code = text_fold(clean, fixed, log);
    free(fixed);
    return code;
}
