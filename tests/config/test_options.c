/* The table of options, values of every kind, precedence. */
#include <locale.h>
#include "test.h"
#include "config/options.h"
#include "config/table.h"
#include "config/value.h"
#include "scratch.h"

static unreel_options *options;

static int set(const char *name, const char *value)
{
    *test_message = 0;
    return unreel_options_set(options, name, value);
}

static bool is(const char *name, const char *expected)
{
    const char *text = unreel_options_get(options, name);
    bool same = text && expected ? !strcmp(text, expected) : text == expected;
    if (!same)
        printf("%s is %s\n", name, text ? text : "NULL");
    return same;
}

static void begin(void)
{
    unreel_options_destroy(options);
    options = unreel_options_create(&test_log);
}

static void test_table(void)
{
    const unreel_option_info *info, *other;
    char reason[VALUE_REASON_MAX];
    begin();
    for (size_t i = 0; (info = unreel_option_at(i)); i++) {
        CHECK_MSG(strlen(info->name) < OPTION_NAME_MAX && !strchr(info->name, '-'), "%s",
                  info->name);
        CHECK_MSG(info->help && info->help[strlen(info->help) - 1] == '.', "%s", info->name);
        CHECK_MSG(info->group, "%s", info->name);
        CHECK_MSG(!unreel_options_is_set(options, info->name), "%s", info->name);
        for (size_t j = 0; j < i && (other = unreel_option_at(j)); j++)
            CHECK_MSG(strcmp(info->name, other->name), "%s twice", info->name);
        bool may_lack = info->kind == UNREEL_OPTION_STRING || info->kind == UNREEL_OPTION_PATH ||
                        info->kind == UNREEL_OPTION_INTS;
        CHECK_MSG(info->fallback || may_lack, "%s has no default", info->name);
        if (info->fallback) { /* defaults are valid and canonical */
            char *text = value_parse(&option_table[i], info->fallback, reason);
            CHECK_MSG(text && !strcmp(text, info->fallback), "%s: %s", info->name, info->fallback);
            free(text);
            CHECK(is(info->name, info->fallback));
        } else {
            CHECK(is(info->name, NULL));
        }
        const struct option *target = &option_table[option_storage((int)i)];
        CHECK_MSG(!target->target && target->info.kind == info->kind &&
                      target->nonzero == option_table[i].nonzero && target->info.min == info->min &&
                      target->info.max == info->max &&
                      (!info->fallback || !strcmp(info->fallback, target->info.fallback)),
                  "%s differs from its alias", info->name);
    }
    CHECK(!unreel_option_at(100000));
    CHECK(option_find("") < 0 && option_find("no_such_thing") < 0);
    CHECK(option_is_map("model_kwargs") && !option_is_map("model") && !option_is_map("seed"));
    CHECK(option_is_ignored("weight_decay") && option_is_ignored("batch_size") &&
          !option_is_ignored("seed") && !option_is_ignored("zzz"));
}

struct trial {
    const char *name, *value, *expected; /* NULL: refused */
};

static void test_values(void)
{
    static const struct trial trials[] = {
        {"i2v", "true", "true"},
        {"i2v", "Yes", "true"},
        {"i2v", "on", "true"},
        {"i2v", "1", "true"},
        {"i2v", "FALSE", "false"},
        {"i2v", "no", "false"},
        {"i2v", "off", "false"},
        {"i2v", "0", "false"},
        {"i2v", "maybe", NULL},
        {"i2v", "", NULL},
        {"i2v", "2", NULL},
        {"seed", "7", "7"},
        {"seed", "+7", "7"},
        {"seed", "-0", "0"},
        {"seed", "-1", NULL},
        {"seed", "9223372036854775807", "9223372036854775807"},
        {"seed", "9223372036854775808", NULL},
        {"seed", "99999999999999999999999", NULL},
        {"seed", "1.5", NULL},
        {"seed", "abc", NULL},
        {"seed", "", NULL},
        {"seed", " 1", NULL},
        {"seed", "1 ", NULL},
        {"seed", "0x10", NULL},
        {"seed", "010", NULL},
        {"seed", "1e3", NULL},
        {"window", "-1", "-1"},
        {"window", "12", "12"},
        {"window", "0", NULL},
        {"window", "-2", NULL},
        {"sink", "0", "0"},
        {"sink", "-1", NULL},
        {"fps", "16.0", "16"},
        {"fps", "23.976", "23.976"},
        {"fps", "2.4e1", "24"},
        {"fps", "0", NULL},
        {"fps", "nan", NULL},
        {"fps", "inf", NULL},
        {"fps", "1e999", NULL},
        {"fps", "0x10", NULL},
        {"fps", "16,5", NULL},
        {"fps", "", NULL},
        {"fps", "1.2.3", NULL},
        {"fps", "-", NULL},
        {"guidance_scale", "-0.0", "0"},
        {"guidance_scale", "0.1", "0.1"},
        {"timestep_shift", "0", NULL},
        {"device", "CPU", "cpu"},
        {"device", "cuda", "cuda"},
        {"device", "gpu", NULL},
        {"device", "", NULL},
        {"device", "cp", NULL},
        {"device", "cpu|cuda", NULL},
        {"dtype", "bf16", "bf16"},
        {"dtype", "FP8", "fp8"},
        {"dtype", "f8", NULL},
        {"format", "bgrx", "bgrx"},
        {"decoder", "taehv", "taehv"},
        {"denoising_step_list", "1000,750", "1000,750"},
        {"denoising_step_list", "[1000, 750, 500 ]", "1000,750,500"},
        {"denoising_step_list", " 5 , 6", "5,6"},
        {"denoising_step_list", "", ""},
        {"denoising_step_list", "[]", ""},
        {"denoising_step_list", "1001", NULL},
        {"denoising_step_list", "-1", NULL},
        {"denoising_step_list", "1000,", NULL},
        {"denoising_step_list", "1000 750", NULL},
        {"denoising_step_list", "[1000", NULL},
        {"denoising_step_list", "1000]", NULL},
        {"denoising_step_list", "a", NULL},
        {"denoising_step_list", "1.5", NULL},
        {"size", "640x352", "640x352"},
        {"size", "640X352", "640x352"},
        {"size", "640*352", "640x352"},
        {"size", "640", NULL},
        {"size", "640x", NULL},
        {"size", "x640", NULL},
        {"size", "640x350", NULL},
        {"size", "8x16", NULL},
        {"size", "16x99984", NULL},
        {"size", "640x352x3", NULL},
        {"height", "479", NULL},
        {"height", "496", "496"},
        {"prompt", "two\nlines", "two\nlines"},
        {"prompt", "", ""},
        {"prompt", "\xff", NULL},
        {"prompt", "\xe5\xb8\x86", "\xe5\xb8\x86"},
        {"prompt", "\xe5\xb8", NULL},
        {"prompt", "\xc0\xaf", NULL},
        {"prompt", "\xed\xa0\x80", NULL},
        {"prompt", "\xf4\x90\x80\x80", NULL},
        {"prompt", "\xf0\x9f\x8e\x9e", "\xf0\x9f\x8e\x9e"},
        {"output", "\xff.mp4", "\xff.mp4"},
        {"output", "", ""},
        {"num_output_frames", "0", "0"},
        {"num_output_frames", "-3", NULL},
    };
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++) {
        const struct trial *trial = &trials[i];
        begin();
        char *before = strdup(unreel_options_get(options, trial->name) ?: "(none)");
        int code = set(trial->name, trial->value);
        CHECK_MSG(code == (trial->expected ? 0 : UNREEL_EINVAL), "%s '%s': %d", trial->name,
                  trial->value, code);
        CHECK(is(trial->name, trial->expected            ? trial->expected
                              : strcmp(before, "(none)") ? before
                                                         : NULL));
        CHECK_MSG(trial->expected || !strncmp(test_message, trial->name, strlen(trial->name)),
                  "%s '%s': %s", trial->name, trial->value, test_message);
        free(before);
    }
    begin();
    char list[1000] = "";
    for (int i = 0; i < OPTIONS_INTS_MAX; i++)
        sprintf(list + strlen(list), "%s%d", i ? "," : "", i);
    CHECK(set("denoising_step_list", list) == 0);
    strcat(list, ",1");
    CHECK(set("denoising_step_list", list) == UNREEL_EINVAL);
}

static void test_messages(void)
{
    begin();
    set("seed", "abc");
    CHECK_MSG(!strcmp(test_message, "seed: expected int from 0, got 'abc'"), "%s", test_message);
    set("size", "833x480");
    CHECK_MSG(!strcmp(test_message, "size: 833 is not a multiple of 16 (832 or 848 would be)"),
              "%s", test_message);
    CHECK(set("promt", "x") == UNREEL_EINVAL);
    CHECK_MSG(!strcmp(test_message, "unknown option 'promt', did you mean 'prompt'?"), "%s",
              test_message);
    CHECK(set("xyzzy_plugh", "x") == UNREEL_EINVAL);
    CHECK_MSG(!strcmp(test_message, "unknown option 'xyzzy_plugh'"), "%s", test_message);
    CHECK(set("lr", "1") == UNREEL_EINVAL); /* training keys only in files */
    char name[3000];
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = 0;
    CHECK(set(name, "x") == UNREEL_EINVAL);
    CHECK(set("prompt", name) == 0);
    CHECK(set("seed", name) == UNREEL_EINVAL);
}

static void test_aliases(void)
{
    begin();
    CHECK(set("num-output-frames", "42") == 0 && is("num_output_frames", "42"));
    CHECK(set("model-kwargs.sink-size", "2") == 0 && is("sink", "2"));
    CHECK(set("window", "9") == 0 && is("model_kwargs.local_attn_size", "9"));
    CHECK(set("model_kwargs.local_attn_size", "8") == 0 && is("window", "8"));
    CHECK(unreel_options_is_set(options, "window"));
    CHECK(!unreel_options_is_set(options, "size"));
    CHECK(set("size", "640x320") == 0 && is("width", "640") && is("height", "320"));
    CHECK(set("width", "1280") == 0 && is("size", "1280x320"));
    CHECK(unreel_options_is_set(options, "size") && unreel_options_is_set(options, "height"));
    int width, height;
    options_size(options, "size", &width, &height);
    CHECK(width == 1280 && height == 320);
    CHECK(set("size", NULL) == 0 && is("size", "832x480"));
    CHECK(set("window", NULL) == 0 && is("window", "-1"));
}

static void test_getters(void)
{
    int steps[4] = {0};
    begin();
    CHECK(options_ints(options, "denoising_step_list", steps, 4) == 0);
    CHECK(set("denoising_step_list", "1000,750,500,250,5") == 0);
    CHECK(options_ints(options, "denoising_step_list", steps, 4) == 5);
    CHECK(steps[0] == 1000 && steps[3] == 250);
    CHECK(options_is_set(options, "denoising_step_list"));
    CHECK(set("denoising_step_list", "") == 0);
    CHECK(options_ints(options, "denoising_step_list", steps, 4) == 0);
    CHECK(!options_text(options, "prompt") && !options_text(options, "image"));
    CHECK(set("image", "") == 0 && !options_text(options, "image"));
    CHECK(set("prompt", "") == 0 && options_text(options, "prompt"));
    CHECK(set("i2v", "yes") == 0 && options_bool(options, "i2v"));
    CHECK(!options_bool(options, "use_ema"));
    CHECK(set("seed", "9223372036854775807") == 0 && options_int(options, "seed") == INT64_MAX);
    CHECK(options_int(options, "model_kwargs.local_attn_size") == -1);
    CHECK(set("fps", "29.97") == 0 && options_float(options, "fps") == 29.97);
    CHECK(options_log(options)->write == test_log.write);
    CHECK(set("seed", NULL) == 0 && is("seed", "0") && !options_is_set(options, "seed"));
    CHECK(!unreel_options_get(options, "nonsense") && !unreel_options_is_set(options, "nonsense"));
}

/* A float is read and written with a point whatever the application's locale. */
static void test_locale(void)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
    const char *found = NULL;
    for (size_t i = 0; !found && i < sizeof names / sizeof names[0]; i++)
        found = setlocale(LC_ALL, names[i]);
    begin();
    CHECK(set("fps", "2.5") == 0 && is("fps", "2.5") && options_float(options, "fps") == 2.5);
    CHECK(set("fps", "2,5") == UNREEL_EINVAL);
    setlocale(LC_ALL, "C");
    if (!found)
        printf("no locale with a decimal comma here\n");
}

static void test_copy(void)
{
    begin();
    set("prompt", "a sailboat");
    set("size", "320x160");
    unreel_options *copy = unreel_options_copy(options);
    set("prompt", "a horse");
    CHECK(!strcmp(unreel_options_get(copy, "prompt"), "a sailboat"));
    CHECK(!strcmp(unreel_options_get(copy, "size"), "320x160"));
    CHECK(options_log(copy)->write == test_log.write);
    unreel_options_destroy(copy);
    unreel_options_destroy(NULL);
    copy = unreel_options_create(NULL); /* no log: errors are still errors */
    CHECK(unreel_options_set(copy, "seed", "x") == UNREEL_EINVAL);
    unreel_options_destroy(copy);
}

int main(void)
{
    test_table();
    test_values();
    test_messages();
    test_aliases();
    test_getters();
    test_locale();
    test_copy();
    unreel_options_destroy(options);
    return test_end();
}
