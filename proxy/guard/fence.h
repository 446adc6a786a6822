/* Fencing in front of a resource: for each key a floor, the highest token that was let through, and
 * the requests that are at work now.  A request passes with a token at or above the floor; before
 * it does, requests for its key with older tokens are told to stop, in whatever worker they run,
 * and have stopped.  Tokens of those who hold a lock together (odd ones) are older or newer only
 * than those of who holds it alone (even).
 *
 * One table per process, thread-safe.  Floors of keys nobody uses are forgotten when the table is
 * full, the oldest first; scope: shared keeps them in the store as well. */
#ifndef GUARD_FENCE_H
#define GUARD_FENCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"
#include "net/loop.h"

struct fence_table;
struct fence_key;
struct fence_gather;
struct fence_order;

/* Keys whose floors are remembered. */
#define FENCE_MAX_KEYS 65536u

struct fence_table *fence_table_open(size_t max_keys);
struct fence_table *fence_table_ref(struct fence_table *table);
/* Nobody may be inside any more when the last reference goes. */
void fence_table_unref(struct fence_table **table);

/* A request that is let through; its owner's memory. */
struct fence_pass {
    struct loop *loop;
    /* On the owner's loop: a newer token has come; end, and leave. */
    void (*on_revoked)(struct fence_pass *pass);
    /* On the owner's loop: all that were older have left. */
    void (*on_clear)(struct fence_pass *pass);
    /* private */
    struct list_node node;
    struct fence_table *table; /* NULL: not inside */
    struct fence_key *key;
    uint64_t token;
    atomic_bool is_revoked;
    struct fence_gather *gather; /* whose leaving it waits for */
    struct list waited_by;       /* gathers that wait for its leaving, by their orders */
};

enum fence_entry {
    FENCE_CLEAR, /* go on */
    FENCE_WAIT,  /* for on_clear */
    FENCE_STALE  /* below the floor; not inside */
};

/* pass has loop and its callbacks; everything else is set here.  revokes: older requests are told
 * to stop. */
enum fence_entry fence_enter(struct fence_table *table, struct slice key, uint64_t token,
                             bool revokes, struct fence_pass *pass);
/* Always legal. */
void fence_leave(struct fence_pass *pass);

/* The floor of key for one who holds alone, 0 when it has none. */
uint64_t fence_floor(struct fence_table *table, struct slice key);
size_t fence_key_count(struct fence_table *table);

#endif
