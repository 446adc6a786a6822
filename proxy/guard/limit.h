/* What a route's limits ask of the store for one request, and what the answer means for it: keys,
 * costs and script arguments out, a verdict in.  The script decides; here nothing is decided twice.
 * Internal to guard/, but for explain, which shows the questions.
 *
 * Keys: PREFIX:ROUTE/LIMIT:{VALUE}, with {-} for a limit without key.  Requests that lack a
 * variable share PREFIX:ROUTE/LIMIT:{-}shared, which no rendered value can equal: those keys end in
 * "}". */
#ifndef GUARD_LIMIT_H
#define GUARD_LIMIT_H

#include "base/arena.h"
#include "base/log.h"
#include "base/metrics.h"
#include "guard/limit_top.h"
#include "guard/verdict.h"
#include "policy/facts.h"
#include "policy/policy.h"
#include "store/reply.h"
#include "store/store_call.h"

#define LIMIT_MAX_COST (UINT64_C(1) << 31)

/* What one limit is asked. */
struct limit_question {
    const struct policy_limit *limit;
    bool is_missing;        /* the key has a variable without value */
    bool is_cost_invalid;   /* the cost does not render to 0..LIMIT_MAX_COST */
    struct slice missing;   /* which variable; of the cost, when that is what is invalid */
    struct slice store_key; /* full key, with prefix; the shared one when the key is missing */
    struct slice tail;      /* of store_key, from its brace on: "{VALUE}", or "{-}shared" */
    struct slice key_value; /* rendered template */
    uint64_t cost;          /* the limit's own, when the request's is invalid */
};

/* Memory from arena. */
void limit_question(const struct policy *policy, const struct policy_limit *limit,
                    const struct facts *facts, struct arena *arena, struct limit_question *ret);

/* The same for a key that is known already: the rendered value, or the one that requests without it
 * share.  For a limit without a key, both are left out. */
void limit_question_of_key(const struct policy *policy, const struct policy_limit *limit,
                           struct slice value, bool is_shared, struct arena *arena,
                           struct limit_question *ret);

/* The script's LIMIT_ARGS arguments for each of these questions (lua/README.md); what has to be
 * made is made in arena.  divide_by: local fallback asks for this process's share of each limit (at
 * least 1). */
#define LIMIT_ARGS 8
void limit_put_args(const struct limit_question *questions, size_t count, unsigned divide_by,
                    struct arena *arena, struct slice *ret_args);

/* Requests that ask the same limits for the same keys. */
struct limit_group {
    const struct limit_question *questions;
    uint64_t request_count;
};

/* Sets keys and arguments, in arena, of a call of limits (or of peek, which takes one group).  What
 * all groups have in common, limits and costs, is taken from the first.  call_id is lent. */
void limit_set_call(struct store_call *call, struct slice call_id, const struct limit_group *groups,
                    size_t group_count, size_t question_count, unsigned divide_by,
                    struct arena *arena);

/* The script's answer for one limit. */
struct limit_answer {
    /* Enforced: 0 when this limit stopped the first request that was not granted, else 1.  In
     * shadow mode: how many of the requests it would have let pass. */
    uint64_t allowed;
    uint64_t remaining;     /* after the last request granted */
    int64_t retry_after_us; /* -1: never */
    uint64_t reset_us;
};

struct limit_grant {
    uint64_t granted; /* the first so many of the requests may pass */
    size_t answer_count;
    struct limit_answer answers[POLICY_MAX_LIMITS_PER_ROUTE];
};

/* The elements of an answer for one group. */
#define LIMIT_ANSWER_ELEMENTS(question_count) (1 + 4 * (question_count))

/* False: those are not what the script promises for question_count limits. */
MUST_USE bool limit_read_answer(const struct reply *elements, size_t question_count,
                                struct limit_grant *ret_grant);
/* The same for a reply that is the answer for one group. */
MUST_USE bool limit_read_reply(const struct reply *reply, size_t question_count,
                               struct limit_grant *ret_grant);

/* One request's limits. */
struct limit_check {
    const struct policy_route *route;
    struct arena *arena;
    struct metrics_shard *shard;
    const struct log_context *log;
    struct verdict *verdict;          /* being made */
    struct limit_question *questions; /* for the store, in the order of the route's limits */
    size_t question_count;
    int sharpest;                  /* enum policy_decision noted in the verdict, or -1 */
    const struct limit_tops *tops; /* NULL: nobody wants to know */
    const struct policy *policy;   /* the request's; with loop, when tops is not NULL */
    const struct loop *loop;
};

/* Renders the questions.  False: the request is refused without asking (the verdict is complete).
 * True with question_count 0: it is allowed without asking. */
MUST_USE bool limit_check_begin(struct limit_check *check, const struct policy *policy,
                                const struct facts *facts);
/* True when both ask the same limits at the same costs, so that one call may carry them both. */
bool limit_check_is_alike(const struct limit_check *a, const struct limit_check *b);
uint64_t limit_check_hash_alike(const struct limit_check *check);
/* True when they ask for the same keys, too: they may be one group. */
bool limit_check_equal(const struct limit_check *a, const struct limit_check *b);
uint64_t limit_check_hash(const struct limit_check *check);

/* The verdict for the request at position (from 0) among those the call was made for. */
void limit_check_judge(struct limit_check *check, const struct limit_grant *grant,
                       uint64_t position);

/* The store did not decide.  True when some limit wants the local engine to, and none that is
 * enforced denies anyway; ret_questions (room for question_count) gets those limits. */
MUST_USE bool limit_check_local(const struct limit_check *check,
                                struct limit_question *ret_questions, size_t *ret_count);
/* The verdict by each limit's on_store_failure.  local: the answers for limit_check_local's
 * questions, or NULL when there were none or the local engine failed too. */
void limit_check_judge_failure(struct limit_check *check, const struct limit_grant *local,
                               uint64_t position);

#endif
