#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "test.h"

static int parse(struct json **root, const char *text)
{
    test_message[0] = 0;
    return json_parse(root, text, strlen(text), "x.json", &test_log);
}

static void accepts(void)
{
    struct json *d = NULL;
    CHECK(parse(&d, " { \"a\": [1, -2.5e1, \"t\", null, true, false], \"b\": {} , \"c\":[]}\n") == 0);
    const struct json *a = json_get(d, "a");
    int64_t i = 0;
    double r = 0;
    bool b = false;
    CHECK(json_length(a) == 6 && json_length(d) == 3);
    CHECK(json_int(json_at(a, 0), &i) && i == 1);
    CHECK(json_double(json_at(a, 0), &r) && r == 1);
    CHECK(json_double(json_at(a, 1), &r) && r == -25);
    CHECK(!json_int(json_at(a, 1), &i));
    CHECK(!strcmp(json_text(json_at(a, 2)), "t"));
    CHECK(json_at(a, 3) && !json_text(json_at(a, 3)) && !json_at(a, 6));
    CHECK(json_bool(json_at(a, 4), &b) && b);
    CHECK(json_bool(json_at(a, 5), &b) && !b);
    CHECK(json_is_object(json_get(d, "b")) && json_is_array(json_get(d, "c")));
    CHECK(!json_get(d, "d") && !json_get(a, "a") && !json_get(NULL, "a") && !json_at(NULL, 0));
    CHECK(!strcmp(json_key(d, 2), "c") && !json_key(a, 0));
    json_free(d);

    CHECK(parse(&d, "[9223372036854775807, -9223372036854775808, 0, -0, 1e308, 0.0]") == 0);
    CHECK(json_int(json_at(d, 0), &i) && i == INT64_MAX);
    CHECK(json_int(json_at(d, 1), &i) && i == INT64_MIN);
    CHECK(!json_int(json_at(d, 5), &i) && json_double(json_at(d, 5), &r) && r == 0);
    json_free(d);

    CHECK(parse(&d, "\"\\u00e9\\ud83d\\ude00\\n\\\"\\/ \xc3\xa9\"") == 0);
    CHECK(!strcmp(json_text(d), "\xc3\xa9\xf0\x9f\x98\x80\n\"/ \xc3\xa9"));
    json_free(d);
}

static void refuses(void)
{
    static const char *const bad[] = {
        "", " ", "{", "[", "]", "[1,]", "[,1]", "[1 2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}",
        "{\"a\":1 \"b\":2}", "{\"a\":1,\"a\":2}", "{\"b\":{\"a\":1,\"c\":1,\"a\":2}}", "01", "-", "+1",
        "1.", ".5", "1e", "1e+", "1e999", "9223372036854775808", "0x10", "NaN", "Infinity", "tru", "nul",
        "\"", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u0000\"", "\"\\ud800\"", "\"\\ud800\\u0041\"",
        "\"\\udc00\"", "\"\t\"", "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"",
        "\"\xe2\x82\"", "1 2", "{} x", "\xef\xbb\xbf{}", "'a'", "[1] // x", "\"\\ud83d\\",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct json *d = NULL;
        CHECK_MSG(parse(&d, bad[i]) == UNREEL_EFORMAT, "%s", bad[i]);
        CHECK_MSG(!strncmp(test_message, "x.json: ", 8), "%s", test_message);
        CHECK(!d);
    }
    struct json *d = NULL;
    CHECK(parse(&d, "{\"a\":\n  [1, 2 3]}") < 0);
    CHECK_MSG(!strcmp(test_message, "x.json: line 2, column 9: ',' or ']' is expected"), "%s",
              test_message);
    CHECK(parse(&d, "{\"same\":1, \"same\":2}") < 0);
    CHECK_MSG(!strcmp(test_message, "x.json: the key 'same' appears twice"), "%s", test_message);
}

static void limits(void)
{
    struct json *d = NULL;
    char text[2 * JSON_DEPTH_MAX + 3] = "";
    for (int depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        CHECK((parse(&d, text) == 0) == (depth == JSON_DEPTH_MAX));
        json_free(d);
    }
    size_t size = 2 * (size_t)JSON_VALUES_MAX + 2;
    char *many = malloc(size + 1);
    for (size_t i = 0; i < size; i += 2)
        memcpy(many + i, "1,", 2);
    many[0] = '[';
    many[size - 1] = ']';
    many[size] = 0;
    CHECK(parse(&d, many) == UNREEL_EFORMAT);
    free(many);
    char number[1000];
    memset(number, '1', sizeof number);
    number[sizeof number - 1] = 0;
    CHECK(parse(&d, number) == UNREEL_EFORMAT);
}

static void many_keys(void)
{
    struct json_writer w;
    json_writer_init(&w, 0);
    json_put_object(&w, NULL);
    for (int i = 0; i < 5000; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i * 7919 % 5000);
        json_put_int(&w, key, i);
    }
    json_put_end(&w);
    char *text = json_writer_finish(&w);
    struct json *d = NULL;
    CHECK(text && parse(&d, text) == 0);
    int found = 0;
    for (int i = 0; i < 5000; i++) {
        char key[16];
        int64_t value;
        snprintf(key, sizeof key, "k%d", i * 7919 % 5000);
        found += json_int(json_get(d, key), &value) && value == i;
    }
    CHECK(found == 5000);
    json_free(d);
    free(text);
}

static void writes(void)
{
    struct json_writer w;
    json_writer_init(&w, 2);
    json_put_object(&w, NULL);
    json_put_text(&w, "t\"", "a\\\n\x01\xc3\xa9");
    json_put_int(&w, "i", INT64_MIN);
    json_put_array(&w, "r");
    json_put_double(&w, NULL, 0.1);
    json_put_double(&w, NULL, 3);
    json_put_double(&w, NULL, 1e300);
    json_put_double(&w, NULL, INFINITY);
    json_put_fixed(&w, NULL, 2.0 / 3, 2);
    json_put_end(&w);
    json_put_object(&w, "e");
    json_put_end(&w);
    json_put_bool(&w, "b", true);
    json_put_text(&w, "n", NULL);
    json_put_end(&w);
    char *text = json_writer_finish(&w);
    CHECK_MSG(text && !strcmp(text, "{\n  \"t\\\"\": \"a\\\\\\n\\u0001\xc3\xa9\",\n"
                                    "  \"i\": -9223372036854775808,\n"
                                    "  \"r\": [\n    0.1,\n    3.0,\n    1e+300,\n    null,\n    0.67\n"
                                    "  ],\n  \"e\": {},\n  \"b\": true,\n  \"n\": null\n}"),
              "%s", text);
    struct json *d = NULL;
    CHECK(parse(&d, text) == 0);
    json_free(d);
    free(text);

    json_writer_init(&w, 0);
    json_put_array(&w, NULL);
    CHECK(!json_writer_finish(&w)); /* not closed */
    json_writer_init(&w, 0);
    for (int i = 0; i < JSON_DEPTH_MAX + 2; i++)
        json_put_array(&w, NULL);
    for (int i = 0; i < JSON_DEPTH_MAX + 2; i++)
        json_put_end(&w);
    CHECK(!json_writer_finish(&w));

    static const double exact[] = {1.0 / 3, 5e-324, 1.7976931348623157e308, -0.0, 123456789.125, 1e22};
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++) {
        double back = 0;
        json_writer_init(&w, 0);
        json_put_double(&w, NULL, exact[i]);
        text = json_writer_finish(&w);
        CHECK(text && parse(&d, text) == 0 && json_double(d, &back));
        CHECK_MSG(!memcmp(&back, &exact[i], sizeof back), "%s", text);
        json_free(d);
        free(text);
    }
}

/* A program that has set a locale with decimal commas must not change what is read or written. */
static void any_locale(void)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    for (size_t i = 0; i < sizeof names / sizeof *names && !setlocale(LC_ALL, names[i]); i++)
        continue;
    struct json *d = NULL;
    double r = 0;
    CHECK(parse(&d, "1.5") == 0 && json_double(d, &r) && r == 1.5);
    json_free(d);
    struct json_writer w;
    json_writer_init(&w, 0);
    json_put_double(&w, NULL, 1.5);
    char *text = json_writer_finish(&w);
    CHECK(text && !strcmp(text, "1.5"));
    free(text);
    setlocale(LC_ALL, "C");
}

static void utf8(void)
{
    for (uint32_t c = 1; c < 0x110000; c += c < 0x3000 ? 1 : 257) {
        char out[4];
        size_t n = (size_t)(utf8_put(out, c) - out);
        bool surrogate = c >= 0xd800 && c < 0xe000;
        if ((utf8_length(out, n) == n) == surrogate)
            CHECK_MSG(0, "U+%04X", c);
        if (n > 1 && utf8_valid(out, n - 1, NULL))
            CHECK_MSG(0, "U+%04X cut", c);
    }
    CHECK(utf8_valid("", 0, NULL) && !utf8_valid("\x80", 1, NULL) && !utf8_valid("a\xf8\x88\x80\x80\x80", 6, NULL));
}

int main(void)
{
    accepts();
    refuses();
    limits();
    many_keys();
    writes();
    any_locale();
    utf8();
    return test_end();
}
