/* Sessions steered for long, and from several threads in any order. */
#include <pthread.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "steer.h"

/* ---- long videos
 * -------------------------------------------------------------------------------------- */

/* With the window computed again every 50 chunks: the same memory at the end as after a warm-up,
 * and none allocated on the device once the session is open. */
static void test_endless(unreel_engine *e, int64_t latent_frames)
{
    unreel_options *o = endless();
    unreel_options_set(o, "rotary", "relative");
    e->backend->bytes_peak = e->backend->bytes; /* not that of the sessions before */
    unreel_session *s = open_session(e, o);
    int64_t total = 1 + 4 * (latent_frames - 1), change = 0, asked = 0;
    uint64_t device = e->backend->bytes_peak;
    long warm = 0;
    for (int64_t i = 0; i < total; i++) {
        unreel_frame *f;
        if (unreel_session_pull(s, &f, -1) < 0 || f->index != i || f->scene < change) {
            CHECK_MSG(0, "picture %lld", (long long)i);
            break;
        }
        change = f->scene;
        if (f->chunk / 50 >= asked) {
            asked++;
            CHECK(unreel_session_set_prompt(s, asked % 2 ? BOAT : FOX, UNREEL_SWITCH_RECACHE, 0) ==
                  asked);
        }
        unreel_frame_unref(f);
        if (i == 800)
            warm = resident_kb();
    }
    long grown = resident_kb() - warm;
#ifdef __SANITIZE_ADDRESS__ /* keeps what is freed for a while, up to 256 MB */
    grown -= 256 << 10;
#endif
    CHECK_MSG(warm > 0 && grown < 1024, "%ld kB more after %lld latent frames", grown,
              (long long)latent_frames);
    CHECK(e->backend->bytes_peak == device);
    CHECK(change >= asked - 1 && asked == latent_frames / 3 / 50 + (latent_frames / 3 % 50 > 0));
    unreel_session_close(s);
    unreel_options_destroy(o);
}

/* ---- anything in any order
 * ----------------------------------------------------------------------------- */

struct player {
    unreel_session *session;
    atomic_bool stop;
    uint32_t random;
    bool wrong;
};

static uint32_t draw(struct player *p, uint32_t below)
{
    p->random = p->random * 1664525 + 1013904223;
    return (p->random >> 8) % below;
}

static void *take_pictures(void *arg)
{
    struct player *p = arg;
    int64_t index = 0, scene = 0;
    while (!atomic_load(&p->stop)) {
        unreel_frame *f;
        int code = unreel_session_pull(p->session, &f, 1);
        if (code == UNREEL_EAGAIN)
            continue;
        if (code < 0)
            break;
        p->wrong = p->wrong || f->index != index++ || f->scene < scene;
        scene = f->scene;
        unreel_frame_unref(f);
    }
    return NULL;
}

static void steer_once(struct player *p)
{
    static const char *const prompts[] = {FOX, BOAT, "rain over hills", ""};
    unreel_session *s = p->session;
    switch (draw(p, 8)) {
    case 0:
    case 1:
        unreel_session_set_prompt(s, prompts[draw(p, 4)], (enum unreel_switch)draw(p, 4),
                                  (int)draw(p, 2));
        break;
    case 2:
        unreel_session_set_seed(s, draw(p, 5));
        break;
    case 3:
        unreel_session_reset(s);
        break;
    case 4:
        unreel_session_pause(s, 1);
        break;
    case 5:
        unreel_session_pause(s, 0);
        break;
    case 6:
        unreel_free(unreel_session_prompt(s));
        stats_of(s);
        break;
    case 7:
        usleep(draw(p, 4000));
    }
}

static void *steer(void *arg)
{
    for (int left = 12; left > 0; left--)
        steer_once(arg);
    return NULL;
}

static void test_any_order(unreel_engine *e, int rounds)
{
    unreel_options *o = endless();
    int wrong = 0;
    unreel_options_set(o, "size", "32x32");
    for (int i = 0; i < rounds; i++) {
        unreel_options_set(o, "rotary", i % 2 ? "relative" : "absolute");
        unreel_session *s = open_session(e, o);
        struct player p[3];
        pthread_t thread[3];
        for (int k = 0; k < 3; k++) {
            p[k] = (struct player){.session = s, .random = (uint32_t)(3 * i + k)};
            pthread_create(&thread[k], NULL, k ? steer : take_pictures, &p[k]);
        }
        pthread_join(thread[1], NULL);
        if (i % 5 == 0) /* while the other still steers */
            unreel_session_cancel(s);
        pthread_join(thread[2], NULL);
        atomic_store(&p[0].stop, true);
        pthread_join(thread[0], NULL);
        wrong += p[0].wrong;
        unreel_session_close(s);
    }
    CHECK_MSG(wrong == 0, "%d of %d sessions lost or repeated a picture", wrong, rounds);
    unreel_options_destroy(o);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        printf("usage: test_steer_long GOLDEN_NANO SCRATCH [ORDERS LATENT_FRAMES]\n");
        return 2;
    }
    unreel_engine *e = NULL;
    int code = open_nano(&e, argv[1], argv[2], "1");
    if (!e)
        return code;
    test_endless(e, argc > 4 ? atoll(argv[4]) : 450);
    test_any_order(e, argc > 3 ? atoi(argv[3]) : 40);
    unreel_engine_close(e);
    return test_end();
}
