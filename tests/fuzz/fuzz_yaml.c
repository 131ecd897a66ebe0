/* Configuration files: whatever is read keeps its promises to those who read options. */
#include <stdlib.h>
#include <string.h>
#include "fuzz.h"
#include "config/options.h"
#include "config/store.h"
#include "config/value.h"
#include "config/yaml.h"

static void drop(void *opaque, int level, const char *message)
{
    (void)opaque, (void)level, (void)message;
}

/* A value that was accepted is canonical: it is accepted again and stays the same. */
static void check(const unreel_options *options, size_t row)
{
    const unreel_option_info *info = unreel_option_at(row);
    const char *text = unreel_options_get(options, info->name);
    char reason[VALUE_REASON_MAX];
    if (!text)
        return;
    char *again = value_parse(&option_table[row], text, reason);
    if (!again || strcmp(again, text))
        abort();
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unreel_log log = {.write = drop};
    unreel_options *options = unreel_options_create(&log);
    struct option_values values;
    if (!options || option_values_init(&values) < 0)
        abort();
    if (size <= YAML_SIZE_MAX &&
        yaml_read_options(&values, "fuzz.yaml", (const char *)data, size, &log) == 0) {
        options_merge(options, LAYER_CONFIG, &values);
        for (size_t row = 0; unreel_option_at(row); row++)
            check(options, row);
    }
    option_values_finish(&values);
    unreel_options_destroy(options);
    return 0;
}
