/* A lock that is held: judging whether it still is, and giving it back. */
#include "guard/lock_private.h"

#include <stdlib.h>

/* A release that gets no answer is repeated so often, as long as the lease may last. */
#define RELEASE_RETRY_MS 100
/* That nobody had taken a lapsed lock is believed for so long. */
#define LAPSED_MS 50

/* ---- the end of a hold ---- */

static void count_end(struct lock *lock, enum policy_lock_end end)
{
    struct lock_worker *worker = lock->worker;

    if (lock->held_at_us == 0)
        return;
    metrics_add(lock->worker->shard, lock->policy->held_slot, -1);
    metrics_add(lock->worker->shard, lock->policy->end_slots[end], 1);
    metrics_observe_us(worker->shard, lock->policy->hold_slot,
                       loop_boot_clock_us() - lock->held_at_us);
    lock->held_at_us = 0;
}

void lock_free(struct lock *lock)
{
    struct lock_worker *worker = lock->worker;

    CHECK_TAG(lock, LOCK);
    CHECK(lock->owner == NULL);
    lock_count_waiting(lock, false);
    store_cancel(&lock->call);
    timer_stop(worker->loop, &lock->timer);
    lock_worker_remove(worker, lock);
    policy_unref(&lock->snapshot);
    lock->tag = 0;
    free(lock);
}

static enum policy_lock_end end_of(const struct lock *lock, int verdict)
{
    switch (verdict) {
    case 1:
        return lock->has_lapsed ? POLICY_LOCK_END_UNTAKEN : POLICY_LOCK_END_HELD;
    case 0:
        /* The first release was run, and its answer lost. */
        return lock->is_unsure && !lock->has_lapsed ? POLICY_LOCK_END_HELD
                                                    : POLICY_LOCK_END_UNTAKEN;
    case -1:
        return lock->is_unsure ? POLICY_LOCK_END_UNKNOWN : POLICY_LOCK_END_TAKEN;
    default:
        return POLICY_LOCK_END_UNKNOWN;
    }
}

static void send_release(struct lock *lock);

static void on_release_timer(struct timer *timer)
{
    struct lock *lock = CONTAINER_OF(timer, struct lock, timer);

    CHECK_TAG(lock, LOCK);
    send_release(lock);
}

static bool may_release_again(const struct lock *lock)
{
    uint64_t until_us = lock->token > 0 ? lock->terms.lease_us : LOCK_CALL_HEARTBEAT_US;

    return loop_boot_clock_us() < lock->decided_at_us + until_us;
}

/* The lock may be gone when this returns. */
static void finish_release(struct lock *lock, enum policy_lock_end end)
{
    lock->end = end;
    count_end(lock, lock->is_ended ? POLICY_LOCK_END_MAX_HOLD : end);
    if (lock->owner == NULL) {
        lock_free(lock);
        return;
    }
    lock_set_state(lock, LOCK_STATE_OVER);
    lock->may_be_known = false;
}

/* False: it is tried again. */
static bool take_release(struct lock *lock, enum store_result result, const struct reply *reply)
{
    int verdict;

    if (result == STORE_OK && lock_call_read_release(reply, &verdict)) {
        finish_release(lock, end_of(lock, verdict));
        return true;
    }
    lock->is_unsure |= result == STORE_UNKNOWN;
    if ((result == STORE_UNKNOWN || result == STORE_NOT_SENT) && may_release_again(lock)) {
        timer_start(lock->worker->loop, &lock->timer, RELEASE_RETRY_MS, on_release_timer);
        return false;
    }
    finish_release(lock, POLICY_LOCK_END_UNKNOWN);
    return true;
}

static void on_release_reply(struct store_call *call, enum store_result result,
                             const struct reply *reply)
{
    struct lock *lock = CONTAINER_OF(call, struct lock, call);
    bool is_owned = lock->owner != NULL;

    CHECK_TAG(lock, LOCK);
    if (take_release(lock, result, reply) && is_owned)
        lock->events->on_released(lock->owner, lock->end);
}

/* The answer, when it is there at once, has been taken when this returns, and the lock may be gone.
 */
static void send_release(struct lock *lock)
{
    struct lock_worker *worker = lock->worker;
    enum store_result result;
    struct reply reply;

    store_cancel(&lock->call);
    timer_stop(worker->loop, &lock->timer);
    lock_worker_drop_renewal(lock);
    lock_set_state(lock, LOCK_STATE_RELEASING);
    lock->call.on_reply = on_release_reply;
    lock_call_release(&lock->call, &lock->terms, lock->token, &worker->scratch);
    result = lock_worker_eval(worker, &lock->call, &reply);
    if (result != STORE_PENDING)
        take_release(lock, result, &reply);
}

static void begin_release(struct lock *lock)
{
    lock_count_waiting(lock, false);
    lock->decided_at_us = loop_boot_clock_us();
    send_release(lock);
}

bool lock_release(struct lock *lock, enum policy_lock_end *ret_end)
{
    CHECK_TAG(lock, LOCK);
    if (lock->state == LOCK_STATE_HOLDING || lock->state == LOCK_STATE_JUDGING)
        begin_release(lock);
    if (lock->state == LOCK_STATE_RELEASING)
        return false;
    *ret_end = lock->end;
    return true;
}

/* What of it the store may still know is taken back. */
static bool is_to_be_released(const struct lock *lock, enum lock_close how)
{
    switch (lock->state) {
    case LOCK_STATE_HOLDING:
    case LOCK_STATE_JUDGING:
        return how == LOCK_GIVE_BACK;
    case LOCK_STATE_LOST:
        return how == LOCK_GIVE_BACK && lock->end == POLICY_LOCK_END_UNKNOWN;
    case LOCK_STATE_OVER:
        return lock->may_be_known;
    default:
        return true;
    }
}

void lock_close(struct lock **lockp, enum lock_close how)
{
    struct lock *lock = TAKE(lockp);

    CHECK_TAG(lock, LOCK);
    lock->owner = NULL;
    lock->questions = NULL;
    if (lock->state == LOCK_STATE_RELEASING)
        return;
    if (is_to_be_released(lock, how)) {
        begin_release(lock);
        return;
    }
    if (lock->state == LOCK_STATE_LOST)
        count_end(lock, lock->end);
    else
        count_end(lock, lock->is_ended ? POLICY_LOCK_END_MAX_HOLD : POLICY_LOCK_END_LEFT);
    lock_free(lock);
}

/* ---- is it still held? ---- */

static enum lock_check lose(struct lock *lock, enum policy_lock_end end)
{
    lock->end = end;
    lock_set_state(lock, LOCK_STATE_LOST);
    log_warn(lock->worker->log, "lock lost",
             LOG_STR("verdict", end == POLICY_LOCK_END_TAKEN ? "taken" : "unknown"));
    return LOCK_IS_LOST;
}

static enum lock_check go_on(struct lock *lock)
{
    lock_set_state(lock, LOCK_STATE_HOLDING);
    lock_worker_schedule(lock->worker, lock);
    lock_start_hold_timer(lock);
    return LOCK_IS_HELD;
}

/* Gone from the store.  Nobody took it: so far no harm is done, but anybody may at any time. */
static enum lock_check take_post_mortem(struct lock *lock, enum store_result result,
                                        const struct reply *reply)
{
    int verdict;

    if (result != STORE_OK || !lock_call_read_release(reply, &verdict))
        return lose(lock, POLICY_LOCK_END_UNKNOWN);
    if (verdict < 0)
        return lose(lock, verdict == -1 ? POLICY_LOCK_END_TAKEN : POLICY_LOCK_END_UNKNOWN);
    lock->has_lapsed = true;
    lock->deadline_at_us = loop_boot_clock_us() + LAPSED_MS * 1000;
    return go_on(lock);
}

static void tell_judged(struct lock *lock, enum lock_check check)
{
    if (check != LOCK_IS_JUDGED)
        lock->events->on_judged(lock->owner, check == LOCK_IS_HELD);
}

static void on_post_mortem_reply(struct store_call *call, enum store_result result,
                                 const struct reply *reply)
{
    struct lock *lock = CONTAINER_OF(call, struct lock, call);

    CHECK_TAG(lock, LOCK);
    tell_judged(lock, take_post_mortem(lock, result, reply));
}

static enum lock_check ask_post_mortem(struct lock *lock)
{
    struct lock_worker *worker = lock->worker;
    enum store_result result;
    struct reply reply;

    lock->call.on_reply = on_post_mortem_reply;
    lock_call_release(&lock->call, &lock->terms, lock->token, &worker->scratch);
    result = lock_worker_eval(worker, &lock->call, &reply);
    return result == STORE_PENDING ? LOCK_IS_JUDGED : take_post_mortem(lock, result, &reply);
}

static enum lock_check take_revival(struct lock *lock, enum store_result result,
                                    const struct reply *reply)
{
    enum lock_renewed renewed;
    uint64_t token;

    if (result != STORE_OK ||
        !lock_call_read_renew(reply, 0, lock->terms.lock_count, &renewed, &token))
        return lose(lock, POLICY_LOCK_END_UNKNOWN);
    if (renewed != LOCK_RENEWED_HELD)
        return ask_post_mortem(lock);
    lock_extend(lock, lock->sent_at_us);
    return go_on(lock);
}

static void on_revival_reply(struct store_call *call, enum store_result result,
                             const struct reply *reply)
{
    struct lock *lock = CONTAINER_OF(call, struct lock, call);

    CHECK_TAG(lock, LOCK);
    tell_judged(lock, take_revival(lock, result, reply));
}

/* Past what may be believed: the store says whether the lock is still ours. */
static enum lock_check judge(struct lock *lock)
{
    const struct lock_terms *terms = &lock->terms;
    struct lock_worker *worker = lock->worker;
    enum store_result result;
    struct reply reply;

    timer_stop(worker->loop, &lock->timer);
    lock_worker_drop_renewal(lock);
    lock_set_state(lock, LOCK_STATE_JUDGING);
    if (lock->has_lapsed || lock->is_ended)
        return ask_post_mortem(lock);
    lock->sent_at_us = loop_boot_clock_us();
    lock->call.on_reply = on_revival_reply;
    lock_call_renew(&lock->call, &terms, 1, &worker->scratch);
    result = lock_worker_eval(worker, &lock->call, &reply);
    return result == STORE_PENDING ? LOCK_IS_JUDGED : take_revival(lock, result, &reply);
}

void lock_judge(struct lock *lock)
{
    tell_judged(lock, judge(lock));
}

enum lock_check lock_check(struct lock *lock)
{
    CHECK_TAG(lock, LOCK);
    switch (lock->state) {
    case LOCK_STATE_HOLDING:
        if (loop_boot_clock_us() < lock->deadline_at_us ||
            lock->policy->on_lost == POLICY_LOST_FINISH)
            return LOCK_IS_HELD;
        return judge(lock);
    case LOCK_STATE_JUDGING:
        return LOCK_IS_JUDGED;
    case LOCK_STATE_LOST:
        return LOCK_IS_LOST;
    default:
        return LOCK_IS_HELD;
    }
}
