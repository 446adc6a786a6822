#include "guard/locking.h"

static const struct lock_events lock_events;

static void count(struct locking *locking, enum policy_lock_outcome outcome)
{
    metrics_add(locking->shard, locking->plan.lock->outcome_slots[outcome], 1);
}

/* Everything that is known of it, once. */
static void note(struct locking *locking, enum policy_lock_outcome outcome, const char *state,
                 const char *reason)
{
    const struct lock_verdict_status status = {
        .state = state,
        .reason = reason,
        .outcome = outcome,
        .wait_us = locking->lock != NULL ? lock_waited_us(locking->lock) : 0,
        .token = locking->token};

    count(locking, outcome);
    if (locking->lock != NULL && lock_was_queued(locking->lock))
        metrics_observe_us(locking->shard, locking->plan.lock->wait_slot, status.wait_us);
    lock_verdict_status(locking->verdict, &locking->plan, &status, locking->arena);
}

/* ---- what an answer means ---- */

static void tell_service(struct locking *locking)
{
    const struct lock_verdict_hold hold = {.token = locking->token, .lock = locking->lock};

    lock_verdict_tell_service(locking->verdict, locking->policy, &locking->plan, &hold,
                              locking->arena);
}

static void note_held(struct locking *locking)
{
    bool was_queued = lock_was_queued(locking->lock);

    if (lock_token(locking->lock) > locking->token)
        locking->token = lock_token(locking->lock);
    note(locking, was_queued ? POLICY_LOCK_WAITED : POLICY_LOCK_ACQUIRED, "acquired", NULL);
    tell_service(locking);
}

/* The request goes on without the lock. */
static void note_bypassed(struct locking *locking, enum policy_lock_outcome outcome,
                          const char *reason)
{
    note(locking, outcome, "bypassed", reason);
    if (locking->plan.context != NULL)
        lock_verdict_pass_context(locking->verdict, locking->policy, locking->plan.context,
                                  locking->arena);
}

static enum policy_lock_outcome outcome_of(const struct locking *locking, enum lock_result result)
{
    switch (result) {
    case LOCK_BUSY:
        return locking->plan.only_tries ? POLICY_LOCK_DEADLOCK_AVOIDED : POLICY_LOCK_CONFLICT;
    case LOCK_TIMED_OUT:
        return POLICY_LOCK_WAIT_TIMEOUT;
    case LOCK_FULL:
        return POLICY_LOCK_QUEUE_FULL;
    case LOCK_DRAINED:
        return POLICY_LOCK_DRAINED;
    default:
        return POLICY_LOCK_STORE_DENIED;
    }
}

static bool is_open_without_store(const struct locking *locking, enum lock_result result)
{
    const struct policy_lock *lock = locking->plan.lock;

    return result == LOCK_STORE_FAILED &&
           (lock->is_shadow || lock->on_store_failure == POLICY_FAIL_ALLOW);
}

static void note_refused(struct locking *locking, enum lock_result result)
{
    uint64_t again_us = lock_last_answer(locking->lock)->again_us;

    lock_verdict_refuse_result(locking->verdict, &locking->plan, result, again_us);
    note(locking, outcome_of(locking, result), "refused", locking->verdict->reason);
}

void locking_finish_verdict(struct locking *locking)
{
    enum lock_result result = locking->result;

    if (locking->lock == NULL)
        return;
    if (result == LOCK_HELD)
        note_held(locking);
    else if (result == LOCK_DENIED)
        note(locking, POLICY_LOCK_LIMITED, "refused", "limited");
    else if (is_open_without_store(locking, result))
        note_bypassed(locking, POLICY_LOCK_BYPASSED, "store");
    else if (locking->plan.lock->is_shadow && result != LOCK_DRAINED)
        note_bypassed(locking, POLICY_LOCK_SHADOW_CONFLICT, "shadow");
    else
        note_refused(locking, result);
    if (result != LOCK_HELD)
        lock_close(&locking->lock, LOCK_GIVE_BACK);
}

/* ---- asking ---- */

static bool take_result(struct locking *locking, enum lock_result result)
{
    if (result == LOCK_PENDING)
        return false;
    locking->result = result;
    locking->has_limits = lock_was_charged(locking->lock) && locking->limits->question_count > 0;
    /* The limits are asked apart only when the request goes on without the store's word. */
    locking->is_limited_apart = !locking->has_limits && is_open_without_store(locking, result);
    return true;
}

static bool acquire(struct locking *locking)
{
    const struct lock_plan *plan = &locking->plan;
    const struct lock_request request = {.policy = locking->policy,
                                         .lock = plan->lock,
                                         .keys = plan->keys,
                                         .key_count = plan->key_count,
                                         .is_shared = plan->is_shared,
                                         .wait_us = plan->wait_us,
                                         .questions = locking->limits->questions,
                                         .question_count = locking->limits->question_count,
                                         .events = &lock_events,
                                         .owner = locking,
                                         .request_id = locking->request_id};

    return take_result(locking, lock_open(locking->locks, &request, &locking->lock));
}

static void on_lock_decided(void *owner, enum lock_result result)
{
    struct locking *locking = owner;

    if (take_result(locking, result))
        locking->events->on_decided(locking);
}

/* ---- the chain's own holds ---- */

static void refuse_chain(struct locking *locking, unsigned status, const char *reason,
                         enum policy_lock_outcome outcome, const char *detail)
{
    lock_verdict_refuse(locking->verdict, status, reason, VERDICT_EXECUTED_NO, detail);
    note(locking, outcome, "refused", reason);
}

/* All that is needed is held by the chain: the lock stays with whoever took it. */
static bool pass(struct locking *locking)
{
    locking->is_limited_apart = true;
    note(locking, POLICY_LOCK_REENTERED, "reentered", NULL);
    tell_service(locking);
    return true;
}

static bool take_confirmation(struct locking *locking, enum store_result result,
                              const struct reply *reply)
{
    const struct lock_plan *plan = &locking->plan;

    for (size_t i = 0; i < plan->hold_count; i++) {
        enum lock_renewed renewed;
        uint64_t token;

        if (result != STORE_OK || !lock_call_read_renew(reply, i, 1, &renewed, &token)) {
            refuse_chain(locking, 503, "store-unavailable", POLICY_LOCK_STORE_DENIED,
                         "whether the chain still holds its lock cannot be known now");
            return true;
        }
        if (renewed != LOCK_RENEWED_HELD || token != plan->holds[i]->token) {
            refuse_chain(locking, 503, "lock-lost", POLICY_LOCK_STORE_DENIED,
                         "the chain of calls has lost its lock");
            return true;
        }
        if (token > locking->token)
            locking->token = token;
    }
    return plan->key_count > 0 ? acquire(locking) : pass(locking);
}

static void on_confirmation(struct store_call *call, enum store_result result,
                            const struct reply *reply)
{
    struct locking *locking = CONTAINER_OF(call, struct locking, call);

    if (take_confirmation(locking, result, reply))
        locking->events->on_decided(locking);
}

/* A context may be old: the store says whether the chain holds what it says, and keeps it so for as
 * long as its holder asked for. */
static bool confirm_chain(struct locking *locking)
{
    const struct lock_plan *plan = &locking->plan;
    struct lock_terms *terms = arena_calloc(locking->arena, plan->hold_count, sizeof(*terms));
    const struct lock_terms *listed[POLICY_MAX_LOCK_KEYS];
    enum store_result result;
    struct reply reply;

    for (size_t i = 0; i < plan->hold_count; i++) {
        const struct lock_context_hold *hold = plan->holds[i];
        struct slice *keys = arena_alloc(locking->arena, LOCK_CALL_KEYS * sizeof(*keys));

        lock_call_keys(slice_of(locking->policy->settings.store_key_prefix), hold->key, false,
                       locking->arena, keys);
        terms[i] = (struct lock_terms){.id = hold->id,
                                       .keys = keys,
                                       .lock_count = 1,
                                       .lease_us = hold->lease_us,
                                       .delay_us = hold->delay_us};
        listed[i] = &terms[i];
    }
    locking->call.on_reply = on_confirmation;
    lock_call_renew(&locking->call, listed, plan->hold_count, locking->arena);
    result = store_eval(locking->store, &locking->call, &reply);
    return result != STORE_PENDING && take_confirmation(locking, result, &reply);
}

static void refuse_missing(struct locking *locking)
{
    lock_verdict_refuse(locking->verdict, 400, "missing-key", VERDICT_EXECUTED_NO, NULL);
    locking->verdict->detail = arena_printf(locking->arena, "the request has no value for {%.*s}",
                                            SLICE_ARGS(locking->plan.missing));
    note(locking, POLICY_LOCK_MISSING_KEY, "refused", "missing-key");
}

bool locking_begin(struct locking *locking)
{
    struct lock_plan *plan = &locking->plan;

    lock_plan_make(locking->policy, locking->route, locking->facts, locking->is_trusted,
                   locking->arena, plan);
    switch (plan->kind) {
    case LOCK_PLAN_SKIPPED:
        locking->is_limited_apart = true;
        note_bypassed(locking, POLICY_LOCK_SKIPPED, "no-key");
        return true;
    case LOCK_PLAN_MISSING:
        if (plan->lock->is_shadow) {
            locking->is_limited_apart = true;
            note_bypassed(locking, POLICY_LOCK_MISSING_KEY, "no-key");
        } else {
            refuse_missing(locking);
        }
        return true;
    case LOCK_PLAN_DEADLOCKED:
        refuse_chain(locking, 409, "deadlock-avoided", POLICY_LOCK_DEADLOCK_AVOIDED,
                     "the chain of calls shares the lock that this request wants alone");
        return true;
    case LOCK_PLAN_TOO_DEEP:
        refuse_chain(locking, 409, "lock-depth", POLICY_LOCK_DEADLOCK_AVOIDED,
                     "the chain of calls with locks is too deep");
        return true;
    case LOCK_PLAN_NEEDED:
        break;
    }
    return plan->hold_count > 0 ? confirm_chain(locking) : acquire(locking);
}

const struct limit_grant *locking_limits(const struct locking *locking)
{
    return &lock_last_answer(locking->lock)->limits;
}

/* ---- while it is held, and its end ---- */

static void stop_lost(struct locking *locking)
{
    struct verdict *stop = &locking->stop;

    *stop = *locking->verdict;
    if (locking->is_forwarded)
        lock_verdict_refuse(stop, 500, "lock-lost", VERDICT_EXECUTED_UNKNOWN,
                            "the lock's lease was lost during the work");
    else
        lock_verdict_refuse(stop, 503, "lock-lost", VERDICT_EXECUTED_NO,
                            "the lock's lease was lost before the service was asked");
}

static void on_lock_judged(void *owner, bool is_held)
{
    struct locking *locking = owner;

    if (!is_held)
        stop_lost(locking);
    else if (lock_has_lapsed(locking->lock))
        lock_verdict_set_lapsed(locking->verdict);
    locking->events->on_judged(locking, is_held);
}

static void on_lock_max_hold(void *owner)
{
    struct locking *locking = owner;

    if (locking->plan.lock->is_shadow)
        return;
    locking->stop = *locking->verdict;
    lock_verdict_refuse(&locking->stop, 504, "max-hold", VERDICT_EXECUTED_UNKNOWN,
                        "the request held its lock for as long as it may");
    locking->events->on_judged(locking, false);
}

enum lock_check locking_check(struct locking *locking)
{
    enum lock_check check;

    if (locking->lock == NULL)
        return LOCK_IS_HELD;
    check = lock_check(locking->lock);
    if (check == LOCK_IS_LOST)
        stop_lost(locking);
    else if (check == LOCK_IS_HELD && lock_has_lapsed(locking->lock))
        lock_verdict_set_lapsed(locking->verdict);
    return check;
}

static void take_end(struct locking *locking, enum policy_lock_end end)
{
    if (end == POLICY_LOCK_END_UNTAKEN)
        lock_verdict_set_lapsed(locking->verdict);
    /* Taken by another while we worked: the answer is not what the lock promises. */
    if (end == POLICY_LOCK_END_TAKEN && locking->plan.lock->on_lost == POLICY_LOST_ABORT) {
        stop_lost(locking);
        locking->is_stopped = true;
    } else if (end == POLICY_LOCK_END_TAKEN) {
        lock_verdict_set_lapsed(locking->verdict);
    }
    lock_close(&locking->lock, LOCK_GIVE_BACK);
}

static void on_lock_released(void *owner, enum policy_lock_end end)
{
    struct locking *locking = owner;

    take_end(locking, end);
    locking->events->on_released(locking);
}

static const struct lock_events lock_events = {
    .on_decided = on_lock_decided,
    .on_judged = on_lock_judged,
    .on_max_hold = on_lock_max_hold,
    .on_released = on_lock_released,
};

bool locking_release(struct locking *locking)
{
    enum policy_lock_end end;

    if (locking->lock == NULL)
        return true;
    if (!lock_release(locking->lock, &end))
        return false;
    take_end(locking, end);
    return true;
}

void locking_end(struct locking *locking, enum lock_close how)
{
    store_cancel(&locking->call);
    if (locking->lock != NULL)
        lock_close(&locking->lock, how);
}

void locking_leave_queue(struct locking *locking)
{
    if (locking->lock != NULL)
        count(locking, POLICY_LOCK_CLIENT_GONE);
    locking_end(locking, LOCK_GIVE_BACK);
}
