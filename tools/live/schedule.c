/* A file of prompts at times: "TIME | HOW | PROMPT", one a line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

#define FILE_MAX (4 << 20) /* bytes */

struct entry {
    double seconds;
    enum unreel_switch how;
    char *prompt;
};

struct schedule {
    struct console *console;
    GArray *entries; /* struct entry, by time */
    guint next;
};

/* "90", "1:30", "1:00:00.5"; false if it is none. */
static bool read_time(const char *text, double *seconds)
{
    double value = 0;
    int parts = 0;
    for (;;) {
        char *end;
        if (*text < '0' || *text > '9')
            return false;
        double part = g_ascii_strtod(text, &end);
        if (parts && part >= 60)
            return false;
        value = 60 * value + part;
        if (!*end) {
            *seconds = value;
            return true;
        }
        if (*end != ':' || ++parts > 2)
            return false;
        text = end + 1;
    }
}

static bool read_how(const char *text, enum unreel_switch *how)
{
    static const char *const names[] = {"", "blend", "recache", "cut"};
    for (int i = 0; i < 4; i++) {
        if (!strcmp(text, names[i])) {
            *how = (enum unreel_switch)i;
            return true;
        }
    }
    return false;
}

/* One line into an entry; the reason if it is none. */
static const char *read_line(const char *line, struct entry *entry)
{
    const char *reason = NULL;
    char **fields = g_strsplit(line, "|", 3);
    guint count = g_strv_length(fields);
    for (guint i = 0; i < count; i++)
        g_strstrip(fields[i]);
    if (count < 3)
        reason = "expected: TIME | HOW | PROMPT";
    else if (!read_time(fields[0], &entry->seconds))
        reason = "the time is neither seconds (90, 12.5) nor minutes (1:30)";
    else if (!read_how(fields[1], &entry->how))
        reason = "how to change is none of blend, recache, cut (or empty)";
    else if (!*fields[2])
        reason = "the prompt is missing";
    else if (strlen(fields[2]) > UNREEL_PROMPT_MAX)
        reason = "the prompt is too long";
    else
        entry->prompt = g_strdup(fields[2]);
    g_strfreev(fields);
    return reason;
}

static const char *add_line(struct schedule *s, char *line)
{
    struct entry entry = {0};
    g_strstrip(line);
    if (!*line || *line == '#')
        return NULL;
    if (!g_utf8_validate(line, -1, NULL))
        return "not UTF-8";
    const char *reason = read_line(line, &entry);
    if (reason)
        return reason;
    if (s->entries->len &&
        g_array_index(s->entries, struct entry, s->entries->len - 1).seconds > entry.seconds) {
        g_free(entry.prompt);
        return "the time is before that of the entry above";
    }
    g_array_append_val(s->entries, entry);
    return NULL;
}

int schedule_load(struct schedule **schedule, struct console *console, const char *path)
{
    GError *error = NULL;
    char *text;
    gsize size;
    if (!g_file_get_contents(path, &text, &size, &error)) {
        console_error(console, "%s", error->message);
        g_error_free(error);
        return -1;
    }
    struct schedule *s = g_new0(struct schedule, 1);
    s->console = console;
    s->entries = g_array_new(FALSE, TRUE, sizeof(struct entry));
    const char *reason = size > FILE_MAX ? "the file is too long" : NULL;
    if (!reason && strlen(text) != size)
        reason = "a NUL in the file";
    int number = 1;
    char **lines = g_strsplit(!strncmp(text, "\xef\xbb\xbf", 3) ? text + 3 : text, "\n", -1);
    for (char **line = lines; !reason && *line; line++) {
        reason = add_line(s, *line);
        number += !reason;
    }
    g_strfreev(lines);
    g_free(text);
    if (!reason && !s->entries->len) {
        number = 1;
        reason = "there is no entry in this file";
    }
    if (reason) {
        console_error(console, "%s:%d: %s", path, number, reason);
        schedule_free(s);
        return -1;
    }
    *schedule = s;
    return 0;
}

const char *schedule_first(const struct schedule *s)
{
    const struct entry *first = &g_array_index(s->entries, struct entry, 0);
    return first->seconds <= 0 ? first->prompt : NULL;
}

void schedule_skip_first(struct schedule *s)
{
    s->next = 1;
}

void schedule_run(struct schedule *s, struct live *live, double seconds)
{
    while (s->next < s->entries->len) {
        const struct entry *entry = &g_array_index(s->entries, struct entry, s->next);
        if (entry->seconds > seconds)
            return;
        s->next++;
        live_prompt(live, "schedule", entry->prompt, entry->how);
    }
}

void schedule_free(struct schedule *s)
{
    if (!s)
        return;
    for (guint i = 0; i < s->entries->len; i++)
        g_free(g_array_index(s->entries, struct entry, i).prompt);
    g_array_free(s->entries, TRUE);
    g_free(s);
}
