#include "video.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "interrupt.h"
#include "output.h"

#define TITLE_MAX 400 /* bytes */
#define PULL_MS 200   /* how often signals are looked for while no picture comes */

static int set_number(unreel_options *options, const char *name, long long number)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", number);
    return unreel_options_set(options, name, text);
}

/* After a picture, which is a latent frame of its own, come whole chunks: the default length
 * becomes the next that fits, 22 for 21. A length that was asked for is left alone. */
static int fit_length(unreel_options *options)
{
    const char *length = unreel_options_get(options, "num_output_frames");
    const char *block = unreel_options_get(options, "num_frame_per_block");
    long long frames = length ? atoll(length) : 0, chunk = block ? atoll(block) : 1;
    if (unreel_options_is_set(options, "num_output_frames") || frames < 1 || chunk < 1)
        return 0;
    return set_number(options, "num_output_frames", 1 + (frames - 1 + chunk - 1) / chunk * chunk);
}

unreel_options *video_options(const struct video_job *job, const unreel_options *options,
                              struct console *console)
{
    unreel_options *own = unreel_options_copy(options);
    if (!own) {
        console_error(console, "out of memory");
        return NULL;
    }
    const char *base = unreel_options_get(own, "prompt_index");
    const char *sample = unreel_options_get(own, "sample");
    int code = unreel_options_set(own, "prompt", job->prompt->text);
    if (code == 0)
        code = set_number(own, "prompt_index", (base ? atoll(base) : 0) + (long long)job->index);
    if (code == 0)
        code = set_number(own, "sample", (sample ? atoll(sample) : 0) + job->sample);
    if (code == 0)
        code = unreel_options_set(own, "format", "i420");
    if (code == 0 && job->prompt->image)
        code = fit_length(own);
    if (code == 0)
        return own;
    unreel_options_destroy(own);
    return NULL;
}

/* At most TITLE_MAX bytes of a prompt, whole characters. To be freed. */
static char *title_of(const char *prompt)
{
    size_t length = strlen(prompt);
    if (length > TITLE_MAX)
        for (length = TITLE_MAX; length && ((unsigned char)prompt[length] & 0xc0) == 0x80; length--)
            ;
    return strndup(prompt, length);
}

static int open_output(struct output **output, const struct video_job *job,
                       const unreel_options *options, const unreel_stats *stats,
                       struct console *console)
{
    char *comment = video_comment(options);
    char *title = title_of(job->prompt->name);
    const struct output_settings settings = {.path = job->path,
                                             .width = stats->width,
                                             .height = stats->height,
                                             .fps = stats->fps,
                                             .title = title,
                                             .prompt = job->prompt->text,
                                             .comment = comment};
    int code = output_open(output, console, &settings);
    if (code == 0)
        console_debug(console, "%s: %s", job->path, output_format(*output));
    free(comment);
    free(title);
    return code;
}

/* Pulls until the video ends or something fails. */
static enum video_end copy_pictures(unreel_session *session, struct output *output,
                                    struct progress *progress)
{
    bool canceled = false;
    unreel_frame *frame;
    int code;
    while ((code = unreel_session_pull(session, &frame, PULL_MS)) == 0 || code == UNREEL_EAGAIN) {
        if (interrupt_signal() && !canceled) {
            unreel_session_cancel(session);
            canceled = true;
        }
        if (code == UNREEL_EAGAIN) {
            progress_tick(progress);
            continue;
        }
        int written = output_write(output, frame);
        unreel_frame_unref(frame);
        if (written < 0)
            return VIDEO_STOPPED;
        progress_picture(progress);
    }
    if (code == UNREEL_END)
        return VIDEO_COMPLETE;
    return code == UNREEL_ECANCELED ? VIDEO_INTERRUPTED : VIDEO_STOPPED;
}

static enum video_end end_output(struct output *output, const struct video_job *job,
                                 enum video_end end, bool endless, int64_t pictures,
                                 struct console *console)
{
    /* A video without end is complete when it is stopped. */
    if (end == VIDEO_COMPLETE || (end == VIDEO_INTERRUPTED && endless && pictures))
        return output_finish(output) < 0 ? VIDEO_STOPPED : end;
    output_abort(output);
    if (!pictures || !strcmp(job->path, "-"))
        console_warning(console, "%s: stopped after %lld picture%s", job->path, (long long)pictures,
                        pictures == 1 ? "" : "s");
    else if (end == VIDEO_STOPPED) /* of the last ones some may be in what could not be written */
        console_warning(console, "stopped: %s.part holds what was written of %lld picture%s", job->path,
                        (long long)pictures, pictures == 1 ? "" : "s");
    else
        console_warning(console, "stopped: %s.part holds the first %lld picture%s", job->path,
                        (long long)pictures, pictures == 1 ? "" : "s");
    return end;
}

static enum video_end run_session(const struct video_job *job, unreel_session *session,
                                  const unreel_options *options, struct console *console,
                                  struct progress *progress, unreel_stats *stats)
{
    struct output *output;
    const char *slash = strrchr(job->path, '/');
    unreel_session_stats(session, stats);
    bool endless = stats->pictures_total == 0;
    interrupt_defer(true);
    enum video_end end = VIDEO_STOPPED;
    int opened = open_output(&output, job, options, stats, console);
    if (opened == OUTPUT_BUSY)
        end = VIDEO_FAILED;
    if (opened == 0) {
        progress_video(progress, slash ? slash + 1 : job->path, stats->pictures_total);
        end = copy_pictures(session, output, progress);
        progress_video_end(progress, end == VIDEO_COMPLETE);
        end = end_output(output, job, end, endless, progress->pictures, console);
        unreel_session_stats(session, stats);
        console_debug(console, "memory: weights %.1f MiB, cache %.1f MiB, working %.1f MiB",
                      (double)stats->bytes_weights / (1 << 20),
                      (double)stats->bytes_cache / (1 << 20),
                      (double)stats->bytes_work / (1 << 20));
    }
    interrupt_defer(false);
    return end;
}

enum video_end video_make(const struct video_job *job, unreel_engine *engine,
                          const unreel_options *options, struct console *console,
                          struct progress *progress, unreel_stats *statistics)
{
    unreel_clip clip = {0};
    unreel_session *session;
    unreel_stats stats = {0};
    if (job->prompt->image && image_load(&clip, console, job->prompt->image) < 0)
        return VIDEO_FAILED;
    unreel_options *own = video_options(job, options, console);
    enum video_end end = VIDEO_STOPPED;
    if (own && unreel_session_open(&session, engine, own, clip.rgb ? &clip : NULL) == 0) {
        end = run_session(job, session, own, console, progress, &stats);
        unreel_session_close(session);
    }
    image_free(&clip);
    unreel_options_destroy(own);
    if (statistics)
        *statistics = stats;
    return end;
}
