/* postcard-world: a scene as YUV4MPEG2 on stdout, its attributes as JSON on stderr.
 *
 *     postcard-world [--seed N] [--size 160x96] [--pictures 93] [--changes]
 *                    [time=night weather=snow ground=hills thing=ball color=red motion=left fast=0] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"
#include "world.h"

static const char *const kinds[] = {"time", "weather", "ground", "thing", "color", "motion", "fast"};
static const int counts[] = {TIMES, WEATHERS, GROUNDS, THINGS, COLORS, MOTIONS, 2};

struct request {
    uint64_t seed;
    int width, height, pictures, changes;
    int32_t value[7]; /* -1: any */
};

static int usage(void)
{
    fprintf(stderr, "usage: postcard-world [--seed N] [--size WxH] [--pictures N] [--changes] "
                    "[KIND=NAME...]\n");
    return 2;
}

static int read_attribute(struct request *r, const char *text)
{
    for (int k = 0; k < 7; k++) {
        size_t n = strlen(kinds[k]);
        if (strncmp(text, kinds[k], n) || text[n] != '=')
            continue;
        for (int v = 0; v < counts[k]; v++)
            if (!strcmp(text + n + 1, world_name(k, v))) {
                r->value[k] = v;
                return 0;
            }
    }
    return -1;
}

static int read_request(struct request *r, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--changes")) {
            r->changes = 1;
        } else if (!strcmp(argv[i], "--seed") && next) {
            r->seed = strtoull(argv[++i], NULL, 10);
        } else if (!strcmp(argv[i], "--pictures") && next) {
            r->pictures = atoi(argv[++i]);
        } else if (!strcmp(argv[i], "--size") && next) {
            if (sscanf(argv[++i], "%dx%d", &r->width, &r->height) != 2)
                return -1;
        } else if (read_attribute(r, argv[i]) < 0) {
            return -1;
        }
    }
    return r->width < 16 || r->height < 16 || r->width > 1024 || r->height > 1024 ||
                   r->width % 2 || r->height % 2 || r->pictures < 1
               ? -1
               : 0;
}

/* The first scene from the seed on that has the asked attributes. */
static int find_scene(const struct request *r, struct scene *s)
{
    uint64_t state = r->seed;
    world_scene(s, r->seed, r->changes, r->pictures);
    for (int tries = 0; tries < 1000000; tries++) {
        const int32_t *value = (const int32_t *)&s->first;
        int fits = 1;
        for (int k = 0; k < 7; k++)
            fits = fits && (r->value[k] < 0 || value[k] == r->value[k]);
        if (fits)
            return 0;
        world_scene(s, random_next(&state), r->changes, r->pictures);
    }
    return -1;
}

static void print_attributes(const char *name, const struct attributes *a)
{
    const int32_t *value = (const int32_t *)a;
    fprintf(stderr, "\"%s\": {", name);
    for (int k = 0; k < 7; k++)
        fprintf(stderr, "%s\"%s\": \"%s\"", k ? ", " : "", kinds[k], world_name(k, value[k]));
    fprintf(stderr, "}, ");
}

/* BT.709, limited range, chroma the mean of 2x2, as the engine writes it. */
static void write_picture(const uint8_t *rgb, int width, int height)
{
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            const uint8_t *p = rgb + 3 * (y * width + x);
            putchar((int)(16.5 + (0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2]) * 219 / 255));
        }
    for (int plane = 0; plane < 2; plane++)
        for (int y = 0; y < height; y += 2)
            for (int x = 0; x < width; x += 2) {
                double c[3] = {0};
                for (int i = 0; i < 4; i++)
                    for (int k = 0; k < 3; k++)
                        c[k] += rgb[3 * ((y + i / 2) * width + x + i % 2) + k] / 4.0;
                double luma = 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];
                double chroma = plane ? (c[0] - luma) / 1.5748 : (c[2] - luma) / 1.8556;
                putchar((int)(128.5 + chroma * 224 / 255));
            }
}

int main(int argc, char **argv)
{
    struct request r = {.width = 160, .height = 96, .pictures = 93,
                        .value = {-1, -1, -1, -1, -1, -1, -1}};
    struct scene s;
    if (read_request(&r, argc, argv) < 0)
        return usage();
    if (find_scene(&r, &s) < 0) {
        fprintf(stderr, "postcard-world: no scene has these attributes together\n");
        return 1;
    }
    char first[256], then[256];
    world_caption(&s.first, s.seed, first, sizeof first, NULL);
    world_caption(&s.then, s.seed, then, sizeof then, NULL);
    fprintf(stderr, "{");
    print_attributes("first", &s.first);
    print_attributes("then", &s.then);
    fprintf(stderr, "\"change\": %d, \"caption\": \"%s\", \"caption_then\": \"%s\"}\n", s.change, first, then);
    uint8_t *rgb = malloc((size_t)r.width * (size_t)r.height * 3);
    if (!rgb)
        return 1;
    printf("YUV4MPEG2 W%d H%d F%d:1 Ip A1:1 C420jpeg\n", r.width, r.height, WORLD_FPS);
    for (int i = 0; i < r.pictures; i++) {
        if (world_render(&s, i, 1, r.width, r.height, rgb) < 0)
            return 1;
        printf("FRAME\n");
        write_picture(rgb, r.width, r.height);
    }
    free(rgb);
    return 0;
}
