/* JSON: what is accepted can be walked, every key finds its value, and what is written of it reads
 * back the same. */
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "fuzz.h"

static void write_value(struct json_writer *w, const char *key, const struct json *value)
{
    int64_t integer;
    double number;
    bool flag;
    if (json_text(value)) {
        json_put_text(w, key, json_text(value));
    } else if (json_int(value, &integer)) {
        json_put_int(w, key, integer);
    } else if (json_double(value, &number)) {
        json_put_double(w, key, number);
    } else if (json_bool(value, &flag)) {
        json_put_bool(w, key, flag);
    } else if (json_is_array(value) || json_is_object(value)) {
        if (json_is_array(value))
            json_put_array(w, key);
        else
            json_put_object(w, key);
        for (size_t i = 0; i < json_length(value); i++) {
            const char *name = json_key(value, i);
            if (name && json_get(value, name) != json_at(value, i))
                abort();
            write_value(w, name, json_at(value, i));
        }
        json_put_end(w);
    } else {
        json_put_null(w, key);
    }
}

static char *to_text(const struct json *value)
{
    struct json_writer w;
    json_writer_init(&w, 1);
    write_value(&w, NULL, value);
    return json_writer_finish(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json *first, *second;
    if (json_parse(&first, (const char *)data, size, "fuzz.json", NULL) < 0)
        return 0;
    char *text = to_text(first);
    if (!text || json_parse(&second, text, strlen(text), "fuzz.json", NULL) < 0)
        abort();
    char *again = to_text(second);
    if (!again || strcmp(text, again))
        abort();
    free(text);
    free(again);
    json_free(first);
    json_free(second);
    return 0;
}
