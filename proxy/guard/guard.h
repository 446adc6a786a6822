/* Runs a route's guards before the request goes upstream (admission) and after its end
 * (settlement).  Order of admission: limits and lock together, then idempotency's claim; ended in
 * reverse.  guard never sees HTTP types: facts in, verdict out. */
#ifndef GUARD_GUARD_H
#define GUARD_GUARD_H

#include "base/arena.h"
#include "base/metrics.h"
#include "guard/verdict.h"
#include "net/loop.h"
#include "policy/facts.h"
#include "policy/policy.h"

struct store;
struct guard;
struct guard_worker; /* per-worker state: batches of the tick */

struct guard_worker *guard_worker_open(struct loop *loop, struct store *store,
                                       struct metrics_shard *shard, const struct log_context *log);
/* All guards must have ended. */
void guard_worker_close(struct guard_worker **worker);

typedef void guard_cb(void *owner, const struct verdict *verdict);

struct guard_request {
    const struct policy *policy;
    const struct policy_route *route;
    const struct facts *facts;
    struct arena *arena; /* the request's; must outlive the guard */
    guard_cb *on_verdict;
    void *owner;
};

/* Returns the verdict at once (lent until guard_end) when nothing has to be waited for; else NULL,
 * and on_verdict comes later from the loop, exactly once, unless guard_end comes first.  *ret_guard
 * is NULL when the route has no guards (the verdict is then a static allow). */
const struct verdict *guard_begin(struct guard_worker *worker, const struct guard_request *request,
                                  struct guard **ret_guard);

struct guard_outcome {
    unsigned status;       /* of the answer; 0 = none was given */
    bool forwarded;        /* the service saw at least a byte */
    bool service_finished; /* the service's answer ended, so it is no longer at work */
};

/* The request is over (or its client left while it waited): settle, release, forget.  *guard
 * becomes NULL; legal with *guard == NULL. */
void guard_end(struct guard **guard, const struct guard_outcome *outcome);

#endif
