/* JSON: what is accepted can be walked, and every key finds its value. */
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "fuzz.h"

static void walk(const struct json *value)
{
    int64_t integer;
    double number;
    bool flag;
    char quoted[64];
    json_int(value, &integer);
    json_double(value, &number);
    json_bool(value, &flag);
    if (json_text(value) && strlen(json_quote(json_text(value), quoted, sizeof quoted)) < 2)
        abort();
    for (size_t i = 0; i < json_length(value); i++) {
        const char *key = json_key(value, i);
        if (key && json_get(value, key) != json_at(value, i))
            abort();
        walk(json_at(value, i));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json *root;
    if (json_parse(&root, (const char *)data, size, "fuzz.json", NULL) == 0)
        walk(root);
    json_free(root);
    return 0;
}
