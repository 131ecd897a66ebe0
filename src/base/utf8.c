#include "base/utf8.h"

int32_t utf8_next(const char **at, const char *end)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *c = (const unsigned char *)*at;
    if (*at >= end)
        return -1;
    int length = *c < 0x80 ? 1 : *c < 0xc2 ? 0 : *c < 0xe0 ? 2 : *c < 0xf0 ? 3 : *c < 0xf5 ? 4 : 0;
    if (!length || end - *at < length)
        return -1;
    uint32_t code = length == 1 ? *c : *c & (0x7f >> length);
    for (int i = 1; i < length; i++) {
        if ((c[i] & 0xc0) != 0x80)
            return -1;
        code = code << 6 | (c[i] & 0x3f);
    }
    if ((length > 1 && code < least[length]) || (code >= 0xd800 && code < 0xe000) ||
        code > 0x10ffff)
        return -1;
    *at += length;
    return (int32_t)code;
}

size_t utf8_length(const char *text, size_t size)
{
    const char *at = text;
    return utf8_next(&at, text + size) < 0 ? 0 : (size_t)(at - text);
}

bool utf8_valid(const char *text, size_t size, int *line)
{
    const char *at = text, *end = text + size;
    int at_line = 1;
    while (at < end) {
        int32_t c = utf8_next(&at, end);
        if (c < 0) {
            if (line)
                *line = at_line;
            return false;
        }
        at_line += c == '\n';
    }
    return true;
}

char *utf8_put(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
        return to;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    *to++ = (char)(lead[more] | code >> 6 * more);
    while (more--)
        *to++ = (char)(0x80 | (code >> 6 * more & 0x3f));
    return to;
}
