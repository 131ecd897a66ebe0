/* Inside the window: what it shows, and what is typed. All of it belongs to the window's thread. */
#pragma once

#include <SDL.h>
#include <gst/video/video.h>

#include "live.h"
#include "text.h"

#define TYPED_MAX 2000 /* bytes of a prompt typed into the window */

struct preview {
    struct live *live;
    struct console *console;
    SDL_Window *window;
    SDL_Renderer *renderer;
    SDL_Texture *texture; /* IYUV, of the video's size */
    struct text *text;    /* NULL: no font */
    int width, height;    /* of the video, px */
    bool overlay, typing, quit;
    char typed[TYPED_MAX + 1];
    enum unreel_switch how;
    char notice[200]; /* shown for a while: "saved ..." */
    Uint64 notice_until;
    char *prompt; /* of the overlay; g_free */
    struct live_state state;
    Uint64 state_at; /* when the two were read, ms */
};

/* 0, or -1 with one line printed. */
int preview_open(struct preview *preview);
void preview_close(struct preview *preview);

/* A new picture, or NULL to draw what is there again. */
void preview_show(struct preview *preview, GstSample *sample);

/* One event of the window. True: draw again. */
bool preview_handle(struct preview *preview, const SDL_Event *event);

/* Sees every event (SDL_AddEventWatch) when it comes in, before its turn. */
int SDLCALL preview_foresee(void *preview, SDL_Event *event);
