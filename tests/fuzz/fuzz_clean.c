/* Prompts: whatever they hold, what comes out is UTF-8 without white space at its ends. */
#include <stdlib.h>
#include <string.h>
#include "fuzz.h"
#include "text/text.h"
#include "base/utf8.h"

static void check(char *clean)
{
    const char *at = clean, *end = clean + strlen(clean);
    if (*clean == ' ' || (end > clean && end[-1] == ' ') || strpbrk(clean, "\t\n\v\f\r") ||
        strstr(clean, "  "))
        abort();
    while (at < end) {
        if (utf8_next(&at, end) < 0)
            abort();
    }
    free(clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *clean;
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    if (text_fold(&clean, text, NULL) == 0)
        check(clean);
    if (text_clean(&clean, text, NULL) == 0)
        check(clean);
    free(text);
    return 0;
}
