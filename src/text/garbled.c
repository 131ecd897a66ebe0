/* Classes of characters and runs of them that text hardly ever has: the rules that ftfy 6
 * publishes, as far as they concern Latin-1 and Windows-1252. */
#include "text/garbled.h"

#include <string.h>
#include <utf8proc.h>

#include "text/windows1252.h"

enum {
    COMMON = 1 << 0,   /* seen in many contexts */
    CONTROL = 1 << 1,  /* C1 */
    BAD = 1 << 2,      /* hardly seen but in garbled text */
    LAW = 1 << 3,      /* section and pilcrow signs */
    CURRENCY = 1 << 4,
    OPENING = 1 << 5,  /* starts a quotation, sentence or item */
    CLOSING = 1 << 6,
    NUMERIC = 1 << 7,
    UPPER = 1 << 8,    /* accented capitals; not those that faces are made of */
    LOWER = 1 << 9,
    UPPER_PLAIN = 1 << 10, /* Greek and Cyrillic capitals, thorn */
    LOWER_PLAIN = 1 << 11,
    ASCII_LOWER = 1 << 12,
    ASCII_LETTER = 1 << 13,
    OTHER = 1 << 14, /* not an ASCII letter */
    SPACE = 1 << 15,
    BLANK = 1 << 16, /* U+0020 */
    WORD = 1 << 17,
    STOP = 1 << 18,      /* . , ? ! */
    A_CIRC = 1 << 19,    /* Â: C2 leads U+0080 to U+00BF */
    A_TILDE = 1 << 20,   /* Ã: C3 leads U+00C0 to U+00FF */
    LEAD = 1 << 21,      /* Â Ã Î Ð */
    FOLLOW = 1 << 22,    /* what comes after those in garbled text */
    ARABIC_LEAD = 1 << 23,
    ARABIC_FOLLOW = 1 << 24,
    A_GRAVE = 1 << 25,   /* E0 leads some South Asian scripts */
    INDIC_FOLLOW = 1 << 26,
    OE = 1 << 27,
    DEGREE = 1 << 28,
    TIMES = 1 << 29,
    SUPERSCRIPT = 1 << 30, /* 2 and 3 */
};

#define SECOND_OF_A_TILDE (1ll << 31) /* no-break space, inverted exclamation mark */
#define PUNCTUATION (OPENING | CLOSING)
#define SYMBOLS (PUNCTUATION | CURRENCY | NUMERIC | LAW)
#define ACCENTED (LOWER | UPPER)
#define ARABIC (ARABIC_FOLLOW | COMMON | CURRENCY | BAD | NUMERIC | OPENING)

/* Runs of characters that text hardly ever has. 0 ends a rule. */
static const uint64_t unlikely[][5] = {
    {CONTROL},
    {BAD | ACCENTED | SYMBOLS, BAD},
    {ASCII_LETTER, LOWER_PLAIN | UPPER_PLAIN, BAD},
    {BAD, ACCENTED | SYMBOLS},
    {LOWER | LOWER_PLAIN | CLOSING | CURRENCY | NUMERIC, UPPER},
    {CLOSING | CURRENCY | NUMERIC, LOWER},
    {LOWER | CLOSING, CURRENCY},
    {SPACE, UPPER, CURRENCY},
    {UPPER, NUMERIC | LAW},
    {ACCENTED | CURRENCY | CLOSING, OPENING, NUMERIC},
    {ACCENTED | CURRENCY | NUMERIC | LAW, CLOSING, OPENING},
    {CURRENCY | NUMERIC, OPENING},
    {ASCII_LOWER, UPPER, OPENING | CURRENCY},
    {ACCENTED, PUNCTUATION, WORD},
    {OE, OTHER},
    {UPPER, DEGREE},
    {LEAD, FOLLOW | PUNCTUATION},
    {TIMES, SUPERSCRIPT},
    {ARABIC_LEAD, ARABIC, ARABIC_LEAD, ARABIC},
    {A_GRAVE, INDIC_FOLLOW},
    {A_TILDE, SECOND_OF_A_TILDE},
    {ASCII_LOWER, A_CIRC | A_TILDE, BLANK},
    {ASCII_LOWER, SPACE, A_CIRC | A_TILDE, BLANK},
    {ASCII_LOWER | STOP | CLOSING, A_CIRC, BLANK | PUNCTUATION},
};

/* The class of each byte from 0x80 of Windows-1252: c common, x control, b bad, l law, $ currency,
 * ( opening, ) closing, 1 numeric, U L accented, P plain capital, . none of these. */
static const char classes[] = "$x(b(cbbbbU(UxUxx(c()(ccb)L)LxLU"  /* 80 */
                              "c($$b$blb(b(bc)b.111c1lcb1b)111("  /* a0 */
                              "UUUUUUUUUUUUUUUUUU.....1U...UUPL"  /* c0 */
                              "LLLLLLLLLLLLLLLLLL.....1....L..."; /* e0 */

static uint64_t class_of_letter(char letter)
{
    static const char letters[] = "cxbl$()1ULP";
    static const uint64_t bits[] = {COMMON,  CONTROL, BAD,   LAW,   CURRENCY,   OPENING,
                                    CLOSING, NUMERIC, UPPER, LOWER, UPPER_PLAIN};
    const char *at = strchr(letters, letter);
    return at ? bits[at - letters] : 0;
}

/* Single characters that rules name. */
static uint64_t special(uint32_t c)
{
    switch (c) {
    case 0xc2:
        return A_CIRC | LEAD;
    case 0xc3:
        return A_TILDE | LEAD;
    case 0xce:
    case 0xd0:
        return LEAD;
    case 0xd8:
    case 0xd9:
        return ARABIC_LEAD;
    case 0xe0:
        return A_GRAVE;
    case 0x152:
    case 0x153:
        return OE | (c == 0x153 ? FOLLOW : 0);
    case 0xd7:
        return TIMES;
    case 0xa0:
        return FOLLOW | SECOND_OF_A_TILDE;
    case 0xa1:
        return SECOND_OF_A_TILDE;
    case 0x160:
    case 0x178:
    case 0xae:
        return FOLLOW | ARABIC_FOLLOW;
    case 0xb0:
        return FOLLOW | ARABIC_FOLLOW | DEGREE;
    case 0xbb:
        return FOLLOW | ARABIC_FOLLOW;
    case 0xb5:
        return ARABIC_FOLLOW | INDIC_FOLLOW;
    case 0xb2:
        return SUPERSCRIPT | INDIC_FOLLOW;
    case 0xb3:
        return SUPERSCRIPT;
    case 0xb9:
    case 0xbc:
    case 0xbd:
    case 0xbe:
        return INDIC_FOLLOW;
    case 0x20ac:
    case 0x161:
    case 0xa2:
    case 0xa3:
    case 0x17e:
    case 0xad:
    case 0xa9:
    case 0xb7:
    case 0x2013:
    case 0x2014:
    case 0xb4:
        return FOLLOW;
    case 0xfffd:
        return BAD;
    }
    return 0;
}

static uint64_t ascii_class(uint32_t c)
{
    bool lower = c >= 'a' && c <= 'z', letter = lower || (c >= 'A' && c <= 'Z');
    uint64_t class = letter ? ASCII_LETTER | WORD : OTHER;
    if (lower)
        class |= ASCII_LOWER;
    if ((c >= '0' && c <= '9') || c == '_')
        class |= WORD;
    if (c == '.' || c == ',' || c == '?' || c == '!')
        class |= STOP;
    return class | (rune_is_space(c) ? SPACE : 0) | (c == ' ' ? BLANK : 0);
}

static uint64_t class_of(uint32_t c)
{
    if (c < 0x80)
        return ascii_class(c);
    uint64_t class = OTHER | (rune_is_space(c) ? SPACE : 0) | special(c);
    int byte = windows1252_byte(c);
    if (byte >= 0)
        class |= class_of_letter(classes[byte - 0x80]);
    else if (c <= 0x9f)
        class |= CONTROL;
    else if ((c >= 0x391 && c <= 0x3a9) || (c >= 0x401 && c <= 0x42f))
        class |= UPPER_PLAIN;
    else if ((c >= 0x3b1 && c <= 0x3c9) || (c >= 0x430 && c <= 0x45f))
        class |= LOWER_PLAIN;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    bool word = (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
                (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
    return class | (word ? WORD : 0);
}

/* Whether a rule ends at the newest of the last four characters (newest first). */
static bool rule_ends(const uint64_t last[4])
{
    for (size_t r = 0; r < sizeof unlikely / sizeof *unlikely; r++) {
        const uint64_t *rule = unlikely[r];
        int length = 1, i = 0;
        while (rule[length])
            length++;
        while (i < length && rule[i] & last[length - 1 - i])
            i++;
        if (i == length)
            return true;
    }
    return false;
}

bool is_garbled(const struct runes *text)
{
    uint64_t last[4] = {0};
    for (size_t i = 0; i < text->count; i++) {
        memmove(last + 1, last, 3 * sizeof *last);
        last[0] = class_of(text->at[i]);
        if (rule_ends(last) || (i == 1 && last[0] & BLANK && last[1] & (A_CIRC | A_TILDE)))
            return true;
    }
    return false;
}
