/* Which locks a request needs, in which mode and for how long it may wait: what the policy, the
 * request and the chain of calls it belongs to say of it.  Nothing is asked of the store here. */
#ifndef GUARD_LOCK_PLAN_H
#define GUARD_LOCK_PLAN_H

#include "base/arena.h"
#include "guard/lock_context.h"
#include "policy/policy.h"

enum lock_plan_kind {
    LOCK_PLAN_NEEDED,     /* keys to acquire, after the holds to pass have been confirmed */
    LOCK_PLAN_SKIPPED,    /* on_missing_key: skip */
    LOCK_PLAN_MISSING,    /* on_missing_key: deny */
    LOCK_PLAN_DEADLOCKED, /* the chain holds it shared and now wants it alone */
    LOCK_PLAN_TOO_DEEP    /* max_depth calls with a lock are in the chain already */
};

struct lock_plan {
    enum lock_plan_kind kind;
    const struct policy_lock *lock;
    struct slice missing;                     /* which variable */
    struct slice names[POLICY_MAX_LOCK_KEYS]; /* all that the request needs; sorted */
    size_t name_count;
    struct slice keys[POLICY_MAX_LOCK_KEYS]; /* of these, those to acquire */
    size_t key_count;
    const struct lock_context_hold *holds[POLICY_MAX_LOCK_KEYS]; /* and those its chain holds */
    size_t hold_count;
    bool is_shared;
    bool only_tries; /* waiting might close a circle with another chain */
    uint64_t wait_us;
    bool has_preference;
    uint64_t preferred_s;               /* what of Prefer: wait is applied */
    const struct lock_context *context; /* NULL: none that is believed */
};

/* The name that a rendered key has in the store, where braces mean something; a name stays as it
 * is.
 */
struct slice lock_plan_name(struct slice key, struct arena *arena);

/* The key of a lock as the store knows it: rendered, without braces.  False: it lacks ret_missing
 * and on_missing_key does not say shared. */
MUST_USE bool lock_plan_key(const struct template *template, enum policy_missing on_missing_key,
                            const struct policy_route *route, const struct facts *facts,
                            struct arena *arena, struct slice *ret_key, struct slice *ret_missing);

/* is_trusted: the peer's Lock-Context may be believed, if it is signed well.  Memory from arena. */
void lock_plan_make(const struct policy *policy, const struct policy_route *route,
                    const struct facts *facts, bool is_trusted, struct arena *arena,
                    struct lock_plan *ret_plan);

/* The chain's context as it is believed, or NULL. */
const struct lock_context *lock_plan_context(const struct policy *policy, const struct facts *facts,
                                             bool is_trusted, struct arena *arena);

#endif
