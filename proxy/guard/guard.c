#include "guard/guard.h"

#include <stdlib.h>

#include "guard/fence.h"
#include "guard/fencing.h"
#include "guard/limit_batch.h"
#include "guard/locking.h"

#define GUARD_TAG 0x64727547u /* "Gurd" */

/*  X(state, what bounds it).  Idempotency's claim will follow the fence; guard_end settles in
 *  reverse. */
#define GUARD_STATES(X)                                                                            \
    X(NEW, "never waits")                                                                          \
    X(LOCKING, "the lock's wait")                                                                  \
    X(ASKING, "the store's deadline for a call")                                                   \
    X(FENCING, "the store's deadline, and FENCING_REVOKE_MS")                                      \
    X(DECIDED, "its owner's end")                                                                  \
    X(FINISHING, "GUARD_FINISH_MS")                                                                \
    X(FINISHED, "its owner's end")
#define GUARD_STATE_ENUM(id, bound) GUARD_##id,
enum guard_state { GUARD_STATES(GUARD_STATE_ENUM) GUARD_STATE_COUNT };

#define GUARD_STATE_NAME(id, bound) #id,
static const char *const state_names[GUARD_STATE_COUNT] = {GUARD_STATES(GUARD_STATE_NAME)};

struct guard_worker {
    struct loop *loop;
    struct store *store;
    struct limit_batcher *limits;
    struct lock_worker *locks;
    struct limit_tops *tops;
    struct fence_table *fences;
    struct metrics_shard *shard;
    const struct log_context *log;
    size_t guard_count;
};

/* Of guards with a lock, a fence, or a chain of calls. */
struct guard_hold {
    struct guard *guard;
    struct guard_request request;
    struct locking locking;
    struct fencing fencing;
    struct timer finish_timer;
    struct verdict stop; /* by the fence */
    bool has_lock, has_fence, is_stopped;
};

struct guard {
    uint32_t tag;
    enum guard_state state;
    struct guard_worker *worker;
    guard_cb *on_verdict;
    void *owner;
    uint64_t asked_at_us;
    struct guard_hold *hold; /* NULL: limits alone */
    struct verdict verdict;
    struct limit_ticket limits;
};

static const struct verdict allow = {.kind = VERDICT_ALLOW, .executed = VERDICT_EXECUTED_NO};

static void set_state(struct guard *guard, enum guard_state state)
{
    CHECK(state > guard->state);
    log_debug(guard->worker->log, "guard state", LOG_STR("from", state_names[guard->state]),
              LOG_STR("to", state_names[state]));
    guard->state = state;
}

static void decide(struct guard *guard)
{
    if (guard->asked_at_us > 0)
        guard->verdict.store_us = loop_clock_us() - guard->asked_at_us;
    set_state(guard, GUARD_DECIDED);
}

/* ---- admission, step by step: true when it is decided ---- */

static void tell_verdict(struct guard *guard)
{
    guard->on_verdict(guard->owner, &guard->verdict);
}

static bool admit_fence(struct guard *guard)
{
    if (guard->verdict.kind == VERDICT_ALLOW && guard->hold != NULL && guard->hold->has_fence) {
        set_state(guard, GUARD_FENCING);
        if (!fencing_begin(&guard->hold->fencing))
            return false;
    }
    decide(guard);
    return true;
}

/* Everything has been asked of limits and lock: put it together. */
static bool admit_locked(struct guard *guard)
{
    if (guard->hold != NULL && guard->hold->has_lock)
        locking_finish_verdict(&guard->hold->locking);
    return admit_fence(guard);
}

static bool admit_limits(struct guard *guard)
{
    if (guard->limits.check.question_count > 0) {
        set_state(guard, GUARD_ASKING);
        if (!limit_batch_ask(guard->worker->limits, &guard->limits))
            return false;
    }
    return admit_locked(guard);
}

static bool take_lock(struct guard *guard)
{
    struct locking *locking = &guard->hold->locking;

    if (guard->verdict.kind == VERDICT_ALLOW && locking->is_limited_apart)
        return admit_limits(guard);
    if (locking->has_limits)
        limit_check_judge(&guard->limits.check, locking_limits(locking), 0);
    return admit_locked(guard);
}

static bool admit(struct guard *guard)
{
    if (guard->hold == NULL || !guard->hold->has_lock)
        return admit_limits(guard);
    set_state(guard, GUARD_LOCKING);
    return locking_begin(&guard->hold->locking) && take_lock(guard);
}

static void on_limits_decided(struct limit_ticket *ticket)
{
    struct guard *guard = CONTAINER_OF(ticket, struct guard, limits);

    CHECK_TAG(guard, GUARD);
    if (admit_locked(guard))
        tell_verdict(guard);
}

static void on_locking_decided(struct locking *locking)
{
    struct guard *guard = CONTAINER_OF(locking, struct guard_hold, locking)->guard;

    CHECK_TAG(guard, GUARD);
    if (take_lock(guard))
        tell_verdict(guard);
}

static void on_fencing_decided(struct fencing *fencing)
{
    struct guard *guard = CONTAINER_OF(fencing, struct guard_hold, fencing)->guard;

    CHECK_TAG(guard, GUARD);
    decide(guard);
    tell_verdict(guard);
}

/* ---- while it runs ---- */

static bool is_running(const struct guard *guard)
{
    return guard->state == GUARD_DECIDED && guard->verdict.kind == VERDICT_ALLOW;
}

static void on_locking_judged(struct locking *locking, bool is_held)
{
    struct guard_hold *hold = CONTAINER_OF(locking, struct guard_hold, locking);

    CHECK_TAG(hold->guard, GUARD);
    if (!is_held && !hold->is_stopped) {
        hold->is_stopped = true;
        hold->stop = locking->stop;
    }
    if (is_running(hold->guard))
        hold->request.on_judged(hold->request.owner, is_held);
}

static void on_fencing_revoked(struct fencing *fencing)
{
    struct guard_hold *hold = CONTAINER_OF(fencing, struct guard_hold, fencing);

    CHECK_TAG(hold->guard, GUARD);
    if (!hold->is_stopped) {
        hold->is_stopped = true;
        hold->stop = hold->guard->verdict;
        lock_verdict_refuse(&hold->stop, 412, "stale-fencing-token",
                            hold->locking.is_forwarded ? VERDICT_EXECUTED_UNKNOWN
                                                       : VERDICT_EXECUTED_NO,
                            "a request with a newer fencing token came for the same key");
    }
    if (is_running(hold->guard))
        hold->request.on_judged(hold->request.owner, false);
}

static void stop_by_lock(struct guard_hold *hold)
{
    hold->is_stopped = true;
    hold->stop = hold->locking.stop;
}

static void on_locking_released(struct locking *locking)
{
    struct guard_hold *hold = CONTAINER_OF(locking, struct guard_hold, locking);
    struct guard *guard = hold->guard;

    CHECK_TAG(guard, GUARD);
    if (guard->state != GUARD_FINISHING)
        return;
    timer_stop(guard->worker->loop, &hold->finish_timer);
    set_state(guard, GUARD_FINISHED);
    if (locking->is_stopped)
        stop_by_lock(hold);
    hold->request.on_finished(hold->request.owner, !locking->is_stopped);
}

/* The release goes on without us: what was held while the answer was made is held all the same. */
static void on_finish_timer(struct timer *timer)
{
    struct guard_hold *hold = CONTAINER_OF(timer, struct guard_hold, finish_timer);

    CHECK_TAG(hold->guard, GUARD);
    set_state(hold->guard, GUARD_FINISHED);
    hold->request.on_finished(hold->request.owner, true);
}

bool guard_is_holding(const struct guard *guard)
{
    return guard != NULL && guard->hold != NULL && is_running(guard);
}

enum guard_check guard_check(struct guard *guard)
{
    if (!guard_is_holding(guard))
        return GUARD_GO_ON;
    if (guard->hold->is_stopped)
        return GUARD_STOP;
    if (!guard->hold->has_lock)
        return GUARD_GO_ON;
    switch (locking_check(&guard->hold->locking)) {
    case LOCK_IS_HELD:
        return GUARD_GO_ON;
    case LOCK_IS_JUDGED:
        return GUARD_HOLD_ON;
    case LOCK_IS_LOST:
        stop_by_lock(guard->hold);
        return GUARD_STOP;
    }
    UNREACHED();
}

void guard_note_forwarded(struct guard *guard)
{
    if (guard != NULL && guard->hold != NULL)
        guard->hold->locking.is_forwarded = true;
}

const struct verdict *guard_stopped(const struct guard *guard)
{
    CHECK(guard->hold->is_stopped);
    return &guard->hold->stop;
}

enum guard_check guard_finish(struct guard *guard)
{
    struct guard_hold *hold;

    if (!guard_is_holding(guard))
        return GUARD_GO_ON;
    hold = guard->hold;
    if (hold->is_stopped)
        return GUARD_STOP;
    if (hold->has_lock && !locking_release(&hold->locking)) {
        set_state(guard, GUARD_FINISHING);
        timer_start(guard->worker->loop, &hold->finish_timer, GUARD_FINISH_MS, on_finish_timer);
        return GUARD_HOLD_ON;
    }
    set_state(guard, GUARD_FINISHED);
    if (!hold->locking.is_stopped)
        return GUARD_GO_ON;
    stop_by_lock(hold);
    return GUARD_STOP;
}

/* ---- begin and end ---- */

static const struct locking_events locking_events = {
    .on_decided = on_locking_decided,
    .on_judged = on_locking_judged,
    .on_released = on_locking_released,
};

static const struct fencing_events fencing_events = {
    .on_decided = on_fencing_decided,
    .on_revoked = on_fencing_revoked,
};

static void open_fencing(struct guard *guard, const struct guard_request *request)
{
    struct guard_worker *worker = guard->worker;

    if (worker->fences == NULL)
        worker->fences = fence_table_open(FENCE_MAX_KEYS);
    guard->hold->has_fence = true;
    guard->hold->fencing = (struct fencing){.policy = request->policy,
                                            .route = request->route,
                                            .facts = request->facts,
                                            .arena = request->arena,
                                            .loop = worker->loop,
                                            .store = worker->store,
                                            .table = worker->fences,
                                            .shard = worker->shard,
                                            .verdict = &guard->verdict,
                                            .events = &fencing_events};
}

static void open_locking(struct guard *guard, const struct guard_request *request)
{
    struct guard_worker *worker = guard->worker;

    guard->hold->has_lock = true;
    guard->hold->locking = (struct locking){.policy = request->policy,
                                            .route = request->route,
                                            .facts = request->facts,
                                            .arena = request->arena,
                                            .locks = worker->locks,
                                            .store = worker->store,
                                            .shard = worker->shard,
                                            .limits = &guard->limits.check,
                                            .verdict = &guard->verdict,
                                            .events = &locking_events,
                                            .request_id = request->request_id,
                                            .is_trusted = request->is_peer_trusted};
}

static struct guard *guard_new(struct guard_worker *worker, const struct guard_request *request)
{
    struct guard *guard = arena_calloc(request->arena, 1, sizeof(*guard));
    const struct policy_route *route = request->route;

    guard->tag = GUARD_TAG;
    guard->worker = worker;
    guard->on_verdict = request->on_verdict;
    guard->owner = request->owner;
    guard->verdict = allow;
    guard->limits.on_decided = on_limits_decided;
    guard->limits.check = (struct limit_check){.route = request->route,
                                               .arena = request->arena,
                                               .shard = worker->shard,
                                               .log = worker->log,
                                               .verdict = &guard->verdict,
                                               .tops = worker->tops,
                                               .policy = request->policy,
                                               .loop = worker->loop};
    worker->guard_count++;
    if (route->lock == NULL && route->fence == NULL)
        return guard;
    guard->hold = arena_calloc(request->arena, 1, sizeof(*guard->hold));
    guard->hold->guard = guard;
    guard->hold->request = *request;
    if (route->lock != NULL)
        open_locking(guard, request);
    if (route->fence != NULL)
        open_fencing(guard, request);
    return guard;
}

/* A route without lock hands on what its chain holds. */
static void pass_context(struct guard *guard, const struct guard_request *request)
{
    const struct lock_context *context = lock_plan_context(
        request->policy, request->facts, request->is_peer_trusted, request->arena);

    if (context != NULL)
        lock_verdict_pass_context(&guard->verdict, request->policy, context, request->arena);
}

static bool has_context(const struct guard_request *request)
{
    return request->policy->settings.lock_context_secret != NULL && request->is_peer_trusted &&
           request->facts->header(request->facts->request, SLICE("lock-context")).at != NULL;
}

const struct verdict *guard_begin(struct guard_worker *worker, const struct guard_request *request,
                                  struct guard **ret_guard)
{
    const struct policy_route *route = request->route;
    struct guard *guard;

    *ret_guard = NULL;
    if (route->limit_count == 0 && route->lock == NULL && route->fence == NULL &&
        !has_context(request))
        return &allow;
    guard = *ret_guard = guard_new(worker, request);
    if (route->lock == NULL)
        pass_context(guard, request);
    if ((guard->hold != NULL && guard->hold->has_fence && !fencing_read(&guard->hold->fencing)) ||
        !limit_check_begin(&guard->limits.check, request->policy, request->facts)) {
        decide(guard);
        return &guard->verdict;
    }
    if (guard->limits.check.question_count > 0 || guard->hold != NULL)
        guard->asked_at_us = loop_clock_us();
    return admit(guard) ? &guard->verdict : NULL;
}

static void end_hold(struct guard *guard, const struct guard_outcome *outcome)
{
    struct guard_hold *hold = guard->hold;
    bool is_at_work = outcome->forwarded && !outcome->service_finished;

    timer_stop(guard->worker->loop, &hold->finish_timer);
    if (hold->has_fence)
        fencing_end(&hold->fencing);
    if (!hold->has_lock)
        return;
    if (guard->state == GUARD_LOCKING)
        locking_leave_queue(&hold->locking);
    else
        locking_end(&hold->locking, is_at_work ? LOCK_LEAVE : LOCK_GIVE_BACK);
}

void guard_end(struct guard **guard, const struct guard_outcome *outcome)
{
    struct guard *ending = TAKE(guard);

    if (ending == NULL)
        return;
    CHECK_TAG(ending, GUARD);
    if (ending->state == GUARD_ASKING)
        limit_batch_leave(&ending->limits);
    if (ending->hold != NULL)
        end_hold(ending, outcome);
    ending->worker->guard_count--;
    ending->tag = 0;
}

struct guard_worker *guard_worker_open(struct loop *loop, struct store *store,
                                       struct metrics_shard *shard, const struct log_context *log)
{
    struct guard_worker *worker = mem_calloc(1, sizeof(*worker));

    worker->loop = loop;
    worker->store = store;
    worker->limits = limit_batcher_open(loop, store, log);
    worker->locks = lock_worker_open(loop, store, shard, log);
    worker->tops = limit_tops_open();
    worker->shard = shard;
    worker->log = log;
    return worker;
}

void guard_worker_set_policy(struct guard_worker *worker, struct policy *policy)
{
    limit_tops_set_policy(worker->tops, policy);
}

const struct limit_tops *guard_worker_tops(const struct guard_worker *worker)
{
    return worker->tops;
}

struct lock_worker *guard_worker_locks(const struct guard_worker *worker)
{
    return worker->locks;
}

void guard_worker_set_fences(struct guard_worker *worker, struct fence_table *fences)
{
    CHECK(worker->fences == NULL);
    worker->fences = fence_table_ref(fences);
}

void guard_worker_drain(struct guard_worker *worker)
{
    lock_worker_drain(worker->locks);
}

bool guard_worker_is_idle(const struct guard_worker *worker)
{
    return lock_worker_is_idle(worker->locks);
}

void guard_worker_close(struct guard_worker **worker)
{
    struct guard_worker *closing = TAKE(worker);

    CHECK(closing->guard_count == 0);
    limit_batcher_close(&closing->limits);
    lock_worker_close(&closing->locks);
    limit_tops_close(&closing->tops);
    if (closing->fences != NULL)
        fence_table_unref(&closing->fences);
    free(closing);
}
