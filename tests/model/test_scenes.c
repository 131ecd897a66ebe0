/* Rollouts that change under way, on the small golden model: windows computed again, further scenes,
 * positions in the window, text that moves. Against rollouts and caches made from scratch. */
#include "model/text_blend.h"
#include "rollouts.h"

/* ---- further scenes --------------------------------------------------------------------------- */

static void test_restart(bool multi)
{
    struct setup one = {.window = 6, .sink = 1, .multi = multi}, two = one;
    static float x[MOST * FRAME], y[MOST * FRAME];
    struct rollout r = open_rollout(&one);
    for (int i = 0; i < 4; i++)
        next(&r, x);
    CHECK(rollout_left(&r) == -1);
    rollout_restart(&r, false); /* a cut: as if begun anew with the noise of frame 12 on */
    two.shift = 12;
    struct rollout fresh = open_rollout(&two);
    for (int i = 0; i < 4; i++) {
        CHECK(next(&r, x) == BLOCK && next(&fresh, y) == BLOCK);
        CHECK_MSG(!memcmp(x, y, sizeof(float) * BLOCK * FRAME), "block %d after a cut", i);
    }
    rollout_restart(&r, true); /* a reset: the first noise again */
    two.shift = 0;
    rollout_close(&fresh);
    fresh = open_rollout(&two);
    for (int i = 0; i < 4; i++) {
        CHECK(next(&r, x) == BLOCK && next(&fresh, y) == BLOCK);
        CHECK_MSG(!memcmp(x, y, sizeof(float) * BLOCK * FRAME), "block %d after a reset", i);
    }
    CHECK(r.done == 36 && r.frame == 12);
    rollout_close(&r);
    rollout_close(&fresh);
}

/* A video of given length stays that long, whatever its scenes are. */
static void test_restart_finite(void)
{
    struct setup setup = {.window = 6, .sink = 1, .given = 1, .frames = 10};
    static float x[MOST * FRAME];
    struct rollout r = open_rollout(&setup);
    struct tensor given = arena_tensor(&arena, TENSOR_F32, SHAPE(1, H, W, 16));
    rollout_give(&r, given);
    CHECK(next(&r, x) == 3 && r.frame == 4 && rollout_left(&r) == 6);
    rollout_restart(&r, false);
    CHECK(r.plan.given == 0 && r.frame == 0);
    CHECK(next(&r, x) == 3 && rollout_left(&r) == 3);
    rollout_restart(&r, true); /* with the given frame: 2 are left for the last block */
    CHECK(r.plan.given == 1);
    rollout_give(&r, given);
    CHECK(r.frame == 1 && rollout_left(&r) == 2);
    CHECK(next(&r, x) == 2 && rollout_left(&r) == 0);
    CHECK(next(&r, x) == 0 && r.done == 10);
    rollout_close(&r);

    struct block_plan plan, scene; /* a clip longer than what is left */
    block_plan_init(&plan, BLOCK, 9, 12, false);
    scene = block_plan_scene(&plan, 3, true);
    CHECK(scene.given == 3 && block_plan_next(&scene, 3) == 0);
    scene = block_plan_scene(&plan, 0, false);
    CHECK(scene.given == 0 && block_plan_next(&scene, 3000) == 3);
    block_plan_init(&plan, BLOCK, 0, 7, true);
    scene = block_plan_scene(&plan, 3, false);
    CHECK(block_plan_next(&scene, 0) == 1 && block_plan_next(&scene, 1) == 2);
}

/* ---- when keys are written ---------------------------------------------------------------------- */

/* Keys written early or late give the same video; those that a cut makes useless are never computed. */
static void test_keep(bool multi)
{
    struct setup setup = {.window = 6, .multi = multi};
    static float x[BLOCK * FRAME], y[BLOCK * FRAME];
    struct rollout early = open_rollout(&setup), late = open_rollout(&setup);
    int64_t forwards = multi ? 2 : 1;
    for (int i = 0; i < 4; i++) {
        next(&early, x);
        rollout_keep(&early);
        rollout_keep(&early); /* nothing more to do */
        next(&late, y);
        CHECK_MSG(!memcmp(x, y, sizeof x), "block %d", i);
        CHECK(early.times.forwards == late.times.forwards + forwards);
    }
    rollout_set_text(&early, text[1], (struct tensor){0});
    rollout_set_text(&late, text[1], (struct tensor){0}); /* what is due is written under the old one */
    CHECK(next(&early, x) == BLOCK && next(&late, y) == BLOCK && !memcmp(x, y, sizeof x));
    int64_t before = late.times.forwards;
    rollout_restart(&late, false);
    next(&late, y);
    CHECK(late.times.forwards - before == (multi ? 2 * late.solver.steps : late.config.steps));
    rollout_close(&early);
    rollout_close(&late);
}

/* ---- windows computed again ---------------------------------------------------------------------- */

/* Runs `blocks` blocks and keeps all their latents. */
static struct rollout run(struct setup *setup, int blocks, float *latents)
{
    struct rollout r = open_rollout(setup);
    for (int i = 0; i < blocks; i++)
        latents += next(&r, latents) * FRAME;
    rollout_keep(&r);
    return r;
}

/* Frames of the window's pieces, from scratch: pushed one after another at positions from 0. */
static void push(struct rollout *r, const float *latents, int64_t from, int64_t to)
{
    for (int64_t frame = from; frame < to;) {
        int64_t count = BLOCK - frame % BLOCK < to - frame ? BLOCK - frame % BLOCK : to - frame;
        float timesteps[BLOCK] = {20, 20, 20};
        struct tensor x = tensor_slice(r->x, 0, 0, count);
        backend_upload(b, x, tensor_make((void *)(uintptr_t)(latents + frame * FRAME), TENSOR_F32,
                                         4, x.shape));
        transformer_forward(&transformer, &r->work, &r->cache, &r->text, x, timesteps, r->frame,
                            (struct tensor){0});
        r->frame += count;
        r->noise_frame += count;
        frame += count;
    }
}

/* After recaching, the next block is that of a rollout whose cache was filled from scratch with the
 * same latents under the new text. Nothing evicted: positions coincide. */
static void test_recache_whole(bool relative)
{
    static float latents[MOST * FRAME], x[BLOCK * FRAME], y[BLOCK * FRAME], old[BLOCK * FRAME];
    struct setup setup = {.window = 9, .sink = 3, .relative = relative};
    struct rollout r = run(&setup, 2, latents), unchanged = run(&setup, 2, latents);
    struct rollout fresh = open_rollout(&setup);
    rollout_set_text(&r, text[1], (struct tensor){0});
    rollout_set_text(&fresh, text[1], (struct tensor){0});
    rollout_recache(&r, true);
    push(&fresh, latents, 0, 6);
    CHECK(next(&r, x) == BLOCK && next(&fresh, y) == BLOCK && next(&unchanged, old) == BLOCK);
    CHECK(!memcmp(x, y, sizeof x) && difference(x, old, BLOCK * FRAME) > 1e-3);
    rollout_close(&r);
    rollout_close(&fresh);
    rollout_close(&unchanged);
}

/* Past eviction, with positions in the window: a fresh cache of the frames that are held, counted from
 * 0. The sink is pushed under the old text if it is kept. */
static void test_recache_evicted(int window, int sink, int blocks, bool with_sink)
{
    static float latents[MOST * FRAME], x[2 * BLOCK * FRAME], y[2 * BLOCK * FRAME];
    struct setup setup = {.window = window, .sink = sink, .relative = true};
    struct rollout r = run(&setup, blocks, latents);
    int64_t end = (int64_t)blocks * BLOCK;
    rollout_set_text(&r, text[1], (struct tensor){0});
    rollout_recache(&r, with_sink);
    CHECK(kv_cache_held(&r.cache) == window && r.frame == end);

    struct rollout fresh = open_rollout(&setup);
    if (with_sink)
        rollout_set_text(&fresh, text[1], (struct tensor){0});
    push(&fresh, latents, 0, sink);
    /* What is kept was computed when the sink's frames were made: in whole blocks. */
    for (int i = 0; !with_sink && i < fresh.cache.layers; i++) {
        int64_t rows = (int64_t)sink * fresh.cache.tokens;
        if (rows) {
            op_copy(b, tensor_slice(fresh.cache.k[i], 0, 0, rows),
                    tensor_slice(r.cache.k[i], 0, 0, rows));
            op_copy(b, tensor_slice(fresh.cache.v[i], 0, 0, rows),
                    tensor_slice(r.cache.v[i], 0, 0, rows));
        }
    }
    rollout_set_text(&fresh, text[1], (struct tensor){0});
    push(&fresh, latents, end - (window - sink), end);
    CHECK(fresh.frame == window);
    fresh.noise_frame = end;
    for (int i = 0; i < 2; i++)
        CHECK(next(&r, x + i * BLOCK * FRAME) == BLOCK && next(&fresh, y + i * BLOCK * FRAME) == BLOCK);
    CHECK_MSG(!memcmp(x, y, sizeof x), "window %d, sink %d, %d blocks: off by %g", window, sink,
              blocks, difference(x, y, 2 * BLOCK * FRAME));
    rollout_close(&r);
    rollout_close(&fresh);
}

/* Absolute positions past eviction: the first layer's keys depend on latents and positions alone, so
 * they come out as they were, in whatever slot; deeper ones have changed; what is kept is untouched. */
static void test_recache_absolute(int sink, bool with_sink)
{
    static float latents[MOST * FRAME];
    struct setup setup = {.window = 7, .sink = sink};
    struct rollout r = run(&setup, 5, latents);
    int64_t tokens = r.cache.tokens, size = tokens * transformer.config.dim, end = r.frame;
    float *before[2], *after = malloc((size_t)size * sizeof *after);
    struct kv_cache old = r.cache;
    for (int layer = 0; layer < 2; layer++) {
        before[layer] = malloc((size_t)(7 * size) * sizeof(float));
        backend_download(b, tensor_make(before[layer], TENSOR_F32, 3, r.cache.k[layer].shape),
                         r.cache.k[layer]);
    }
    rollout_set_text(&r, text[1], (struct tensor){0});
    rollout_recache(&r, with_sink);
    CHECK(kv_cache_held(&r.cache) == 7 && r.cache.end == end);
    for (int64_t frame = 0; frame < end; frame++) {
        if (frame >= sink && frame < end - (7 - sink))
            continue;
        for (int layer = 0; layer < 2; layer++) {
            struct tensor k = tensor_slice(r.cache.k[layer], 0,
                                           kv_cache_slot(&r.cache, frame) * tokens, tokens);
            backend_download(b, tensor_make(after, TENSOR_F32, 3, k.shape), k);
            double d = difference(before[layer] + kv_cache_slot(&old, frame) * size, after, size);
            bool same = layer == 0 || (frame < sink && !with_sink);
            CHECK_MSG(same ? d < 1e-5 : d > 1e-5, "sink %d, frame %d, layer %d: %g", sink,
                      (int)frame, layer, d);
        }
    }
    for (int layer = 0; layer < 2; layer++)
        free(before[layer]);
    free(after);
    rollout_close(&r);
}

/* In a window that holds only a kept sink there is nothing to do; nor before the first block. */
static void test_recache_nothing(void)
{
    static float latents[MOST * FRAME], x[BLOCK * FRAME], y[BLOCK * FRAME];
    struct setup setup = {.window = 6, .sink = 3};
    struct rollout r = open_rollout(&setup), plain = run(&setup, 1, latents);
    rollout_recache(&r, true);
    rollout_recache(&r, false);
    CHECK(r.cache.end == 0 && r.frame == 0);
    next(&r, x);
    CHECK(!memcmp(x, latents, sizeof x));
    rollout_keep(&r);
    int64_t forwards = r.times.forwards;
    rollout_recache(&r, false);
    CHECK(r.times.forwards == forwards);
    next(&r, x);
    next(&plain, y);
    CHECK(!memcmp(x, y, sizeof x));
    rollout_close(&r);
    rollout_close(&plain);
}

/* What is written again need not be written before; the next blocks are the same. */
static void test_recache_expected(int sink, int blocks, bool with_sink)
{
    static float latents[MOST * FRAME], x[2 * BLOCK * FRAME], y[2 * BLOCK * FRAME];
    struct setup setup = {.window = 6, .sink = sink};
    struct rollout r = open_rollout(&setup), plain = run(&setup, blocks, latents);
    for (int i = 0; i < blocks; i++)
        next(&r, latents);
    rollout_expect_recache(&r, with_sink);
    rollout_set_text(&r, text[1], (struct tensor){0});
    rollout_recache(&r, with_sink);
    rollout_set_text(&plain, text[1], (struct tensor){0});
    rollout_recache(&plain, with_sink);
    int spared = with_sink || (blocks - 1) * BLOCK >= sink;
    CHECK_MSG(plain.times.forwards - r.times.forwards == spared, "sink %d, %d blocks: %d forwards spared", sink,
              blocks, (int)(plain.times.forwards - r.times.forwards));
    for (int i = 0; i < 2; i++)
        CHECK(next(&r, x + i * BLOCK * FRAME) == BLOCK && next(&plain, y + i * BLOCK * FRAME) == BLOCK);
    CHECK_MSG(!memcmp(x, y, sizeof x), "sink %d, %d blocks: off by %g", sink, blocks,
              difference(x, y, 2 * BLOCK * FRAME));
    rollout_close(&r);
    rollout_close(&plain);
}

/* Guidance: the prompt's cache is computed again, the other stays. */
static void test_recache_multi(void)
{
    static float latents[MOST * FRAME], x[BLOCK * FRAME], y[BLOCK * FRAME];
    struct setup setup = {.window = 6, .sink = 0, .multi = true};
    struct rollout r = run(&setup, 2, latents), plain = run(&setup, 2, latents);
    rollout_set_text(&r, text[1], (struct tensor){0});
    rollout_recache(&r, true);
    CHECK(kv_cache_held(&r.uncond_cache) == 6);
    CHECK(next(&r, x) == BLOCK && next(&plain, y) == BLOCK);
    CHECK(difference(x, y, BLOCK * FRAME) > 1e-3);
    rollout_close(&r);
    rollout_close(&plain);
}

/* ---- positions in the window -------------------------------------------------------------------- */

/* As long as nothing is evicted, places in the window are the frames' numbers. */
static void test_relative_begins_absolute(void)
{
    static float x[MOST * FRAME], y[MOST * FRAME];
    struct setup absolute = {.window = 9, .sink = 2}, relative = absolute;
    relative.relative = true;
    struct rollout r = run(&absolute, 3, x), q = run(&relative, 3, y);
    double d = difference(x, y, 9 * FRAME);
    CHECK_MSG(d < 1e-4, "off by %g before eviction", d);
    next(&r, x);
    next(&q, y);
    d = difference(x, y, BLOCK * FRAME);
    CHECK_MSG(d > 1e-4, "only off by %g after it", d);
    rollout_close(&r);
    rollout_close(&q);
}

/* keys [tokens, heads, D] turned by a frame's position, rows and columns: spelled out. */
static void turn(float *keys, int64_t position)
{
    int d = transformer.head_dim, pairs = d / 2, third = pairs / 3, head = pairs - 2 * third;
    for (int row = 0; row < H / 2; row++) {
        for (int column = 0; column < W / 2; column++) {
            for (int h = 0; h < transformer.config.heads; h++, keys += d) {
                for (int i = 0; i < pairs; i++) {
                    double at = i < head           ? (double)position * pow(10000, -(double)i / head)
                                : i < head + third ? row * pow(10000, -(double)(i - head) / third)
                                                   : column * pow(10000, -(double)(i - head - third) / third);
                    double c = cos(at), s = sin(at), re = keys[2 * i], im = keys[2 * i + 1];
                    keys[2 * i] = (float)(re * c - im * s);
                    keys[2 * i + 1] = (float)(re * s + im * c);
                }
            }
        }
    }
}

/* One forward far past eviction against one with an ordinary cache, into which the held keys were put
 * by hand, turned by their places in the window. */
static void test_relative_reference(int window, int sink, int blocks)
{
    static float latents[MOST * FRAME], keys[4096], x[BLOCK * FRAME], y[BLOCK * FRAME];
    struct setup setup = {.window = window, .sink = sink, .relative = true};
    struct setup plain = {.window = window};
    struct rollout r = run(&setup, blocks, latents), reference = open_rollout(&plain);
    int64_t tokens = r.cache.tokens, end = r.frame, past = window - BLOCK;
    const float timesteps[BLOCK] = {500, 500, 500};
    kv_cache_begin(&reference.cache, 0, BLOCK); /* grows to what is held beside the block */
    while (reference.cache.end < past)
        kv_cache_begin(&reference.cache, reference.cache.end, 1);
    reference.cache.end = past;
    CHECK(tokens * transformer.config.dim <= (int64_t)(sizeof keys / sizeof *keys));
    for (int64_t place = 0; place < past; place++) {
        int64_t frame = place < sink ? place : end - (past - place);
        int64_t slot = kv_cache_slot(&r.cache, frame) * tokens;
        for (int i = 0; i < r.cache.layers; i++) {
            struct tensor k = tensor_slice(r.cache.k[i], 0, slot, tokens);
            struct tensor to = tensor_slice(reference.cache.k[i], 0, place * tokens, tokens);
            backend_download(b, tensor_make(keys, TENSOR_F32, 3, k.shape), k);
            turn(keys, place);
            backend_upload(b, to, tensor_make(keys, TENSOR_F32, 3, k.shape));
            op_copy(b, tensor_slice(reference.cache.v[i], 0, place * tokens, tokens),
                    tensor_slice(r.cache.v[i], 0, slot, tokens));
        }
    }
    fill(x, BLOCK * FRAME, 77);
    backend_upload(b, r.x, tensor_make(x, TENSOR_F32, 4, r.x.shape));
    transformer_forward(&transformer, &r.work, &r.cache, &r.text, r.x, timesteps, end, r.flow);
    transformer_forward(&transformer, &reference.work, &reference.cache, &reference.text, r.x,
                        timesteps, past, reference.flow);
    CHECK(backend_status(b) == 0);
    backend_download(b, tensor_make(x, TENSOR_F32, 4, r.flow.shape), r.flow);
    backend_download(b, tensor_make(y, TENSOR_F32, 4, r.flow.shape), reference.flow);
    double d = difference(x, y, BLOCK * FRAME);
    CHECK_MSG(d < 1e-4, "window %d, sink %d, %d blocks: off by %g", window, sink, blocks, d);
    rollout_close(&r);
    rollout_close(&reference);
}

/* Keys that leave the window take their positions along: after n windows a rollout with places in the
 * window is where one is that began n windows later, if nothing but positions told them apart. */
static void test_relative_angles(void)
{
    struct setup setup = {.window = 8, .sink = 2, .relative = true};
    struct rollout r = open_rollout(&setup);
    int pairs = (int)r.cache.angles.shape[1];
    for (int64_t start = 0; start < 3000; start += BLOCK) {
        kv_cache_begin(&r.cache, start, BLOCK);
        kv_cache_turn(&r.cache);
        int held = kv_cache_held(&r.cache);
        int64_t end = start + BLOCK;
        bool good = kv_cache_position(&r.cache, start) == held - BLOCK;
        for (int64_t frame = 0; frame < end; frame++) {
            if (frame >= 2 && frame < end - (held - 2))
                continue;
            int64_t place = frame < 2 ? frame : held - (end - frame);
            const float *angle = r.cache.host + (int64_t)kv_cache_slot(&r.cache, frame) * pairs * 2;
            good = good && place >= 0 && place < 8 && fabs(angle[0] - cos((double)place)) < 1e-6 &&
                   fabs(angle[1] - sin((double)place)) < 1e-6 &&
                   kv_cache_position(&r.cache, frame) == place;
        }
        if (!good || start > 2990)
            CHECK_MSG(good, "block at %lld", (long long)start);
    }
    rollout_close(&r);
}

/* ---- text that moves ------------------------------------------------------------------------------ */

static void test_blend(void)
{
    struct text_blend blend;
    int64_t count = tensor_count(&text[0]);
    float *from = malloc((size_t)count * sizeof *from), *to = malloc((size_t)count * sizeof *to);
    float *now = malloc((size_t)count * sizeof *now);
    backend_download(b, tensor_make(from, TENSOR_F32, 2, text[0].shape), text[0]);
    backend_download(b, tensor_make(to, TENSOR_F32, 2, text[0].shape), text[1]);
    text_blend_init(&blend, &arena, text[0].shape[0], text[0].shape[1]);
    CHECK(!text_blend_step(&blend));
    op_copy(b, blend.now, text[0]);
    op_copy(b, blend.to, text[1]);
    text_blend_begin(&blend, 3);
    for (int step = 1; step <= 3; step++) {
        double worst = 0;
        CHECK(text_blend_step(&blend));
        backend_download(b, tensor_make(now, TENSOR_F32, 2, text[0].shape), blend.now);
        for (int64_t i = 0; i < count; i++)
            worst = test_worse(worst, fabs(now[i] - (from[i] + (to[i] - from[i]) * step / 3.0)));
        CHECK_MSG(worst < 1e-6, "step %d: off by %g", step, worst);
    }
    CHECK(!memcmp(now, to, (size_t)count * sizeof *to)); /* the end is exact */
    CHECK(!text_blend_step(&blend));
    op_copy(b, blend.to, text[0]); /* half way there and back again: from where it is */
    text_blend_begin(&blend, 2);
    CHECK(text_blend_step(&blend));
    op_copy(b, blend.to, text[1]);
    text_blend_begin(&blend, 2);
    CHECK(text_blend_step(&blend));
    backend_download(b, tensor_make(now, TENSOR_F32, 2, text[0].shape), blend.now);
    CHECK(fabs(now[5] - (from[5] * 0.25 + to[5] * 0.75)) < 1e-6);
    text_blend_begin(&blend, 1000);
    CHECK(text_blend_step(&blend));
    text_blend_hurry(&blend);
    CHECK(text_blend_step(&blend) && !text_blend_step(&blend));
    backend_download(b, tensor_make(now, TENSOR_F32, 2, text[0].shape), blend.now);
    CHECK(!memcmp(now, to, (size_t)count * sizeof *to));
    free(from);
    free(to);
    free(now);
}

/* Changing text and window again and again allocates nothing. */
static void test_memory(void)
{
    static float latents[MOST * FRAME];
    struct setup setup = {.window = 6, .sink = 1, .relative = true};
    struct rollout r = run(&setup, 3, latents);
    uint64_t bytes = b->bytes_peak;
    for (int i = 0; i < 4; i++) {
        rollout_set_text(&r, text[i % 2], (struct tensor){0});
        rollout_recache(&r, i % 2);
        next(&r, latents);
        if (i == 2)
            rollout_restart(&r, false);
    }
    CHECK(b->bytes_peak == bytes);
    rollout_close(&r);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        printf("usage: test_scenes GOLDEN\n");
        return 2;
    }
    if (!open_model(argv[1]))
        return test_end();
    test_restart(false);
    test_restart(true);
    test_keep(false);
    test_keep(true);
    test_restart_finite();
    test_recache_whole(false);
    test_recache_whole(true);
    for (int with_sink = 0; with_sink < 2; with_sink++) {
        test_recache_evicted(6, 0, 3, with_sink);
        test_recache_evicted(9, 3, 5, with_sink);
        test_recache_evicted(12, 3, 8, with_sink);
        for (int sink = 0; sink < 4; sink++)
            test_recache_absolute(sink, with_sink);
    }
    for (int i = 0; i < 12; i++)
        test_recache_expected(i % 3, 1 + i / 6 * 2, i / 3 % 2);
    test_recache_nothing();
    test_recache_multi();
    test_relative_begins_absolute();
    test_relative_reference(6, 1, 5);
    test_relative_reference(6, 3, 5);
    test_relative_reference(8, 2, 11);
    test_relative_reference(12, 3, 13);
    test_relative_angles();
    test_blend();
    test_memory();
    close_model();
    return test_end();
}
