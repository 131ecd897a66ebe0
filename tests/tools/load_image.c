/* Loads a picture as the command does, for tests: prints "WIDTH HEIGHT", then "R G B" of the four
 * corners, row by row. */
#include <stdio.h>

#include "image.h"

int main(int argc, char **argv)
{
    struct console console;
    unreel_clip clip;
    console_init(&console);
    if (argc != 2 || image_load(&clip, &console, argv[1]) < 0)
        return 1;
    printf("%d %d\n", clip.width, clip.height);
    for (int corner = 0; corner < 4; corner++) {
        int x = corner % 2 ? clip.width - 1 : 0, y = corner / 2 ? clip.height - 1 : 0;
        const uint8_t *p = clip.rgb + (size_t)y * clip.stride + 3 * x;
        printf("%d %d %d\n", p[0], p[1], p[2]);
    }
    image_free(&clip);
    return 0;
}
