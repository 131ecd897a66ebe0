#include "config/yaml.h"

#include "base/log.h"

#if UNREEL_YAML

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>
#include "base/utf8.h"
#include "config/value.h"

struct key {
    char *name; /* where the value is stored, owned */
    int line;
};

struct reader {
    const char *path;
    const unreel_log *log;
    const char *text; /* without byte order mark */
    size_t size;
    struct option_values *values;
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    int depth;          /* maps and lists that are open */
    struct key *keys;   /* [YAML_KEYS_MAX], those seen so far */
    int key_count;
};

bool yaml_supported(void)
{
    return true;
}

/* ---- events ------------------------------------------------------------------------------- */

static int line_of(const struct reader *reader)
{
    return (int)reader->event.start_mark.line + 1;
}

static int fail(const struct reader *reader, const char *what)
{
    return log_error(reader->log, UNREEL_EFORMAT, "%s:%d: %s", reader->path, line_of(reader), what);
}

/* What libyaml found wrong. Its reader gives a byte offset, its scanner and parser a line. */
static int fail_syntax(const struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    const char *problem = parser->problem ? parser->problem : "not YAML";
    if (parser->error == YAML_MEMORY_ERROR)
        return log_error(reader->log, UNREEL_ENOMEM, "%s: out of memory", reader->path);
    int line = (int)parser->problem_mark.line + 1;
    if (parser->error == YAML_READER_ERROR) {
        line = 1;
        for (size_t i = 0; i < reader->size && i < parser->problem_offset; i++)
            line += reader->text[i] == '\n';
    }
    return log_error(reader->log, UNREEL_EFORMAT, "%s:%d: %s", reader->path, line, problem);
}

static bool has_tag(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.tag;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.tag;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.tag;
    default:
        return false;
    }
}

/* Moves to the next event; what is allowed nowhere is refused here. */
static int next(struct reader *reader)
{
    yaml_event_t *event = &reader->event;
    yaml_event_delete(event);
    if (!yaml_parser_parse(&reader->parser, event))
        return fail_syntax(reader);
    if (event->type == YAML_ALIAS_EVENT)
        return fail(reader, "aliases (*name) are not allowed, write the value out");
    if (has_tag(event))
        return fail(reader, "tags (!name) are not allowed");
    if (event->type == YAML_SCALAR_EVENT &&
        strlen((const char *)event->data.scalar.value) != event->data.scalar.length)
        return fail(reader, "a NUL character");
    if (event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT)
        reader->depth++;
    if (event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT)
        reader->depth--;
    return reader->depth > YAML_DEPTH_MAX ? fail(reader, "nested too deeply") : 0;
}

/* Passes over the value that starts at the current event. */
static int skip(struct reader *reader)
{
    int code = 0, depth = reader->depth;
    if (reader->event.type == YAML_SCALAR_EVENT)
        return 0;
    while (code == 0 && reader->depth >= depth)
        code = next(reader);
    return code;
}

/* ---- values ------------------------------------------------------------------------------- */

static const char *scalar(const struct reader *reader)
{
    return (const char *)reader->event.data.scalar.value;
}

static bool is_plain(const struct reader *reader)
{
    return reader->event.type == YAML_SCALAR_EVENT &&
           reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool is_null(const struct reader *reader)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; is_plain(reader) && i < sizeof words / sizeof words[0]; i++)
        if (!strcmp(scalar(reader), words[i]))
            return true;
    return false;
}

static int fail_kind(const struct reader *reader, const char *name, const char *expected)
{
    const char *got = reader->event.type == YAML_SEQUENCE_START_EVENT ? "a list" : "a map";
    if (reader->event.type == YAML_SCALAR_EVENT)
        return log_error(reader->log, UNREEL_EFORMAT, "%s:%d: %s: expected %s, got %s'%.80s'",
                         reader->path, line_of(reader), name, expected,
                         is_plain(reader) ? "" : "the text ", scalar(reader));
    return log_error(reader->log, UNREEL_EFORMAT, "%s:%d: %s: expected %s, got %s", reader->path,
                     line_of(reader), name, expected, got);
}

static int put(struct reader *reader, int row, const char *name, const char *text, int line)
{
    char reason[VALUE_REASON_MAX];
    int code = option_values_put(reader->values, row, text, reason);
    if (code == UNREEL_EINVAL)
        code = UNREEL_EFORMAT;
    return code < 0
               ? log_error(reader->log, code, "%s:%d: %s: %s", reader->path, line, name, reason)
               : 0;
}

/* A list of ints becomes "a,b,c". */
static int read_list(struct reader *reader, int row, const char *name)
{
    char list[OPTIONS_INTS_MAX * 24] = "";
    size_t used = 0;
    int line = line_of(reader);
    for (;;) {
        int code = next(reader);
        if (code < 0)
            return code;
        if (reader->event.type == YAML_SEQUENCE_END_EVENT)
            return put(reader, row, name, list, line);
        if (!is_plain(reader) || !*scalar(reader) ||
            strspn(scalar(reader), "+-0123456789") != strlen(scalar(reader)))
            return fail_kind(reader, name, "ints in the list");
        size_t length = strlen(scalar(reader));
        if (used + length + 2 > sizeof list)
            return log_error(reader->log, UNREEL_EFORMAT, "%s:%d: %s: more than %d in the list",
                             reader->path, line, name, OPTIONS_INTS_MAX);
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? "," : "",
                                 scalar(reader));
    }
}

static int read_value(struct reader *reader, int row, const char *name)
{
    enum unreel_option_kind kind = option_table[row].info.kind;
    bool typed =
        kind == UNREEL_OPTION_BOOL || kind == UNREEL_OPTION_INT || kind == UNREEL_OPTION_FLOAT;
    if (is_null(reader))
        return put(reader, row, name, NULL, line_of(reader));
    if (kind == UNREEL_OPTION_INTS && reader->event.type == YAML_SEQUENCE_START_EVENT)
        return read_list(reader, row, name);
    if (reader->event.type != YAML_SCALAR_EVENT || kind == UNREEL_OPTION_INTS ||
        (typed && !is_plain(reader)))
        return fail_kind(reader, name, value_kind_name(kind));
    return put(reader, row, name, scalar(reader), line_of(reader));
}

/* ---- keys --------------------------------------------------------------------------------- */

/* Notes that a value was given; refuses the second time. */
static int note_key(struct reader *reader, const char *stored, const char *name, int line)
{
    for (int i = 0; i < reader->key_count; i++)
        if (!strcmp(reader->keys[i].name, stored))
            return log_error(reader->log, UNREEL_EFORMAT, "%s:%d: %s: already given on line %d",
                             reader->path, line, name, reader->keys[i].line);
    if (reader->key_count == YAML_KEYS_MAX)
        return log_error(reader->log, UNREEL_EFORMAT, "%s:%d: more than %d keys", reader->path,
                         line, YAML_KEYS_MAX);
    char *copy = strdup(stored);
    if (!copy)
        return log_error(reader->log, UNREEL_ENOMEM, "%s: out of memory", reader->path);
    reader->keys[reader->key_count++] = (struct key){.name = copy, .line = line};
    return 0;
}

static int note_option(struct reader *reader, int row, const char *name, int line)
{
    if (option_table[row].info.kind != UNREEL_OPTION_SIZE)
        return note_key(reader, option_table[option_storage(row)].info.name, name, line);
    int code = note_key(reader, "width", name, line);
    return code < 0 ? code : note_key(reader, "height", name, line);
}

static int read_unknown(struct reader *reader, const char *name, bool nested, int line)
{
    const char *nearest = option_nearest(name);
    char hint[OPTION_NAME_MAX + 32] = "";
    if (nearest)
        snprintf(hint, sizeof hint, ", did you mean '%s'?", nearest);
    if (nested)
        return log_error(reader->log, UNREEL_EFORMAT, "%s:%d: unknown key '%.80s'%s", reader->path,
                         line, name, hint);
    log_warning(reader->log, "%s:%d: unknown key '%.80s' is ignored%s", reader->path, line, name,
                hint);
    return skip(reader);
}

static int read_map(struct reader *reader, const char *prefix);

/* The value of a key; the current event is its first. */
static int read_entry(struct reader *reader, const char *name, bool nested, int line)
{
    int row = option_find(name);
    int code;
    if (option_is_ignored(name) || row < 0) {
        if ((code = note_key(reader, name, name, line)) < 0)
            return code;
        if (option_is_ignored(name))
            return skip(reader);
        if (!option_is_map(name))
            return read_unknown(reader, name, nested, line);
        if (is_null(reader))
            return 0;
        if (reader->event.type != YAML_MAPPING_START_EVENT)
            return fail_kind(reader, name, "map");
        return read_map(reader, name);
    }
    if (!strcmp(option_table[row].info.name, "config_path"))
        return log_error(reader->log, UNREEL_EFORMAT,
                         "%s:%d: %s: a configuration file cannot name another", reader->path, line,
                         name);
    if ((code = note_option(reader, row, name, line)) < 0)
        return code;
    return read_value(reader, row, name);
}

/* The entries of the map whose start is the current event. Recursion ends as no option's name has
 * more than one dot. */
static int read_map(struct reader *reader, const char *prefix)
{
    for (;;) {
        int code = next(reader);
        if (code < 0 || reader->event.type == YAML_MAPPING_END_EVENT)
            return code;
        if (reader->event.type != YAML_SCALAR_EVENT)
            return fail(reader, "a key must be text");
        int line = line_of(reader);
        char *name;
        if (asprintf(&name, "%s%s%s", prefix, *prefix ? "." : "", scalar(reader)) < 0)
            return log_error(reader->log, UNREEL_ENOMEM, "%s: out of memory", reader->path);
        code = next(reader);
        if (code == 0)
            code = read_entry(reader, name, *prefix, line);
        free(name);
        if (code < 0)
            return code;
    }
}

/* ---- document ----------------------------------------------------------------------------- */

static int read_stream(struct reader *reader)
{
    int code = next(reader); /* stream start */
    if (code == 0)
        code = next(reader);
    if (code < 0 || reader->event.type == YAML_STREAM_END_EVENT)
        return code;
    if ((code = next(reader)) < 0) /* past document start */
        return code;
    if (reader->event.type == YAML_MAPPING_START_EVENT)
        code = read_map(reader, "");
    else if (!is_null(reader))
        return fail(reader, "expected a map of options");
    if (code == 0)
        code = next(reader); /* document end */
    if (code == 0)
        code = next(reader);
    if (code == 0 && reader->event.type != YAML_STREAM_END_EVENT)
        return fail(reader, "a second document");
    return code;
}

int yaml_read_options(struct option_values *values, const char *path, const char *text, size_t size,
                      const unreel_log *log)
{
    struct reader reader = {.path = path, .log = log, .values = values};
    int line, code;
    if (!utf8_valid(text, size, &line))
        return log_error(log, UNREEL_EFORMAT, "%s:%d: not UTF-8", path, line);
    if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
        text += 3;
        size -= 3;
    }
    reader.text = text;
    reader.size = size;
    reader.keys = calloc(YAML_KEYS_MAX, sizeof *reader.keys);
    if (!reader.keys || !yaml_parser_initialize(&reader.parser)) {
        free(reader.keys);
        return log_error(log, UNREEL_ENOMEM, "%s: out of memory", path);
    }
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, size);
    code = read_stream(&reader);
    yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
    for (int i = 0; i < reader.key_count; i++)
        free(reader.keys[i].name);
    free(reader.keys);
    return code;
}

#else

bool yaml_supported(void)
{
    return false;
}

int yaml_read_options(struct option_values *values, const char *path, const char *text, size_t size,
                      const unreel_log *log)
{
    return log_error(log, UNREEL_EUNSUPPORTED, "%s: this build cannot read YAML", path);
}

#endif
