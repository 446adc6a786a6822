/* Runs a route's guards before the request goes upstream (admission), while the service works on
 * it, and after its end (settlement).  Order of admission: limits and lock together, then the
 * fence, then idempotency's claim; ended in reverse.  guard never sees HTTP types: facts in,
 * verdict out. */
#ifndef GUARD_GUARD_H
#define GUARD_GUARD_H

#include "base/arena.h"
#include "base/metrics.h"
#include "guard/verdict.h"
#include "net/loop.h"
#include "policy/facts.h"
#include "policy/policy.h"

struct fence_table;
struct limit_tops;
struct lock_worker;
struct store;
struct guard;
struct guard_worker; /* per-worker state: batches of the tick, locks held and waited for */

struct guard_worker *guard_worker_open(struct loop *loop, struct store *store,
                                       struct metrics_shard *shard, const struct log_context *log);
/* The table that the process's workers share (a reference is taken); before the first request.
 * Without it the worker has one of its own. */
void guard_worker_set_fences(struct guard_worker *worker, struct fence_table *fences);
/* The snapshot that requests use from now on; those that have begun keep theirs. */
void guard_worker_set_policy(struct guard_worker *worker, struct policy *policy);
/* What the worker knows, for operators: see guard/limit_top.h and guard/lock_list.h. */
const struct limit_tops *guard_worker_tops(const struct guard_worker *worker);
struct lock_worker *guard_worker_locks(const struct guard_worker *worker);
/* Requests that wait for a lock are refused (503, not executed), now and from now on. */
void guard_worker_drain(struct guard_worker *worker);
/* No lock is held, waited for, or being given back. */
bool guard_worker_is_idle(const struct guard_worker *worker);
/* All guards must have ended. */
void guard_worker_close(struct guard_worker **worker);

typedef void guard_cb(void *owner, const struct verdict *verdict);

struct guard_request {
    struct policy *policy;
    const struct policy_route *route;
    const struct facts *facts;
    struct arena *arena; /* the request's; must outlive the guard */
    guard_cb *on_verdict;
    /* After guard_check said GUARD_HOLD_ON, or at any time after the verdict: go on, or stop
     * (guard_stopped says why).  May be NULL for a route without lock and fence, as may the next.
     */
    void (*on_judged)(void *owner, bool may_go_on);
    /* What guard_finish waited for: go on with the end of the answer, or stop. */
    void (*on_finished)(void *owner, bool may_go_on);
    void *owner;
    struct slice request_id; /* shown to operators */
    bool is_peer_trusted;    /* so its Lock-Context may be believed */
};

/* Returns the verdict at once (lent until guard_end) when nothing has to be waited for; else NULL,
 * and on_verdict comes later from the loop, exactly once, unless guard_end comes first.  *ret_guard
 * is NULL when the route has no guards (the verdict is then a static allow).  The verdict's fields
 * may change until guard_end: look at them when they are needed. */
const struct verdict *guard_begin(struct guard_worker *worker, const struct guard_request *request,
                                  struct guard **ret_guard);

/* True when what follows matters: the request holds a lock, or has passed a fence. */
bool guard_is_holding(const struct guard *guard);

/* Before each piece that is forwarded, either way: is what was admitted still so?  Judged by the
 * clock, now.  Legal with NULL. */
enum guard_check {
    GUARD_GO_ON,
    GUARD_HOLD_ON, /* forward nothing until on_judged */
    GUARD_STOP     /* forward nothing more; guard_stopped says why */
};
enum guard_check guard_check(struct guard *guard);
/* From now on the service may have seen something of the request. */
void guard_note_forwarded(struct guard *guard);
/* The refusal for a request that had to stop; lent until guard_end. */
const struct verdict *guard_stopped(const struct guard *guard);

/* The answer is complete but for what the client must not see yet: give the lock back.
 * GUARD_HOLD_ON: on_finished will come, within GUARD_FINISH_MS. */
#define GUARD_FINISH_MS 50
enum guard_check guard_finish(struct guard *guard);

struct guard_outcome {
    unsigned status;       /* of the answer; 0 = none was given */
    bool forwarded;        /* the service saw at least a byte */
    bool service_finished; /* the service's answer ended, so it is no longer at work */
};

/* The request is over (or its client left while it waited): settle, release, forget.  A lock is
 * given back unless the service may still be at work: then it lapses.  *guard becomes NULL; legal
 * with *guard == NULL. */
void guard_end(struct guard **guard, const struct guard_outcome *outcome);

#endif
