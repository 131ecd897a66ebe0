/* judge-change: a video whose prompt changes while it is made, as YUV4MPEG2 on stdout. The number
 * of the first picture of the new prompt goes to stderr.
 *
 *     judge-change FIRST_PROMPT NEXT_PROMPT blend|recache|cut AFTER [OPTION=VALUE...]
 *
 * The change is asked for when picture AFTER is taken and counts from the next chunk that begins.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unreel/unreel.h>

struct change {
    const char *prompt;
    enum unreel_switch how;
    int64_t after, at; /* pictures */
};

static void print(void *opaque, int level, const char *message)
{
    (void)opaque;
    if (level <= UNREEL_LOG_WARNING)
        fprintf(stderr, "judge-change: %s\n", message);
}

static int set_options(unreel_options *options, const char *prompt, int count, char **more)
{
    int code = unreel_options_set(options, "prompt", prompt);
    for (int i = 0; i < count && code == 0; i++) {
        char *equals = strchr(more[i], '=');
        if (equals)
            *equals = 0;
        code = unreel_options_set(options, more[i], equals ? equals + 1 : "true");
    }
    return code == 0 ? unreel_options_load_config(options, NULL, NULL) : code;
}

static void write_picture(const unreel_frame *f)
{
    if (f->index == 0)
        printf("YUV4MPEG2 W%d H%d F16:1 Ip A1:1 C420jpeg\n", f->width, f->height);
    printf("FRAME\n");
    for (int plane = 0; plane < 3; plane++) {
        int shift = plane ? 1 : 0;
        for (int y = 0; y < f->height >> shift; y++)
            fwrite(f->data[plane] + (size_t)y * f->stride[plane], 1, (size_t)(f->width >> shift),
                   stdout);
    }
}

static int make(unreel_session *session, struct change *change)
{
    unreel_frame *frame;
    int code;
    while ((code = unreel_session_pull(session, &frame, -1)) == 0) {
        write_picture(frame);
        int64_t scene = frame->scene, index = frame->index;
        unreel_frame_unref(frame);
        if (scene && change->at < 0)
            change->at = index;
        if (index == change->after) {
            int64_t number = unreel_session_set_prompt(session, change->prompt, change->how, 0);
            if (number < 0)
                return (int)number;
        }
    }
    return code == UNREEL_END ? 0 : code;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"", "blend", "recache", "cut"};
    struct change change = {.at = -1};
    for (int i = 1; argc > 4 && i < 4; i++)
        if (!strcmp(argv[3], names[i]))
            change.how = (enum unreel_switch)i;
    if (!change.how) {
        fprintf(stderr, "usage: judge-change FIRST_PROMPT NEXT_PROMPT blend|recache|cut AFTER "
                        "[OPTION=VALUE...]\n");
        return 2;
    }
    change.prompt = argv[2];
    change.after = atoll(argv[4]);
    const unreel_log log = {.write = print};
    unreel_options *options = unreel_options_create(&log);
    unreel_engine *engine = NULL;
    unreel_session *session = NULL;
    int code = set_options(options, argv[1], argc - 5, argv + 5);
    if (code == 0)
        code = unreel_engine_open(&engine, options);
    if (code == 0)
        code = unreel_session_open(&session, engine, options, NULL);
    if (code == 0)
        code = make(session, &change);
    unreel_session_close(session);
    unreel_engine_close(engine);
    unreel_options_destroy(options);
    if (code < 0 || change.at < 0 || fflush(stdout)) {
        fprintf(stderr, "judge-change: %s\n",
                code < 0 ? unreel_error_text(code) : "there is no picture of the new prompt");
        return 1;
    }
    fprintf(stderr, "%lld\n", (long long)change.at);
    return 0;
}
