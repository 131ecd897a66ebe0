/* When pictures are shown: one even timeline for all paced outputs.
 *
 * Pictures come in bursts, a chunk at a time. The first waits for the cushion; from then on one is
 * due every 1/fps. If they come more slowly than that, the interval grows to the rate they come at,
 * so that the video slows down evenly and does not freeze at the end of every chunk (LIVE_STRETCH).
 * A second stream at a constant rate repeats the picture that is on show where none is due
 * (LIVE_HOLD). Neither leaves a picture out.
 *
 * If pictures come faster, the generator is held: a chunk is begun at the moment when what waits to
 * be shown lasts for the cushion and for the lead, which is as long as a chunk needs until pictures
 * of it come. So the distance from a new prompt to its first picture stays short on fast machines
 * too. */
#pragma once

#include <gst/gst.h>
#include <stdbool.h>

#include "live.h"

struct player;

struct player_settings {
    GstClock *clock; /* running time is its time minus base_time */
    GstClockTime base_time;
    int rate, per; /* pictures a time: rate / per a second */
    GstClockTime cushion;
    /* Hands a picture out when it is due; PTS is running time. May block: then the video waits. */
    void (*emit)(void *opaque, enum live_pacing pacing, GstBuffer *picture);
    /* Whether the generator should rest before its next chunk. Called with the player's lock held.
     */
    void (*rest)(void *opaque, bool rest);
    void *opaque;
};

struct player_numbers {
    int waiting;    /* pictures made and not yet due */
    int64_t shown;  /* handed out */
    int64_t late;   /* of these longer after the one before than the video's rate says */
    double latency; /* seconds from a picture's arrival to its being shown, lately */
};

struct player *player_open(const struct player_settings *settings);

/* A picture, which the player takes over, in the order of the video. */
void player_push(struct player *player, GstBuffer *picture, int64_t chunk);

/* How fast the generator is: seconds that a chunk takes to make, how much of that must be covered
 * by pictures that wait, since later pictures of the chunk come while earlier ones are shown, and
 * the chunk's pictures. */
void player_expect(struct player *player, double chunk_seconds, double lead_seconds,
                   int chunk_pictures);

/* A change was asked for, and the first picture under one is there: numbers from 1. In between the
 * chunk that is next takes longer, since a prompt is encoded for it and the past may be computed
 * again, so it is begun earlier, by the time that one chunk takes. */
void player_asked(struct player *player, int64_t change);
void player_made(struct player *player, int64_t change);

/* Stops the timeline and lets it go on. */
void player_pause(struct player *player, bool paused);

/* Throws away what waits; the number of pictures. */
int player_drop(struct player *player);

void player_numbers(struct player *player, struct player_numbers *numbers);

/* The picture on show, a new reference; NULL before the first. */
GstBuffer *player_newest(struct player *player);

/* Ends the timeline, with `drain` after everything was shown. Then nothing is handed out any more.
 */
void player_end(struct player *player, bool drain);
void player_close(struct player *player); /* ended before; NULL is fine */
