#include "guard/guard.h"

#include <stdlib.h>

#include "guard/limit_batch.h"

#define GUARD_TAG 0x64727547u /* "Gurd" */

/* A guard's life.  ASKING is bounded by the store's deadline for a call.  A lock is admitted
 * together with the limits, in ASKING; idempotency's claim follows it; guard_end settles in
 * reverse. */
#define GUARD_STATES(X) X(NEW) X(ASKING) X(DECIDED)
#define GUARD_STATE_ENUM(id) GUARD_##id,
enum guard_state { GUARD_STATES(GUARD_STATE_ENUM) GUARD_STATE_COUNT };

#define GUARD_STATE_NAME(id) #id,
static const char *const state_names[GUARD_STATE_COUNT] = {GUARD_STATES(GUARD_STATE_NAME)};

struct guard_worker {
    struct limit_batcher *limits;
    struct metrics_shard *shard;
    const struct log_context *log;
    size_t guard_count;
};

struct guard {
    uint32_t tag;
    enum guard_state state;
    struct guard_worker *worker;
    guard_cb *on_verdict;
    void *owner;
    uint64_t asked_at_us;
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

static void on_limits_decided(struct limit_ticket *ticket)
{
    struct guard *guard = CONTAINER_OF(ticket, struct guard, limits);

    CHECK_TAG(guard, GUARD);
    decide(guard);
    guard->on_verdict(guard->owner, &guard->verdict);
}

static struct guard *guard_new(struct guard_worker *worker, const struct guard_request *request)
{
    struct guard *guard = arena_calloc(request->arena, 1, sizeof(*guard));

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
                                               .verdict = &guard->verdict};
    worker->guard_count++;
    return guard;
}

const struct verdict *guard_begin(struct guard_worker *worker, const struct guard_request *request,
                                  struct guard **ret_guard)
{
    struct guard *guard;

    *ret_guard = NULL;
    if (request->route->limit_count == 0)
        return &allow;
    guard = *ret_guard = guard_new(worker, request);
    if (limit_check_begin(&guard->limits.check, request->policy, request->facts) &&
        guard->limits.check.question_count > 0) {
        guard->asked_at_us = loop_clock_us();
        set_state(guard, GUARD_ASKING);
        if (!limit_batch_ask(worker->limits, &guard->limits))
            return NULL;
    }
    decide(guard);
    return &guard->verdict;
}

void guard_end(struct guard **guard, const struct guard_outcome *outcome)
{
    struct guard *ending = TAKE(guard);

    /* Limits are charged at admission and have nothing to settle. */
    UNUSED(outcome);
    if (ending == NULL)
        return;
    CHECK_TAG(ending, GUARD);
    if (ending->state == GUARD_ASKING)
        limit_batch_leave(&ending->limits);
    ending->worker->guard_count--;
    ending->tag = 0;
}

struct guard_worker *guard_worker_open(struct loop *loop, struct store *store,
                                       struct metrics_shard *shard, const struct log_context *log)
{
    struct guard_worker *worker = mem_calloc(1, sizeof(*worker));

    worker->limits = limit_batcher_open(loop, store, log);
    worker->shard = shard;
    worker->log = log;
    return worker;
}

void guard_worker_close(struct guard_worker **worker)
{
    struct guard_worker *closing = TAKE(worker);

    CHECK(closing->guard_count == 0);
    limit_batcher_close(&closing->limits);
    free(closing);
}
