/* Prompt files, extended prompts, folders of images. */
#include "test.h"
#include <stdbool.h>
#include <unreel/batch.h>
#include "scratch.h"

static unreel_options *options;
static unreel_prompts *prompts;

/* Opens with up to three options, (name, value) pairs ending with NULL. */
static int open_with(const char *const *pairs)
{
    unreel_prompts_close(prompts);
    unreel_options_destroy(options);
    options = unreel_options_create(&test_log);
    for (; *pairs; pairs += 2)
        CHECK(unreel_options_set(options, pairs[0], pairs[1]) == 0);
    *test_message = 0;
    return unreel_prompts_open(&prompts, options);
}

#define OPEN(...) open_with((const char *const[]){__VA_ARGS__, NULL})

static bool text_is(size_t index, const char *expected)
{
    const unreel_prompt *prompt = unreel_prompts_at(prompts, index);
    return prompt && !strcmp(prompt->text, expected);
}

static bool message_is(const char *path, const char *rest)
{
    char expected[1024];
    snprintf(expected, sizeof expected, "%s%s", path, rest);
    if (strcmp(test_message, expected))
        printf("message: %s\n", test_message);
    return !strcmp(test_message, expected);
}

static int open_text(const char *text, size_t size)
{
    return OPEN("data_path", scratch_bytes("p.txt", text, size));
}

#define OPEN_TEXT(text) open_text(text, sizeof text - 1)

static void test_lines(void)
{
    CHECK(OPEN_TEXT("a\nb\n") == 0 && unreel_prompts_count(prompts) == 2);
    CHECK(text_is(0, "a") && text_is(1, "b") && !unreel_prompts_at(prompts, 2) && !*test_message);
    CHECK(OPEN_TEXT("a\nb") == 0 && unreel_prompts_count(prompts) == 2 && text_is(1, "b"));
    CHECK(OPEN_TEXT("\xef\xbb\xbf" "a\r\nb \t\r\n") == 0 && unreel_prompts_count(prompts) == 2);
    CHECK(text_is(0, "a") && text_is(1, "b") && !*test_message);
    CHECK(OPEN_TEXT("a\rb\r\n\rc") == 0 && unreel_prompts_count(prompts) == 4 && text_is(3, "c"));
    CHECK(OPEN_TEXT("a\n\n \n\xe3\x80\x80\n") == 0 && unreel_prompts_count(prompts) == 1);
    CHECK(OPEN_TEXT("a\xc2\xa0\xe2\x80\x8a \nb\n") == 0 && text_is(0, "a"));
    CHECK(OPEN_TEXT("\xe5\xb8\x86\xe8\x88\xb9\n") == 0 && text_is(0, "\xe5\xb8\x86\xe8\x88\xb9"));
    CHECK(OPEN_TEXT("  a\n") == 0 && text_is(0, "  a"));
    CHECK(OPEN_TEXT("a\n\nb\n") == 0 && unreel_prompts_count(prompts) == 3 && text_is(1, ""));
    CHECK(message_is(scratch_path("p.txt"), ":2: an empty line is an empty prompt"));
    CHECK(OPEN_TEXT("\n\nb\n") == 0 && unreel_prompts_count(prompts) == 3);
    CHECK(message_is(scratch_path("p.txt"), ":1: an empty line is an empty prompt, there are 2"));
    const unreel_prompt *prompt = unreel_prompts_at(prompts, 2);
    CHECK(prompt && prompt->text == prompt->name && !prompt->image);
}

static void test_bad_lines(void)
{
    const char *path = scratch_path("p.txt");
    CHECK(OPEN_TEXT("") == UNREEL_EFORMAT && message_is(path, ": no prompts in this file"));
    CHECK(!prompts);
    CHECK(OPEN_TEXT("\n \r\n\n") == UNREEL_EFORMAT &&
          message_is(path, ": no prompts in this file"));
    CHECK(OPEN_TEXT("\xef\xbb\xbf") == UNREEL_EFORMAT);
    CHECK(OPEN_TEXT("a\nb\nc\xff\n") == UNREEL_EFORMAT && message_is(path, ":3: not UTF-8"));
    CHECK(OPEN_TEXT("a\n\xe5\xb8") == UNREEL_EFORMAT && message_is(path, ":2: not UTF-8"));
    CHECK(OPEN_TEXT("\xff\xfe"
                    "a\0") == UNREEL_EFORMAT &&
          message_is(path, ":1: not UTF-8"));
    CHECK(OPEN_TEXT("a\nb\0c\n") == UNREEL_EFORMAT && message_is(path, ":2: a NUL character"));
    CHECK(OPEN("data_path", scratch_path("none.txt")) == UNREEL_EIO);
    CHECK(message_is(scratch_path("none.txt"), ": No such file or directory"));
}

static void test_sources(void)
{
    const char *file = scratch_file("p.txt", "a\nb\nc\n");
    const char *longer = scratch_file("e.txt", "a1\nb1\nc1\n\n"),
               *shorter = scratch_file("s.txt", "a1\n");
    char expected[1024];
    CHECK(OPEN("prompt", "a cat") == 0 && unreel_prompts_count(prompts) == 1 &&
          text_is(0, "a cat"));
    CHECK(OPEN("prompt", "a cat", "image", "x.png", "i2v", "true") == 0);
    CHECK(!strcmp(unreel_prompts_at(prompts, 0)->image, "x.png"));
    CHECK(OPEN("data_path", file, "image", "x.png") == 0);
    CHECK(!strcmp(unreel_prompts_at(prompts, 2)->image, "x.png"));
    CHECK(OPEN("data_path", file, "extended_prompt_path", longer) == 0 && text_is(2, "c1"));
    CHECK(!strcmp(unreel_prompts_at(prompts, 2)->name, "c"));
    CHECK(OPEN("data_path", file, "extended_prompt_path", shorter) == UNREEL_EINVAL);
    snprintf(expected, sizeof expected, ": 1 lines for 3 prompts of %s", file);
    CHECK(message_is(shorter, expected));
    CHECK(OPEN("prompt", "a", "extended_prompt_path", shorter) == 0 && text_is(0, "a1"));
    CHECK(OPEN("prompt", "a", "data_path", file) == UNREEL_EINVAL);
    CHECK(OPEN("seed", "1") == UNREEL_EINVAL && OPEN("prompt", "") == UNREEL_EINVAL);
    CHECK(OPEN("prompt", "a", "i2v", "true") == UNREEL_EINVAL);
    CHECK(OPEN("data_path", file, "i2v", "true") == UNREEL_EINVAL);
    CHECK(OPEN("data_path", scratch_folder) == UNREEL_EINVAL);
    unreel_prompts_close(NULL);
}

static void test_file_names(void)
{
    char name[UNREEL_FILE_NAME_MAX];
    const char *file = scratch_file("p.txt", "a cat\na/cat\na cat\n");
    CHECK(OPEN("data_path", file) == 0);
    CHECK(unreel_prompts_file_name(prompts, 0, 3, "mp4", name) == 0 &&
          !strcmp(name, "a cat-3.mp4"));
    CHECK(unreel_prompts_file_name(prompts, 1, 0, "y4m", name) == 0 &&
          !strcmp(name, "a_cat-0.y4m"));
    CHECK(unreel_prompts_file_name(prompts, 2, 0, "mp4", name) == 0 && strlen(name) == 20);
    CHECK(unreel_prompts_file_name(prompts, 3, 0, "mp4", name) == UNREEL_EINVAL && !*name);
    CHECK(unreel_prompts_file_name(prompts, 0, -1, "mp4", name) == UNREEL_EINVAL);
    CHECK(unreel_prompts_file_name(prompts, 0, 0, "much_too_long", name) == UNREEL_EINVAL);
    CHECK(OPEN("data_path", file, "save_with_index", "true") == 0);
    CHECK(unreel_prompts_file_name(prompts, 2, 1, "mp4", name) == 0 &&
          !strcmp(name, "2-1_regular.mp4"));
    CHECK(OPEN("data_path", file, "save_with_index", "true", "use_ema", "true") == 0);
    CHECK(unreel_prompts_file_name(prompts, 0, 0, "mp4", name) == 0 &&
          !strcmp(name, "0-0_ema.mp4"));
    char prompt[1001];
    memset(prompt, 0, sizeof prompt);
    for (int i = 0; i < 250; i++)
        memcpy(prompt + 4 * i, "\xf0\x9f\x8e\x9e", 4);
    CHECK(OPEN("prompt", prompt) == 0);
    CHECK(unreel_prompts_file_name(prompts, 0, 2147483647, "12345678", name) == 0);
    CHECK(strlen(name) + strlen(".part") <= 255 && strlen(name) > 240);
}

/* ---- folders ------------------------------------------------------------------------------ */

static const char metadata[] =
    "[{\"file_name\": \"one.jpg\", \"caption\": \"a cat\", \"type\": \"x\", \"origin_width\": 5,"
    " \"origin_height\": 4, \"target_crop\": {\"target_bbox\": [0, 0, 5, 4], \"target_ratio\": "
    "\"26-15\"}},"
    " {\"file_name\": \"sub/two.jpg\", \"caption\": \"a \\u5e06\"}]";

static int open_folder(void)
{
    return OPEN("data_path", scratch_path("i2v"), "i2v", "true");
}

static void test_folder(void)
{
    char ours[512], path[600];
    snprintf(ours, sizeof ours, "%s", scratch_path("i2v"));
    scratch_mkdir("i2v");
    CHECK(open_folder() == UNREEL_EFORMAT &&
          message_is(ours, ": no target_crop_info_<ratio>.json"));
    scratch_file("i2v/target_crop_info_26-15.json", metadata);
    snprintf(path, sizeof path, "%s/26-15", ours);
    CHECK(open_folder() == UNREEL_EFORMAT);
    CHECK(
        message_is(path, ": no such folder, target_crop_info_26-15.json expects its images there"));
    scratch_mkdir("i2v/26-15");
    scratch_mkdir("i2v/26-15/sub");
    snprintf(path, sizeof path, "%s/26-15/one.jpg", ours);
    CHECK(open_folder() == UNREEL_EIO && message_is(path, ": no such image, 2 of 2 are missing"));
    scratch_file("i2v/26-15/one.jpg", "jpg");
    snprintf(path, sizeof path, "%s/26-15/sub/two.jpg", ours);
    CHECK(open_folder() == UNREEL_EIO && message_is(path, ": no such image"));
    scratch_file("i2v/26-15/sub/two.jpg", "jpg");
    CHECK(open_folder() == 0 && unreel_prompts_count(prompts) == 2);
    CHECK(text_is(0, "a cat") && text_is(1, "a \xe5\xb8\x86"));
    CHECK(!strcmp(unreel_prompts_at(prompts, 1)->image, path));
    CHECK(OPEN("data_path", ours, "i2v", "true", "extended_prompt_path",
               scratch_file("e.txt", "x\ny\n")) == 0);
    CHECK(text_is(1, "y") && !strcmp(unreel_prompts_at(prompts, 1)->image, path));
    CHECK(OPEN("data_path", ours) == UNREEL_EINVAL);
    CHECK(OPEN("data_path", ours, "i2v", "true", "image", "x.png") == UNREEL_EINVAL);
    scratch_file("i2v/target_crop_info_1-1.json", "[]");
    CHECK(open_folder() == UNREEL_EFORMAT && strstr(test_message, "only one is expected"));
    remove(scratch_path("i2v/target_crop_info_1-1.json"));
    scratch_file("i2v/target_crop_info.json", "[]"); /* not one of them */
    CHECK(open_folder() == 0);
}

static void test_bad_metadata(void)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", NULL},
        {"[", NULL},
        {"{}", ": not a list"},
        {"[]", ": no images in this list"},
        {"5", ": not a list"},
        {"[5]", ": entry 0: no text \"file_name\""},
        {"[{\"file_name\": 5, \"caption\": \"a\"}]", ": entry 0: no text \"file_name\""},
        {"[{\"file_name\": \"one.jpg\", \"caption\": \"a\"}, {\"file_name\": \"one.jpg\"}]",
         ": entry 1: no text \"caption\""},
        {"[{\"file_name\": \"/etc/passwd\", \"caption\": \"a\"}]", "leads out"},
        {"[{\"file_name\": \"../target_crop_info_26-15.json\", \"caption\": \"a\"}]", "leads out"},
        {"[{\"file_name\": \"sub/../../x\", \"caption\": \"a\"}]", "leads out"},
        {"[{\"file_name\": \"sub/..\", \"caption\": \"a\"}]", "leads out"},
        {"[{\"file_name\": \"..\", \"caption\": \"a\"}]", "leads out"},
        {"[{\"file_name\": \"\", \"caption\": \"a\"}]", "leads out"},
        {"[{\"file_name\": \"sub\", \"caption\": \"a\"}]", "no such image"},
        {"[{\"file_name\": \"a\\u0000b\", \"caption\": \"a\"}]", NULL},
        {"[{\"file_name\": \"one.jpg\", \"caption\": \"\xff\"}]", NULL},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        scratch_file("i2v/target_crop_info_26-15.json", bad[i].text);
        int code = open_folder();
        CHECK_MSG(code == UNREEL_EFORMAT || code == UNREEL_EIO, "%s: %d", bad[i].text, code);
        CHECK_MSG(strstr(test_message, bad[i].message ? bad[i].message : "target_crop_info_26-15"),
                  "%s: %s", bad[i].text, test_message);
    }
    remove(scratch_path("i2v/target_crop_info_26-15.json"));
    scratch_file("i2v/target_crop_info_.json", "[]");
    CHECK(open_folder() == UNREEL_EFORMAT && strstr(test_message, "no ratio in the name"));
    scratch_file("i2v/26-15/...dots", "jpg");
    remove(scratch_path("i2v/target_crop_info_.json"));
    scratch_file("i2v/target_crop_info_x_26-15.json",
                 "[{\"file_name\": \"...dots\", \"caption\": \"a\"}]");
    CHECK(open_folder() == 0);
}

int main(void)
{
    scratch_open();
    test_lines();
    test_bad_lines();
    test_sources();
    test_file_names();
    test_folder();
    test_bad_metadata();
    unreel_prompts_close(prompts);
    unreel_options_destroy(options);
    scratch_close();
    return test_end();
}
