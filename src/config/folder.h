/* Folders of images and captions. */
#pragma once

#include <stddef.h>
#include <unreel/unreel.h>

struct image_folder {
    char **images;   /* [count] paths, FOLDER/<ratio>/<file_name> */
    char **captions; /* [count] UTF-8 */
    size_t count;
};

/* Reads FOLDER/target_crop_info_<ratio>.json, of which there must be one: a list of objects with
 * "file_name" and "caption"; the images lie in FOLDER/<ratio>/. Names that lead out of it are
 * refused, so is a list with images that are not there. */
int image_folder_read(struct image_folder *folder, const char *path, const unreel_log *log);
void image_folder_finish(struct image_folder *folder);
