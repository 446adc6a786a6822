/* What the locks of one worker share: their messages, the timer that renews what is held and waited
 * for (all of it in one call), and the releases that still are under way. */
#ifndef GUARD_LOCK_WORKER_H
#define GUARD_LOCK_WORKER_H

#include "base/log.h"
#include "base/metrics.h"
#include "net/loop.h"

struct lock_worker;
struct store;

struct lock_worker *lock_worker_open(struct loop *loop, struct store *store,
                                     struct metrics_shard *shard, const struct log_context *log);
/* Nobody may own a lock any more; releases under way are given up (the leases lapse). */
void lock_worker_close(struct lock_worker **worker);

/* From now on nobody waits: those that do are told LOCK_DRAINED. */
void lock_worker_drain(struct lock_worker *worker);
/* No lock is held, waited for, or being released. */
bool lock_worker_is_idle(const struct lock_worker *worker);

#endif
