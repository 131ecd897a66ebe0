/* Operations that are recorded once and then run again as a whole, where a backend can do that; where
 * it cannot they simply run.
 *
 * The same key must mean the same operations on the same memory. What differs between two runs of one
 * key is read from backend memory by the operations themselves. The first run of a key is an ordinary
 * one, in which the backend chooses algorithms and takes what memory they need; the second is recorded;
 * further ones replay. Recordings hold no memory alive: what they name must outlive the recorder, or
 * its key never come again (struct arena's serial serves). */
#pragma once

#include "backend/backend.h"

#define RECORDINGS 24
#define RECORDING_KEY 16

struct recording {
    uint64_t key[RECORDING_KEY];
    void *impl;    /* the backend's; NULL: seen once */
    uint64_t used; /* counts runs; 0: free */
};

struct recorder {
    struct backend *backend;
    struct recording recording[RECORDINGS];
    uint64_t runs, recorded, replayed; /* recorded: how often a recording was made */
    bool refused; /* the backend could not record: it is not asked again */
};

void recorder_init(struct recorder *recorder, struct backend *backend);
void recorder_finish(struct recorder *recorder); /* a zeroed one is fine */

/* Has the operations of `run` done. While backend.profile is set nothing is recorded or replayed. */
void recorder_run(struct recorder *recorder, const uint64_t key[RECORDING_KEY],
                  void (*run)(void *opaque), void *opaque);
