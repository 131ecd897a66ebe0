#include "json.h"

#include <inttypes.h>
#include <math.h>

static void write_string(FILE *file, const char *text)
{
    putc('"', file);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(file, "\\u%04x", c);
        else
            putc(c, file);
    }
    putc('"', file);
}

static void write_name(struct json *json, const char *name)
{
    if (json->more)
        fputs(", ", json->file);
    json->more = true;
    write_string(json->file, name);
    fputs(": ", json->file);
}

void json_open(struct json *json, FILE *file)
{
    *json = (struct json){.file = file};
    putc('{', file);
}

void json_text(struct json *json, const char *name, const char *value)
{
    write_name(json, name);
    if (value)
        write_string(json->file, value);
    else
        fputs("null", json->file);
}

void json_integer(struct json *json, const char *name, int64_t value)
{
    write_name(json, name);
    fprintf(json->file, "%" PRId64, value);
}

void json_number(struct json *json, const char *name, double value)
{
    write_name(json, name);
    if (isfinite(value))
        fprintf(json->file, "%.9g", value);
    else
        fputs("null", json->file);
}

void json_flag(struct json *json, const char *name, bool value)
{
    write_name(json, name);
    fputs(value ? "true" : "false", json->file);
}

void json_close(struct json *json)
{
    fputs("}\n", json->file);
    fflush(json->file);
}
