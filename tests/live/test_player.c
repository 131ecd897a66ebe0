/* The timeline of shown pictures, against generators of different speed. */
#include "test.h"

#include <stdlib.h>

#include "live/player.h"
#include "virtual_time.h"

#define RATE 50 /* pictures/s of the video: 20 ms each */
#define CHUNK 24
#define SHOWN_MAX 1024

struct stage {
    GMutex lock;
    int count[2], last[2], repeated, out_of_order, lost;
    double gaps[SHOWN_MAX], previous; /* s between pictures of LIVE_STRETCH */
    bool resting;
    int rests;
};

static double now(void)
{
    return (double)g_get_monotonic_time() / 1e6;
}

static void on_emit(void *opaque, enum live_pacing pacing, GstBuffer *picture)
{
    struct stage *s = opaque;
    int number = (int)GST_BUFFER_OFFSET(picture);
    g_mutex_lock(&s->lock);
    if (s->count[pacing]) {
        int step = number - s->last[pacing];
        s->repeated += pacing == LIVE_HOLD && step == 0;
        s->out_of_order += step < 0 || (pacing == LIVE_STRETCH && step == 0);
        s->lost += step > 1 ? step - 1 : 0;
    }
    if (pacing == LIVE_STRETCH && s->count[pacing] < SHOWN_MAX)
        s->gaps[s->count[pacing]] = now() - s->previous;
    if (pacing == LIVE_STRETCH)
        s->previous = now();
    s->last[pacing] = number;
    s->count[pacing]++;
    g_mutex_unlock(&s->lock);
}

static void on_rest(void *opaque, bool rest)
{
    struct stage *s = opaque;
    g_mutex_lock(&s->lock);
    s->resting = rest;
    s->rests += rest;
    g_mutex_unlock(&s->lock);
}

static bool is_resting(struct stage *s)
{
    g_mutex_lock(&s->lock);
    bool resting = s->resting;
    g_mutex_unlock(&s->lock);
    return resting;
}

static struct player *open_player(struct stage *stage, double cushion)
{
    GstClock *clock = gst_system_clock_obtain();
    struct player_settings settings = {
        .clock = clock,
        .base_time = gst_clock_get_time(clock),
        .rate = RATE,
        .per = 1,
        .cushion = (GstClockTime)(cushion * 1e9),
        .emit = on_emit,
        .rest = on_rest,
        .opaque = stage,
    };
    struct player *player = player_open(&settings);
    gst_object_unref(clock);
    return player;
}

static void push_chunk(struct player *player, int chunk, int pictures, int *number)
{
    for (int i = 0; i < pictures; i++) {
        GstBuffer *picture = gst_buffer_new();
        GST_BUFFER_OFFSET(picture) = (guint64)(*number)++;
        player_push(player, picture, chunk);
    }
}

/* `speed`: of the video's rate; above it rests when it is told to. */
static void generate(struct player *player, struct stage *stage, double speed, int chunks)
{
    int number = 0;
    double seconds = CHUNK / (RATE * speed);
    for (int chunk = 0; chunk < chunks; chunk++) {
        while (is_resting(stage))
            g_usleep(1000);
        g_usleep((gulong)(seconds * 1e6));
        push_chunk(player, chunk, CHUNK, &number);
        player_expect(player, seconds, seconds, CHUNK);
    }
}

static int over(const struct stage *s, int from, double limit)
{
    int count = 0;
    for (int i = from; i < s->count[LIVE_STRETCH]; i++)
        count += s->gaps[i] > limit;
    return count;
}

static void check_complete(const struct stage *s, int pictures)
{
    CHECK_MSG(s->count[LIVE_STRETCH] == pictures, "%d of %d", s->count[LIVE_STRETCH], pictures);
    CHECK(s->last[LIVE_HOLD] == pictures - 1);
    CHECK_MSG(!s->lost && !s->out_of_order, "%d lost, %d out of order", s->lost, s->out_of_order);
}

/* The same speed as the video's: no picture waits for its chunk. */
static void test_even(void)
{
    struct stage stage = {0};
    struct player *player = open_player(&stage, 0.2);
    generate(player, &stage, 1.0, 8);
    player_end(player, true);
    check_complete(&stage, 8 * CHUNK);
    CHECK_MSG(over(&stage, 1, 0.15) == 0, "%d long gaps", over(&stage, 1, 0.15));
    CHECK_MSG(stage.repeated < 40, "%d repeated", stage.repeated);
    player_close(player);
}

/* Slower: longer pictures, and no standstill at the end of every chunk (0.21 s without stretching).
 */
static void test_slow(void)
{
    struct stage stage = {0};
    struct player_numbers numbers;
    struct player *player = open_player(&stage, 0.2);
    generate(player, &stage, 0.7, 8);
    player_end(player, true);
    player_numbers(player, &numbers);
    check_complete(&stage, 8 * CHUNK);
    int stops = over(&stage, 3 * CHUNK, 0.15);
    CHECK_MSG(stops <= 1, "%d stops", stops);
    CHECK_MSG(numbers.late > 4 * CHUNK, "%d late", (int)numbers.late);
    CHECK_MSG(stage.repeated > 2 * CHUNK, "%d repeated", stage.repeated);
    player_close(player);
}

/* Much faster: it is held, so that little waits, and plays at the video's rate. */
static void test_fast(void)
{
    struct stage stage = {0};
    struct player *player = open_player(&stage, 0.2);
    double begin = now();
    generate(player, &stage, 20, 8);
    struct player_numbers numbers;
    player_numbers(player, &numbers);
    CHECK_MSG(numbers.waiting <= 2 * CHUNK, "%d pictures wait", numbers.waiting);
    player_end(player, true);
    double seconds = now() - begin;
    check_complete(&stage, 8 * CHUNK);
    CHECK(stage.rests > 2);
    CHECK_MSG(seconds > 0.95 * 8 * CHUNK / RATE && seconds < 8 * CHUNK / RATE + 1.5, "%.2f s",
              seconds);
    player_close(player);
}

/* What came late is no reason to hurry: the time is gone. */
static void test_late(void)
{
    struct stage stage = {0};
    int number = 0;
    struct player *player = open_player(&stage, 0.2);
    for (int chunk = 0; chunk < 6; chunk++) {
        g_usleep((gulong)(1e6 * CHUNK / RATE) + (chunk == 3 ? 1000000 : 0));
        push_chunk(player, chunk, CHUNK, &number);
    }
    player_end(player, true);
    check_complete(&stage, 6 * CHUNK);
    CHECK(over(&stage, 1, 0.5) == 1);
    for (int i = 1; i < stage.count[LIVE_STRETCH]; i++)
        CHECK_MSG(stage.gaps[i] > 0.99 / RATE, "picture %d comes %.3f s after the one before", i, stage.gaps[i]);
    player_close(player);
}

/* Nothing that waits, and no cushion: the generator is not left to rest for good. */
static void test_empty(void)
{
    struct stage stage = {0};
    struct player *player = open_player(&stage, 0);
    generate(player, &stage, 100, 4);
    player_end(player, true);
    check_complete(&stage, 4 * CHUNK);
    player_close(player);
}

/* A chunk takes half the time that it plays; its pictures come four at a time, the first after a
 * sixth. Returns how many pictures wait when the chunk is begun. */
static int generate_evenly(struct player *player, struct stage *stage, int chunk, int *number)
{
    const double play = (double)CHUNK / RATE, first = play / 6, last = play / 2;
    while (is_resting(stage))
        g_usleep(500);
    struct player_numbers numbers;
    player_numbers(player, &numbers);
    gint64 begin = g_get_monotonic_time();
    for (int i = 0; i < CHUNK / 4; i++) {
        gint64 until = begin + (gint64)(1e6 * (first + i * (last - first) / (CHUNK / 4 - 1)));
        g_usleep((gulong)MAX(until - g_get_monotonic_time(), 0));
        push_chunk(player, chunk, 4, number);
    }
    player_expect(player, last, first, CHUNK);
    return numbers.waiting;
}

/* What waits when a chunk is begun lasts for the cushion and until the chunk's first picture, no
 * longer; with a change under way for a chunk more. No picture comes late for it. */
static void test_lead(void)
{
    struct stage stage = {0};
    int number = 0, waiting[12];
    const int usual = (int)(RATE * (0.2 + (double)CHUNK / RATE / 6)), more = CHUNK / 2;
    struct player *player = open_player(&stage, 0.2);
    for (int i = 0; i < 12; i++) {
        if (i == 6)
            player_asked(player, 1);
        if (i == 9)
            player_made(player, 1);
        waiting[i] = generate_evenly(player, &stage, i, &number);
    }
    player_end(player, true);
    check_complete(&stage, 12 * CHUNK);
    for (int i = 2; i < 12; i++) {
        int expected = i >= 7 && i < 9 ? usual + more : usual;
        if (i != 6 && i != 9) /* may have begun when it was asked for */
            CHECK_MSG(abs(waiting[i] - expected) <= 3, "chunk %d: %d wait, not %d", i, waiting[i],
                      expected);
    }
    CHECK_MSG(over(&stage, 1, 0.06) <= 1, "%d long gaps", over(&stage, 1, 0.06));
    player_close(player);
}

/* A pause stops the timeline at once; it goes on where it was. */
static void test_pause(void)
{
    struct stage stage = {0};
    int number = 0;
    struct player *player = open_player(&stage, 0);
    push_chunk(player, 0, CHUNK, &number);
    g_usleep(100000);
    player_pause(player, true);
    g_usleep(50000);
    g_mutex_lock(&stage.lock);
    int shown = stage.count[LIVE_STRETCH], held = stage.count[LIVE_HOLD];
    g_mutex_unlock(&stage.lock);
    g_usleep(200000);
    g_mutex_lock(&stage.lock);
    CHECK(stage.count[LIVE_STRETCH] == shown && shown > 0 && shown < CHUNK);
    CHECK(stage.count[LIVE_HOLD] > held);
    g_mutex_unlock(&stage.lock);
    player_pause(player, false);
    player_end(player, true);
    check_complete(&stage, CHUNK);
    player_close(player);
}

/* What waits is dropped, or left at the end. */
static void test_drop(void)
{
    struct stage stage = {0};
    int number = 0;
    struct player *player = open_player(&stage, 10);
    push_chunk(player, 0, CHUNK, &number);
    g_usleep(9900000); /* of the cushion's 10 s */
    CHECK(stage.count[LIVE_STRETCH] == 0 && player_drop(player) == CHUNK);
    CHECK(player_newest(player) == NULL);
    push_chunk(player, 1, CHUNK, &number);
    double begin = now();
    player_end(player, false);
    CHECK(now() - begin < 2);
    CHECK(stage.count[LIVE_STRETCH] == 0);
    player_close(player);
}

int main(int argc, char **argv)
{
    gst_init(&argc, &argv);
    test_even();
    test_slow();
    test_fast();
    test_late();
    test_empty();
    test_lead();
    test_pause();
    test_drop();
    return test_end();
}
