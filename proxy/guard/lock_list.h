/* What a worker's requests hold and wait for, for an operator who asks. */
#ifndef GUARD_LOCK_LIST_H
#define GUARD_LOCK_LIST_H

#include "base/arena.h"
#include "base/slice.h"
#include "guard/lock_worker.h"

struct lock_list_entry {
    const char *route;
    const char *state; /* "waiting", "held", "judging", "lost", "releasing"; static */
    bool is_waiting, is_shadow;
    char mode; /* x or s */
    uint64_t permits;
    struct slice id; /* of the acquisition, as the store knows it */
    struct slice request_id;
    const struct slice *names; /* of the locks, without prefix and braces */
    size_t name_count;
    uint64_t token;    /* 0: none yet */
    uint64_t since_us; /* it has waited, or held, for so long */
    uint64_t left_us;  /* of its wait, or of its lease as it is known here */
};

/* Memory of the arena. */
struct lock_list {
    struct lock_list_entry *entries; /* the oldest first */
    size_t entry_count;
    size_t held_count, waiting_count; /* also of those that did not fit */
};

/* name: of the lock, or at == NULL for all.  At most max_count entries. */
void lock_list_make(const struct lock_worker *worker, struct slice name, size_t max_count,
                    struct arena *arena, struct lock_list *ret_list);

/* The lock of this name has been broken: those who hold it ask the store whether they still do. */
void lock_list_recheck(struct lock_worker *worker, struct slice name);

/* The name in a key of the store: KEY of "PREFIX:lock:{KEY}:h". */
struct slice lock_list_name(struct slice store_key);

#endif
