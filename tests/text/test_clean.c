/* Cleaning of prompts. The expected texts are what ftfy 6 with html.unescape and white-space
 * folding gives. */
#include "test.h"
#include "text/html.h"
#include "text/relative_position.h"
#include "text/text.h"

struct sample {
    const char *text, *clean;
};

static void check_samples(int (*change)(char **, const char *, const unreel_log *),
                          const struct sample *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *clean = NULL;
        int code = change(&clean, samples[i].text, &test_log);
        CHECK_MSG(code == 0 && !strcmp(clean, samples[i].clean), "'%s' gave '%s', not '%s'",
                  samples[i].text, clean ? clean : "(null)", samples[i].clean);
        free(clean);
    }
}

#define CHECK_SAMPLES(change, samples) \
    check_samples(change, samples, sizeof samples / sizeof *samples)

static const struct sample folded[] = {
    {"", ""},
    {"  \t\n ", ""},
    {" a\t b\r\n\f c  ", "a b c"},
    {"a\xc2\xa0\xe3\x80\x80\xe2\x80\x83\x62", "a b"}, /* no-break, ideographic, em space */
    {"a\xe2\x80\x8b\x62", "a\xe2\x80\x8b\x62"},       /* zero width: no white space */
    {"&lt;b&gt;bold&lt;/b&gt; &amp;amp; more", "<b>bold</b> & more"},
    {"&amp;amp;amp;", "&amp;"}, /* twice, not more */
    {"&eacute;&eacute &Eacute;", "éé É"},
    {"&notit; &notin; &not", "¬it; ∉ ¬"}, /* the longest name; old ones need no semicolon */
    {"&ampx &amp=1 &lt", "&x &=1 <"},
    {"&hellip &hellip;", "&hellip …"}, /* too new to go without */
    {"&fjlig; &NotEqualTilde;", "fj \xe2\x89\x82\xcc\xb8"},
    {"&CounterClockwiseContourIntegral;", "∳"},
    {"&#65;&#x42;&#X43;&#68", "ABCD"},
    {"&#128;&#x99;&#150;", "€™–"}, /* Windows-1252 */
    {"&#0;&#xD800;&#1114112;&#99999999999999999999;",
     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"a&#1;b&#xfdd0;c&#xffff;d", "abcd"},
    {"a&#13;b", "a b"},
    {"& &; &# &#; &#x; &unknown; &unknown", "& &; &# &#; &#x; &unknown; &unknown"},
    {"&\xc3\xa9;", "&é;"},
    {"cafÃ© ﬁ", "cafÃ© ﬁ"}, /* no repair here */
};

static const struct sample cleaned[] = {
    {"A red fox leaps over a frozen stream.", "A red fox leaps over a frozen stream."},
    /* quotes, ligatures, widths */
    {"‘a’ ‚b‛ “c” „d‟ ʼe", "'a' 'b' \"c\" \"d\" 'e"},
    {"«x» ‹y›", "«x» ‹y›"},
    {"ﬁ ﬂ ﬀ ﬃ ﬄ ﬅ ﬆ Ĳ ĳ ŉ Ǆ ǅ ǆ Ǉ ǌ ǲ æ œ",
     "fi fl ff ffi ffl ſt st IJ ij 'n DŽ Dž dž LJ nj Dz æ œ"},
    {"ＬＯＵＤ　ＮＯＩＳＥＳ！ Ｕﾀｰﾝ ｶﾞ ￠", "LOUD NOISES! Uターン ガ ¢"},
    /* composition, but not compatibility */
    {"e\xcc\x81 a\xcc\x88\xcc\xa3 \xe1\x84\x80\xe1\x85\xa1", "é ạ̈ 가"},
    {"½ ① x² ™", "½ ① x² ™"},
    /* controls */
    {"\xef\xbb\xbfstart \x1b[36;44mblue\x1b[0m \x1b[x \x1b", "start blue"},
    {"a\x01\x08\x0b\x7f\xe2\x81\xaa\xef\xbf\xbc\x62", "ab"},
    {"flag \xf0\x9f\x8f\xb4\xf3\xa0\x81\xa7 joiner\xe2\x80\x8d!",
     "flag \xf0\x9f\x8f\xb4\xf3\xa0\x81\xa7 joiner\xe2\x80\x8d!"},
    {"one\r\ntwo\rthree\xe2\x80\xa8\x66our\xc2\x85\x66ive", "one two three four…five"},
    /* references, unless the line or one before has a '<' */
    {"P&eacute;rez P&EACUTE;REZ &SZLIG; &nTILDE;", "Pérez PÉREZ SS &nTILDE;"},
    {"&amp;amp;amp;amp;eacute;", "é"}, /* until nothing is left */
    {"&notit; &AMP;", "¬it; &"},       /* the first is left to html.unescape */
    {"<b> &amp;amp;amp;eacute;", "<b> &amp;eacute;"},
    {"&amp;amp;amp;eacute;\n<b>\n&amp;amp;amp;eacute;", "é <b> &amp;eacute;"},
    /* Windows-1252 and Latin-1 mistaken for UTF-8 */
    {"cafÃ©", "café"},
    {"donâ€™t â€œquoteâ€\xc2\x9d â€” â€¦", "don't \"quote\" — …"},
    {"Ã la mode", "à la mode"},
    {"voilÃ  le travail", "voilà le travail"},
    {"Ãƒâ€šÃ‚Â¿", "¿"},
    {"Â£5.8bn Â«citÃ©Â»", "£5.8bn «cité»"},
    {"ðŸ¦Š fox", "🦊 fox"},
    {"Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "привет"},
    {"æ—¥æœ¬èªž", "日本語"},
    {"日本 and cafÃ© and naÃ¯ve", "日本 and café and naïve"}, /* amid sound text */
    {"tur\xc2\x92stico \xc2\x80", "tur'stico €"},                 /* C1 */
    {"Ã©\xef\xbf\xbd Ã\xef\xbf\xbd", "é\xef\xbf\xbd \xef\xbf\xbd"}, /* a byte was lost */
    {"í\xc2\xa0½í²©", "\xf0\x9f\x92\xa9"}, /* surrogates apart */
    /* text that only looks so */
    {"IKEA® AHÅ™ MARQUÉ… Brontë…”", "IKEA® AHÅ™ MARQUÉ… Brontë…\""},
    {"This text is fine already :þ", "This text is fine already :þ"},
    {"CÔTÉ «OUI» à 10 €, ½ €, É“, Ünïcödé", "CÔTÉ «OUI» à 10 €, ½ €, É\", Ünïcödé"},
    {"Ångström Ærø São Paulo Ñandú Łódź", "Ångström Ærø São Paulo Ñandú Łódź"},
};

static void test_samples(void)
{
    CHECK_SAMPLES(text_fold, folded);
    CHECK_SAMPLES(text_clean, cleaned);
}

static void test_refusals(void)
{
    static const char *const broken[] = {"\xff", "a\xc3", "\xc0\xaf", "\xed\xa0\x80",
                                         "\xf5\x80\x80\x80", "caf\xe9 au lait", "\xe2\x82"};
    char *clean;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        CHECK(text_clean(&clean, broken[i], &test_log) == UNREEL_EFORMAT && !clean);
        CHECK(strstr(test_message, "not UTF-8"));
        CHECK(text_fold(&clean, broken[i], &test_log) == UNREEL_EFORMAT && !clean);
    }
    char *large = malloc(TEXT_BYTES_MAX + 2);
    memset(large, 'x', TEXT_BYTES_MAX + 1);
    large[TEXT_BYTES_MAX + 1] = 0;
    CHECK(text_clean(&clean, large, &test_log) == UNREEL_EINVAL && !clean);
    large[TEXT_BYTES_MAX] = 0;
    CHECK(text_clean(&clean, large, &test_log) == 0 && strlen(clean) == TEXT_BYTES_MAX);
    free(clean);
    free(large);
}

/* `start`, then `unit` over and over: ends in reasonable time (a meson test has two minutes). */
static void attack(const char *start, const char *unit)
{
    size_t length = strlen(start), step = strlen(unit);
    char *text = malloc(TEXT_BYTES_MAX + 1), *clean;
    memcpy(text, start, length);
    for (; length + step <= TEXT_BYTES_MAX; length += step)
        memcpy(text + length, unit, step);
    text[length] = 0;
    CHECK_MSG(text_clean(&clean, text, &test_log) == 0, "%s %s", start, unit);
    free(clean);
    free(text);
}

static void test_attacks(void)
{
    attack("&", "amp;");
    attack("日¡", "Ã¡"); /* one long run that may not be read again */
    attack("日", "Ã©x");
    attack("a", "\xcc\x81");
    attack("", "Ã©\n");
}

/* The table of names: sorted, since it is searched by halves. */
static void test_entities(void)
{
    static const struct {
        const char *name;
        uint32_t first, second;
        bool legacy;
    } entities[] = {
#include "text/html_entities.inc"
    };
    size_t count = sizeof entities / sizeof *entities, legacy = 0, sorted = 0;
    for (size_t i = 0; i < count; i++) {
        legacy += entities[i].legacy;
        sorted += !i || strcmp(entities[i - 1].name, entities[i].name) < 0;
    }
    CHECK(count == 2125 && legacy == 106 && sorted == count);
}

/* Buckets of the encoder's relative positions, against T5's formula in double precision. */
static void test_relative_positions(void)
{
    int wrong = 0;
    for (int distance = -600; distance <= 600; distance++) {
        int n = abs(distance);
        double far = 8 + floor(log(n / 8.0) / log(16.0) * 8 + 1e-9);
        int bucket = (distance > 0 ? 16 : 0) + (n < 8 ? n : far < 15 ? (int)far : 15);
        wrong += relative_bucket(distance) != bucket;
    }
    CHECK(wrong == 0);
    CHECK(relative_bucket(0) == 0 && relative_bucket(-7) == 7 && relative_bucket(7) == 23);
    CHECK(relative_bucket(-8) == 8 && relative_bucket(-11) == 8 && relative_bucket(-12) == 9);
    CHECK(relative_bucket(64) == 30 && relative_bucket(90) == 30 && relative_bucket(91) == 31);
}

int main(void)
{
    char *clean;
    if (text_clean(&clean, "a", NULL) == UNREEL_EUNSUPPORTED) {
        CHECK_SAMPLES(text_fold, folded);
        printf("this build cannot clean prompts\n");
        return test_failed ? 1 : 77;
    }
    free(clean);
    test_samples();
    test_refusals();
    test_attacks();
    test_entities();
    test_relative_positions();
    return test_end();
}
