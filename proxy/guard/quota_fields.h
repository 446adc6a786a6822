/* Tells clients about their quota: RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-
 * headers-11 (RFC 9651 lists), or the older X-RateLimit-* trio.
 *
 * Only limits that are enforced are told; a limit in shadow mode is nobody's business but ours.  A
 * service that sends such fields itself keeps them: ours follow as further field lines, which for
 * both fields are further members of the same list. */
#ifndef GUARD_QUOTA_FIELDS_H
#define GUARD_QUOTA_FIELDS_H

#include "base/arena.h"
#include "guard/verdict.h"
#include "policy/policy.h"

/* What one limit said of its quota. */
struct quota {
    const struct policy_limit *limit;
    bool is_denied;
    uint64_t available; /* may be used within the effective window */
    uint64_t window_s;  /* the effective window, in whole seconds, rounded up */
};

/* The largest quota a limit grants at once: the burst of a bucket, else the count of its window. */
uint64_t quota_fields_capacity(const struct policy_limit *limit);

/* The value of RateLimit-Policy: constant for a route as long as its policy does not change.  Empty
 * when the route enforces no limit. */
struct slice quota_fields_policy(const struct policy_route *route, struct arena *arena);

/* The value of RateLimit for what is known of this request; empty for count 0. */
struct slice quota_fields_state(const struct quota *quotas, size_t count, struct arena *arena);

/* The fields the route asks for (ratelimit_headers), appended to the verdict.  quotas may be empty
 * when nothing is known: the policy is told all the same. */
void quota_fields_add(const struct policy_route *route, const struct quota *quotas, size_t count,
                      struct arena *arena, struct verdict *verdict);

#endif
