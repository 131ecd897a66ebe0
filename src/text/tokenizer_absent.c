/* The tokenizer of a build that lacks what it needs. */
#include "text/text.h"

int tokenizer_open(struct tokenizer **tokenizer, const char *path, const unreel_log *log)
{
    *tokenizer = NULL;
    return log_error(log, UNREEL_EUNSUPPORTED, "%s: this build has no tokenizer: " TEXT_MISSING
                     " was not found", path);
}

int tokenizer_open_memory(struct tokenizer **tokenizer, const void *data, size_t size,
                          const char *name, const unreel_log *log)
{
    return tokenizer_open(tokenizer, name, log);
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    (void)tokenizer;
}

int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, int32_t *ids, int max,
                     const unreel_log *log)
{
    return log_error(log, UNREEL_EUNSUPPORTED,
                     "this build has no tokenizer: " TEXT_MISSING " was not found");
}
