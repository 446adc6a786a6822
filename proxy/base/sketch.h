/* Who comes most often: a bounded summary of a stream of keys.
 *
 * Filtered Space-Saving (Homem and Carvalho, 2010).  A sketch watches a fixed number of keys, each
 * with a counter of its own; all others are counted together in SKETCH_CELLS cells, by their hash.
 * A key that is not watched has come at most as often as its cell says, and takes the place of the
 * watched key that came least when its cell has counted more than that.  What it may have come
 * before then is its error.  So, without exception:
 *
 *   count - error <= how often a watched key came <= count
 *   how often any other key came <= its cell <= the least count <= total / entry_count
 *
 * Sketches of several streams (workers, stretches of time) add up to one summary with the same
 * promises, as the cells of all are cut alike. */
#ifndef BASE_SKETCH_H
#define BASE_SKETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

#define SKETCH_MAX_ENTRIES 256u
#define SKETCH_CELLS 512u
/* Of a longer key the hash and so many bytes are kept. */
#define SKETCH_KEY_BYTES 92u

struct sketch;

/* Watches 1 to SKETCH_MAX_ENTRIES keys.  All memory it will ever use is taken here. */
struct sketch *sketch_open(size_t entry_count);
void sketch_close(struct sketch **sketch);
/* As if nothing had come. */
void sketch_clear(struct sketch *sketch);
size_t sketch_entry_count(const struct sketch *sketch);

/* key has come once more, at_ms by any clock that all sketches to be added up share.  value is
 * remembered with it, for the caller, until it comes again. */
void sketch_add(struct sketch *sketch, struct slice key, uint64_t at_ms, uint64_t value);

struct sketch_item {
    struct slice key; /* the first SKETCH_KEY_BYTES of it */
    size_t key_bytes; /* all of it */
    uint64_t hash;
    uint64_t count, error; /* see above */
    uint64_t at_ms, value; /* when it came last, as far as it was watched then */
};

/* What is known of one or more streams; SKETCH_SUM_INIT knows nothing.  Lives in the arena that is
 * given to the functions below, always the same one. */
struct sketch_sum {
    struct sketch_item *items; /* by hash, until sketch_sum_rank */
    size_t item_count;
    uint64_t total;  /* how often keys came, all together */
    uint64_t *cells; /* SKETCH_CELLS, or NULL: all are 0 */
};
#define SKETCH_SUM_INIT                                                                            \
    {                                                                                              \
        .items = NULL, .cells = NULL                                                               \
    }

void sketch_sum_add_sketch(struct sketch_sum *sum, const struct sketch *sketch,
                           struct arena *arena);
/* other must not have been ranked. */
void sketch_sum_add(struct sketch_sum *sum, const struct sketch_sum *other, struct arena *arena);

/* Sorts the items by count, the largest first, and cuts them to max_count.  Gives how often a key
 * that is not among them has come at most.  Nothing can be added afterwards. */
uint64_t sketch_sum_rank(struct sketch_sum *sum, size_t max_count);

#endif
