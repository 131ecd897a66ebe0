#include "config/value.h"

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "config/options.h"
#include "base/utf8.h"

const char *value_kind_name(enum unreel_option_kind kind)
{
    switch (kind) {
    case UNREEL_OPTION_BOOL:
        return "true or false";
    case UNREEL_OPTION_INT:
        return "int";
    case UNREEL_OPTION_FLOAT:
        return "number";
    case UNREEL_OPTION_STRING:
        return "text";
    case UNREEL_OPTION_PATH:
        return "path";
    case UNREEL_OPTION_INTS:
        return "list of ints";
    case UNREEL_OPTION_SIZE:
        return "WIDTHxHEIGHT";
    }
    return "value";
}

/* ---- locale-independent numbers ----------------------------------------------------------- */

/* Switches the thread to the C locale, as an application's may write 5,0 for 5.0. glibc and musl
 * keep this locale static: nothing is allocated. */
static locale_t enter_c_locale(locale_t *c_locale)
{
    *c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return *c_locale ? uselocale(*c_locale) : (locale_t)0;
}

static void leave_c_locale(locale_t c_locale, locale_t before)
{
    if (!c_locale)
        return;
    uselocale(before);
    freelocale(c_locale);
}

double value_float(const char *text)
{
    locale_t c_locale, before = enter_c_locale(&c_locale);
    double value = strtod(text, NULL);
    leave_c_locale(c_locale, before);
    return value;
}

/* A short decimal that reads back as the same double. */
static char *format_float(double value)
{
    char text[40];
    locale_t c_locale, before = enter_c_locale(&c_locale);
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    leave_c_locale(c_locale, before);
    return strdup(text);
}

int64_t value_int(const char *text)
{
    return strtoll(text, NULL, 10);
}

int value_ints(const char *text, int *values, int max)
{
    int count = 0;
    while (*text) {
        char *end;
        long value = strtol(text, &end, 10);
        if (count < max)
            values[count] = (int)value;
        count++;
        text = *end ? end + 1 : end;
    }
    return count;
}

void value_size(const char *text, int *width, int *height)
{
    char *end;
    *width = (int)strtol(text, &end, 10);
    *height = (int)strtol(*end ? end + 1 : end, NULL, 10);
}

/* ---- checks, one a kind ------------------------------------------------------------------- */

static bool has_limits(const struct option *option)
{
    return option->info.min <= option->info.max;
}

/* "expected int from 0 to 1000, got 'abc'" */
static void *expected(const struct option *option, const char *text, char *reason)
{
    char limits[96] = "";
    const char *word = option->info.choices ? "one of" : value_kind_name(option->info.kind);
    bool huge = option->info.max >= 9e15; /* not worth printing */
    if (option->info.choices)
        snprintf(limits, sizeof limits, " %s", option->info.choices);
    else if (has_limits(option) && huge)
        snprintf(limits, sizeof limits, " from %g", option->info.min);
    else if (has_limits(option))
        snprintf(limits, sizeof limits, " from %.10g to %.10g", option->info.min, option->info.max);
    snprintf(reason, VALUE_REASON_MAX, "expected %s%s, got '%.80s'", word, limits, text);
    return NULL;
}

static bool in_limits(const struct option *option, double value)
{
    return !has_limits(option) || (value >= option->info.min && value <= option->info.max);
}

/* A decimal int and nothing else; leading zeros would be octal in YAML 1.1. */
static bool read_int(const char *text, const char **end, int64_t *value)
{
    const char *digits = text + (*text == '-' || *text == '+');
    char *after;
    if (*digits < '0' || *digits > '9' ||
        (digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9'))
        return false;
    errno = 0;
    *value = strtoll(text, &after, 10);
    *end = after;
    return errno == 0;
}

/* Whether a number is allowed beyond its limits; says why not. */
static bool allowed(const struct option *option, int64_t value, char *reason)
{
    int multiple = option->multiple;
    if (option->nonzero && value == 0) {
        snprintf(reason, VALUE_REASON_MAX, "0 has no meaning (-1: all)");
        return false;
    }
    if (multiple && value % multiple) {
        int64_t below = value / multiple * multiple;
        snprintf(reason, VALUE_REASON_MAX,
                 "%" PRId64 " is not a multiple of %d (%" PRId64 " or %" PRId64 " would be)", value,
                 multiple, below, below + multiple);
        return false;
    }
    return true;
}

static char *parse_bool(const struct option *option, const char *text, char *reason)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (int i = 0; i < 8; i++)
        if (!strcasecmp(text, words[i]))
            return strdup(words[i % 2]);
    return expected(option, text, reason);
}

static char *parse_int(const struct option *option, const char *text, char *reason)
{
    int64_t value;
    const char *end;
    char canonical[24];
    if (!read_int(text, &end, &value) || *end || !in_limits(option, (double)value))
        return expected(option, text, reason);
    if (!allowed(option, value, reason))
        return NULL;
    snprintf(canonical, sizeof canonical, "%" PRId64, value);
    return strdup(canonical);
}

static char *parse_float(const struct option *option, const char *text, char *reason)
{
    locale_t c_locale, before;
    char *end;
    if (!*text || strspn(text, "0123456789+-.eE") != strlen(text)) /* no hex, inf, nan, spaces */
        return expected(option, text, reason);
    before = enter_c_locale(&c_locale);
    double value = strtod(text, &end);
    leave_c_locale(c_locale, before);
    if (end == text || *end || value - value != 0 || !in_limits(option, value))
        return expected(option, text, reason);
    return format_float(value + 0.0); /* -0 becomes 0 */
}

/* "1000,750" or "[1000, 750]" */
static char *parse_ints(const struct option *option, const char *text, char *reason)
{
    char canonical[OPTIONS_INTS_MAX * 21 + 1] = "";
    size_t used = 0;
    int count = 0;
    const char *at = text + strspn(text, " ");
    bool bracket = *at == '[';
    at += bracket;
    at += strspn(at, " ");
    bool empty = *at == (bracket ? ']' : 0);
    while (!empty) {
        int64_t value;
        if (!read_int(at, &at, &value) || !in_limits(option, (double)value))
            return expected(option, text, reason);
        if (++count > OPTIONS_INTS_MAX) {
            snprintf(reason, VALUE_REASON_MAX, "more than %d in the list", OPTIONS_INTS_MAX);
            return NULL;
        }
        used += (size_t)snprintf(canonical + used, sizeof canonical - used, "%s%" PRId64,
                                 count > 1 ? "," : "", value);
        at += strspn(at, " ");
        if (*at != ',')
            break;
        at++;
        at += strspn(at, " ");
    }
    if (bracket && *at++ != ']')
        return expected(option, text, reason);
    if (at[strspn(at, " ")])
        return expected(option, text, reason);
    return strdup(canonical);
}

static char *parse_size(const struct option *option, const char *text, char *reason)
{
    int64_t width, height;
    const char *end;
    char canonical[48];
    if (!read_int(text, &end, &width) || (*end != 'x' && *end != 'X' && *end != '*') ||
        !read_int(end + 1, &end, &height) || *end || !in_limits(option, (double)width) ||
        !in_limits(option, (double)height))
        return expected(option, text, reason);
    if (!allowed(option, width, reason) || !allowed(option, height, reason))
        return NULL;
    snprintf(canonical, sizeof canonical, "%" PRId64 "x%" PRId64, width, height);
    return strdup(canonical);
}

static char *parse_text(const struct option *option, const char *text, char *reason)
{
    if (option->info.kind == UNREEL_OPTION_STRING && !utf8_valid(text, strlen(text), NULL)) {
        snprintf(reason, VALUE_REASON_MAX, "not valid UTF-8");
        return NULL;
    }
    size_t length = strlen(text);
    for (const char *choice = option->info.choices; choice;) {
        const char *bar = strchr(choice, '|');
        size_t size = bar ? (size_t)(bar - choice) : strlen(choice);
        if (size == length && !strncasecmp(choice, text, size))
            return strndup(choice, size);
        if (!bar)
            return expected(option, text, reason);
        choice = bar + 1;
    }
    return strdup(text);
}

char *value_parse(const struct option *option, const char *text, char reason[VALUE_REASON_MAX])
{
    snprintf(reason, VALUE_REASON_MAX, "out of memory"); /* unless a check says otherwise */
    switch (option->info.kind) {
    case UNREEL_OPTION_BOOL:
        return parse_bool(option, text, reason);
    case UNREEL_OPTION_INT:
        return parse_int(option, text, reason);
    case UNREEL_OPTION_FLOAT:
        return parse_float(option, text, reason);
    case UNREEL_OPTION_INTS:
        return parse_ints(option, text, reason);
    case UNREEL_OPTION_SIZE:
        return parse_size(option, text, reason);
    case UNREEL_OPTION_STRING:
    case UNREEL_OPTION_PATH:
        return parse_text(option, text, reason);
    }
    return NULL;
}
