/* YUV4MPEG2: a line of text, then raw pictures. */
#include "output_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PICTURE_HEADER "FRAME\n"

struct output_sink {
    struct console *console;
    char *name;
    int fd;
    int width, height;
    uint8_t *picture; /* header and planes, written with one call */
    size_t bytes;
    off_t whole; /* bytes of the file up to the last whole picture; -1: not seekable */
    bool failed;
};

static int write_all(struct output_sink *sink, const void *data, size_t bytes)
{
    const char *p = data;
    while (bytes) {
        ssize_t n = write(sink->fd, p, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            console_error(sink->console, "%s: %s", sink->name, strerror(errno));
            sink->failed = true;
            return -1;
        }
        p += n;
        bytes -= (size_t)n;
    }
    if (sink->whole >= 0)
        sink->whole += p - (const char *)data;
    return 0;
}

static int y4m_close(struct output_sink *sink)
{
    int code = sink->failed ? -1 : 0;
    if (sink->failed && sink->whole >= 0 && ftruncate(sink->fd, sink->whole) < 0)
        sink->whole = 0; /* the torn last picture stays: players drop it */
    if (sink->fd != STDOUT_FILENO && close(sink->fd) < 0 && code == 0) {
        console_error(sink->console, "%s: %s", sink->name, strerror(errno));
        code = -1;
    }
    free(sink->picture);
    free(sink->name);
    free(sink);
    return code;
}

static int y4m_open(struct output_sink **sink, struct console *console, const char *file,
                    const struct output_settings *settings)
{
    bool out = !strcmp(file, "-");
    int numerator, denominator;
    char header[128];
    int fd = out ? STDOUT_FILENO : open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        console_error(console, "%s: %s", file, strerror(errno));
        return -1;
    }
    struct output_sink *s = calloc(1, sizeof *s);
    size_t luma = (size_t)settings->width * (size_t)settings->height;
    *s = (struct output_sink){.console = console, .fd = fd};
    s->name = strdup(out ? "stdout" : file);
    s->width = settings->width;
    s->height = settings->height;
    s->bytes = strlen(PICTURE_HEADER) + luma + luma / 2;
    s->picture = malloc(s->bytes);
    s->whole = !out && lseek(fd, 0, SEEK_CUR) == 0 ? 0 : -1;
    memcpy(s->picture, PICTURE_HEADER, strlen(PICTURE_HEADER));
    output_rate(settings->fps, &numerator, &denominator);
    /* Chroma lies between the four luma samples it was averaged from: "jpeg" siting. */
    int n = snprintf(header, sizeof header,
                     "YUV4MPEG2 W%d H%d F%d:%d Ip A1:1 C420jpeg XCOLORRANGE=LIMITED\n",
                     settings->width, settings->height, numerator, denominator);
    if (write_all(s, header, (size_t)n) < 0) {
        y4m_close(s);
        return -1;
    }
    *sink = s;
    return 0;
}

static int y4m_write(struct output_sink *sink, const unreel_frame *frame)
{
    uint8_t *to = sink->picture + strlen(PICTURE_HEADER);
    for (int plane = 0; plane < 3; plane++) {
        size_t width = (size_t)(plane ? sink->width / 2 : sink->width);
        int height = plane ? sink->height / 2 : sink->height;
        for (int y = 0; y < height; y++, to += width)
            memcpy(to, frame->data[plane] + (size_t)y * frame->stride[plane], width);
    }
    return write_all(sink, sink->picture, sink->bytes);
}

static const char *y4m_format(const struct output_sink *sink)
{
    return "YUV4MPEG2";
}

const struct output_sink_class output_y4m = {y4m_open, y4m_write, y4m_close, y4m_format};
