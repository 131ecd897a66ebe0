/* What a video's tags say about how it was made. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "video.h"

/* Say where things are and how the command talks, not what the video is. */
static const char *const left_out[] = {
    "data_path",   "extended_prompt_path", "output",       "output_folder",   "overwrite",
    "quiet",       "json",                 "num_samples",  "save_with_index", "save_latents",
    "threads",     "width",                "height",       "format",          "window",
    "sink",        "shape",                "bench_blocks", "bench_window",    "bench_chunks",
    "config_path", "bench_stages",         "rank_seeds",   "device_cache",
    "device_without",
};

/* Written even at their defaults. */
static const char *const always[] = {"prompt", "seed", "model", "size", "num_output_frames"};

static bool is_in(const char *const *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(list[i], name))
            return true;
    return false;
}

#define IN(list, name) is_in(list, sizeof(list) / sizeof *(list), name)

/* Of a path its last part: files may be shown to others. */
static const char *shown(const unreel_option_info *info, const char *value)
{
    const char *slash = info->kind == UNREEL_OPTION_PATH ? strrchr(value, '/') : NULL;
    return slash && slash[1] ? slash + 1 : value;
}

/* Of live outputs: among them tokens, passwords and stream keys, which belong in no file. */
static bool is_live(const unreel_option_info *info)
{
    return info->group && !strcmp(info->group, "Live");
}

char *video_comment(const unreel_options *options)
{
    const unreel_option_info *info;
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    if (!file)
        return NULL;
    const char *separator = "";
    for (size_t i = 0; (info = unreel_option_at(i)); i++) {
        const char *value = unreel_options_get(options, info->name);
        if (!value || IN(left_out, info->name) || is_live(info))
            continue;
        if (info->fallback && !strcmp(value, info->fallback) && !IN(always, info->name))
            continue;
        fprintf(file, "%s%s=%s", separator, info->name, shown(info, value));
        separator = "; ";
    }
    fclose(file);
    return text;
}
