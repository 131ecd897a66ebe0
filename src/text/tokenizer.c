#include "base/file.h"
#include "text/sentencepiece.h"
#include "text/text.h"

#include <stdlib.h>

#define END_OF_TEXT 1 /* </s> in T5's vocabularies */

struct tokenizer {
    struct sentencepiece_model *model;
};

int tokenizer_open(struct tokenizer **tokenizer, const char *path, const unreel_log *log)
{
    char reason[256];
    struct file file;
    *tokenizer = NULL;
    int code = file_map(&file, path, log);
    if (code < 0)
        return code;
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        code = log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    else if (!(t->model = sentencepiece_load(file.data, file.size, reason, sizeof reason)))
        code = log_error(log, UNREEL_EFORMAT, "%s: not a SentencePiece model: %s", path, reason);
    file_unmap(&file);
    if (code < 0) {
        free(t);
        return code;
    }
    *tokenizer = t;
    return 0;
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    sentencepiece_free(tokenizer->model);
    free(tokenizer);
}

int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, int32_t *ids, int max,
                     const unreel_log *log)
{
    long found = sentencepiece_encode(tokenizer->model, text, ids, (size_t)(max - 1));
    if (found < 0)
        return log_error(log, UNREEL_EFORMAT, "a text that cannot be tokenised");
    int count = found < max - 1 ? (int)found : max - 1;
    ids[count] = END_OF_TEXT;
    return count + 1;
}
