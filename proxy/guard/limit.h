/* All limits of a route in one atomic script call; requests of one tick with the same keys and costs
 * share one call that grants 0 to n of them in order.  RateLimit headers (draft-ietf-httpapi-
 * ratelimit-headers-11).  Internal to guard/. */
#ifndef GUARD_LIMIT_H
#define GUARD_LIMIT_H

#include "guard/guard.h"

/* What one limit would be asked: for explain.  Renders key and cost. */
struct limit_question {
    const struct policy_limit *limit;
    bool is_missing;           /* the key has a variable without value */
    struct slice missing;      /* which */
    struct slice store_key;    /* full key, with prefix */
    struct slice key_value;    /* rendered template */
    uint64_t cost;
};

/* Memory from arena. */
void limit_question(const struct policy *policy, const struct policy_limit *limit,
                    const struct facts *facts, struct arena *arena, struct limit_question *ret);

/* The script's arguments for these questions (lua/README.md): ret_args in arena. */
size_t limit_script_args(const struct limit_question *questions, size_t count, uint64_t request_count,
                         struct slice request_id, unsigned divide_by, struct arena *arena,
                         struct slice **ret_keys, struct slice **ret_args, size_t *ret_key_count);

#endif
