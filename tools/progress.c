#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_SECONDS 10
#define LINE_SECONDS_MIN 1 /* a video of two seconds needs no ten lines */
#define BAR_CELLS 24
#define BAR_SECONDS 0.1 /* not redrawn more often */

double progress_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void progress_time_text(char *text, int size, double seconds)
{
    long s = lround(fmin(seconds, 1e9));
    if (s >= 3600)
        snprintf(text, (size_t)size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, (size_t)size, "%ld:%02ld", s / 60, s % 60);
}

/* Of the video; -1: not known yet. */
static double seconds_left(const struct progress *p, double now)
{
    if (!p->total || !p->pictures)
        return -1;
    return (now - p->video_started) / (double)p->pictures * (double)(p->total - p->pictures);
}

/* Of the batch, taking the videos to come as long as those so far. */
static double batch_left(const struct progress *p, double now)
{
    double left = seconds_left(p, now);
    if (left < 0)
        return -1;
    double this_one = now - p->video_started + left;
    double average = (p->seconds_made + this_one) / (p->done + 1);
    return left + average * (p->videos - p->done - 1);
}

/* "45/81 pictures, 12.3/s, 0:03 left, all 1:10 left" */
static void describe(const struct progress *p, double now, char *text, size_t size)
{
    char time_text[32];
    size_t n;
    double elapsed = now - p->video_started;
    double rate = elapsed > 0 ? (double)p->pictures / elapsed : 0;
    if (p->total)
        n = (size_t)snprintf(text, size, "%lld/%lld pictures", (long long)p->pictures,
                             (long long)p->total);
    else
        n = (size_t)snprintf(text, size, "%lld pictures", (long long)p->pictures);
    if (!p->pictures)
        return;
    n += (size_t)snprintf(text + n, size - n, rate < 0.95 ? ", %.2f/s" : ", %.1f/s", rate);
    if (seconds_left(p, now) >= 0) {
        progress_time_text(time_text, sizeof time_text, seconds_left(p, now));
        n += (size_t)snprintf(text + n, size - n, ", %s left", time_text);
    }
    if (p->videos > 1 && batch_left(p, now) >= 0) {
        progress_time_text(time_text, sizeof time_text, batch_left(p, now));
        snprintf(text + n, size - n, ", all %s", time_text);
    }
}

static void draw_bar(struct progress *p, double now)
{
    char text[256], count[32] = "", bar[512];
    int columns = console_columns(STDERR_FILENO, 80) - 1;
    describe(p, now, text, sizeof text);
    if (p->videos > 1)
        snprintf(count, sizeof count, "%d/%d ", p->done + 1, p->videos);
    int room = columns - (int)strlen(text) - (int)strlen(count) - 3;
    if (room > BAR_CELLS)
        room = BAR_CELLS;
    if (room < 5 || !p->total) {
        snprintf(bar, sizeof bar, "%s%.*s", count, columns, text);
    } else {
        int filled = (int)((double)room * (double)p->pictures / (double)p->total);
        char cells[BAR_CELLS + 1];
        memset(cells, '-', sizeof cells);
        memset(cells, '=', (size_t)filled);
        if (filled < room)
            cells[filled] = '>';
        snprintf(bar, sizeof bar, "%s[%.*s] %s", count, room, cells, text);
    }
    p->last_bar = now;
    console_bar(p->console, bar);
}

static void print_line(struct progress *p, double now)
{
    char text[256];
    int tenth = p->total ? (int)(10 * p->pictures / p->total) : 0;
    bool due = (tenth > p->last_tenth && now - p->last_line >= LINE_SECONDS_MIN) ||
               now - p->last_line >= LINE_SECONDS;
    if (!due || (p->total && p->pictures == p->total)) /* the end has a line of its own */
        return;
    p->last_tenth = tenth;
    p->last_line = now;
    describe(p, now, text, sizeof text);
    console_info(p->console, "%s: %s", p->name, text);
}

void progress_begin(struct progress *p, struct console *console, bool shown, int videos)
{
    *p = (struct progress){.console = console,
                           .shown = shown && !console->quiet,
                           .videos = videos,
                           .started = progress_now()};
}

void progress_video(struct progress *p, const char *name, int64_t total)
{
    snprintf(p->name, sizeof p->name, "%s", name);
    p->pictures = 0;
    p->total = total;
    p->video_started = p->last_line = progress_now();
    p->last_tenth = 0;
    if (p->shown && p->console->terminal)
        draw_bar(p, p->video_started);
}

void progress_picture(struct progress *p)
{
    double now = progress_now();
    p->pictures++;
    if (!p->shown)
        return;
    if (!p->console->terminal)
        print_line(p, now);
    else if (now - p->last_bar > BAR_SECONDS)
        draw_bar(p, now);
}

void progress_tick(struct progress *p)
{
    double now = progress_now();
    if (p->shown && p->console->terminal && now - p->last_bar > 0.5)
        draw_bar(p, now);
}

void progress_video_end(struct progress *p, bool complete)
{
    double seconds = progress_now() - p->video_started;
    console_bar(p->console, "");
    if (!complete)
        return;
    p->done++;
    p->seconds_made += seconds;
    if (p->shown)
        console_info(p->console, "%s: %lld pictures in %.1f s (%.2f/s)", p->name,
                     (long long)p->pictures, seconds,
                     seconds > 0 ? (double)p->pictures / seconds : 0);
}

void progress_end(struct progress *p)
{
    char time_text[32];
    console_bar(p->console, "");
    if (!p->shown || p->videos < 2)
        return;
    progress_time_text(time_text, sizeof time_text, progress_now() - p->started);
    console_info(p->console, "%d of %d videos made in %s", p->done, p->videos, time_text);
}
