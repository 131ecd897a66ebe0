/* Configuration files: layers, types, published files, hostile files. */
#include "test.h"
#include "config/options.h"
#include "config/yaml.h"
#include "scratch.h"

static unreel_options *options;
static char warnings[4096]; /* all messages since begin(), a line each */

static void keep_log(void *opaque, int level, const char *message)
{
    (void)opaque, (void)level;
    size_t used = strlen(warnings);
    snprintf(warnings + used, sizeof warnings - used, "%s\n", message);
}

static void begin(void)
{
    static const unreel_log log = {.write = keep_log};
    unreel_options_destroy(options);
    options = unreel_options_create(&log);
    *warnings = 0;
}

static bool is(const char *name, const char *expected)
{
    const char *text = unreel_options_get(options, name);
    bool same = text && expected ? !strcmp(text, expected) : text == expected;
    if (!same)
        printf("%s is %s\n", name, text ? text : "NULL");
    return same;
}

static int load(const char *text)
{
    return unreel_options_load(options, scratch_file("c.yaml", text));
}

/* ---- layers ------------------------------------------------------------------------------- */

/* Every order of the three sources gives the same winner. */
static void test_precedence(void)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    scratch_mkdir("layers");
    const char *config = scratch_file("layers/my.yaml", "seed: 2\nfps: 20\nwindow: 12\n");
    const char *single = scratch_file("single.yaml", "seed: 5\nheight: 320\n");
    scratch_file("layers/default_config.yaml",
                 "seed: 1\nfps: 10\nnum_samples: 4\nmodel_kwargs:\n  sink_size: 3\n");
    for (int i = 0; i < 6; i++) {
        begin();
        for (int j = 0; j < 3; j++) {
            if (orders[i][j] == 0)
                CHECK(unreel_options_set(options, "seed", "9") == 0);
            if (orders[i][j] == 1)
                CHECK(unreel_options_load_config(options, config, "/nonexistent.yaml") == 0);
            if (orders[i][j] == 2)
                CHECK(unreel_options_load(options, single) == 0);
        }
        CHECK(is("seed", "9") && is("fps", "20") && is("num_samples", "4"));
        CHECK(is("model_kwargs.sink_size", "3") && is("window", "12") && is("height", "320"));
        CHECK(is("num_output_frames", "21"));
        CHECK(options_is_set(options, "fps") && !options_is_set(options, "num_samples"));
        CHECK(unreel_options_set(options, "seed", NULL) == 0);
        CHECK(is("seed", orders[i][0] == 1 || orders[i][2] == 2 ? "5" : "2"));
    }
}

static void test_fallback(void)
{
    const char *ours = scratch_file("ours.yaml", "seed: 3\nmodel_kwargs: {sink_size: 2}\n");
    const char *config = scratch_file("alone.yaml", "model_kwargs:\n  local_attn_size: 9\n");
    scratch_mkdir("named");
    const char *named = scratch_file("named/default_config.yaml", "seed: 4\n");
    begin();
    CHECK(unreel_options_load_config(options, config, ours) == 0);
    CHECK(is("seed", "3") && is("sink", "2") && is("window", "9"));
    begin();
    CHECK(unreel_options_load_config(options, NULL, ours) == 0 && is("seed", "3"));
    CHECK(unreel_options_load_config(options, NULL, NULL) == 0);
    begin();
    CHECK(unreel_options_load_config(options, named, ours) == 0);
    CHECK(is("seed", "4") && is("sink", "0") && options_is_set(options, "seed"));
    begin();
    CHECK(unreel_options_load_config(options, config, "/nonexistent.yaml") == UNREEL_EIO);
    CHECK(unreel_options_load_config(options, "/nonexistent.yaml", NULL) == UNREEL_EIO);
    CHECK(unreel_options_load(options, scratch_folder) == UNREEL_EIO);
    begin(); /* a file with a mistake counts not at all */
    CHECK(load("seed: 5\nfps: 20\nheight: abc\n") == UNREEL_EFORMAT && is("seed", "0"));
}

/* What a model folder says of itself, where no other configuration is asked for. */
static void test_own(void)
{
    const char *ours = scratch_file("ours.yaml", "seed: 3\nmodel_kwargs: {sink_size: 2}\n");
    const char *config = scratch_file("alone.yaml", "model_kwargs:\n  local_attn_size: 9\n");
    scratch_mkdir("own");
    scratch_file("own/unreel.yaml", "seed: 7\nfps: 12\n");
    char model[4200];
    snprintf(model, sizeof model, "%s/own", scratch_folder);
    begin();
    CHECK(unreel_options_set(options, "model", model) == 0 && unreel_options_set(options, "fps", "24") == 0);
    CHECK(unreel_options_load_config(options, NULL, ours) == 0);
    CHECK(is("seed", "7") && is("sink", "2") && is("fps", "24"));
    begin();
    unreel_options_set(options, "model", model);
    CHECK(unreel_options_load_config(options, config, ours) == 0 && is("seed", "3") && is("window", "9"));
    begin();
    unreel_options_set(options, "model", "/nonexistent");
    CHECK(unreel_options_load_config(options, NULL, ours) == 0 && is("seed", "3"));
}

/* ---- values ------------------------------------------------------------------------------- */

static void test_types(void)
{
    begin();
    CHECK(load("seed: 5\nfps: 25\nprompt: a red sailboat # comment\n\"i2v\": yes\n"
               "denoising_step_list: [1000, 500]\nsize: 640x352\nnegative_prompt: 'no'\n"
               "model_kwargs: {timestep_shift: 3, local-attn-size: 7}\nnum-samples: 2\n") == 0);
    CHECK(is("seed", "5") && is("fps", "25") && is("prompt", "a red sailboat") &&
          is("i2v", "true"));
    CHECK(is("denoising_step_list", "1000,500") && is("width", "640") && is("height", "352"));
    CHECK(is("negative_prompt", "no") && is("model_kwargs.timestep_shift", "3"));
    CHECK(is("window", "7") && is("num_samples", "2"));
    CHECK_MSG(!*warnings, "%s", warnings);
    CHECK(load("denoising_step_list: []\nprompt: 12\nseed: ~\nfps:\nmodel_kwargs:\n") == 0);
    CHECK(is("denoising_step_list", "") && is("prompt", "12") && is("seed", "0") &&
          is("fps", "16"));
    CHECK(!options_is_set(options, "seed"));
    CHECK(load("prompt: \"\\u5e06\"\nmodel_kwargs.sink_size: 1\n") == 0);
    CHECK(is("prompt", "\xe5\xb8\x86") && is("sink", "1"));
    CHECK(load("prompt: |\n  two\n  lines\n") == 0 && is("prompt", "two\nlines\n"));
    CHECK(load("\xef\xbb\xbfseed: 6\r\nfps: 30\r\n") == 0 && is("seed", "6") && is("fps", "30"));
    CHECK(load("") == 0 && load("# nothing\n") == 0 && load("---\n") == 0 && load("{}") == 0);
    CHECK(load("%YAML 1.1\n---\nseed: &anchor 8\n...\n") == 0 && is("seed", "8"));
}

struct bad {
    const char *text, *message; /* after the path */
};

static void test_errors(void)
{
    static const struct bad bad[] = {
        {"seed: abc\n", ":1: seed: expected int from 0, got 'abc'"},
        {"\n\nseed: 1.5\n", ":3: seed: expected int from 0, got '1.5'"},
        {"seed: '5'\n", ":1: seed: expected int, got the text '5'"},
        {"seed: [5]\n", ":1: seed: expected int, got a list"},
        {"seed: {a: 5}\n", ":1: seed: expected int, got a map"},
        {"i2v: maybe\n", ":1: i2v: expected true or false, got 'maybe'"},
        {"i2v: \"true\"\n", ":1: i2v: expected true or false, got the text 'true'"},
        {"timestep_shift: fast\n",
         ":1: timestep_shift: expected number from 0.001 to 1000, got 'fast'"},
        {"fps: .nan\n", ":1: fps: expected number from 1 to 240, got '.nan'"},
        {"denoising_step_list: 1000\n",
         ":1: denoising_step_list: expected list of ints, got '1000'"},
        {"denoising_step_list:\n- 1000\n- a\n",
         ":3: denoising_step_list: expected ints in the list, got 'a'"},
        {"denoising_step_list: ['5']\n",
         ":1: denoising_step_list: expected ints in the list, got the text '5'"},
        {"denoising_step_list: [1000, ~]\n",
         ":1: denoising_step_list: expected ints in the list, got '~'"},
        {"denoising_step_list: [[1]]\n",
         ":1: denoising_step_list: expected ints in the list, got a list"},
        {"denoising_step_list: [1001]\n",
         ":1: denoising_step_list: expected list of ints from 0 to 1000, got '1001'"},
        {"denoising_step_list: [1, 1-2]\n",
         ":1: denoising_step_list: expected list of ints from 0 to 1000, got '1,1-2'"},
        {"prompt: [a]\n", ":1: prompt: expected text, got a list"},
        {"height: 481\n", ":1: height: 481 is not a multiple of 16 (480 or 496 would be)"},
        {"model_kwargs: 5\n", ":1: model_kwargs: expected map, got '5'"},
        {"model_kwargs: [5]\n", ":1: model_kwargs: expected map, got a list"},
        {"model_kwargs:\n  sink: 5\n",
         ":2: unknown key 'model_kwargs.sink', did you mean 'model_kwargs.sink_size'?"},
        {"model_kwargs:\n  xyzzy: 5\n", ":2: unknown key 'model_kwargs.xyzzy'"},
        {"model_kwargs:\n  sink_size: x\n",
         ":2: model_kwargs.sink_size: expected int from 0 to 1000000, got 'x'"},
        {"config_path: a.yaml\n", ":1: config_path: a configuration file cannot name another"},
        {"seed: 1\nseed: 2\n", ":2: seed: already given on line 1"},
        {"window: 5\nmodel_kwargs: {local_attn_size: 6}\n",
         ":2: model_kwargs.local_attn_size: already given on line 1"},
        {"height: 480\nfps: 5\nsize: 832x480\n", ":3: size: already given on line 1"},
        {"lr: 1\nlr: 1\n", ":2: lr: already given on line 1"},
        {"model_kwargs: {}\nmodel_kwargs: {}\n", ":2: model_kwargs: already given on line 1"},
        {"- seed\n", ":1: expected a map of options"},
        {"seed\n", ":1: expected a map of options"},
        {"? [a]\n: 1\n", ":1: a key must be text"},
        {"seed: 1\n--- \nseed: 2\n", ":2: a second document"},
        {"seed: &a 1\nfps: *a\n", ":2: aliases (*name) are not allowed, write the value out"},
        {"<<: *a\n", ":1: aliases (*name) are not allowed, write the value out"},
        {"seed: !!int 5\n", ":1: tags (!name) are not allowed"},
        {"lr: !!python/object/apply:os.system ['true']\n", ":1: tags (!name) are not allowed"},
        {"prompt: \"a\\0b\"\n", ":1: a NUL character"},
        {"seed: 1\nprompt: \xff\n", ":2: not UTF-8"},
        {"seed: 1\nprompt: a\x01\n", ":2: control characters are not allowed"},
        {"seed: [1\n", NULL},
        {"seed: 'a\n", NULL},
        {"\tseed: 1\n", NULL},
        {"lr: b: c\n", NULL},
        {"}", NULL},
        {"%FOO", NULL},
        {"\xff\xfes\0e\0", NULL},
    };
    char expected[1024];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        begin();
        int code = load(bad[i].text);
        CHECK_MSG(code == UNREEL_EFORMAT, "%s: %d", bad[i].text, code);
        const char *path = scratch_path("c.yaml");
        snprintf(expected, sizeof expected, "%s%s\n", path, bad[i].message ? bad[i].message : "");
        if (bad[i].message)
            CHECK_MSG(!strcmp(warnings, expected), "'%s': %s", bad[i].text, warnings);
        else
            CHECK_MSG(!strncmp(warnings, path, strlen(path)) && strchr(warnings, '\n')[1] == 0,
                      "'%s': %s", bad[i].text, warnings);
    }
}

static void test_warnings(void)
{
    char expected[1024];
    begin();
    CHECK(load("sed: 5\nwhatever: {a: [1, {b: c}]}\nfps: 20\n") == 0 && is("fps", "20"));
    const char *path = scratch_path("c.yaml");
    snprintf(expected, sizeof expected,
             "%s:1: unknown key 'sed' is ignored, did you mean 'seed'?\n"
             "%s:2: unknown key 'whatever' is ignored\n",
             path, path);
    CHECK_MSG(!strcmp(warnings, expected), "%s", warnings);
}

/* ---- hostile files ------------------------------------------------------------------------ */

static char *repeat(const char *head, const char *part, size_t count)
{
    size_t length = strlen(part), start = strlen(head);
    char *text = malloc(start + count * length + 1);
    memcpy(text, head, start + 1);
    for (size_t i = 0; i < count; i++)
        memcpy(text + start + i * length, part, length + 1);
    return text;
}

static void test_hostile(void)
{
    static const struct {
        const char *head, *part;
        size_t count;
        const char *message;
    } bombs[] = {
        {"x: ", "[", 1000000, "nested too deeply"},
        {"x: ", "{a: ", 200000, "nested too deeply"},
        {"", "- ", 500000, "expected a map"},
        {"x:\n ", "- ", 500000, "nested too deeply"},
        {"x: ", "? ", 500000, NULL},
        {"x: [", "a,", 500000, NULL},
        {"a: &a [x]\nb: &b [", "*a,", 300000, "aliases"},
        {"seed: ", "1", 1000000, "expected int"},
        {"x: ", "1", 1048574, "at most 1048576 expected"},
        {"denoising_step_list: [", "1,", 400000, "more than 64"},
        {"denoising_step_list: [", "000000000000000000000000000000", 30000, "more than 64"},
        {"", "&a ", 300000, NULL},
        {"prompt: \"", "\\x41", 200000, NULL},
    };
    for (size_t i = 0; i < sizeof bombs / sizeof bombs[0]; i++) {
        char *text = repeat(bombs[i].head, bombs[i].part, bombs[i].count);
        begin();
        int code = load(text);
        CHECK_MSG(code == UNREEL_EFORMAT, "bomb %zu: %d", i, code);
        CHECK_MSG(!bombs[i].message || strstr(warnings, bombs[i].message), "bomb %zu: %.200s", i,
                  warnings);
        free(text);
    }
    char *keys = malloc(40000);
    size_t used = 0;
    for (int i = 0; i < 2000; i++)
        used += (size_t)sprintf(keys + used, "xyzzy_%d: 1\n", i);
    begin();
    CHECK(load(keys) == UNREEL_EFORMAT);
    free(keys);
}

/* ---- files that people have --------------------------------------------------------------- */

/* The published files' keys in their order, values shortened. */
static const char published[] =
    "generator_ckpt: checkpoints/x.pt\nreal_name: Wan2.1-T2V-14B\ndenoising_step_list:\n- 1000\n"
    "- 750\n- 500\n- 250\nwarp_denoising_step: true # a comment\nts_schedule: false\n"
    "num_train_timestep: 1000\ntimestep_shift: 5.0\nguidance_scale: 3.0\n"
    "denoising_loss_type: flow\nmixed_precision: true\nseed: 0\nwandb_host: HOST\n"
    "sharding_strategy: hybrid_full\nlr: 2.0e-06\ndata_path: prompts/training.txt\n"
    "negative_prompt: '\xe8\x89\xb2\xe8\xb0\x83'\nimage_or_video_shape:\n- 1\n- 21\n- 16\n- 60\n- "
    "104\n"
    "trainer: score_distillation\nnum_frame_per_block: 3\nmodel_kwargs:\n  timestep_shift: 5.0";

static void check_published(const char *path)
{
    int steps[4];
    begin();
    CHECK(unreel_options_load_config(options, path, NULL) == 0);
    CHECK_MSG(!*warnings, "%s", warnings);
    CHECK(options_ints(options, "denoising_step_list", steps, 4) == 4 && steps[3] == 250);
    CHECK(options_bool(options, "warp_denoising_step") && is("num_frame_per_block", "3"));
    CHECK(is("model_kwargs.timestep_shift", "5") && is("timestep_shift", "5"));
    CHECK(is("guidance_scale", "3") && is("size", "832x480"));
    CHECK(is("data_path", NULL)); /* the training's, not what to generate */
}

static void test_published(void)
{
    static const char *const names[] = {"self_forcing_dmd.yaml", "self_forcing_sid.yaml"};
    char path[1024];
    check_published(scratch_file("published.yaml", published));
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", TEST_CONFIGS, names[i]);
        check_published(path);
        snprintf(path, sizeof path, "%s/published/configs/%s", TEST_SHARED, names[i]);
        if (access(path, R_OK) == 0)
            check_published(path);
        else
            printf("%s: not here, passed over\n", path);
    }
}

/* Our files: no warnings; the default file says what the table says. */
static void test_ours(void)
{
    char path[1024];
    const unreel_option_info *info;
    begin();
    snprintf(path, sizeof path, "%s/default_config.yaml", TEST_CONFIGS);
    CHECK(unreel_options_load(options, path) == 0);
    CHECK_MSG(!*warnings, "%s", warnings);
    for (size_t i = 0; (info = unreel_option_at(i)); i++)
        CHECK(is(info->name, info->fallback));
    begin();
    snprintf(path, sizeof path, "%s/long_video.yaml", TEST_CONFIGS);
    CHECK(unreel_options_load_config(options, path, NULL) == 0);
    CHECK_MSG(!*warnings, "%s", warnings);
    CHECK(is("window", "12") && is("sink", "3") && is("num_frame_per_block", "3"));
    CHECK(is("rotary", "absolute"));
    begin();
    snprintf(path, sizeof path, "%s/endless.yaml", TEST_CONFIGS);
    CHECK(unreel_options_load_config(options, path, NULL) == 0);
    CHECK_MSG(!*warnings, "%s", warnings);
    CHECK(is("window", "12") && is("sink", "3") && is("num_frame_per_block", "3"));
    CHECK(is("rotary", "relative") && is("num_output_frames", "0"));
}

/* A file that is asked for is refused; what a model says of itself is left out with a warning. */
static int without_yaml(void)
{
    unreel_options *none = unreel_options_create(&test_log);
    scratch_open();
    scratch_mkdir("model");
    const char *own = scratch_file("model/unreel.yaml", "width: 64\n");
    CHECK(unreel_options_load(none, "x.yaml") == UNREEL_EUNSUPPORTED);
    CHECK(strstr(test_message, "x.yaml"));
    test_message[0] = 0;
    CHECK(unreel_options_load_config(none, NULL, "x.yaml") == 0 && !test_message[0]);
    CHECK(unreel_options_set(none, "model", scratch_path("model")) == 0);
    CHECK(unreel_options_load_config(none, NULL, "x.yaml") == 0);
    CHECK_MSG(strstr(test_message, own) && strstr(test_message, "libyaml"), "%s", test_message);
    unreel_options_destroy(none);
    scratch_close();
    printf("built without libyaml\n");
    return test_end();
}

int main(void)
{
    if (!yaml_supported())
        return without_yaml();
    scratch_open();
    test_precedence();
    test_fallback();
    test_own();
    test_types();
    test_errors();
    test_warnings();
    test_hostile();
    test_published();
    test_ours();
    unreel_options_destroy(options);
    scratch_close();
    return test_end();
}
