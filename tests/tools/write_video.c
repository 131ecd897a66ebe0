/* Writes made-up pictures with the command's outputs, for tests: write_video OPTION=VALUE...
 *   path=FILE pictures=N size=WxH fps=X
 *   kill_at=N     SIGKILL to itself when picture N and all before it are as far as they go
 *   abort_at=N    output_abort() after picture N, as the command does at Ctrl-C
 * Prints "wrote N". Exit code 1 if an output function failed. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"

struct job {
    const char *path;
    int pictures, width, height, kill_at, abort_at;
    double fps;
};

/* A moving gradient with a block that carries the picture's number in its brightness. */
static void paint(uint8_t *planes[3], const struct job *job, int n)
{
    int w = job->width, h = job->height;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            planes[0][y * w + x] = (uint8_t)(16 + ((x + 3 * n) ^ (y + n)) % 200);
    for (int y = 0; y < h / 2; y++)
        for (int x = 0; x < w / 2; x++) {
            planes[1][y * (w / 2) + x] = (uint8_t)(64 + (x + n) % 128);
            planes[2][y * (w / 2) + x] = (uint8_t)(64 + (y + n) % 128);
        }
    for (int y = 0; y < 16 && y < h; y++)
        memset(planes[0] + y * w, 16 + n % 220, (size_t)(w < 16 ? w : 16));
}

static void parse(struct job *job, const char *text)
{
    if (!strncmp(text, "path=", 5))
        job->path = text + 5;
    sscanf(text, "pictures=%d", &job->pictures);
    sscanf(text, "size=%dx%d", &job->width, &job->height);
    sscanf(text, "kill_at=%d", &job->kill_at);
    sscanf(text, "abort_at=%d", &job->abort_at);
    sscanf(text, "fps=%lf", &job->fps);
}

/* Whether a thread waits for something other than a disk or its turn. */
static bool sleeps(const char *thread)
{
    char path[64], line[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%.16s/stat", thread);
    FILE *file = fopen(path, "re");
    if (!file) /* it has ended */
        return true;
    size_t length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[length] = 0;
    const char *name_end = strrchr(line, ')');
    return name_end && !strncmp(name_end, ") S", 3);
}

static bool others_sleep(void)
{
    char self[16];
    bool sleeping = true;
    DIR *tasks = opendir("/proc/self/task");
    snprintf(self, sizeof self, "%d", (int)getpid()); /* main() is the process's first thread */
    for (struct dirent *task; tasks && sleeping && (task = readdir(tasks));)
        if (*task->d_name != '.' && strcmp(task->d_name, self) != 0)
            sleeping = sleeps(task->d_name);
    if (tasks)
        closedir(tasks);
    return tasks && sleeping;
}

/* Until encoder and muxer have done all they can with what they were given, however slow they are:
 * then every other thread sleeps, in three looks in a row. */
static void wait_for_others(void)
{
    for (int i = 0, quiet = 0; i < 6000 && quiet < 3; i++) {
        usleep(10000);
        quiet = others_sleep() ? quiet + 1 : 0;
    }
}

int main(int argc, char **argv)
{
    struct job job = {"out.mp4", 81, 256, 128, -1, -1, 16};
    struct console console;
    struct output *output;
    for (int i = 1; i < argc; i++)
        parse(&job, argv[i]);
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    console_init(&console);
    const struct output_settings settings = {.path = job.path,
                                             .width = job.width,
                                             .height = job.height,
                                             .fps = job.fps,
                                             .title = "a title",
                                             .prompt = "a prompt; 50% \xc3\xa4",
                                             .comment = "seed=7"};
    if (output_open(&output, &console, &settings) < 0)
        return 1;
    size_t luma = (size_t)job.width * (size_t)job.height;
    uint8_t *memory = malloc(luma * 3 / 2);
    uint8_t *planes[3] = {memory, memory + luma, memory + luma * 5 / 4};
    int n, code = 0;
    for (n = 0; n < job.pictures && code == 0; n++) {
        unreel_frame frame = {.width = job.width, .height = job.height, .index = n};
        paint(planes, &job, n);
        for (int i = 0; i < 3; i++) {
            frame.data[i] = planes[i];
            frame.stride[i] = (size_t)(i ? job.width / 2 : job.width);
        }
        code = output_write(output, &frame);
        if (n == job.kill_at) {
            wait_for_others();
            raise(SIGKILL);
        }
        if (n == job.abort_at) {
            output_abort(output);
            output = NULL;
            break;
        }
    }
    if (output && code < 0)
        output_abort(output);
    else if (output)
        code = output_finish(output);
    fprintf(stderr, "wrote %d\n", n);
    free(memory);
    return code < 0;
}
