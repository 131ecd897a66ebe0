/* The tokenizer. First byte 't': the rest is a text for a sound model. Else: the rest is a model, and
 * if it opens, some texts are put through it. */
#include <stdlib.h>
#include <string.h>
#include "fuzz.h"
#include "text/text.h"

#define ROOM 32

static void encode(const struct tokenizer *tokenizer, const char *text)
{
    int32_t ids[ROOM];
    int count = tokenizer_encode(tokenizer, text, ids, ROOM, NULL);
    if (count > ROOM || count == 0 || (count > 0 && ids[count - 1] != 1))
        abort();
    for (int i = 0; i < count; i++) {
        if (ids[i] < 0)
            abort();
    }
}

static void fuzz_text(const uint8_t *data, size_t size)
{
    static struct tokenizer *sound; /* opened once: it takes a while */
    char *text = malloc(size + 1), *clean;
    if (!text || (!sound && tokenizer_open(&sound, TEST_MODEL, NULL) < 0))
        abort();
    memcpy(text, data, size);
    text[size] = 0;
    encode(sound, text); /* not even UTF-8 */
    if (text_clean(&clean, text, NULL) == 0) {
        encode(sound, clean);
        free(clean);
    }
    free(text);
}

static void fuzz_model(const uint8_t *data, size_t size)
{
    static const char *const texts[] = {
        "", "a", "  A cat, 猫, \xf0\x9f\xa6\x8a.  ", "\xef\xac\x81 \xc3\xa9 e\xcc\x81 \xe3\x80\x80x",
        "\xff\xfe\xc3", "<s></s><unk><pad>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    struct tokenizer *tokenizer;
    if (tokenizer_open_memory(&tokenizer, data, size, "fuzz.model", NULL) < 0)
        return;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        encode(tokenizer, texts[i]);
    tokenizer_close(tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size && data[0] == 't')
        fuzz_text(data + 1, size - 1);
    else if (size)
        fuzz_model(data + 1, size - 1);
    return 0;
}
