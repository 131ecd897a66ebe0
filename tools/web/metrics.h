/* The session in figures: for Prometheus, and whether it goes on at all. */
#pragma once

#include <glib.h>
#include <stdbool.h>

struct web;

GString *metrics_text(struct web *web); /* Prometheus text format */

/* "ok", "starting", "paused" or "stalled"; false for the last: nothing came for longer than chunks
 * take, and nobody paused it. */
bool metrics_healthy(struct web *web, const char **health);
