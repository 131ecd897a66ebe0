#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unreel/batch.h>
#include "base/log.h"
#include "config/folder.h"
#include "config/lines.h"
#include "config/naming.h"
#include "config/options.h"

struct unreel_prompts {
    unreel_prompt *items; /* [count], pointing into what follows */
    size_t count;
    char **stems; /* [count] file names without sample and extension */
    bool save_with_index, use_ema;
    char *prompt, *image; /* of the options */
    struct lines lines, extended;
    struct image_folder folder;
};

static int fail_memory(const unreel_log *log)
{
    return log_error(log, UNREEL_ENOMEM, "prompts: out of memory");
}

/* ---- sources ------------------------------------------------------------------------------ */

static int read_source(unreel_prompts *prompts, const char *data_path, bool i2v,
                       const unreel_log *log)
{
    struct stat st;
    bool is_folder = stat(data_path, &st) == 0 && S_ISDIR(st.st_mode);
    if (is_folder && !i2v)
        return log_error(log, UNREEL_EINVAL,
                         "data_path: %s is a folder, which needs i2v (image to video)", data_path);
    if (is_folder && prompts->image)
        return log_error(log, UNREEL_EINVAL, "image: %s has its own images, give one or the other",
                         data_path);
    if (is_folder)
        return image_folder_read(&prompts->folder, data_path, log);
    if (i2v && !prompts->image && stat(data_path, &st) == 0)
        return log_error(log, UNREEL_EINVAL,
                         "data_path: %s is not a folder, which i2v (image to video) needs",
                         data_path);
    return lines_read(&prompts->lines, data_path, log);
}

/* Takes the prompts from where the options say. */
static int read_prompts(unreel_prompts *prompts, const unreel_options *options)
{
    const unreel_log *log = options_log(options);
    const char *prompt = options_text(options, "prompt");
    const char *image = options_text(options, "image");
    const char *data_path = options_text(options, "data_path");
    bool i2v = options_bool(options, "i2v");
    if (prompt && data_path)
        return log_error(log, UNREEL_EINVAL,
                         "prompt and data_path are both given, one or the other is needed");
    if (!prompt && !data_path)
        return log_error(log, UNREEL_EINVAL, "no prompt: give prompt or data_path");
    if (prompt && !*prompt)
        return log_error(log, UNREEL_EINVAL, "prompt: empty");
    if (prompt && i2v && !image)
        return log_error(log, UNREEL_EINVAL, "i2v: no image to start from: give image");
    if ((image && !(prompts->image = strdup(image))) ||
        (prompt && !(prompts->prompt = strdup(prompt))))
        return fail_memory(log);
    return prompt ? 0 : read_source(prompts, data_path, i2v, log);
}

static int read_extended(unreel_prompts *prompts, const unreel_options *options)
{
    const char *path = options_text(options, "extended_prompt_path");
    if (!path)
        return 0;
    int code = lines_read(&prompts->extended, path, options_log(options));
    if (code == 0 && prompts->extended.count != prompts->count) {
        const char *source = options_text(options, "data_path");
        code = log_error(options_log(options), UNREEL_EINVAL, "%s: %zu lines for %zu prompts of %s",
                         path, prompts->extended.count, prompts->count, source ? source : "prompt");
    }
    return code;
}

/* ---- the list ----------------------------------------------------------------------------- */

static unreel_prompt make_item(const unreel_prompts *prompts, size_t index)
{
    unreel_prompt item = {.name = prompts->prompt, .image = prompts->image};
    if (prompts->lines.count)
        item.name = prompts->lines.at[index];
    if (prompts->folder.count) {
        item.name = prompts->folder.captions[index];
        item.image = prompts->folder.images[index];
    }
    item.text = prompts->extended.count ? prompts->extended.at[index] : item.name;
    return item;
}

static int make_items(unreel_prompts *prompts)
{
    const char **names = calloc(prompts->count, sizeof *names);
    prompts->items = calloc(prompts->count, sizeof *prompts->items);
    if (names && prompts->items) {
        for (size_t i = 0; i < prompts->count; i++) {
            prompts->items[i] = make_item(prompts, i);
            names[i] = prompts->items[i].name;
        }
        prompts->stems = naming_stems(names, prompts->count);
    }
    free(names);
    return prompts->stems ? 0 : UNREEL_ENOMEM;
}

int unreel_prompts_open(unreel_prompts **out, const unreel_options *options)
{
    *out = NULL;
    unreel_prompts *prompts = calloc(1, sizeof *prompts);
    if (!prompts)
        return fail_memory(options_log(options));
    prompts->save_with_index = options_bool(options, "save_with_index");
    prompts->use_ema = options_bool(options, "use_ema");
    int code = read_prompts(prompts, options);
    if (code == 0) {
        prompts->count = prompts->lines.count + prompts->folder.count + (prompts->prompt != NULL);
        code = read_extended(prompts, options);
    }
    if (code == 0 && make_items(prompts) < 0)
        code = fail_memory(options_log(options));
    if (code == 0)
        *out = prompts;
    else
        unreel_prompts_close(prompts);
    return code;
}

void unreel_prompts_close(unreel_prompts *prompts)
{
    if (!prompts)
        return;
    free_strings(prompts->stems, prompts->count);
    free(prompts->items);
    free(prompts->prompt);
    free(prompts->image);
    lines_finish(&prompts->lines);
    lines_finish(&prompts->extended);
    image_folder_finish(&prompts->folder);
    free(prompts);
}

size_t unreel_prompts_count(const unreel_prompts *prompts)
{
    return prompts->count;
}

const unreel_prompt *unreel_prompts_at(const unreel_prompts *prompts, size_t index)
{
    return index < prompts->count ? &prompts->items[index] : NULL;
}

int unreel_prompts_file_name(const unreel_prompts *prompts, size_t index, int sample,
                             const char *extension, char name[UNREEL_FILE_NAME_MAX])
{
    *name = 0;
    if (index >= prompts->count || sample < 0 || strlen(extension) > 8)
        return UNREEL_EINVAL;
    if (prompts->save_with_index)
        snprintf(name, UNREEL_FILE_NAME_MAX, "%zu-%d_%s.%s", index, sample,
                 prompts->use_ema ? "ema" : "regular", extension);
    else
        snprintf(name, UNREEL_FILE_NAME_MAX, "%s-%d.%s", prompts->stems[index], sample, extension);
    return 0;
}
