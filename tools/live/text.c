#include "text.h"

#include <SDL_ttf.h>
#include <fontconfig/fontconfig.h>
#include <stdlib.h>
#include <string.h>

struct line {
    char *string;
    SDL_Color color;
    SDL_Texture *texture;
    int width, height;
};

struct text {
    SDL_Renderer *renderer;
    TTF_Font *font;
    struct line lines[TEXT_LINES];
};

/* The system's sans-serif. To be freed by SDL_free. */
static char *find_font(void)
{
    char *path = NULL;
    FcChar8 *file = NULL;
    FcResult result;
    FcConfig *config = FcInitLoadConfigAndFonts();
    FcPattern *pattern = FcNameParse((const FcChar8 *)"sans-serif");
    FcConfigSubstitute(config, pattern, FcMatchPattern);
    FcDefaultSubstitute(pattern);
    FcPattern *match = FcFontMatch(config, pattern, &result);
    if (match && FcPatternGetString(match, FC_FILE, 0, &file) == FcResultMatch)
        path = SDL_strdup((const char *)file);
    if (match)
        FcPatternDestroy(match);
    FcPatternDestroy(pattern);
    FcConfigDestroy(config);
    return path;
}

struct text *text_open(SDL_Renderer *renderer, int pixels, const char **why)
{
    struct text *text = NULL;
    char *path = find_font();
    *why = "no font is installed (fonts-dejavu-core)";
    if (path && TTF_Init() == 0 && (text = calloc(1, sizeof *text))) {
        text->renderer = renderer;
        text->font = TTF_OpenFont(path, pixels);
        if (!text->font) {
            *why = TTF_GetError();
            free(text);
            text = NULL;
            TTF_Quit();
        }
    }
    SDL_free(path);
    return text;
}

static void clear(struct line *line)
{
    if (line->texture)
        SDL_DestroyTexture(line->texture);
    free(line->string);
    *line = (struct line){0};
}

void text_close(struct text *text)
{
    if (!text)
        return;
    for (int i = 0; i < TEXT_LINES; i++)
        clear(&text->lines[i]);
    TTF_CloseFont(text->font);
    TTF_Quit();
    free(text);
}

static bool is_same(const struct line *line, const char *string, SDL_Color color)
{
    return line->string && !strcmp(line->string, string) && !memcmp(&line->color, &color, sizeof color);
}

static void render(struct text *text, struct line *line, const char *string, SDL_Color color)
{
    clear(line);
    SDL_Surface *surface = TTF_RenderUTF8_Blended(text->font, string, color);
    line->string = strdup(string);
    line->color = color;
    if (!surface)
        return;
    line->texture = SDL_CreateTextureFromSurface(text->renderer, surface);
    line->width = surface->w;
    line->height = surface->h;
    SDL_FreeSurface(surface);
}

int text_draw(struct text *text, int slot, const char *string, int x, int y, int width, bool keep_end,
              SDL_Color color)
{
    struct line *line = &text->lines[slot];
    if (!*string)
        return 0;
    if (!is_same(line, string, color))
        render(text, line, string, color);
    int shown = line->width < width ? line->width : width;
    const SDL_Rect from = {keep_end ? line->width - shown : 0, 0, shown, line->height};
    const SDL_Rect to = {x, y, shown, line->height};
    if (line->texture)
        SDL_RenderCopy(text->renderer, line->texture, &from, &to);
    return shown;
}

int text_height(const struct text *text)
{
    return TTF_FontLineSkip(text->font) + 2;
}
