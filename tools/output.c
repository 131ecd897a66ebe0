#include "output_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct output {
    struct console *console;
    const struct output_sink_class *class;
    struct output_sink *sink;
    char *path, *file; /* the file is path + ".part", or path if that is no regular file */
    int lock;           /* held on `file` while it is written; -1: none */
    int64_t pictures;
    bool failed; /* the error is printed */
};

enum output_kind output_kind_of(const char *path)
{
    const char *dot = strrchr(path, '.');
    if (!strcmp(path, "-") || (dot && !strcasecmp(dot, ".y4m")))
        return OUTPUT_Y4M;
    if (dot && !strcasecmp(dot, ".mp4"))
        return OUTPUT_MP4;
    return OUTPUT_UNKNOWN;
}

void output_rate(double fps, int *numerator, int *denominator)
{
    const int candidates[] = {1, 1001, 1000};
    for (int i = 0; i < 3; i++) {
        *denominator = candidates[i];
        *numerator = (int)lround(fps * *denominator);
        if (candidates[i] == 1001) /* 24000/1001 and its like */
            *numerator = (int)lround(fps * 1.001) * 1000;
        if (fabs((double)*numerator / *denominator - fps) < 5e-4 * fps)
            return;
    }
}

static bool is_special(const char *path)
{
    struct stat st;
    return !strcmp(path, "-") || (stat(path, &st) == 0 && !S_ISREG(st.st_mode));
}

/* The folder a path is in, to be freed. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static int check_writable(struct console *console, const char *path)
{
    struct stat st;
    char *folder = folder_of(path);
    int code = -1;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        console_error(console, "%s: is a folder", path);
    else if (is_special(path))
        code = 0;
    else if (stat(folder, &st) == 0 && !S_ISDIR(st.st_mode))
        console_error(console, "%s: not a folder", folder);
    else if (access(folder, W_OK | X_OK) < 0)
        console_error(console, "%s: cannot write there: %s", folder, strerror(errno));
    else
        code = 0;
    free(folder);
    return code;
}

int output_check(struct console *console, const char *path)
{
    switch (output_kind_of(path)) {
    case OUTPUT_UNKNOWN:
        console_error(console, "%s: unknown kind of video: .mp4, .y4m or - (Y4M to stdout)", path);
        return -1;
    case OUTPUT_MP4:
#ifndef HAVE_GSTREAMER
        console_error(console, "%s: this build has no GStreamer and cannot write MP4: use .y4m",
                      path);
        return -1;
#endif
    case OUTPUT_Y4M:
        break;
    }
    if (strcmp(path, "-"))
        return check_writable(console, path);
    if (!isatty(STDOUT_FILENO))
        return 0;
    console_error(console, "stdout: is a terminal: a video goes to a file or a program (--output NAME.mp4)");
    return -1;
}

int output_make_folder(struct console *console, const char *path)
{
    struct stat st;
    char *copy = strdup(path);
    int code = 0;
    for (char *p = copy + 1; code == 0; p++) {
        char c = *p;
        if (c != '/' && c)
            continue;
        *p = 0;
        if (mkdir(copy, 0777) < 0 && errno != EEXIST)
            code = -1;
        *p = c;
        if (!c)
            break;
    }
    if (code == 0 && stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        code = -1;
        errno = ENOTDIR;
    }
    if (code < 0)
        console_error(console, "%s: cannot make this folder: %s", path, strerror(errno));
    free(copy);
    return code;
}

static const struct output_sink_class *class_of(const char *path)
{
#ifdef HAVE_GSTREAMER
    if (output_kind_of(path) == OUTPUT_MP4)
        return &output_mp4;
#endif
    return &output_y4m;
}

/* Nobody else writes this file at the same time. -1: somebody does, which is printed. What cannot be locked,
 * as on some network file systems, is written without. */
static int lock_file(struct output *o)
{
    struct stat locked, named;
    for (;;) {
        o->lock = open(o->file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (o->lock < 0)
            return 0; /* opening it for real says why */
        if (flock(o->lock, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
            console_error(o->console, "%s: another run is writing it", o->file);
            return -1;
        }
        /* Or it has just been finished, and the name is another file's or nobody's. */
        if (stat(o->file, &named) == 0 && fstat(o->lock, &locked) == 0 && named.st_ino == locked.st_ino &&
            named.st_dev == locked.st_dev)
            return 0;
        close(o->lock);
    }
}

static void output_free(struct output *output)
{
    if (output->lock >= 0)
        close(output->lock);
    free(output->path);
    free(output->file);
    free(output);
}

int output_open(struct output **output, struct console *console,
                const struct output_settings *settings)
{
    *output = NULL;
    if (output_check(console, settings->path) < 0)
        return -1;
    struct output *o = calloc(1, sizeof *o);
    o->console = console;
    o->class = class_of(settings->path);
    o->path = strdup(settings->path);
    if (is_special(o->path))
        o->file = strdup(o->path);
    else if (asprintf(&o->file, "%s.part", o->path) < 0)
        o->file = NULL;
    o->lock = -1;
    if (strcmp(o->file, o->path) && lock_file(o) < 0) {
        output_free(o);
        return OUTPUT_BUSY;
    }
    if (o->class->open(&o->sink, console, o->file, settings) < 0) {
        struct stat st;
        if (o->lock >= 0 && fstat(o->lock, &st) == 0 && !st.st_size)
            unlink(o->file);
        output_free(o);
        return -1;
    }
    *output = o;
    return 0;
}

int output_write(struct output *output, const unreel_frame *frame)
{
    if (output->failed)
        return -1;
    if (output->class->write(output->sink, frame) < 0) {
        output->failed = true;
        return -1;
    }
    output->pictures++;
    return 0;
}

const char *output_format(const struct output *output)
{
    return output->class->format(output->sink);
}

/* On disk before it gets its name: a crash of the machine leaves one or the other. */
static int rename_complete(struct output *o)
{
    int fd = open(o->file, O_RDONLY | O_CLOEXEC);
    int code = fd < 0 || (fsync(fd) < 0 && errno != EINVAL) ? -1 : 0;
    if (fd >= 0)
        close(fd);
    if (code == 0)
        code = rename(o->file, o->path);
    if (code < 0)
        console_error(o->console, "%s: %s", o->file, strerror(errno));
    return code;
}

int output_finish(struct output *output)
{
    if (output->failed) {
        output_abort(output);
        return -1;
    }
    int code = output->class->close(output->sink);
    if (code == 0 && strcmp(output->file, output->path))
        code = rename_complete(output);
    output_free(output);
    return code;
}

void output_abort(struct output *output)
{
    if (!output)
        return;
    output->class->close(output->sink);
    if (!output->pictures && strcmp(output->file, output->path))
        unlink(output->file);
    output_free(output);
}
