/* The small parts of a rollout: schedule, block plan, cache slots, noise, rotary angles. */
#include "base/philox.h"
#include "model/blocks.h"
#include "model/kv_cache.h"
#include "base/noise.h"
#include "base/angles.h"
#include "model/rope.h"
#include "model/schedule.h"
#include "test.h"

static void test_schedule(void)
{
    struct schedule plain, shifted;
    schedule_init(&plain, 1);
    schedule_init(&shifted, 5);
    CHECK(plain.sigma[0] == 1 && plain.timestep[0] == 1000);
    CHECK(fabsf(plain.sigma[250] - 0.75f) < 1e-6f);
    CHECK(fabsf(shifted.sigma[500] - 5 * 0.5f / 3) < 1e-6f);
    CHECK(schedule_sigma(&plain, 749.6f) == plain.sigma[250]); /* nearest */
    CHECK(schedule_sigma(&plain, 2000) == 1 && schedule_sigma(&plain, -5) == plain.sigma[999]);
    CHECK(schedule_warp(&shifted, 1000) == shifted.timestep[0]);
    CHECK(schedule_warp(&shifted, 250) == shifted.timestep[750]);
    CHECK(schedule_warp(&shifted, 0) == 0);
}

static void check_fit(int block, int64_t given, int64_t frames, bool first, int64_t below,
                      int64_t above)
{
    struct block_plan plan;
    int64_t got_below = -1, got_above = -1;
    block_plan_init(&plan, block, given, frames, first);
    int code = block_plan_check(&plan, &got_below, &got_above);
    if (above == 0) {
        CHECK_MSG(code == 0, "block %d given %lld frames %lld", block, (long long)given,
                  (long long)frames);
        return;
    }
    CHECK_MSG(code < 0 && got_below == below && got_above == above,
              "block %d given %lld frames %lld: %d, %lld or %lld", block, (long long)given,
              (long long)frames, code, (long long)got_below, (long long)got_above);
}

static void test_blocks(void)
{
    check_fit(3, 0, 21, false, 0, 0);
    check_fit(3, 0, 20, false, 18, 21);
    check_fit(3, 0, 22, true, 0, 0);
    check_fit(3, 1, 21, false, 19, 22); /* an image is an independent first frame */
    check_fit(3, 1, 22, false, 0, 0);
    check_fit(3, 0, 2, false, 0, 3);
    check_fit(3, 1, 1, false, 0, 4); /* nothing left to generate */
    check_fit(3, 3, 6, false, 0, 0);
    check_fit(3, 4, 10, true, 0, 0);
    check_fit(1, 1, 5, false, 0, 0);
    check_fit(3, 0, 0, false, 0, 0); /* without end */

    struct block_plan plan;
    block_plan_init(&plan, 3, 0, 7, true);
    CHECK(block_plan_next(&plan, 0) == 1 && block_plan_next(&plan, 1) == 3);
    CHECK(block_plan_next(&plan, 4) == 3 && block_plan_next(&plan, 7) == 0);
}

/* Every frame that should be held is in its slot, and no two share one. */
static void test_slots(void)
{
    for (int sink = 0; sink < 4; sink++) {
        struct kv_cache cache = {.window = 8, .sink = sink};
        for (int64_t end = 0; end + 3 < 5000; end += 3) {
            kv_cache_begin(&cache, end, 3);
            int held = kv_cache_held(&cache), used[8] = {0};
            bool good = held == (cache.end < 8 ? cache.end : 8);
            for (int64_t f = 0; f < cache.end; f++) {
                if (f >= sink && f < cache.end - (8 - sink))
                    continue;
                int slot = kv_cache_slot(&cache, f);
                good = good && slot >= 0 && slot < held && !used[slot]++;
            }
            if (!good || end > 4990)
                CHECK_MSG(good, "sink %d end %lld", sink, (long long)end);
        }
    }
}

static void test_philox(void)
{
    /* Known answers of the Random123 distribution. */
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0}, {0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        philox_4x32_10(known[i].counter, known[i].key, out);
        CHECK(!memcmp(out, known[i].out, sizeof out));
    }
}

static double correlation(const float *a, const float *b, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += (double)a[i] * b[i];
    return sum / count;
}

static void test_noise(void)
{
    enum { COUNT = 100000 };
    static float x[COUNT], y[COUNT];
    const struct noise_key key = {.seed = 7, .prompt = 2, .sample = 1};
    noise_frame(x, COUNT, &key, 5, 0);
    double mean = 0, square = 0, fourth = 0;
    for (int i = 0; i < COUNT; i++) {
        mean += x[i] / COUNT;
        square += (double)x[i] * x[i] / COUNT;
        fourth += pow(x[i], 4) / COUNT;
    }
    CHECK_MSG(fabs(mean) < 0.015 && fabs(square - 1) < 0.02 && fabs(fourth - 3) < 0.2,
              "mean %g, variance %g, fourth moment %g", mean, square, fourth);
    noise_frame(y, COUNT / 3, &key, 5, 0); /* a part of a frame is the same part */
    CHECK(!memcmp(x, y, COUNT / 3 * sizeof *x));
    /* Whatever part of the name differs, the noise is unrelated. */
    const struct noise_key others[] = {{8, 2, 1}, {7, 3, 1}, {7, 2, 2}, {7, 2, 1}, {7, 2, 1}, {(uint64_t)7 << 32, 2, 1}};
    for (int i = 0; i < 6; i++) {
        noise_frame(y, COUNT, &others[i], i == 3 ? 6 : 5, i == 4);
        double c = correlation(x, y, COUNT);
        CHECK_MSG(fabs(c) < 0.015, "name %d: correlation %g", i, c);
    }
}

static void test_rope(void)
{
    struct rope_split split = rope_split(128);
    CHECK(split.frame == 22 && split.row == 21 && split.column == 21);
    split = rope_split(60);
    CHECK(split.frame == 10 && split.row == 10 && split.column == 10);
    float table[2 * 22 * 2];
    angles_of_positions(table, 100000, 2, 22); /* far past any table of 1024 entries */
    for (int i = 0; i < 22; i++) {
        double angle = 100001 * pow(10000, -i / 22.0);
        CHECK(fabs(table[44 + 2 * i] - cos(angle)) < 1e-6);
        CHECK(fabs(table[44 + 2 * i + 1] - sin(angle)) < 1e-6);
    }
}

int main(void)
{
    test_schedule();
    test_blocks();
    test_slots();
    test_philox();
    test_noise();
    test_rope();
    return test_end();
}
