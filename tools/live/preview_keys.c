/* What keys and the mouse do in the window. */
#include <stdio.h>
#include <string.h>

#include "preview.h"

#define WHO "window"
#define NOTICE_MS 3000

static void notice(struct preview *p, const char *text)
{
    g_strlcpy(p->notice, text, sizeof p->notice);
    p->notice_until = SDL_GetTicks64() + NOTICE_MS;
}

/* SDL leaves text out unless it is asked for, and fetches at once all that has come since it last
 * looked. So Enter asks for text when it is fetched, not when its turn comes: what was typed behind it
 * while the window was busy is not lost. Asked for all the time, an input method would take the
 * command keys. */
int SDLCALL preview_foresee(void *opaque, SDL_Event *event)
{
    const struct preview *p = opaque;
    if (event->type == SDL_KEYDOWN && p->text &&
        (event->key.keysym.sym == SDLK_RETURN || event->key.keysym.sym == SDLK_KP_ENTER))
        SDL_StartTextInput();
    return 0;
}

static void begin_typing(struct preview *p)
{
    if (!p->text)
        return;
    p->typing = true;
    p->typed[0] = 0;
    SDL_StartTextInput();
}

static void end_typing(struct preview *p)
{
    p->typing = false;
    if (!SDL_HasEvent(SDL_TEXTINPUT)) /* it may belong to the next line, and would be thrown away */
        SDL_StopTextInput();
}

/* Appends whole characters while there is room. */
static void append(struct preview *p, const char *text)
{
    size_t length = strlen(p->typed), more = strlen(text);
    if (length + more <= TYPED_MAX)
        memcpy(p->typed + length, text, more + 1);
}

static void erase_character(struct preview *p)
{
    size_t length = strlen(p->typed);
    while (length && ((unsigned char)p->typed[--length] & 0xc0) == 0x80)
        ;
    p->typed[length] = 0;
}

static void send_prompt(struct preview *p)
{
    if (*p->typed && live_prompt(p->live, WHO, p->typed, p->how) >= 0)
        notice(p, p->typed);
    else if (*p->typed)
        notice(p, "the prompt was not taken");
    end_typing(p);
}

static void paste(struct preview *p)
{
    char *text = SDL_GetClipboardText();
    for (char *c = text; c && *c; c++)
        if (*c == '\n' || *c == '\r' || *c == '\t')
            *c = ' ';
    if (text)
        append(p, text);
    SDL_free(text);
}

static bool type_key(struct preview *p, const SDL_Keysym *key)
{
    switch (key->sym) {
    case SDLK_RETURN:
    case SDLK_KP_ENTER:
        send_prompt(p);
        break;
    case SDLK_ESCAPE:
        end_typing(p);
        break;
    case SDLK_BACKSPACE:
        erase_character(p);
        break;
    case SDLK_TAB:
        p->how = p->how == UNREEL_SWITCH_CUT ? UNREEL_SWITCH_BLEND : (enum unreel_switch)(p->how + 1);
        break;
    case SDLK_UP: /* the prompt that is there, to change a word of it */
        g_free(p->prompt);
        p->prompt = live_prompt_text(p->live);
        g_strlcpy(p->typed, p->prompt ? p->prompt : "", sizeof p->typed);
        break;
    case SDLK_v:
        if (key->mod & KMOD_CTRL)
            paste(p);
        break;
    default:
        return false;
    }
    return true;
}

static void toggle_full_screen(struct preview *p)
{
    bool full = SDL_GetWindowFlags(p->window) & SDL_WINDOW_FULLSCREEN_DESKTOP;
    SDL_SetWindowFullscreen(p->window, full ? 0 : SDL_WINDOW_FULLSCREEN_DESKTOP);
    SDL_ShowCursor(full ? SDL_ENABLE : SDL_DISABLE);
}

/* Others may have paused it, or let it go on. */
static void toggle_pause(struct preview *p)
{
    live_state(p->live, &p->state);
    bool pause = !p->state.stats.paused;
    live_pause(p->live, WHO, pause);
    notice(p, pause ? "paused" : "goes on");
}

static void save_picture(struct preview *p)
{
    char text[sizeof p->notice], *name = live_snapshot(p->live, NULL);
    snprintf(text, sizeof text, "%s%s", name ? "saved " : "the picture was not saved", name ? name : "");
    notice(p, text);
    g_free(name);
}

static bool command_key(struct preview *p, const SDL_Keysym *key)
{
    switch (key->sym) {
    case SDLK_RETURN:
    case SDLK_KP_ENTER:
        begin_typing(p);
        break;
    case SDLK_TAB:
    case SDLK_i:
        p->overlay = !p->overlay;
        break;
    case SDLK_f:
    case SDLK_F11:
        toggle_full_screen(p);
        break;
    case SDLK_SPACE:
        toggle_pause(p);
        break;
    case SDLK_r:
        live_reset(p->live, WHO);
        break;
    case SDLK_s:
        save_picture(p);
        break;
    case SDLK_ESCAPE:
        if (SDL_GetWindowFlags(p->window) & SDL_WINDOW_FULLSCREEN_DESKTOP)
            toggle_full_screen(p);
        break;
    case SDLK_q:
        p->quit = true;
        break;
    default:
        return false;
    }
    return true;
}

bool preview_handle(struct preview *p, const SDL_Event *event)
{
    switch (event->type) {
    case SDL_QUIT:
        p->quit = true;
        return false;
    case SDL_WINDOWEVENT:
        return true;
    case SDL_TEXTINPUT:
        if (p->typing)
            append(p, event->text.text);
        return p->typing;
    case SDL_KEYDOWN:
        return p->typing ? type_key(p, &event->key.keysym) : command_key(p, &event->key.keysym);
    case SDL_MOUSEBUTTONDOWN:
        if (event->button.clicks == 2)
            toggle_full_screen(p);
        return event->button.clicks == 2;
    default:
        return false;
    }
}
