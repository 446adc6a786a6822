/* What the guards say of a request.
 *
 * Refusals of the guards (DESIGN, section 7), all with executed "no":
 *   429 quota-exceeded      a limit is used up; Retry-After says when the request would pass
 *   429 cost-exceeds-limit  the request costs more than the limit ever holds; no Retry-After
 *   400 missing-key         on_missing_key: deny, and the request lacks a variable of the key
 *   400 invalid-cost        on_missing_key: deny, and the cost is not a whole number to 2^31
 *   503 store-unavailable   on_store_failure: deny, and the store did not answer
 *   423 locked              the lock is taken, and the request may not wait (409 or 429:
 * on_conflict) 423 wait-timeout        it waited in vain 429 queue-full          as many wait for
 * the lock as may 409 deadlock-avoided    its chain of calls holds a lock that comes after this one
 *   409 lock-depth          its chain of calls is too deep
 *   503 draining            it waited while the process ends
 *   428 missing-fencing-token, 400 invalid-fencing-token, 412 stale-fencing-token
 *   503 revocation-timeout  an older request could not be stopped in time
 *
 * After the service has been asked (guard_stopped):
 *   503 lock-lost           the lease was lost before anything was forwarded; executed "no"
 *   500 lock-lost           it was lost during the work; executed "unknown"
 *   504 max-hold            the lock was held for max_hold; executed "unknown"
 *   412 stale-fencing-token a request with a newer token came; executed "unknown" */
#ifndef GUARD_VERDICT_H
#define GUARD_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum verdict_kind { VERDICT_ALLOW, VERDICT_REFUSE };
enum verdict_executed { VERDICT_EXECUTED_NO, VERDICT_EXECUTED_YES, VERDICT_EXECUTED_UNKNOWN };

struct verdict_field {
    struct slice name, value;
};

#define VERDICT_MAX_FIELDS 6
/* Fencing-Token, Lock-Key, Lock-Mode and Lock-Context. */
#define VERDICT_MAX_UPSTREAM_FIELDS 4
#define VERDICT_MAX_VIOLATED 16

/* Slices live in the request's arena, or are static. */
struct verdict {
    enum verdict_kind kind;
    unsigned status;     /* refusals: 429, 503, ... */
    const char *reason;  /* "quota-exceeded", "store-unavailable", ...; static */
    const char *type;    /* problem type URI; static */
    const char *title;   /* static */
    struct slice detail; /* a sentence for people, or at == NULL */
    enum verdict_executed executed;
    bool has_retry_after;
    uint64_t retry_after_s;
    /* Fields to add to the answer, whoever makes it (RateLimit, RateLimit-Policy, ...). */
    struct verdict_field fields[VERDICT_MAX_FIELDS];
    size_t field_count;
    /* Fields to add to the request when it goes to the service. */
    struct verdict_field upstream_fields[VERDICT_MAX_UPSTREAM_FIELDS];
    size_t upstream_field_count;
    const char *violated[VERDICT_MAX_VIOLATED]; /* names of limits that denied */
    size_t violated_count;
    /* For the access log. */
    const char
        *decision;     /* "allowed", "limited", "error_allowed", ... the sharpest of the limits */
    const char *limit; /* the limit that decided, or NULL (all allowed it) */
    uint64_t store_us; /* time spent waiting for the store */
    const char *lock_outcome; /* NULL: the route has no lock */
    uint64_t lock_wait_us;    /* from asking for the lock to the answer */
    uint64_t lock_token;      /* 0: none */
};

#endif
