#include "config/lines.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "base/utf8.h"

#define FILE_SIZE_MAX ((size_t)1 << 28) /* bytes */

/* Bytes of the white space character that ends [text, text + size), 0 if it is something else. The
 * set is that of Python's str.rstrip. */
static size_t trailing_space(const char *text, size_t size)
{
    static const char *const wide[] = {
        "\xc2\x85", "\xc2\xa0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003",
        "\u2004",   "\u2005",   "\u2006", "\u2007", "\u2008", "\u2009", "\u200a",
        "\u2028",   "\u2029",   "\u202f", "\u205f", "\u3000",
    };
    unsigned char last = size ? (unsigned char)text[size - 1] : 0;
    if (last == ' ' || (last >= 0x09 && last <= 0x0d) || (last >= 0x1c && last <= 0x1f))
        return 1;
    for (size_t i = 0; last >= 0x80 && i < sizeof wide / sizeof wide[0]; i++) {
        size_t length = strlen(wide[i]);
        if (size >= length && !memcmp(text + size - length, wide[i], length))
            return length;
    }
    return 0;
}

static size_t count_lines(const char *text, size_t size)
{
    size_t count = 1;
    for (size_t i = 0; i < size; i++)
        count += text[i] == '\n' || text[i] == '\r';
    return count;
}

/* Cuts the buffer into lines in place. */
static void split(struct lines *lines, char *text, char *end)
{
    while (text < end) {
        char *stop = text;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        char *next = stop + (stop + 1 < end && stop[0] == '\r' && stop[1] == '\n' ? 2 : 1);
        size_t size = (size_t)(stop - text), space;
        while ((space = trailing_space(text, size)))
            size -= space;
        text[size] = 0; /* the buffer has a byte past its end */
        lines->at[lines->count++] = text;
        text = next;
    }
    while (lines->count && !*lines->at[lines->count - 1])
        lines->count--;
}

static void warn_empty(const struct lines *lines, const char *path, const unreel_log *log)
{
    size_t count = 0, first = 0;
    for (size_t i = 0; i < lines->count; i++)
        if (!*lines->at[i] && count++ == 0)
            first = i;
    if (count == 1)
        log_warning(log, "%s:%zu: an empty line is an empty prompt", path, first + 1);
    else if (count)
        log_warning(log, "%s:%zu: an empty line is an empty prompt, there are %zu", path, first + 1,
                    count);
}

static int check(const char *text, size_t size, const char *path, const unreel_log *log)
{
    int line;
    if (!utf8_valid(text, size, &line))
        return log_error(log, UNREEL_EFORMAT, "%s:%d: not UTF-8", path, line);
    const char *nul = memchr(text, 0, size);
    if (nul) {
        line = 1;
        for (const char *at = text; at < nul; at++)
            line += *at == '\n';
        return log_error(log, UNREEL_EFORMAT, "%s:%d: a NUL character", path, line);
    }
    return 0;
}

int lines_read(struct lines *lines, const char *path, const unreel_log *log)
{
    size_t size;
    *lines = (struct lines){0};
    int code = file_read_text(&lines->buffer, &size, path, FILE_SIZE_MAX, log);
    if (code == 0)
        code = check(lines->buffer, size, path, log);
    if (code == 0) {
        size_t mark = size >= 3 && !memcmp(lines->buffer, "\xef\xbb\xbf", 3) ? 3 : 0;
        lines->at = calloc(count_lines(lines->buffer, size), sizeof *lines->at);
        if (!lines->at)
            code = log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
        else
            split(lines, lines->buffer + mark, lines->buffer + size);
    }
    if (code == 0 && lines->count == 0)
        code = log_error(log, UNREEL_EFORMAT, "%s: no prompts in this file", path);
    if (code == 0)
        warn_empty(lines, path, log);
    else
        lines_finish(lines);
    return code;
}

void lines_finish(struct lines *lines)
{
    free(lines->buffer);
    free(lines->at);
    *lines = (struct lines){0};
}
