#include "config/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "config/naming.h"

#define METADATA_PREFIX "target_crop_info_"
#define METADATA_SUFFIX ".json"
#define METADATA_SIZE_MAX ((size_t)1 << 26) /* bytes */

static int fail_memory(const char *path, const unreel_log *log)
{
    return log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
}

/* ---- the metadata file -------------------------------------------------------------------- */

static bool is_metadata(const char *name)
{
    size_t length = strlen(name), prefix = strlen(METADATA_PREFIX);
    size_t suffix = strlen(METADATA_SUFFIX);
    return length >= prefix + suffix && !strncmp(name, METADATA_PREFIX, prefix) &&
           !strcmp(name + length - suffix, METADATA_SUFFIX);
}

/* The one metadata file's name (malloc) among a folder's entries. */
static int find_metadata(char **name, const char *path, const unreel_log *log)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    int code = 0;
    *name = NULL;
    if (!directory)
        return log_error(log, UNREEL_EIO, "%s: %s", path, strerror(errno));
    while (code == 0 && (entry = readdir(directory))) {
        if (!is_metadata(entry->d_name))
            continue;
        if (*name)
            code = log_error(log, UNREEL_EFORMAT, "%s: %s and %s, only one is expected", path,
                             *name, entry->d_name);
        else if (!(*name = strdup(entry->d_name)))
            code = fail_memory(path, log);
    }
    closedir(directory);
    if (code == 0 && !*name)
        code = log_error(log, UNREEL_EFORMAT, "%s: no " METADATA_PREFIX "<ratio>" METADATA_SUFFIX,
                         path);
    if (code < 0) {
        free(*name);
        *name = NULL;
    }
    return code;
}

/* The ratio is what follows the last underscore; it names the folder of the images. */
static int image_folder_path(char **images, const char *path, const char *metadata,
                             const unreel_log *log)
{
    const char *ratio = strrchr(metadata, '_') + 1; /* METADATA_PREFIX has one */
    int length = (int)(strlen(ratio) - strlen(METADATA_SUFFIX));
    struct stat st;
    *images = NULL;
    if (length == 0)
        return log_error(log, UNREEL_EFORMAT, "%s/%s: no ratio in the name", path, metadata);
    if (asprintf(images, "%s/%.*s", path, length, ratio) < 0) {
        *images = NULL;
        return fail_memory(path, log);
    }
    if (stat(*images, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return log_error(log, UNREEL_EFORMAT, "%s: no such folder, %s expects its images there",
                     *images, metadata);
}

/* ---- entries ------------------------------------------------------------------------------ */

/* Relative and without "..": stays below the folder. */
static bool stays_inside(const char *name)
{
    if (!*name || *name == '/')
        return false;
    for (const char *part = name; part; part = strchr(part, '/')) {
        part += *part == '/';
        size_t length = strcspn(part, "/");
        if (length == 2 && !strncmp(part, "..", 2))
            return false;
    }
    return true;
}

static int read_entry(struct image_folder *folder, const struct json *entry, const char *images,
                      const char *metadata, const unreel_log *log)
{
    const char *name = json_text(json_get(entry, "file_name"));
    const char *caption = json_text(json_get(entry, "caption"));
    size_t index = folder->count;
    if (!name)
        return log_error(log, UNREEL_EFORMAT, "%s: entry %zu: no text \"file_name\"", metadata,
                         index);
    if (!caption)
        return log_error(log, UNREEL_EFORMAT, "%s: entry %zu: no text \"caption\"", metadata,
                         index);
    if (!stays_inside(name))
        return log_error(log, UNREEL_EFORMAT, "%s: entry %zu: file_name '%.80s' leads out of %s",
                         metadata, index, name, images);
    folder->captions[index] = strdup(caption);
    if (asprintf(&folder->images[index], "%s/%s", images, name) < 0)
        folder->images[index] = NULL;
    folder->count++;
    return folder->images[index] && folder->captions[index] ? 0 : fail_memory(metadata, log);
}

static int read_entries(struct image_folder *folder, const struct json *list, const char *images,
                        const char *metadata, const unreel_log *log)
{
    size_t count = json_length(list);
    int code = 0;
    if (!json_is_array(list))
        return log_error(log, UNREEL_EFORMAT, "%s: not a list", metadata);
    if (count == 0)
        return log_error(log, UNREEL_EFORMAT, "%s: no images in this list", metadata);
    folder->images = calloc(count, sizeof *folder->images);
    folder->captions = calloc(count, sizeof *folder->captions);
    if (!folder->images || !folder->captions)
        return fail_memory(metadata, log);
    for (size_t i = 0; code == 0 && i < count; i++)
        code = read_entry(folder, json_at(list, i), images, metadata, log);
    return code;
}

/* All at once, so that a copy that was broken off is mended once. */
static int check_images(const struct image_folder *folder, const unreel_log *log)
{
    size_t missing = 0, first = 0;
    struct stat st;
    for (size_t i = 0; i < folder->count; i++)
        if ((stat(folder->images[i], &st) < 0 || !S_ISREG(st.st_mode)) && missing++ == 0)
            first = i;
    if (missing == 0)
        return 0;
    if (missing == 1)
        return log_error(log, UNREEL_EIO, "%s: no such image", folder->images[first]);
    return log_error(log, UNREEL_EIO, "%s: no such image, %zu of %zu are missing",
                     folder->images[first], missing, folder->count);
}

/* ---- folder ------------------------------------------------------------------------------- */

static int read_list(struct image_folder *folder, const char *metadata, const char *images,
                     const unreel_log *log)
{
    char *text = NULL;
    size_t size;
    struct json *root = NULL;
    int code = file_read_text(&text, &size, metadata, METADATA_SIZE_MAX, log);
    if (code == 0)
        code = json_parse(&root, text, size, metadata, log);
    if (code == 0)
        code = read_entries(folder, root, images, metadata, log);
    if (code == 0)
        code = check_images(folder, log);
    json_free(root);
    free(text);
    return code;
}

int image_folder_read(struct image_folder *folder, const char *path, const unreel_log *log)
{
    char *name = NULL, *images = NULL, *metadata = NULL;
    *folder = (struct image_folder){0};
    int code = find_metadata(&name, path, log);
    if (code == 0)
        code = image_folder_path(&images, path, name, log);
    if (code == 0 && asprintf(&metadata, "%s/%s", path, name) < 0) {
        metadata = NULL;
        code = fail_memory(path, log);
    }
    if (code == 0)
        code = read_list(folder, metadata, images, log);
    free(name);
    free(images);
    free(metadata);
    if (code < 0)
        image_folder_finish(folder);
    return code;
}

void image_folder_finish(struct image_folder *folder)
{
    free_strings(folder->images, folder->count);
    free_strings(folder->captions, folder->count);
    *folder = (struct image_folder){0};
}
