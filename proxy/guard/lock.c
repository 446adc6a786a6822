#include "guard/lock.h"

#include <stdlib.h>

#include "guard/digits.h"
#include "guard/lock_private.h"

/* After a failed call, before the next. */
#define RETRY_MS 50
/* While no message can come, waiters ask so often. */
#define POLL_MS 100

#define LOCK_STATE_NAME(id, bound) #id,
static const char *const state_names[LOCK_STATE_COUNT] = {LOCK_STATES(LOCK_STATE_NAME)};

static bool transition_is_legal(enum lock_state from, enum lock_state to)
{
    static const uint8_t legal[LOCK_STATE_COUNT] = {
        [LOCK_STATE_ASKING] =
            1 << LOCK_STATE_ASKING | 1 << LOCK_STATE_WAITING | 1 << LOCK_STATE_HOLDING,
        [LOCK_STATE_WAITING] = 1 << LOCK_STATE_ASKING | 1 << LOCK_STATE_HOLDING,
        [LOCK_STATE_HOLDING] = 1 << LOCK_STATE_JUDGING,
        [LOCK_STATE_JUDGING] = 1 << LOCK_STATE_HOLDING | 1 << LOCK_STATE_LOST,
        [LOCK_STATE_RELEASING] = 1 << LOCK_STATE_RELEASING,
    };
    const uint8_t always = 1 << LOCK_STATE_RELEASING | 1 << LOCK_STATE_OVER;

    return from != LOCK_STATE_COUNT && ((always | legal[from]) & 1 << to) != 0;
}

void lock_set_state(struct lock *lock, enum lock_state state)
{
    CHECK(transition_is_legal(lock->state, state));
    log_debug(lock->worker->log, "lock state", LOG_STR("id", lock->id),
              LOG_STR("from", state_names[lock->state]), LOG_STR("to", state_names[state]));
    lock->state = state;
}

/* Clocks that run differently, and what is not measured. */
static uint64_t margin_us(const struct lock *lock)
{
    return lock->terms.lease_us / 50 + 5000;
}

static void add_metric(struct lock *lock, uint32_t slot, int64_t amount)
{
    metrics_add(lock->worker->shard, slot, amount);
}

void lock_count_waiting(struct lock *lock, bool is_waiting)
{
    if (lock->is_counted_waiting == is_waiting)
        return;
    lock->is_counted_waiting = is_waiting;
    add_metric(lock, lock->policy->waiting_slot, is_waiting ? 1 : -1);
}

/* ---- asking ---- */

static enum lock_result ask(struct lock *lock);
static void on_timer(struct timer *timer);

static void tell_decided(struct lock *lock, enum lock_result result)
{
    if (result != LOCK_PENDING)
        lock->events->on_decided(lock->owner, result);
}

static enum lock_result decide(struct lock *lock, enum lock_state state, enum lock_result result)
{
    timer_stop(lock->worker->loop, &lock->timer);
    lock_count_waiting(lock, false);
    lock->decided_at_us = loop_boot_clock_us();
    lock_set_state(lock, state);
    return result;
}

static void start_timer_us(struct lock *lock, uint64_t delay_us)
{
    timer_start(lock->worker->loop, &lock->timer, delay_us / 1000 + (delay_us % 1000 > 0),
                on_timer);
}

static uint64_t wait_left_us(const struct lock *lock)
{
    uint64_t over_at_us = lock->asked_at_us + lock->place.wait_us, now_us = loop_boot_clock_us();

    return over_at_us > now_us ? over_at_us - now_us : 0;
}

/* Waits for a message, but no longer than until it is time to ask anyway. */
static enum lock_result wait_until_asked(struct lock *lock, uint64_t delay_us)
{
    uint64_t left_us = wait_left_us(lock);

    if (lock->worker->is_draining)
        return decide(lock, LOCK_STATE_OVER, LOCK_DRAINED);
    if (!store_is_listening(lock->worker->store) && delay_us > POLL_MS * 1000)
        delay_us = POLL_MS * 1000;
    if (lock->terms.lock_count > 1 && delay_us > LOCK_CALL_HEARTBEAT_US / 3)
        delay_us = LOCK_CALL_HEARTBEAT_US / 3;
    if (lock->is_hinted)
        delay_us = 0;
    lock->is_by_message = lock->is_hinted;
    lock_set_state(lock, LOCK_STATE_WAITING);
    lock->renew_at_ms = loop_now_ms(lock->worker->loop) + lock_renewal_interval_ms(lock);
    lock_worker_schedule(lock->worker, lock);
    start_timer_us(lock, delay_us < left_us ? delay_us : left_us);
    return LOCK_PENDING;
}

void lock_start_hold_timer(struct lock *lock)
{
    uint64_t now_us = loop_boot_clock_us(), at_us = UINT64_MAX;

    if (lock->policy->on_lost == POLICY_LOST_ABORT)
        at_us = lock->deadline_at_us;
    if (lock->policy->max_hold_ms > 0 && !lock->is_ended &&
        lock->held_at_us + lock->policy->max_hold_ms * 1000 < at_us)
        at_us = lock->held_at_us + lock->policy->max_hold_ms * 1000;
    if (at_us != UINT64_MAX)
        start_timer_us(lock, at_us > now_us ? at_us - now_us : 0);
}

void lock_extend(struct lock *lock, uint64_t sent_at_us)
{
    lock->deadline_at_us = sent_at_us + lock->terms.lease_us - margin_us(lock);
    lock->renew_at_ms = loop_now_ms(lock->worker->loop) + lock_renewal_interval_ms(lock);
}

static enum lock_result hold(struct lock *lock, uint64_t token, uint64_t sent_at_us)
{
    struct lock_worker *worker = lock->worker;

    decide(lock, LOCK_STATE_HOLDING, LOCK_HELD);
    lock->token = token;
    lock->held_at_us = loop_boot_clock_us();
    lock_extend(lock, sent_at_us);
    add_metric(lock, lock->policy->held_slot, 1);
    if (lock->was_queued)
        add_metric(lock, lock->policy->handover_slots[lock->is_by_message ? 0 : 1], 1);
    lock_worker_schedule(worker, lock);
    lock_start_hold_timer(lock);
    return LOCK_HELD;
}

static enum lock_result take_answer(struct lock *lock, struct lock_answer *answer)
{
    if (lock->has_answer)
        answer->limits = lock->answer.limits;
    lock->answer = *answer;
    lock->has_answer = true;
    switch (answer->standing) {
    case LOCK_STANDING_HELD:
        return hold(lock, answer->token, lock->sent_at_us);
    case LOCK_STANDING_QUEUED:
        lock_count_waiting(lock, true);
        lock->was_queued = true;
        lock->place.place = answer->place;
        lock->place.wait_until_us = answer->wait_until_us;
        return wait_until_asked(lock, answer->again_us);
    case LOCK_STANDING_BUSY:
        lock->may_be_known = lock->was_queued;
        return decide(lock, LOCK_STATE_OVER, lock->was_queued ? LOCK_TIMED_OUT : LOCK_BUSY);
    case LOCK_STANDING_FULL:
        lock->may_be_known = lock->was_queued;
        return decide(lock, LOCK_STATE_OVER, LOCK_FULL);
    case LOCK_STANDING_DENIED:
        lock->may_be_known = false;
        return decide(lock, LOCK_STATE_OVER, LOCK_DENIED);
    }
    UNREACHED();
}

/* A place in the queue keeps, so a waiter may ask until its wait is over.  A first question whose
 * fate is not known may be repeated only as long as the store cannot have forgotten it. */
static bool may_ask_again(const struct lock *lock)
{
    if (wait_left_us(lock) <= RETRY_MS * 1000)
        return false;
    return lock->was_queued ||
           loop_boot_clock_us() + RETRY_MS * 1000 < lock->asked_at_us + lock->terms.grant_us;
}

static enum lock_result take_failure(struct lock *lock, enum store_result result)
{
    bool is_lost = result == STORE_UNKNOWN ||
                   (result == STORE_NOT_SENT && (lock->was_queued || lock->is_known_unsure));

    lock->is_known_unsure |= result == STORE_UNKNOWN || result == STORE_OK;
    if (is_lost && may_ask_again(lock))
        return wait_until_asked(lock, RETRY_MS * 1000);
    if (result == STORE_OK)
        log_error(lock->worker->log, "the admit script gave an answer of the wrong shape");
    lock->may_be_known = lock->was_queued || lock->is_known_unsure;
    return decide(lock, LOCK_STATE_OVER, LOCK_STORE_FAILED);
}

static enum lock_result take_admit(struct lock *lock, enum store_result result,
                                   const struct reply *reply)
{
    struct lock_answer answer;

    if (result == STORE_OK &&
        lock_call_read_admit(reply, lock->has_answer ? 0 : lock->question_count, &answer))
        return take_answer(lock, &answer);
    return take_failure(lock, result);
}

static void on_admit_reply(struct store_call *call, enum store_result result,
                           const struct reply *reply)
{
    struct lock *lock = CONTAINER_OF(call, struct lock, call);

    CHECK_TAG(lock, LOCK);
    tell_decided(lock, take_admit(lock, result, reply));
}

static enum lock_result ask(struct lock *lock)
{
    struct lock_worker *worker = lock->worker;
    enum store_result result;
    struct reply reply;

    timer_stop(worker->loop, &lock->timer);
    lock_worker_drop_renewal(lock);
    lock_set_state(lock, LOCK_STATE_ASKING);
    lock->is_hinted = false;
    lock->sent_at_us = loop_boot_clock_us();
    lock->call.on_reply = on_admit_reply;
    lock_call_admit(&lock->call, lock->questions, lock->has_answer ? 0 : lock->question_count,
                    &lock->terms, &lock->place, &worker->scratch);
    result = lock_worker_eval(worker, &lock->call, &reply);
    return result == STORE_PENDING ? LOCK_PENDING : take_admit(lock, result, &reply);
}

/* ---- timers, messages, renewals ---- */

static void on_hold_timer(struct lock *lock)
{
    uint64_t now_us = loop_boot_clock_us();
    uint64_t max_hold_us = lock->policy->max_hold_ms * 1000;

    if (max_hold_us > 0 && !lock->is_ended && now_us >= lock->held_at_us + max_hold_us) {
        lock->is_ended = true;
        lock_worker_drop_renewal(lock);
        lock->events->on_max_hold(lock->owner);
        return;
    }
    if (now_us >= lock->deadline_at_us && lock->policy->on_lost == POLICY_LOST_ABORT)
        lock_judge(lock);
    else
        lock_start_hold_timer(lock);
}

static void on_timer(struct timer *timer)
{
    struct lock *lock = CONTAINER_OF(timer, struct lock, timer);

    CHECK_TAG(lock, LOCK);
    if (lock->state == LOCK_STATE_HOLDING)
        on_hold_timer(lock);
    else if (lock->state == LOCK_STATE_WAITING && wait_left_us(lock) == 0)
        tell_decided(lock, decide(lock, LOCK_STATE_OVER,
                                  lock->has_answer ? LOCK_TIMED_OUT : LOCK_STORE_FAILED));
    else if (lock->state == LOCK_STATE_WAITING)
        tell_decided(lock, ask(lock));
}

void lock_hint(struct lock *lock)
{
    CHECK_TAG(lock, LOCK);
    if (lock->state == LOCK_STATE_ASKING) {
        lock->is_hinted = true;
    } else if (lock->state == LOCK_STATE_WAITING) {
        lock->is_by_message = true;
        tell_decided(lock, ask(lock));
    }
}

void lock_ask_again(struct lock *lock)
{
    CHECK_TAG(lock, LOCK);
    if (lock->state == LOCK_STATE_ASKING)
        lock->is_hinted = true;
    else if (lock->state == LOCK_STATE_WAITING)
        tell_decided(lock, ask(lock));
}

void lock_drain(struct lock *lock)
{
    CHECK_TAG(lock, LOCK);
    if (lock->state == LOCK_STATE_WAITING)
        tell_decided(lock, decide(lock, LOCK_STATE_OVER, LOCK_DRAINED));
}

uint64_t lock_renewal_interval_ms(const struct lock *lock)
{
    uint64_t held_ms = lock->terms.lease_us / 3000, waiting_ms = LOCK_CALL_HEARTBEAT_US / 3000;

    return lock->state == LOCK_STATE_WAITING ? waiting_ms : held_ms;
}

bool lock_wants_renewal(const struct lock *lock, uint64_t now_ms)
{
    bool is_held = lock->state == LOCK_STATE_HOLDING && !lock->is_ended && !lock->has_lapsed;
    /* A waiter for several locks asks by itself. */
    bool is_waiting =
        lock->state == LOCK_STATE_WAITING && lock->was_queued && lock->terms.lock_count == 1;

    return lock->renewal == NULL && (is_held || is_waiting) && lock->renew_at_ms <= now_ms;
}

void lock_renew_failed(struct lock *lock)
{
    lock->renew_at_ms = loop_now_ms(lock->worker->loop) + RETRY_MS;
    lock_worker_schedule(lock->worker, lock);
}

void lock_renewed(struct lock *lock, enum lock_renewed renewed, uint64_t token, uint64_t sent_at_us)
{
    CHECK_TAG(lock, LOCK);
    if (lock->state == LOCK_STATE_WAITING) {
        lock->is_by_message = false;
        if (renewed == LOCK_RENEWED_HELD)
            tell_decided(lock, hold(lock, token, sent_at_us));
        else if (renewed == LOCK_RENEWED_GONE)
            tell_decided(lock, ask(lock));
        return;
    }
    if (lock->state != LOCK_STATE_HOLDING)
        return;
    if (renewed == LOCK_RENEWED_HELD)
        lock_extend(lock, sent_at_us);
    else if (lock->policy->on_lost == POLICY_LOST_ABORT)
        lock_judge(lock);
    else
        lock->has_lapsed = true;
}

/* ---- opening ---- */

static void copy_terms(struct lock *lock, const struct lock_request *request, struct slice *keys,
                       char *text)
{
    const struct policy_lock *policy = request->lock;

    for (size_t i = 0; i < request->key_count * LOCK_CALL_KEYS; i++) {
        lock->keys[i] = slice_from(text, keys[i].len);
        text = digits_put_slice(text, keys[i]);
    }
    lock->request_id = slice_from(text, request->request_id.len);
    digits_put_slice(text, request->request_id);
    lock->terms = (struct lock_terms){.id = slice_of(lock->id),
                                      .keys = lock->keys,
                                      .lock_count = request->key_count,
                                      .intent = policy->is_shadow ? 's' : 'w',
                                      .permits = request->is_shared ? 1 : policy->permits,
                                      .lease_us = policy->lease_ms * 1000,
                                      .grant_us = policy->grant_ms * 1000,
                                      .delay_us = policy->lock_delay_ms * 1000,
                                      .queue_max = policy->queue_max};
    lock->place = (struct lock_place){.wait_us = policy->is_shadow ? 0 : request->wait_us,
                                      .channel = store_channel(lock->worker->store)};
}

static void name_lock(struct lock *lock, bool is_shared)
{
    struct lock_worker *worker = lock->worker;
    char *out = lock->id;

    *out++ = is_shared ? 's' : 'x';
    out = digits_put_slice(out, slice_of(worker->id_prefix));
    *out++ = '-';
    *digits_put(out, worker->next_id++) = '\0';
}

static struct lock *lock_new(struct lock_worker *worker, const struct lock_request *request)
{
    struct slice keys[POLICY_MAX_LOCK_KEYS * LOCK_CALL_KEYS] = {SLICE_NONE};
    size_t count = request->key_count * LOCK_CALL_KEYS, bytes = request->request_id.len;
    struct lock *lock;

    CHECK(request->key_count > 0 && request->key_count <= POLICY_MAX_LOCK_KEYS);
    for (size_t i = 0; i < request->key_count; i++)
        lock_call_keys(slice_of(request->policy->settings.store_key_prefix), request->keys[i],
                       request->lock->is_shadow, &worker->scratch, keys + i * LOCK_CALL_KEYS);
    for (size_t i = 0; i < count; i++)
        bytes += keys[i].len;
    lock = mem_alloc(sizeof(*lock) + count * sizeof(*lock->keys) + bytes);
    *lock = (struct lock){.tag = LOCK_TAG,
                          .worker = worker,
                          .snapshot = policy_ref(request->policy),
                          .policy = request->lock,
                          .events = request->events,
                          .owner = request->owner,
                          .questions = request->questions,
                          .question_count = request->question_count,
                          .may_be_known = true};
    name_lock(lock, request->is_shared);
    copy_terms(lock, request, keys, (char *)&lock->keys[count]);
    arena_clear(&worker->scratch);
    lock_worker_add(worker, lock);
    return lock;
}

enum lock_result lock_open(struct lock_worker *worker, const struct lock_request *request,
                           struct lock **ret_lock)
{
    struct lock *lock = *ret_lock = lock_new(worker, request);

    CHECK(request->owner != NULL);
    lock->asked_at_us = loop_boot_clock_us();
    return ask(lock);
}

/* ---- questions ---- */

const struct lock_answer *lock_last_answer(const struct lock *lock)
{
    return &lock->answer;
}

bool lock_was_charged(const struct lock *lock)
{
    return lock->has_answer;
}

bool lock_was_queued(const struct lock *lock)
{
    return lock->was_queued;
}

uint64_t lock_waited_us(const struct lock *lock)
{
    return lock->decided_at_us - lock->asked_at_us;
}

uint64_t lock_token(const struct lock *lock)
{
    return lock->token;
}

struct slice lock_id(const struct lock *lock)
{
    return lock->terms.id;
}

const struct lock_terms *lock_terms(const struct lock *lock)
{
    return &lock->terms;
}

bool lock_has_lapsed(const struct lock *lock)
{
    return lock->has_lapsed;
}
