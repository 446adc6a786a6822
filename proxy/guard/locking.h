/* One request and its route's lock: the plan, the holds of its chain that must be confirmed, the
 * acquisition together with the limits, and what all that means for the verdict. */
#ifndef GUARD_LOCKING_H
#define GUARD_LOCKING_H

#include "guard/limit.h"
#include "guard/lock.h"
#include "guard/lock_plan.h"
#include "guard/lock_verdict.h"
#include "store/store.h"

struct locking;

struct locking_events {
    /* The verdict is complete as far as the lock goes. */
    void (*on_decided)(struct locking *locking);
    /* See struct lock_events.  false: why it stops is in locking->stop. */
    void (*on_judged)(struct locking *locking, bool is_held);
    void (*on_released)(struct locking *locking);
};

/* The caller fills in the first part; it lives in the request's arena. */
struct locking {
    struct policy *policy;
    const struct policy_route *route;
    const struct facts *facts;
    struct arena *arena;
    struct lock_worker *locks;
    struct store *store;
    struct metrics_shard *shard;
    const struct limit_check *limits; /* its questions are asked together with the lock */
    struct verdict *verdict;
    const struct locking_events *events;
    struct slice request_id;
    bool is_trusted; /* the peer's Lock-Context may be believed */
    /* Answers. */
    bool has_limits;       /* the limits were decided by the same call */
    bool is_limited_apart; /* the limits are still to be asked */
    bool is_stopped;       /* by the last release: the lock had been taken */
    struct verdict stop;   /* once the lock is lost or held too long */
    bool is_forwarded;     /* the caller's to set: the service may have seen something */
    /* private */
    enum lock_result result;
    struct lock_plan plan;
    struct lock *lock;
    struct store_call call; /* confirms the chain's holds */
    uint64_t token;
};

/* True: decided at once.  False: on_decided will come, unless locking_end comes first. */
MUST_USE bool locking_begin(struct locking *locking);
/* What the limits said, when has_limits. */
const struct limit_grant *locking_limits(const struct locking *locking);
/* The limits have made their part of the verdict: now the lock's, when that is a refusal. */
void locking_finish_verdict(struct locking *locking);

enum lock_check locking_check(struct locking *locking);
/* True: it is over (nothing was held, or the answer is there).  False: on_released will come. */
MUST_USE bool locking_release(struct locking *locking);
/* Before it is decided. */
void locking_leave_queue(struct locking *locking);
void locking_end(struct locking *locking, enum lock_close how);

#endif
