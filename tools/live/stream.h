/* Pictures of one pacing in one codec, handed to any number of subscribers. */
#pragma once

#include "encoder.h"
#include "live.h"

struct stream;

/* `caps`: of the raw pictures. */
struct stream *stream_open(struct console *console, enum live_pacing pacing, enum live_codec codec,
                           const struct encoder_settings *settings, GstCaps *caps);

/* What live_subscribe and its neighbours promise. */
struct live_subscription *stream_subscribe(struct stream *stream, live_unit_fn receive,
                                           void *opaque);
void stream_unsubscribe(struct live_subscription *subscription);
void stream_request_key(struct live_subscription *subscription);

/* A raw picture with its PTS. Waits while the encoder is behind. */
void stream_feed(struct stream *stream, GstBuffer *picture);

/* Everything fed is handed out; then nothing more is. */
void stream_end(struct stream *stream);
void stream_close(struct stream *stream);

/* Its encoder gave up (the error is printed). */
bool stream_has_failed(struct stream *stream);

/* The encoder at work and what it was told; NULL: none now. */
const struct encoder *stream_encoder(struct stream *stream);
