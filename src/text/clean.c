/* Cleaning of prompts, as the original program does it: ftfy, html.unescape twice, white space. */
#include <stdlib.h>
#include <string.h>

#include "text/html.h"
#include "text/repair.h"
#include "text/runes.h"
#include "text/text.h"

static int read_text(struct runes *runes, const char *text, const unreel_log *log)
{
    size_t size = strlen(text);
    if (size > TEXT_BYTES_MAX)
        return log_error(log, UNREEL_EINVAL, "a prompt of %zu bytes, at most %d make sense", size,
                         TEXT_BYTES_MAX);
    if (runes_append_utf8(runes, text, size))
        return 0;
    size = runes->count;
    runes_finish(runes);
    return log_error(log, UNREEL_EFORMAT, "a prompt is not UTF-8 after its first %zu characters",
                     size);
}

/* Runs of white space become one blank, none at either end. */
static void fold_space(struct runes *out, const struct runes *in)
{
    bool space = false;
    for (size_t i = 0; i < in->count; i++) {
        if (rune_is_space(in->at[i])) {
            space = true;
            continue;
        }
        if (space && out->count)
            runes_push(out, ' ');
        space = false;
        runes_push(out, in->at[i]);
    }
}

/* Takes over the runes. */
static int fold(char **clean, struct runes *runes, const unreel_log *log)
{
    runes_apply(runes, html_unescape);
    runes_apply(runes, html_unescape);
    runes_apply(runes, fold_space);
    *clean = runes_to_utf8(runes, NULL);
    runes_finish(runes);
    return *clean ? 0 : log_error(log, UNREEL_ENOMEM, "out of memory for a prompt");
}

int text_fold(char **clean, const char *text, const unreel_log *log)
{
    struct runes runes = {0};
    *clean = NULL;
    int code = read_text(&runes, text, log);
    return code < 0 ? code : fold(clean, &runes, log);
}

int text_clean(char **clean, const char *text, const unreel_log *log)
{
    *clean = NULL;
#ifdef UNREEL_TEXT
    struct runes runes = {0};
    int code = read_text(&runes, text, log);
    if (code < 0)
        return code;
    text_repair(&runes);
    return fold(clean, &runes, log);
#else
    return log_error(log, UNREEL_EUNSUPPORTED,
                     "this build cannot clean prompts: " TEXT_MISSING " was not found");
#endif
}
