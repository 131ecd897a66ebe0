#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "text/sentencepiece.h"
#include "text/spiece_check.h"
#include "text/text.h"

#define EOS 1 /* </s> */
#define MODEL_BYTES_MAX (256 << 20)
#define ERROR_BYTES 256

struct tokenizer {
    char *name;
    void *model;
    int pieces;
};

static int load(struct tokenizer *t, const void *data, size_t size, const unreel_log *log)
{
    struct spiece_info info;
    char error[ERROR_BYTES];
    const char *wrong = size > MODEL_BYTES_MAX ? "too large for a tokenizer"
                                               : spiece_check(&info, data, size);
    if (wrong)
        return log_error(log, UNREEL_EFORMAT, "%s: %s", t->name, wrong);
    t->pieces = info.pieces;
    t->model = sentencepiece_open(info.kept, info.kept_bytes, error, sizeof error);
    free(info.kept);
    if (!t->model)
        return log_error(log, UNREEL_EFORMAT, "%s: %s", t->name, error);
    return 0;
}

int tokenizer_open_memory(struct tokenizer **tokenizer, const void *data, size_t size,
                          const char *name, const unreel_log *log)
{
    *tokenizer = NULL;
    struct tokenizer *t = calloc(1, sizeof *t);
    int code;
    if (!t || !(t->name = strdup(name)))
        code = log_error(log, UNREEL_ENOMEM, "%s: out of memory", name);
    else
        code = load(t, data, size, log);
    if (code < 0)
        tokenizer_close(t);
    else
        *tokenizer = t;
    return code;
}

int tokenizer_open(struct tokenizer **tokenizer, const char *path, const unreel_log *log)
{
    struct file file;
    *tokenizer = NULL;
    int code = file_map(&file, path, log);
    if (code == 0)
        code = tokenizer_open_memory(tokenizer, file.data, file.size, path, log);
    file_unmap(&file);
    return code;
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    if (tokenizer->model)
        sentencepiece_close(tokenizer->model);
    free(tokenizer->name);
    free(tokenizer);
}

int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, int32_t *ids, int max,
                     const unreel_log *log)
{
    char error[ERROR_BYTES];
    size_t size = strlen(text), room = max > 0 ? (size_t)max - 1 : 0;
    if (max < 1)
        return log_error(log, UNREEL_EINVAL, "room for %d tokens, at least 1 is needed", max);
    if (size > TEXT_BYTES_MAX)
        return log_error(log, UNREEL_EINVAL, "a text of %zu bytes, at most %d make sense", size,
                         TEXT_BYTES_MAX);
    int64_t count = sentencepiece_encode(tokenizer->model, text, size, ids, room, error,
                                         sizeof error);
    if (count < 0)
        return log_error(log, UNREEL_EFORMAT, "%s: cannot encode: %s", tokenizer->name, error);
    if ((uint64_t)count > room)
        count = (int64_t)room;
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= tokenizer->pieces)
            return log_error(log, UNREEL_EFORMAT, "%s: gave an id without a piece",
                             tokenizer->name);
    }
    ids[count] = EOS;
    return (int)count + 1;
}
