/* Hash table with byte-string keys; SipHash-1-3 with a per-process random key, so that outside
 * bytes cannot pile up in one bucket.  Entries keep their insertion order.  Keys are copied, values
 * are pointers the caller owns. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct map_entry {
    char *key; /* terminated copy, NULL for a removed entry */
    size_t key_len;
    uint64_t hash;
    void *value;
};

struct map {
    struct map_entry *entries; /* in insertion order */
    uint32_t *index;           /* open addressing into entries, position + 1 */
    size_t entry_count, entry_cap, index_cap, live_count;
};

void map_init(struct map *map);
/* Frees keys and table; the values stay the caller's. */
void map_clear(struct map *map);

size_t map_count(const struct map *map);
void *map_get(const struct map *map, struct slice key);
/* Sets key to value (not NULL); gives the value it had before, or NULL. */
void *map_set(struct map *map, struct slice key, void *value);
/* Gives the value removed, or NULL. */
void *map_remove(struct map *map, struct slice key);

/* Walk in insertion order: start with *at = 0; false at the end.  Do not change the map meanwhile.
 */
bool map_next(const struct map *map, size_t *at, struct slice *ret_key, void **ret_value);

/* The keyed hash itself (64 bits; the key is random per process). */
uint64_t map_hash(struct slice key);

/* SipHash-2-4 with a given key: stable across processes, for names that leave this one. */
uint64_t map_siphash(struct slice data, uint64_t key0, uint64_t key1);

#endif
