/* The smallest program on the installed library: counts the pictures of one video.
 *   embed MODEL [OPTION=VALUE...] */
#include <stdio.h>
#include <string.h>
#include <unreel/unreel.h>

static void print(void *opaque, int level, const char *message)
{
    if (level <= UNREEL_LOG_WARNING)
        fprintf(stderr, "%s\n", message);
}

int main(int argc, char **argv)
{
    const unreel_log log = {.write = print};
    unreel_options *options = unreel_options_create(&log);
    unreel_engine *engine = NULL;
    unreel_session *session = NULL;
    unreel_frame *frame;
    int code = argc < 2 ? UNREEL_EINVAL : unreel_options_set(options, "model", argv[1]);
    for (int i = 2; i < argc && code == 0; i++) {
        char *equals = strchr(argv[i], '=');
        if (equals)
            *equals = 0;
        code = unreel_options_set(options, argv[i], equals ? equals + 1 : "true");
    }
    if (code == 0)
        code = unreel_options_load_config(options, NULL, NULL); /* the model's own */
    if (code == 0)
        code = unreel_engine_open(&engine, options);
    if (code == 0)
        code = unreel_session_open(&session, engine, options, NULL);
    int pictures = 0;
    while (code == 0 && (code = unreel_session_pull(session, &frame, -1)) == 0) {
        pictures++;
        unreel_frame_unref(frame);
    }
    printf("%d pictures: %s\n", pictures, unreel_error_text(code));
    unreel_session_close(session);
    unreel_engine_close(engine);
    unreel_options_destroy(options);
    return code != UNREEL_END;
}
