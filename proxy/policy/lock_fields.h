/* The field tables of a route's lock and fence, and of lock_context. */
#ifndef POLICY_LOCK_FIELDS_H
#define POLICY_LOCK_FIELDS_H

#include "base/metrics.h"
#include "policy/policy.h"
#include "policy/schema.h"

/* The name of a header, in lower case. */
extern const struct schema_type lock_fields_header;

/* Optional sections, bound to records of their own: a route's lock and fence stay NULL without. */
extern const struct schema_type lock_fields_optional;
extern const struct schema_section lock_fields_lock, lock_fields_fence, lock_fields_context;

/* Part of policy_bind_metrics. */
void lock_fields_bind_metrics(struct policy_route *route, struct metrics *metrics);

#endif
