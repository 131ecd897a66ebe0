#include "config/utf8.h"

/* Length of the valid sequence at `text`, 0 if there is none. */
static size_t utf8_sequence(const unsigned char *text, size_t size)
{
    unsigned char first = text[0];
    if (first < 0x80)
        return 1;
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || length > size)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((first == 0xe0 && text[1] < 0xa0) || (first == 0xed && text[1] > 0x9f) ||
        (first == 0xf0 && text[1] < 0x90) || (first == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

bool utf8_valid(const char *text, size_t size, int *line)
{
    int at_line = 1;
    for (size_t i = 0; i < size;) {
        size_t length = utf8_sequence((const unsigned char *)text + i, size - i);
        if (length == 0) {
            if (line)
                *line = at_line;
            return false;
        }
        at_line += text[i] == '\n';
        i += length;
    }
    return true;
}
