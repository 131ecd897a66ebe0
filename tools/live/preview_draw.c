/* The window's picture, its overlay and the line that is typed. */
#include <stdio.h>
#include <string.h>

#include "preview.h"

#define WIDTH_MIN 960 /* px: small videos are shown larger */
#define LETTERS 17    /* px */
#define STATE_MS 250  /* how often the numbers change: readable */

static const SDL_Color white = {255, 255, 255, 255}, grey = {190, 190, 190, 255},
                       amber = {255, 190, 90, 255};

/* The smallest whole factor that makes the video WIDTH_MIN wide, on the screen it opens on. */
static void window_size(const struct preview *p, int *width, int *height)
{
    SDL_Rect screen = {0, 0, 1280, 720};
    int factor = (WIDTH_MIN + p->width - 1) / p->width;
    SDL_GetDisplayUsableBounds(0, &screen);
    while (factor > 1 && (p->width * factor > screen.w || p->height * factor > screen.h))
        factor--;
    *width = p->width * factor;
    *height = p->height * factor;
}

/* Where there is no display SDL takes a driver that draws into memory, for which nobody asked. */
static bool is_unseen(void)
{
    const char *driver = SDL_GetCurrentVideoDriver();
    return driver && (!strcmp(driver, "offscreen") || !strcmp(driver, "dummy")) && !getenv("SDL_VIDEODRIVER") &&
           !getenv("SDL_VIDEO_DRIVER");
}

int preview_open(struct preview *p)
{
    int width, height;
    const char *why;
    SDL_SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1"); /* Ctrl-C is the program's */
    SDL_SetHint(SDL_HINT_RENDER_SCALE_QUALITY, "linear");
    if (SDL_InitSubSystem(SDL_INIT_VIDEO) < 0) {
        console_error(p->console, "preview: no display to open a window on: %s", SDL_GetError());
        return -1;
    }
    if (is_unseen()) {
        console_error(p->console, "preview: no display to open a window on");
        SDL_QuitSubSystem(SDL_INIT_VIDEO);
        return -1;
    }
    SDL_SetYUVConversionMode(SDL_YUV_CONVERSION_BT709);
    window_size(p, &width, &height);
    p->window = SDL_CreateWindow("unreel", SDL_WINDOWPOS_CENTERED, SDL_WINDOWPOS_CENTERED, width, height,
                                 SDL_WINDOW_RESIZABLE | SDL_WINDOW_ALLOW_HIGHDPI);
    p->renderer = p->window ? SDL_CreateRenderer(p->window, -1, 0) : NULL;
    p->texture = p->renderer ? SDL_CreateTexture(p->renderer, SDL_PIXELFORMAT_IYUV,
                                                 SDL_TEXTUREACCESS_STREAMING, p->width, p->height)
                             : NULL;
    if (!p->texture) {
        console_error(p->console, "preview: no window: %s", SDL_GetError());
        preview_close(p);
        return -1;
    }
    p->text = text_open(p->renderer, LETTERS, &why);
    if (!p->text)
        console_warning(p->console, "preview: no overlay and no typing: %s", why);
    SDL_SetWindowMinimumSize(p->window, 160, 96);
    SDL_StopTextInput();
    SDL_AddEventWatch(preview_foresee, p);
    return 0;
}

void preview_close(struct preview *p)
{
    SDL_DelEventWatch(preview_foresee, p);
    text_close(p->text);
    if (p->texture)
        SDL_DestroyTexture(p->texture);
    if (p->renderer)
        SDL_DestroyRenderer(p->renderer);
    if (p->window)
        SDL_DestroyWindow(p->window);
    SDL_QuitSubSystem(SDL_INIT_VIDEO);
    g_free(p->prompt);
}

static void upload(struct preview *p, GstSample *sample)
{
    GstVideoInfo info;
    GstVideoFrame frame;
    if (!gst_video_info_from_caps(&info, gst_sample_get_caps(sample)) ||
        !gst_video_frame_map(&frame, &info, gst_sample_get_buffer(sample), GST_MAP_READ))
        return;
    SDL_UpdateYUVTexture(p->texture, NULL, GST_VIDEO_FRAME_PLANE_DATA(&frame, 0),
                         GST_VIDEO_FRAME_PLANE_STRIDE(&frame, 0), GST_VIDEO_FRAME_PLANE_DATA(&frame, 1),
                         GST_VIDEO_FRAME_PLANE_STRIDE(&frame, 1), GST_VIDEO_FRAME_PLANE_DATA(&frame, 2),
                         GST_VIDEO_FRAME_PLANE_STRIDE(&frame, 2));
    gst_video_frame_unmap(&frame);
}

/* The largest place in the window that has the video's shape. */
static SDL_Rect place(const struct preview *p, int width, int height)
{
    SDL_Rect r = {0, 0, width, height};
    if ((int64_t)width * p->height > (int64_t)height * p->width)
        r.w = (int)((int64_t)height * p->width / p->height);
    else
        r.h = (int)((int64_t)width * p->height / p->width);
    r.x = (width - r.w) / 2;
    r.y = (height - r.h) / 2;
    return r;
}

static void shade(struct preview *p, int x, int y, int width, int height)
{
    const SDL_Rect r = {x, y, width, height};
    SDL_SetRenderDrawBlendMode(p->renderer, SDL_BLENDMODE_BLEND);
    SDL_SetRenderDrawColor(p->renderer, 0, 0, 0, 170);
    SDL_RenderFillRect(p->renderer, &r);
}

static void read_state(struct preview *p)
{
    Uint64 now = SDL_GetTicks64();
    if (p->prompt && now - p->state_at < STATE_MS)
        return;
    live_state(p->live, &p->state);
    g_free(p->prompt);
    p->prompt = live_prompt_text(p->live);
    p->state_at = now;
}

static void draw_overlay(struct preview *p, int width)
{
    const unreel_stats *s = &p->state.stats;
    char lines[3][160];
    int high = text_height(p->text), inside = width - 24;
    double chunks = s->chunks > 0 ? (double)s->chunks : 1;
    snprintf(lines[0], sizeof lines[0],
             "%.1f pictures/s of %.3g    buffer %.2f s    picture %lld%s%s",
             p->state.pictures_per_second, s->fps, p->state.buffered, (long long)p->state.shown,
             p->state.stats.paused ? "    paused" : "", p->state.recording ? "    recording" : "");
    snprintf(lines[1], sizeof lines[1],
             "a chunk: denoise %.0f ms    cache %.0f ms    decode %.0f ms    all %.0f ms",
             1e3 * s->seconds_denoise / chunks, 1e3 * s->seconds_cache / chunks,
             1e3 * s->seconds_decode / chunks, 1e3 * s->chunk_p50);
    snprintf(lines[2], sizeof lines[2], "Enter prompt   Tab numbers   F full screen   Space pause   "
                                        "R again   S save   Q quit");
    shade(p, 0, 0, width, 4 * high + 16);
    text_draw(p->text, 0, p->prompt ? p->prompt : "", 12, 8, inside, false, white);
    text_draw(p->text, 1, lines[0], 12, 8 + high, inside, false, amber);
    text_draw(p->text, 2, lines[1], 12, 8 + 2 * high, inside, false, grey);
    text_draw(p->text, 3, lines[2], 12, 8 + 3 * high, inside, false, grey);
}

static void draw_typing(struct preview *p, int width, int height)
{
    static const char *const hints[] = {
        [UNREEL_SWITCH_DEFAULT] = "as configured", [UNREEL_SWITCH_BLEND] = "blend",
        [UNREEL_SWITCH_RECACHE] = "recache",       [UNREEL_SWITCH_CUT] = "cut",
    };
    char line[TYPED_MAX + 8], hint[120];
    int high = text_height(p->text), top = height - 2 * high - 16;
    snprintf(line, sizeof line, "%s|", p->typed);
    snprintf(hint, sizeof hint, "Enter sends   Escape closes   Tab changes how: %s", hints[p->how]);
    shade(p, 0, top, width, 2 * high + 16);
    text_draw(p->text, 4, line, 12, top + 8, width - 24, true, white);
    text_draw(p->text, 5, hint, 12, top + 8 + high, width - 24, false, grey);
}

void preview_show(struct preview *p, GstSample *sample)
{
    int width, height;
    if (sample)
        upload(p, sample);
    SDL_GetRendererOutputSize(p->renderer, &width, &height);
    const SDL_Rect to = place(p, width, height);
    SDL_SetRenderDrawColor(p->renderer, 0, 0, 0, 255);
    SDL_RenderClear(p->renderer);
    SDL_RenderCopy(p->renderer, p->texture, NULL, &to);
    if (p->text && p->overlay) {
        read_state(p);
        draw_overlay(p, width);
    }
    if (p->text && p->typing)
        draw_typing(p, width, height);
    else if (p->text && SDL_GetTicks64() < p->notice_until) {
        int high = text_height(p->text);
        shade(p, 0, height - high - 16, width, high + 16);
        text_draw(p->text, 6, p->notice, 12, height - high - 8, width - 24, false, white);
    }
    SDL_RenderPresent(p->renderer);
}
