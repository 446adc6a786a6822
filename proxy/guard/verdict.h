/* What the guards say of a request.
 *
 * Refusals of the guards (DESIGN, section 7), all with executed "no":
 *   429 quota-exceeded      a limit is used up; Retry-After says when the request would pass
 *   429 cost-exceeds-limit  the request costs more than the limit ever holds; no Retry-After
 *   400 missing-key         on_missing_key: deny, and the request lacks a variable of the key
 *   400 invalid-cost        on_missing_key: deny, and the cost is not a whole number to 2^31
 *   503 store-unavailable   on_store_failure: deny, and the store did not answer */
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
    const char *violated[VERDICT_MAX_VIOLATED]; /* names of limits that denied */
    size_t violated_count;
    /* For the access log. */
    const char
        *decision;     /* "allowed", "limited", "error_allowed", ... the sharpest of the limits */
    const char *limit; /* the limit that decided, or NULL (all allowed it) */
    uint64_t store_us; /* time spent waiting for the store */
};

#endif
