/* What a request's lock means for its verdict: refusals, the fields that tell the client and the
 * service, and the words of the access log. */
#ifndef GUARD_LOCK_VERDICT_H
#define GUARD_LOCK_VERDICT_H

#include "base/arena.h"
#include "guard/lock.h"
#include "guard/lock_plan.h"
#include "guard/verdict.h"

/* Adds to a verdict, or does nothing when it is full. */
void lock_verdict_add_field(struct verdict *verdict, struct slice name, struct slice value);

/* A refusal with a reason of the table in verdict.h. */
void lock_verdict_refuse(struct verdict *verdict, unsigned status, const char *reason,
                         enum verdict_executed executed, const char *detail);

/* The refusal for a lock that was not got.  again_us: when it may be free. */
void lock_verdict_refuse_result(struct verdict *verdict, const struct lock_plan *plan,
                                enum lock_result result, uint64_t again_us);

/* Notes the outcome, and tells the client of it as expose says. */
struct lock_verdict_status {
    const char *state;  /* "acquired", "bypassed", "refused", ... */
    const char *reason; /* or NULL */
    enum policy_lock_outcome outcome;
    uint64_t wait_us, token;
};
void lock_verdict_status(struct verdict *verdict, const struct lock_plan *plan,
                         const struct lock_verdict_status *status, struct arena *arena);
/* Replaces what Lock-Status says, after the fact. */
void lock_verdict_set_lapsed(struct verdict *verdict);

/* What the service is told of the locks the request holds. */
struct lock_verdict_hold {
    uint64_t token;
    const struct lock *lock; /* NULL: all are its chain's */
};
void lock_verdict_tell_service(struct verdict *verdict, const struct policy *policy,
                               const struct lock_plan *plan, const struct lock_verdict_hold *hold,
                               struct arena *arena);
/* A chain's context goes on as it came. */
void lock_verdict_pass_context(struct verdict *verdict, const struct policy *policy,
                               const struct lock_context *context, struct arena *arena);

#endif
