/* What a remote control asks for, read from JSON. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unreel/unreel.h>

enum request_kind {
    REQUEST_PROMPT, /* prompt, how */
    REQUEST_SEED,   /* seed */
    REQUEST_PAUSE,  /* on */
    REQUEST_RESET,
    REQUEST_RECORD, /* on */
    REQUEST_SNAPSHOT,
    REQUEST_CLAIM, /* on: taken from whoever steers now */
    REQUEST_RELEASE,
    REQUEST_PING, /* at */
};

struct request {
    enum request_kind kind;
    char *prompt;
    enum unreel_switch how;
    int64_t seed;
    bool on;
    double at;  /* the sender's time, sent back as it came */
    int64_t id; /* that the answer repeats, -1: none */
};

#define REQUEST_ERROR_MAX 160

/* {"do": "prompt", "prompt": "a red fox", "how": "cut", "id": 7}. With `fallback` not NULL, "do"
 * may be missing and means that. False with the reason in `error`; then nothing is to be freed, and
 * only the id is known, -1 if it was not found. */
bool request_parse(struct request *request, const char *text, size_t size, const char *fallback,
                   char error[REQUEST_ERROR_MAX]);
void request_finish(struct request *request);

/* Asks for a change of the session: one steers at a time. */
bool request_steers(const struct request *request);
