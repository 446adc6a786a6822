/* Asks the store for limits.  Requests that a worker decides in one tick of its loop travel
 * together: those that ask the same (same limits, keys and costs) are a group, of which the first 0
 * to n are granted, and groups that ask the same limits at the same costs for other keys are one
 * call, which decides each of them on its own.  The embedded engine answers at once, so there
 * nothing waits for the end of the tick.
 *
 * A call is sent at most once: after an unknown result it may have been charged. */
#ifndef GUARD_LIMIT_BATCH_H
#define GUARD_LIMIT_BATCH_H

#include "base/list.h"
#include "guard/limit.h"
#include "net/loop.h"
#include "store/store.h"

struct batch_group;
struct limit_batcher; /* one per worker */
struct limit_ticket;

typedef void limit_ticket_cb(struct limit_ticket *ticket);

/* One request that asks; the caller's memory, as long as it waits. */
struct limit_ticket {
    struct limit_check check;
    limit_ticket_cb *on_decided;
    /* private */
    struct list_node node;
    struct batch_group *group;
    uint64_t position;
};

struct limit_batcher *limit_batcher_open(struct loop *loop, struct store *store,
                                         const struct log_context *log);
/* Nobody may wait any more. */
void limit_batcher_close(struct limit_batcher **batcher);

/* ticket->check has questions.  True: its verdict is complete.  False: it will be when on_decided
 * comes, from the loop, exactly once, unless the ticket leaves first. */
MUST_USE bool limit_batch_ask(struct limit_batcher *batcher, struct limit_ticket *ticket);
/* Always legal after limit_batch_ask.  What was charged stays charged. */
void limit_batch_leave(struct limit_ticket *ticket);

#endif
