/* One request at its route's fence: its token, what the store says of it, and its place among the
 * requests that are at work on the same key. */
#ifndef GUARD_FENCING_H
#define GUARD_FENCING_H

#include "base/arena.h"
#include "base/metrics.h"
#include "guard/fence.h"
#include "guard/verdict.h"
#include "policy/facts.h"
#include "policy/policy.h"
#include "store/store.h"

/* How long older requests may take to end after they were told to. */
#define FENCING_REVOKE_MS 1000

struct fencing;

struct fencing_events {
    void (*on_decided)(struct fencing *fencing);
    void (*on_revoked)(struct fencing *fencing);
};

/* The caller fills in the first part; it lives in the request's arena. */
struct fencing {
    const struct policy *policy;
    const struct policy_route *route;
    const struct facts *facts;
    struct arena *arena;
    struct loop *loop;
    struct store *store;
    struct fence_table *table;
    struct metrics_shard *shard;
    struct verdict *verdict;
    const struct fencing_events *events;
    /* private */
    bool is_needed; /* there is a token to check */
    bool is_revoked;
    uint64_t token;
    struct slice key;
    struct store_call call;
    struct timer timer;
    struct fence_pass pass;
};

/* What the request itself tells.  False: the verdict is a refusal. */
MUST_USE bool fencing_read(struct fencing *fencing);
/* Everything else has allowed the request.  True: decided at once; false: on_decided will come. */
MUST_USE bool fencing_begin(struct fencing *fencing);
/* The request's end.  Always legal. */
void fencing_end(struct fencing *fencing);

#endif
