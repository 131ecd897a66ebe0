/* Sessions through the public API, on the small golden model: pictures, cancelling, several at once,
 * frames that outlive their session, videos without end. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>

#include "nano.h"

struct video {
    int64_t pictures;
    uint64_t sum;
    int end;
    bool wrong; /* a picture out of order, or of another size: checked by the caller, not by threads */
};

static struct video pull_all(unreel_session *s)
{
    struct video v = {.sum = 0xcbf29ce484222325};
    unreel_frame *f;
    while ((v.end = unreel_session_pull(s, &f, -1)) == 0) {
        v.wrong = v.wrong || f->index != v.pictures || f->width != 48 || f->height != 32 ||
                  fabs(f->time - (double)f->index / 16) > 1e-9;
        v.sum = picture_sum(v.sum, f);
        v.pictures++;
        unreel_frame_unref(f);
    }
    return v;
}

static struct video make(unreel_engine *e, const unreel_options *o, const unreel_clip *clip)
{
    unreel_session *s = NULL;
    struct video v = {.end = unreel_session_open(&s, e, o, clip)};
    CHECK_MSG(v.end == 0, "%s", test_message);
    if (s)
        v = pull_all(s);
    CHECK(!v.wrong);
    unreel_session_close(s);
    return v;
}

static void test_whole_video(unreel_engine *e)
{
    unreel_options *o = options_for("a red fox", "12");
    struct video a = make(e, o, NULL), b = make(e, o, NULL);
    CHECK(a.end == UNREEL_END && a.pictures == 45);
    CHECK(a.sum == b.sum); /* the same seed, the same video */
    unreel_options_set(o, "seed", "1");
    CHECK(make(e, o, NULL).sum != a.sum);
    unreel_options_set(o, "seed", "0");
    unreel_options_set(o, "sample", "1");
    CHECK(make(e, o, NULL).sum != a.sum);
    unreel_options_set(o, "sample", "0");
    unreel_options_set(o, "prompt", "a blue boat");
    CHECK(make(e, o, NULL).sum != a.sum);
    unreel_options_set(o, "prompt", "a red fox");
    unreel_options_set(o, "denoising_step_list", ""); /* multi-step */
    unreel_options_set(o, "sampling_steps", "4");
    struct video multi = make(e, o, NULL);
    CHECK(multi.pictures == 45 && multi.sum != a.sum);
    unreel_options_set(o, "negative_prompt", "a blue boat");
    CHECK(make(e, o, NULL).sum != multi.sum);
    unreel_options_destroy(o);
}

/* A video is the beginning of every longer one. */
static void test_prefix(unreel_engine *e)
{
    unreel_options *o = options_for("a red fox", "9");
    unreel_options *endless = options_for("a red fox", "0");
    struct video a = make(e, o, NULL), b = {.sum = 0xcbf29ce484222325};
    unreel_session *s;
    unreel_frame *f;
    CHECK(unreel_session_open(&s, e, endless, NULL) == 0);
    while (b.pictures < 33 && unreel_session_pull(s, &f, -1) == 0) {
        b.sum = picture_sum(b.sum, f);
        b.pictures++;
        unreel_frame_unref(f);
    }
    unreel_session_close(s);
    CHECK(a.pictures == 33 && b.sum == a.sum);
    unreel_options_destroy(o);
    unreel_options_destroy(endless);
}

static void test_image(unreel_engine *e)
{
    uint8_t rgb[50 * 40 * 3];
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)(i * 7);
    const unreel_clip clip = {.rgb = rgb, .stride = 150, .frames = 1, .width = 50, .height = 40};
    unreel_options *o = options_for("a red fox", "21");
    unreel_session *s;
    test_message[0] = 0;
    CHECK(unreel_session_open(&s, e, o, &clip) == UNREEL_EINVAL); /* 1 + blocks of 3 */
    CHECK_MSG(strstr(test_message, "19 or 22"), "%s", test_message);
    unreel_options_set(o, "num_output_frames", "7");
    struct video v = make(e, o, &clip);
    CHECK(v.end == UNREEL_END && v.pictures == 25);
    unreel_options_destroy(o);
}

/* 9 pictures are 3 given latent frames: a whole block. */
static void test_clip(unreel_engine *e)
{
    static uint8_t rgb[9 * 4000];
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)(i * 5);
    unreel_clip clip = {.rgb = rgb, .stride = 100, .frames_stride = 4000, .frames = 9, .width = 32,
                        .height = 40};
    unreel_options *o = options_for("a red fox", "9");
    unreel_session *s = NULL;
    unreel_stats stats;
    struct video v = make(e, o, &clip);
    CHECK(v.end == UNREEL_END && v.pictures == 33);
    clip.frames = 8;
    CHECK(unreel_session_open(&s, e, o, &clip) == UNREEL_EINVAL && !s);
    CHECK_MSG(strstr(test_message, "5 or 9"), "%s", test_message);
    clip.frames = 5; /* 2 latent frames */
    CHECK(unreel_session_open(&s, e, o, &clip) == UNREEL_EINVAL && !s);
    CHECK_MSG(strstr(test_message, "1 or 9 pictures"), "%s", test_message);
    clip.frames = 9;
    CHECK(unreel_session_open(&s, e, o, &clip) == 0);
    pull_all(s);
    unreel_session_stats(s, &stats);
    CHECK(stats.pictures == 33 && stats.pictures_total == 33 && stats.latent_frames == 9);
    CHECK(stats.chunks == 2 && stats.chunk_p50 > 0 && stats.chunk_p99 >= stats.chunk_p50);
    CHECK(stats.seconds_first > 0 && stats.seconds_first <= stats.seconds_total);
    CHECK(stats.bytes_weights > 0 && stats.bytes_cache > 0 && stats.bytes_work > 0);
    unreel_session_close(s);
    unreel_options_destroy(o);
}

static void *make_in_thread(void *arg)
{
    void **args = arg;
    struct video *v = malloc(sizeof *v);
    unreel_session *s = NULL;
    v->end = unreel_session_open(&s, args[0], args[1], NULL);
    if (s)
        *v = pull_all(s);
    unreel_session_close(s);
    return v;
}

static void test_two_at_once(unreel_engine *e)
{
    unreel_options *o[2] = {options_for("a red fox", "9"), options_for("a blue boat", "9")};
    struct video alone[2] = {make(e, o[0], NULL), make(e, o[1], NULL)}, *together[2];
    pthread_t thread[2];
    void *args[2][2] = {{e, o[0]}, {e, o[1]}};
    for (int i = 0; i < 2; i++)
        pthread_create(&thread[i], NULL, make_in_thread, args[i]);
    for (int i = 0; i < 2; i++) {
        void *result;
        pthread_join(thread[i], &result);
        together[i] = result;
        CHECK(together[i]->end == UNREEL_END && together[i]->sum == alone[i].sum &&
              !together[i]->wrong);
        free(together[i]);
        unreel_options_destroy(o[i]);
    }
}

static void test_frames_outlive(void)
{
    unreel_options *o = options_for("a red fox", "3");
    unreel_engine *e = NULL;
    unreel_session *s = NULL;
    unreel_frame *kept[9] = {0}, *f;
    CHECK(unreel_engine_open(&e, o) == 0 && unreel_session_open(&s, e, o, NULL) == 0);
    unreel_options_destroy(o);
    unreel_engine_close(e); /* the session keeps it */
    for (int i = 0; i < 9; i++)
        CHECK(unreel_session_pull(s, &kept[i], -1) == 0);
    CHECK(unreel_session_pull(s, &f, -1) == UNREEL_END && !f);
    uint64_t before = picture_sum(1, kept[8]);
    unreel_session_close(s);
    CHECK(picture_sum(1, kept[8]) == before);
    unreel_frame *again = unreel_frame_ref(kept[8]);
    for (int i = 0; i < 9; i++)
        unreel_frame_unref(kept[i]);
    CHECK(picture_sum(1, again) == before);
    unreel_frame_unref(again);
}

struct delivery {
    int64_t pictures;
    int end;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void receive(void *opaque, unreel_frame *frame, int status)
{
    struct delivery *d = opaque;
    pthread_mutex_lock(&d->lock);
    if (frame)
        d->pictures++;
    else
        d->end = status;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

struct closer {
    unreel_session *session;
    atomic_bool ended;
};

static void close_from_within(void *opaque, unreel_frame *frame, int status)
{
    struct closer *closer = opaque;
    if (frame && frame->index == 0)
        unreel_session_close(closer->session);
    if (!frame && status == UNREEL_END)
        atomic_store(&closer->ended, true);
}

/* A delivery that closes its own session is refused, and goes on. */
static void test_close_from_within(unreel_engine *e)
{
    unreel_options *o = options_for("a red fox", "6");
    struct closer closer = {0};
    test_message[0] = 0;
    CHECK(unreel_session_open(&closer.session, e, o, NULL) == 0);
    CHECK(unreel_session_deliver(closer.session, close_from_within, &closer) == 0);
    for (int i = 0; i < 6000 && !atomic_load(&closer.ended); i++)
        usleep(10000);
    CHECK(atomic_load(&closer.ended) && strstr(test_message, "not closed"));
    unreel_session_close(closer.session);
    unreel_options_destroy(o);
}

static void test_delivery(unreel_engine *e)
{
    unreel_options *o = options_for("a red fox", "6");
    struct delivery d = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    unreel_session *s = NULL;
    CHECK(unreel_session_open(&s, e, o, NULL) == 0);
    CHECK(unreel_session_deliver(s, receive, &d) == 0);
    pthread_mutex_lock(&d.lock);
    while (!d.end)
        pthread_cond_wait(&d.changed, &d.lock);
    pthread_mutex_unlock(&d.lock);
    CHECK(d.end == UNREEL_END && d.pictures == 21);
    unreel_session_close(s);
    unreel_options_destroy(o);
}

static void test_cancel(unreel_engine *e)
{
    unreel_options *o = options_for("a red fox", "0");
    unreel_session *s = NULL;
    unreel_frame *f;
    CHECK(unreel_session_open(&s, e, o, NULL) == 0);
    CHECK(unreel_session_pull(s, &f, -1) == 0);
    unreel_frame_unref(f);
    unreel_session_cancel(s);
    struct video v = {0};
    while ((v.end = unreel_session_pull(s, &f, -1)) == 0) {
        unreel_frame_unref(f);
        v.pictures++;
    }
    CHECK(v.end == UNREEL_ECANCELED && v.pictures < 100);
    unreel_session_close(s);
    /* Closed while the worker is busy, and while it waits for room in the queue. */
    for (int wait = 0; wait < 2; wait++) {
        CHECK(unreel_session_open(&s, e, o, NULL) == 0);
        if (wait)
            usleep(300000);
        unreel_session_close(s);
    }
    /* The engine still works. */
    unreel_options_set(o, "num_output_frames", "3");
    CHECK(make(e, o, NULL).pictures == 9);
    unreel_options_destroy(o);
}

static void write_own(void *opaque, int level, const char *message)
{
    if (level <= UNREEL_LOG_WARNING)
        snprintf(opaque, 2048, "%s", message);
}

static void refuse(unreel_engine *e, const char *name, const char *value, const char *message)
{
    unreel_options *o = options_for("a red fox", "12");
    unreel_session *s = NULL;
    test_message[0] = 0;
    int code = unreel_options_set(o, name, value);
    if (code == 0)
        code = unreel_session_open(&s, e, o, NULL);
    CHECK_MSG(code < 0 && !s && strstr(test_message, message), "%s %s: %d '%s'", name, value, code,
              test_message);
    unreel_session_close(s);
    unreel_options_destroy(o);
}

static void test_refusals(unreel_engine *e)
{
    refuse(e, "num_output_frames", "20", "18 or 21");
    refuse(e, "size", "50x32", "16");
    refuse(e, "denoising_step_list", "500,750", "750");
    refuse(e, "window", "3", "no room"); /* beside a sink of 1 */
    refuse(e, "noise", "/nonexistent.safetensors", "/nonexistent.safetensors");
    refuse(e, "decoder", "taehv", "taew2_1");
    unreel_options *o = options_for("a red fox", "12");
    unreel_engine *none = NULL;
    unreel_options_set(o, "model", "/nonexistent");
    CHECK(unreel_engine_open(&none, o) == UNREEL_EIO && !none);
    CHECK(strstr(test_message, "/nonexistent"));
    unreel_options_destroy(o);
}

/* Messages of a session go where its own options say. */
static void test_log_of_session(unreel_engine *e)
{
    char own[2048] = "", *huge = malloc(UNREEL_PROMPT_MAX + 2);
    const unreel_log log = {.write = write_own, .opaque = own};
    unreel_options *o = options_for("a red fox", "20"), *mine = unreel_options_create(&log);
    unreel_session *s = NULL;
    const unreel_option_info *info;
    for (size_t i = 0; (info = unreel_option_at(i)); i++)
        if (unreel_options_is_set(o, info->name))
            unreel_options_set(mine, info->name, unreel_options_get(o, info->name));
    test_message[0] = 0;
    CHECK(unreel_session_open(&s, e, mine, NULL) == UNREEL_EINVAL && !s);
    CHECK_MSG(strstr(own, "18 or 21") && !test_message[0], "'%s', '%s'", own, test_message);
    unreel_options_set(mine, "num_output_frames", "3");
    CHECK(unreel_session_open(&s, e, mine, NULL) == 0);
    memset(huge, 'x', UNREEL_PROMPT_MAX + 1);
    huge[UNREEL_PROMPT_MAX + 1] = 0;
    CHECK(unreel_session_set_prompt(s, huge, UNREEL_SWITCH_CUT, 0) == UNREEL_EINVAL);
    CHECK(unreel_session_set_prompt(s, "a \xff fox", UNREEL_SWITCH_CUT, 0) == UNREEL_EFORMAT);
    CHECK_MSG(!strstr(own, "18 or 21") && !test_message[0], "'%s', '%s'", own, test_message);
    unreel_session_close(s);
    refuse(e, "num_output_frames", "20", "18 or 21"); /* the next one's own again */
    free(huge);
    unreel_options_destroy(mine);
    unreel_options_destroy(o);
}

/* Every session has the light decoder that it asks for, whichever was opened before. */
static void test_light(unreel_engine *e)
{
    char path[4200];
    const char *end = strstr(model, "/nano/");
    unreel_options *o = options_for("a red fox", "3");
    unreel_session *s = NULL;
    snprintf(path, sizeof path, "%.*s/taehv/taew2_1.safetensors", end ? (int)(end - model) : 0,
             model);
    unreel_options_set(o, "decoder", "taehv");
    unreel_options_set(o, "decoder_path", path);
    for (int i = 0; i < 2; i++)
        CHECK(make(e, o, NULL).pictures == 9);
    unreel_options_set(o, "decoder_path", "/nonexistent.safetensors");
    CHECK(unreel_session_open(&s, e, o, NULL) == UNREEL_EIO && !s);
    CHECK_MSG(strstr(test_message, "/nonexistent.safetensors"), "%s", test_message);
    unreel_session_close(s);
    unreel_options_destroy(o);
}

/* Latents written, and read again as if they were noise, have the right shape and count. */
static void test_latents(unreel_engine *e)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/latents.safetensors", scratch);
    unreel_options *o = options_for("a red fox", "6");
    unreel_options_set(o, "save_latents", path);
    CHECK(make(e, o, NULL).pictures == 21);
    CHECK(access(path, R_OK) == 0);
    unreel_options_set(o, "save_latents", "");
    unreel_options_set(o, "noise", path);
    unreel_session *s = NULL;
    CHECK(unreel_session_open(&s, e, o, NULL) == UNREEL_EFORMAT); /* no tensor "noise" in it */
    unreel_session_close(s);
    unlink(path);
    unreel_options_destroy(o);
}

/* Far past the window and past the 1024th position: the same memory at the end as after a warm-up,
 * and no picture is lost. */
static void test_endless(unreel_engine *e, int64_t latent_frames)
{
    unreel_options *o = options_for("a red fox", "0");
    unreel_session *s = NULL;
    unreel_frame *f;
    long warm = 0;
    CHECK(unreel_session_open(&s, e, o, NULL) == 0);
    int64_t total = 1 + 4 * (latent_frames - 1);
    for (int64_t i = 0; i < total; i++) {
        if (unreel_session_pull(s, &f, -1) != 0 || f->index != i) {
            CHECK_MSG(0, "picture %lld", (long long)i);
            break;
        }
        unreel_frame_unref(f);
        if (i == 400)
            warm = resident_kb();
    }
    long grown = resident_kb() - warm;
#ifdef __SANITIZE_ADDRESS__ /* keeps what is freed for a while, up to 256 MB */
    grown -= 256 << 10;
#endif
    CHECK_MSG(warm > 0 && grown < 1024, "%ld kB more after %lld latent frames", grown,
              (long long)latent_frames);
    unreel_session_close(s);
    unreel_options_destroy(o);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        printf("usage: test_session GOLDEN_NANO SCRATCH [LATENT_FRAMES]\n");
        return 2;
    }
    unreel_engine *e = NULL;
    int code = open_nano(&e, argv[1], argv[2], "2");
    if (!e)
        return code;
    test_whole_video(e);
    test_prefix(e);
    test_image(e);
    test_clip(e);
    test_two_at_once(e);
    test_frames_outlive();
    test_delivery(e);
    test_close_from_within(e);
    test_cancel(e);
    test_refusals(e);
    test_log_of_session(e);
    test_light(e);
    test_latents(e);
    test_endless(e, argc > 3 ? atoll(argv[3]) : 300);
    unreel_engine_close(e);
    return test_end();
}
