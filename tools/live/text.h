/* Text for the window: a font of the system, lines kept as textures while they do not change. */
#pragma once

#include <SDL.h>
#include <stdbool.h>

#define TEXT_LINES 16

struct text;

/* NULL with `why` set (static or of SDL) if no font is found. `pixels`: height of a line's letters. */
struct text *text_open(SDL_Renderer *renderer, int pixels, const char **why);
void text_close(struct text *text); /* NULL is fine */

/* Draws UTF-8 at x, y; `slot` (below TEXT_LINES) keeps it for the next time. Cut at the end, or with
 * `keep_end` at the start, to `width`. Returns its width. */
int text_draw(struct text *text, int slot, const char *string, int x, int y, int width, bool keep_end,
              SDL_Color color);
int text_height(const struct text *text); /* of a line, with its leading */
